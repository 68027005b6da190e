"""Names, links and files in a mail directory that could mislead CREATE, DELETE and RENAME, in both layouts."""

import os
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.directory_lock import DirectoryLock
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

LAYOUTS = ("maildir++", "fs")


def opened(path: Path, **settings: Any) -> MaildirAccount:
    found = MaildirSettings(str(path / "Maildir"), lock_timeout=0.1, **settings)
    return MaildirStore(direct()).open_account("alice", found)


def listed(account: MaildirAccount) -> list[str]:
    return [folder.name for folder in account.folders()]


def refused(function: Any, *args: Any) -> Reason:
    with pytest.raises(StorageError) as caught:
        function(*args)
    return caught.value.reason


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix, given", [("", "inbox/Sub"), ("INBOX/", "inBox/Sub")])
def test_rename_locks_a_mailbox_whose_inbox_is_spelled_otherwise(
    tmp_path: Path, layout: str, prefix: str, given: str
) -> None:
    account = opened(tmp_path, layout=layout, prefix=prefix)
    account.create("INBOX/Sub")
    directory = tmp_path / "Maildir" / {"fs": "INBOX/Sub", "maildir++": ".INBOX.Sub"}[layout]
    if prefix:
        directory = tmp_path / "Maildir" / {"fs": "Sub", "maildir++": ".Sub"}[layout]
    path = os.fsencode(directory)
    assert directory.is_dir()
    with DirectoryLock(Files(), path, path, Waiting(lambda _: None, lambda: 0.0, 0.1)):
        assert refused(account.rename, given, prefix + "New") is Reason.IN_USE
    account.rename(given, prefix + "New")
    assert listed(account)[-1] == prefix + "New"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rename_of_a_mailbox_and_a_link_to_it(tmp_path: Path, layout: str) -> None:
    """Two names, one lock: it must not be waited for as if somebody else had it."""
    account = opened(tmp_path, layout=layout)
    account.create("A")
    account.create("A/Real")
    real = tmp_path / "Maildir" / {"fs": "A/Real", "maildir++": ".A.Real"}[layout]
    other = tmp_path / "Maildir" / {"fs": "Other", "maildir++": ".Other"}[layout]
    account.create("Other")
    real.with_name(real.name.replace("Real", "Link")).symlink_to(other)
    real.with_name(real.name.replace("Real", "Twin")).symlink_to(other)
    account.rename("A", "B")
    assert listed(account) == ["INBOX", "B", "B/Link", "B/Real", "B/Twin", "Other"]


def test_a_directory_with_files_that_is_no_mailbox_is_not_deleted(tmp_path: Path) -> None:
    """The root may be somebody's home directory."""
    account = opened(tmp_path, layout="fs")
    scripts = tmp_path / "Maildir" / "sieve"
    scripts.mkdir()
    (scripts / "main.sieve").write_text("keep;\n")
    assert refused(account.delete, "sieve") is Reason.CANNOT
    assert (scripts / "main.sieve").read_text() == "keep;\n"


def test_what_a_cut_short_deletion_left_is_deleted(tmp_path: Path) -> None:
    account = opened(tmp_path, layout="fs")
    left = tmp_path / "Maildir" / "Old"
    (left / "new").mkdir(parents=True)
    (left / "dovecot-uidlist").touch()
    account.delete("Old")
    assert not left.exists()


@pytest.mark.parametrize("name", ["/".join("a" * 2047), "/".join(["b" * 200] * 20), "/".join(["b" * 19] * 90)])
def test_a_name_too_deep_or_too_long_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """Every level alone is possible. Path names have 4096 octets, and somewhere there is an end to functions that call
    themselves for each level."""
    # So long a root that none of these fits.
    root = tmp_path / "/".join(["r" * 200] * 11)
    root.mkdir(parents=True)
    account = opened(root, layout="fs", control_path=str(tmp_path / "control"))
    account.create("Short")
    before = listed(account)
    assert refused(account.create, name) is Reason.CANNOT
    assert refused(account.rename, "Short", name) is Reason.CANNOT
    assert listed(account) == before


def test_rename_keeps_what_is_below_within_reach(tmp_path: Path) -> None:
    """A directory can be put where what is in it has no path any more."""
    account = opened(tmp_path, layout="fs")
    below = "A/" + "/".join(["b" * 200] * 9)
    account.create("A")
    account.create(below)
    assert refused(account.rename, "A", "/".join(["c" * 200] * 10)) is Reason.CANNOT
    account.open(below).close()


def test_a_disk_that_is_full_leaves_no_parents(tmp_path: Path) -> None:
    def fails(name: str, function: Any, *args: Any) -> Any:
        if name == "mkdir" and args[0].endswith(b"/b/c"):
            raise OSError(28, "No space left on device")
        return function(*args)

    files = Files(fails)
    account = MaildirStore(direct(), files=files).open_account(
        "alice", MaildirSettings(str(tmp_path / "Maildir"), layout="fs")
    )
    assert refused(account.create, "a/b/c/d") is Reason.NO_SPACE
    assert listed(account) == ["INBOX"]
