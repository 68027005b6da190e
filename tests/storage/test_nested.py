"""LAYOUT=fs: names, and directories one below the other. formats.md 4.5; what Dovecot 2.3 does was looked at."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.filesystem import Files, plain_call
from greenmail.storage.folder_names import Encoding, Layout, directory, name_of
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.nested import NestedFolders

MUTF7, UTF8 = Encoding.MUTF7, Encoding.UTF8
SLASH = Layout(b"/r", "/", is_nested=True)
DOT = Layout(b"/r", ".", is_nested=True)
MAIL = Layout(b"/r", "/", "Mail/", UTF8, is_nested=True)
ESCAPED = Layout(b"/r", "/", "", UTF8, "\\", is_nested=True)
ESCAPED_DOT = Layout(b"/r", ".", "", UTF8, "\\", is_nested=True)
INNER = Layout(b"/r", "/", is_nested=True, inner=b"mBx")


@pytest.mark.parametrize(
    "layout, name, path",
    [
        (SLASH, "A", b"A"),
        (SLASH, "A/B", b"A/B"),
        (SLASH, "with.dot/x", b"with.dot/x"),
        (SLASH, ".hidden/trail.", b".hidden/trail."),
        (SLASH, "INBOX/Sub", b"INBOX/Sub"),
        (SLASH, "März", b"M&AOQ-rz"),
        (SLASH, "a/~x", b"a/~x"),
        (SLASH, "Cur", b"Cur"),
        (SLASH, "maildirfolder", b"maildirfolder"),
        (SLASH, "A/subscriptions", b"A/subscriptions"),
        (SLASH, "dovecot-users/greenmail.org", b"dovecot-users/greenmail.org"),
        (SLASH, "mBx", b"mBx"),
        (DOT, "A.B", b"A/B"),
        (MAIL, "Mail/März/x", "März/x".encode()),
        (MAIL, "Mail/INBOX/x", b"INBOX/x"),
        # Dovecot's listescape
        (ESCAPED, "a.b/c", b"a.b/c"),
        (ESCAPED, "..", b"\\2e."),
        (ESCAPED, "x/./y", b"x/\\2e/y"),
        (ESCAPED, "a\\b", b"a\\5cb"),
        (ESCAPED, "~h/~h", b"\\7eh/\\7eh"),
        (ESCAPED, "..two", b"..two"),
        (ESCAPED_DOT, "a/b.c", b"a\\2fb/c"),
        (ESCAPED_DOT, "q/new", b"q\\2fnew"),
    ],
)
def test_names_and_directories(layout: Layout, name: str, path: bytes) -> None:
    assert directory(layout, name) == b"/r/" + path
    assert name_of(layout, path) == name


@pytest.mark.parametrize("name, path", [("inbox", b"/r"), ("InBox/x", b"/r/INBOX/x/mBx"), ("cur/a", b"/r/cur/a/mBx")])
def test_a_directory_in_each_mailbox(name: str, path: bytes) -> None:
    assert directory(INNER, name) == path


@pytest.mark.parametrize(
    "layout, name",
    [
        (SLASH, ""),
        (SLASH, "cur"),
        (SLASH, "a/new"),
        (SLASH, "a/tmp/x"),
        (SLASH, "."),
        (SLASH, ".."),
        (SLASH, "a/../b"),
        (SLASH, "../x"),
        (SLASH, "/a"),
        (SLASH, "a//b"),
        (SLASH, "a/"),
        (SLASH, "~root"),
        (SLASH, "a\0b"),
        (SLASH, "a\nb"),
        (SLASH, "x" * 256),
        (SLASH, "é" * 120),
        (SLASH, "a\ud800"),
        (SLASH, "subscriptions"),
        (SLASH, "maildirsize"),
        (SLASH, "dovecot-uidlist"),
        (SLASH, "a/dovecot-keywords"),
        (SLASH, "a/dovecot.index.log"),
        (SLASH, "greenmail-data/x"),
        (SLASH, "a/greenmail.lock"),
        (SLASH, "..greenmail.1.ab"),
        (SLASH, "..DOVECOT-TRASHED"),
        (DOT, "a/b"),
        (DOT, "..x"),
        (INNER, "mBx"),
        (INNER, "a/mBx/b"),
        (MAIL, "Foo"),
        (MAIL, "Mail/INBOX"),
        (ESCAPED, "a//b"),
        (ESCAPED, "cur"),
    ],
)
def test_impossible_names(layout: Layout, name: str) -> None:
    with pytest.raises(StorageError) as caught:
        directory(layout, name)
    assert caught.value.reason is Reason.CANNOT


@pytest.mark.parametrize(
    "layout, path",
    [
        (SLASH, b"INBOX"),
        (SLASH, b"inbox/x"),
        (SLASH, "März".encode()),
        (SLASH, b"A&B/x"),
        (SLASH, b"lat\xe4in"),
        (SLASH, b"~x"),
        (SLASH, b"a/cur"),
        (DOT, b"a.b"),
        (ESCAPED, b"\\2fb"),
        (ESCAPED, b"a\\2eb"),
    ],
)
def test_what_cannot_be_opened_has_no_name(layout: Layout, path: bytes) -> None:
    assert name_of(layout, path) is None


@given(
    st.text("aécurnewtmp./~\\&日 ^", min_size=1, max_size=14),
    st.sampled_from([SLASH, DOT, MAIL, ESCAPED, ESCAPED_DOT, INNER]),
)
def test_every_possible_name_comes_back_and_stays_in_the_root(name: str, layout: Layout) -> None:
    try:
        path = directory(layout, layout.prefix + name)
    except StorageError:
        return
    if path == b"/r":
        assert name.casefold() == "inbox"
        return
    assert os.path.normpath(path) == path
    assert path.startswith(b"/r/")
    below = path[3:].removesuffix(b"/mBx") if layout.inner else path[3:]
    assert name_of(layout, below) == layout.prefix + name
    parts = {b"mBx"} if layout.inner else {b"cur", b"new", b"tmp"}
    assert not parts & set(below.split(b"/"))


@given(
    st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=3), st.sampled_from([SLASH, DOT, ESCAPED, MAIL])
)
def test_every_directory_has_one_name_or_none(levels: list[bytes], layout: Layout) -> None:
    path = b"/".join(levels)
    name = name_of(layout, path)
    if name is not None:
        assert directory(layout, name) == b"/r/" + path


# On disk


def folders(root: Path, **options: Any) -> NestedFolders:
    layout = Layout(bytes(root), is_nested=True, **options)
    return NestedFolders(Files(), layout, bytes(root) + b"/" + (layout.inner or b"tmp"))


def make(root: Path, *names: str) -> None:
    for name in names:
        for part in ("cur", "new", "tmp"):
            (root / name / part).mkdir(parents=True, exist_ok=True)


def names(account: NestedFolders) -> dict[str, bool]:
    return {folder.name: folder.selectable for folder in account.listing()}


def refused(function: Any, *args: Any) -> Reason:
    with pytest.raises(StorageError) as caught:
        function(*args)
    return caught.value.reason


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "mail"
    make(made, "")
    return made


def test_what_is_listed(root: Path, tmp_path: Path) -> None:
    make(root, "A", "A/B", "P/Q", "with.dot", "INBOX/x", "INBOX", "März", "subscriptions")
    (root / "bare").mkdir()
    (root / "new-only" / "new").mkdir(parents=True)
    (root / "tmp" / "..greenmail.1.ab" / "cur").mkdir(parents=True)
    (root / "file").touch()
    make(tmp_path / "outside", "", "Sub")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "in").symlink_to(root / "A")
    (root / "circle").symlink_to(root)
    (root / "A" / "up").symlink_to("../../mail/A")
    (root / "P" / "again").symlink_to("../in")
    (root / "dangling").symlink_to("nothing")
    found = names(folders(root))
    assert found == {
        "INBOX": True,
        "INBOX/x": True,
        "A": True,
        "A/B": True,
        "P": False,
        "P/Q": True,
        "P/again": True,
        "P/again/B": True,
        "with.dot": True,
        "bare": False,
        "new-only": False,
        "in": True,
        "in/B": True,
    }
    for name, is_mailbox in found.items():
        if is_mailbox:
            folders(root).find(name)
        else:
            assert refused(folders(root).find, name) is Reason.NOT_FOUND


@pytest.mark.parametrize("name", ["out", "out/Sub", "out/New", "circle", "circle/A", "A/up/B", "tmp", "..", "file/x"])
def test_nothing_leads_out_of_the_root(root: Path, tmp_path: Path, name: str) -> None:
    make(root, "A", "A/B")
    (root / "file").touch()
    make(tmp_path / "outside", "", "Sub")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root)
    (root / "A" / "up").symlink_to(root / "A")
    before = sorted(tmp_path.rglob("*"))
    account = folders(root)
    assert refused(account.find, name) is Reason.NOT_FOUND
    assert refused(account.create, name) in (Reason.CANNOT, Reason.EXISTS)
    assert refused(account.delete, name) is Reason.NOT_FOUND
    assert refused(account.rename, name, "New") is Reason.NOT_FOUND
    assert refused(account.rename, "A", name) in (Reason.CANNOT, Reason.EXISTS)
    assert sorted(tmp_path.rglob("*")) == before


def test_create_makes_parents(root: Path) -> None:
    root.chmod(0o750)
    account = folders(root)
    assert account.create("P/Q/R") == bytes(root / "P/Q/R")
    assert sorted(path.name for path in (root / "P/Q/R").iterdir()) == ["cur", "new", "tmp"]
    assert (root / "P/Q").stat().st_mode & 0o777 == 0o750
    assert names(account) == {"INBOX": True, "P": False, "P/Q": False, "P/Q/R": True}
    assert refused(account.create, "P/Q/R") is Reason.EXISTS


def test_create_makes_a_mailbox_of_a_parent_and_keeps_what_lies_there(root: Path) -> None:
    make(root, "P/Q")
    (root / "P/new").mkdir()
    (root / "P/new/early").write_text("mail")
    folders(root).create("P")
    assert names(folders(root)) == {"INBOX": True, "P": True, "P/Q": True}
    assert (root / "P/new/early").read_text() == "mail"
    assert list((root / "tmp").iterdir()) == []


def test_a_new_mailbox_inherits_the_shared_file(root: Path) -> None:
    make(root, "A")
    (root / "A/dovecot-shared").touch()
    folders(root).create("A/B")
    assert (root / "A/B/dovecot-shared").exists()


@pytest.mark.parametrize("inner", [b"", b"mBx"])
def test_delete(root: Path, inner: bytes) -> None:
    root = root / "fresh"
    root.mkdir()
    account = folders(root, inner=inner)
    for name in ("A", "A/B", "P/Q"):
        account.create(name)
    (root / "A" / inner.decode() / "cur" / "mail").write_text("x")
    trash = account.delete("A")
    assert (Path(os.fsdecode(trash)) / "cur" / "mail").exists()
    assert names(account) == {"INBOX": True, "A": False, "A/B": True, "P": False, "P/Q": True}
    assert [path.name for path in (root / "A").iterdir()] == ["B"]
    assert refused(account.delete, "A") is Reason.HAS_CHILDREN
    account.delete("A/B")
    account.delete("P/Q")
    assert refused(account.delete, "P/Q") is Reason.NOT_FOUND
    assert names(account) == {"INBOX": True, "A": False, "P": False}
    account.delete("A")
    assert names(account) == {"INBOX": True, "P": False}
    assert refused(account.delete, "inbox") is Reason.CANNOT


def test_a_mailbox_that_is_made_below_one_that_is_deleted_stays(root: Path) -> None:
    make(root, "A")
    (root / "A/cur/mail").write_text("x")

    def call(name: str, function: Any, *args: Any) -> Any:
        if name == "rename" and args[0] == bytes(root / "A"):
            make(root, "A/B")
        return plain_call(name, function, *args)

    account = NestedFolders(Files(call), Layout(bytes(root), is_nested=True), bytes(root / "tmp"))
    account.delete("A")
    assert names(account) == {"INBOX": True, "A": False, "A/B": True}
    assert not (root / "A/cur").exists()


def test_what_a_crash_left_is_removed_but_no_mailbox(root: Path) -> None:
    make(root, "tmp/..greenmail.1.aa", "tmp/..greenmail.1.bb", "tmp/..greenmail.1.bb/Child")
    (root / "tmp/message").touch()
    account = folders(root)
    now = (root / "tmp/..greenmail.1.aa").lstat().st_ctime
    account.purge_trash(now + 3000)
    assert len(list((root / "tmp").iterdir())) == 3
    account.purge_trash(now + 4000)
    assert sorted(path.name for path in (root / "tmp").iterdir()) == ["..greenmail.1.bb", "message"]


def test_rename_is_one_rename_of_the_tree(root: Path) -> None:
    make(root, "A", "A/B", "P/Q")
    calls = []

    def call(name: str, function: Any, *args: Any) -> Any:
        calls.append(name)
        return plain_call(name, function, *args)

    account = NestedFolders(Files(call), Layout(bytes(root), is_nested=True), bytes(root / "tmp"))
    assert account.rename("A", "T/U") == [("A", "T/U"), ("A/B", "T/U/B")]
    assert calls.count("rename") == 1
    assert account.rename("P", "P2/") == [("P/Q", "P2/Q")]
    assert names(account) == {
        "INBOX": True, "P2": False, "P2/Q": True, "T": False, "T/U": True, "T/U/B": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("A", "B", Reason.EXISTS),
        ("A", "bare", Reason.EXISTS),
        ("A", "INBOX", Reason.EXISTS),
        ("A", "A", Reason.EXISTS),
        ("A", "A/x", Reason.CANNOT),
        ("A", "cur", Reason.CANNOT),
        ("A", "file/x", Reason.CANNOT),
        ("A", "file", Reason.EXISTS),
        ("no", "x", Reason.NOT_FOUND),
        ("INBOX", "x", Reason.CANNOT),
    ],
)
def test_what_cannot_be_renamed(root: Path, old: str, new: str, reason: Reason) -> None:
    make(root, "A", "B")
    (root / "bare").mkdir()
    (root / "file").touch()
    before = sorted(root.rglob("*"))
    assert refused(folders(root).rename, old, new) is reason
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("kind", ["mkdir", "rename", "fsync"])
def test_a_failed_create_leaves_nothing(root: Path, kind: str) -> None:
    """At every call of that kind."""
    before = sorted(path for path in root.rglob("*"))
    for at in range(20):
        count = -1

        def call(name: str, function: Any, *args: Any, at: int = at) -> Any:
            nonlocal count
            count += name == kind
            if name == kind and count == at:
                raise OSError(errno.EIO, "disk")
            return plain_call(name, function, *args)

        account = NestedFolders(Files(call), Layout(bytes(root), is_nested=True), bytes(root / "tmp"))
        try:
            account.create("P/Q")
        except StorageError:
            left = [path for path in root.rglob("*") if path not in before and "..greenmail." not in str(path)]
            assert left == [], at
            continue
        assert at > 0
        return
    raise AssertionError("it never succeeded")


# The account


def account_of(tmp_path: Path, **settings: Any) -> MaildirAccount:
    made = MaildirSettings(str(tmp_path / "mail"), layout="fs", lock_timeout=2.0, **settings)
    return MaildirStore(direct()).open_account("alice", made)


def put(account: MaildirAccount, name: str, text: bytes = b"a: b\r\n\r\nx\r\n") -> int:
    mailbox = account.open(name)
    upload = mailbox.upload()
    upload.write(text)
    (uid,) = mailbox.save([upload])
    mailbox.close()
    return uid


def state(account: MaildirAccount, name: str) -> tuple[int, int, list[int]]:
    mailbox = account.open(name)
    try:
        return mailbox.uidvalidity, mailbox.uidnext, list(mailbox.table.uids)
    finally:
        mailbox.close()


def elsewhere(tmp_path: Path, *which: str) -> dict[str, str]:
    return {f"{name}_path": str(tmp_path / name) for name in which}


@pytest.mark.parametrize("inner", ["", "mBx"])
@pytest.mark.parametrize("which", [(), ("control",), ("control", "index", "inbox")])
def test_an_account(tmp_path: Path, inner: str, which: tuple[str, ...]) -> None:
    account = account_of(tmp_path, mailbox_directory=inner, **elsewhere(tmp_path, *which))
    for name in ("A", "A/B", "INBOX/x"):
        account.create(name)
    for name in ("INBOX", "A", "A/B", "A/B"):
        put(account, name)
    account.subscribe("A/B")
    account.delete("A")
    kept = state(account, "A/B")
    account.rename("A", "T/A")
    assert state(account, "T/A/B") == kept
    account.create("A")
    assert state(account, "A")[0] > kept[0]
    assert account.subscriptions() == ["A/B"]
    again = account_of(tmp_path, mailbox_directory=inner, **elsewhere(tmp_path, *which))
    listed = {folder.name: folder.selectable for folder in again.folders()}
    assert listed == {"INBOX": True, "INBOX/x": True, "A": True, "T": False, "T/A": False, "T/A/B": True}
    assert state(again, "T/A/B") == kept
    again.delete("T/A/B")
    again.delete("T/A")
    again.delete("T")
    root, control = tmp_path / "mail", tmp_path / ("control" if "control" in which else "mail")
    assert not (root / "T").exists()
    assert (control / "subscriptions").read_bytes() == b"V\t2\n\nA\tB\n"
    if "control" in which:
        assert (control / "INBOX/dovecot-uidlist").exists()
        assert (control / "A/dovecot-uidlist").exists()
        assert not list(control.glob("T/A/*"))
    assert (
        (tmp_path / "inbox/cur").exists()
        if "inbox" in which
        else (root / ("INBOX/mBx/cur" if inner else "cur")).exists()
    )


def test_watched_are_all_directories_in_which_a_mailbox_may_appear(tmp_path: Path) -> None:
    account = account_of(tmp_path)
    account.create("P/Q")
    assert set(account.watched()) == {str(tmp_path / "mail" / name) for name in (".", "P", "P/Q")}


def test_the_quota_counts_mailboxes_below_others(tmp_path: Path) -> None:
    account = account_of(tmp_path)
    account.create("P/Q")
    put(account, "P/Q")
    assert [size for _, size in account._directories()] == [bytes(tmp_path / "mail"), bytes(tmp_path / "mail/P/Q")]


@pytest.mark.parametrize(
    "entries, expected", [(["A/M&AOQ-rz"], MUTF7), (["A/März"], UTF8), (["A&B/x"], UTF8), (["A"], MUTF7)]
)
def test_encoding_is_guessed(tmp_path: Path, entries: list[str], expected: Encoding) -> None:
    make(tmp_path / "mail", *entries)
    account = account_of(tmp_path)
    assert account._folders._layout.encoding is expected


def test_old_subscriptions_have_slashes(tmp_path: Path) -> None:
    make(tmp_path / "mail", "A/B", "with.dot")
    (tmp_path / "mail/subscriptions").write_text("A/B\nINBOX\n")
    account = account_of(tmp_path)
    assert account.subscriptions() == ["A/B", "INBOX"]
    account.subscribe("with.dot")
    assert (tmp_path / "mail/subscriptions").read_text() == "A/B\nINBOX\nwith.dot\n"
