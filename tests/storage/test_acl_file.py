"""`dovecot-acl` on disk: looked at by stat, written under its lock, inherited. `formats.md` 3.5, 6.1."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage import acl_file
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import ALL_RIGHTS, AclAction
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

REPLACE = AclAction.REPLACE


def box(path: Path, acl: str | None = None, name: str = "dovecot-acl") -> Path:
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True, exist_ok=True)
    if acl is not None:
        (path / name).write_text(acl)
    return path


def account(root: Path, user: str = "bob", files: Files | None = None, **settings: Any) -> MaildirAccount:
    """alice's mail, looked at by `user`."""
    given = {"owner": "alice", "lock_timeout": 0.2, **settings}
    return MaildirStore(direct(), files=files).open_account(user, MaildirSettings(mail_path=str(root), **given))


def long_ago(path: Path) -> None:
    os.utime(path, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return box(tmp_path / "Maildir")


def test_each_question_looks_at_the_file(root: Path) -> None:
    """Whatever changed just now, in place or by a rename, with the same size and the same time."""
    path = box(root / ".A") / "dovecot-acl"
    bob = account(root)
    for text, expected in [
        (None, ""), ("user=bob lr\n", "lr"), ("user=bob ls\n", "ls"), ("user=bob lx\n", "lx"), (None, ""),
        ("user=bob ri\n", "ri"), ("anyone l\n", "l"), (None, ""),
    ]:  # fmt: skip
        if text is None:
            path.unlink(missing_ok=True)
        elif expected in ("ls", "l"):
            (root / "new-list").write_text(text)
            (root / "new-list").rename(path)
        else:
            path.write_text(text)
        assert bob.my_rights("A") == frozenset(expected), text
        assert bob.my_rights("A") == frozenset(expected), "asked again"
    for letter in "lrwstipekxa":
        path.write_text(f"user=bob {letter}\n")
        assert bob.my_rights("A") == {letter}


def test_a_list_that_appears_or_goes_later_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same when nothing had changed for long, and one stat was enough."""
    directory = box(root / ".A")
    long_ago(directory)
    calls: list[str] = []

    def count(name: str, function: Any, *args: Any) -> Any:
        if b".A" in bytes(str(args[0] if args else ""), "utf-8"):
            calls.append(name)
        return function(*args)

    shifted = direct()
    bob = account(root, files=Files(count))
    monkeypatch.setattr(bob._acls, "_now", lambda: shifted.now() + 10)
    assert bob.my_rights("A") == frozenset()
    calls.clear()
    assert bob.my_rights("A") == frozenset() and calls == ["stat"]
    (directory / "dovecot-acl").write_text("user=bob lr\n")
    assert bob.my_rights("A") == frozenset("lr")
    calls.clear()
    assert bob.my_rights("A") == frozenset("lr") and calls == ["stat"]
    (directory / "dovecot-acl").unlink()
    assert bob.my_rights("A") == frozenset()
    directory.rename(root / ".B")
    with pytest.raises(StorageError) as refusal:
        bob.my_rights("A")
    assert refusal.value.reason is Reason.NOT_FOUND
    box(root / ".A", "user=bob x\n")
    assert bob.my_rights("A") == {"x"}


def test_what_a_look_saw_is_not_looked_at_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nothing changed; and what it saw of another directory says nothing of this one."""
    directory, other = box(root / ".A"), box(root / ".B")
    for part in ("cur", "new"):
        long_ago(directory / part)
    calls: list[str] = []

    def count(name: str, function: Any, *args: Any) -> Any:
        calls.append(name)
        return function(*args)

    shifted = direct()
    alice = account(root, "alice", files=Files(count))
    monkeypatch.setattr(alice._acls, "_now", lambda: shifted.now() + 10)
    mailbox = alice.open("A")
    assert alice.my_rights("A") == ALL_RIGHTS
    calls.clear()
    assert alice.my_rights("A", mailbox.look()) == ALL_RIGHTS
    assert calls == ["glance"] * 4
    assert alice.my_rights("A", other.stat()) == ALL_RIGHTS
    (directory / "dovecot-acl").write_text("owner lr\n")
    assert alice.my_rights("A", other.stat()) == frozenset("lr")
    (directory / "dovecot-acl").unlink()
    assert alice.my_rights("A", mailbox.look()) == ALL_RIGHTS
    (directory / "dovecot-acl").write_text("owner lr\n")
    assert alice.my_rights("A", mailbox.look()) == frozenset("lr")
    mailbox.close()


def test_without_a_list_the_owner_alone_has_rights(root: Path) -> None:
    box(root / ".A")
    assert account(root, "alice").my_rights("A") == ALL_RIGHTS
    assert account(root).my_rights("A") == account(root).my_rights("INBOX") == frozenset()
    assert account(root, "alice", owner="").my_rights("A") == frozenset()
    assert account(root, "alice", owner=None).my_rights("inbox") == ALL_RIGHTS


def test_groups(root: Path) -> None:
    box(root / ".A", "group=team lr\n")
    assert account(root, groups=("other", "team")).my_rights("A") == frozenset("lr")
    assert account(root).my_rights("A") == frozenset()


def test_the_lists_of_the_roots(root: Path, tmp_path: Path) -> None:
    """INBOX's list is for INBOX. In a public namespace the root's counts for whom no other says anything of."""
    (root / "dovecot-acl").write_text("user=bob lrk\n")
    box(root / ".A")
    assert account(root).my_rights("INBOX") == frozenset("lrk")
    assert account(root).my_rights("A") == frozenset()
    assert account(root).may_create("INBOX/x") and not account(root).may_create("x")
    public = account(root, owner="")
    box(root / ".B", "user=carol l\n")
    box(root / ".C", "user=bob w\n")
    assert [public.my_rights(name) for name in ("A", "B", "C")] == [frozenset("lrk"), frozenset("lrk"), {"w"}]
    assert public.may_create("x") and public.may_create("A/x") and not public.may_create("C/x/y")


def test_a_new_mailbox_has_the_list_of_the_nearest_one_above_it(root: Path) -> None:
    (root / "dovecot-acl").write_text("user=bob lr\n")
    box(root / ".A", "# all\nuser=bob l\n")
    box(root / ".N")
    box(root / ".O", "anyone lr\n", "courierimapacl")
    alice = account(root, "alice")
    for name in ("A/B/C", "A/B/C/D", "N/B", "Top", "Top/B", "INBOX/B", "O/B"):
        alice.create(name)

    def text(name: str, file: str = "dovecot-acl") -> str | None:
        path = root / f".{name}" / file
        return path.read_text() if path.exists() else None

    assert text("A.B.C") == text("A.B.C.D") == "# all\nuser=bob l\n"
    assert text("N.B") is text("Top") is text("Top.B") is None
    assert text("INBOX.B") == "user=bob lr\n"
    assert text("O.B") is None and text("O.B", "courierimapacl") == "anyone lr\n"


def test_setacl_keeps_other_lines_and_forgets_dovecots_memory(root: Path) -> None:
    path = box(root / ".A", "# who\nuser=old lr :foo\n") / "dovecot-acl"
    (root / "dovecot-acl-list").write_text("1 A\n")
    alice = account(root, "alice")
    alice.set_acl("A", "bob", REPLACE, frozenset("lr"))
    assert path.read_text() == "# who\nuser=bob lr\nuser=old lr :foo\n"
    assert not (root / "dovecot-acl-list").exists() and not (root / ".A" / "dovecot-acl.lock").exists()
    alice.delete_acl("A", "bob")
    assert path.read_text() == "# who\nuser=old lr :foo\n"
    before = path.stat().st_ino
    alice.delete_acl("A", "nobody")
    assert path.stat().st_ino == before


def test_a_lock_of_another_program_is_waited_for(root: Path) -> None:
    path = box(root / ".A", "user=old lr\n") / "dovecot-acl"
    path.with_name("dovecot-acl.lock").touch()
    with pytest.raises(StorageError) as refusal:
        account(root, "alice").set_acl("A", "bob", REPLACE, frozenset("lr"))
    assert refusal.value.reason is Reason.IN_USE
    assert path.read_text() == "user=old lr\n" and path.with_name("dovecot-acl.lock").exists()


def test_courier_counts_until_the_first_change(root: Path) -> None:
    path = box(root / ".A", "owner aceilrstwx\nanyone lr\nuser=carol c\n", "courierimapacl")
    alice, bob = account(root, "alice"), account(root)
    assert bob.my_rights("A") == frozenset("lr")
    assert alice.my_rights("A") == ALL_RIGHTS - {"p"}
    alice.set_acl("A", "bob", REPLACE, frozenset("lrs"))
    assert (path / "dovecot-acl").read_text() == "anyone lr\nowner akxeilrwts\nuser=bob lrs\nuser=carol klr\n"
    assert (path / "courierimapacl").read_text() == "owner aceilrstwx\nanyone lr\nuser=carol c\n"
    assert bob.my_rights("A") == frozenset("lrs")
    (path / "dovecot-acl").write_text("")
    assert bob.my_rights("A") == frozenset(), "an empty list is one"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ELOOP])
@pytest.mark.parametrize("call", ["stat", "open"])
def test_a_list_that_cannot_be_read_lets_nobody_in_but_the_owner(root: Path, call: str, code: int) -> None:
    box(root / ".A", "user=bob lr\nowner l\n")

    def fail(name: str, function: Any, *args: Any) -> Any:
        if name == call and isinstance(args[0], bytes) and args[0].endswith(b"/dovecot-acl"):
            raise OSError(code, os.strerror(code))
        return function(*args)

    assert account(root, files=Files(fail)).my_rights("A") == frozenset()
    alice = account(root, "alice", files=Files(fail))
    assert alice.my_rights("A") == ALL_RIGHTS
    with pytest.raises(StorageError):
        alice.set_acl("A", "bob", REPLACE, frozenset("lr"))
    assert (root / ".A" / "dovecot-acl").read_text() == "user=bob lr\nowner l\n"


def test_folders_are_those_that_may_be_seen(root: Path) -> None:
    for name, acl in {"A": "", "A.B": "user=bob l\n", "C": "user=bob rwi\n", "D": "user=bob lr\n", "E.F": ""}.items():
        box(root / f".{name}", acl)
    shown = [(folder.name, folder.selectable, folder.has_children) for folder in account(root).folders()]
    assert shown == [("A", False, True), ("A/B", True, False), ("D", True, False)]
    assert len(account(root, "alice").folders()) == 7


def test_an_owner_cannot_lock_himself_out(root: Path) -> None:
    box(root / ".A")
    alice = account(root, "alice", groups=("team",))
    alice.set_acl("A", "alice", REPLACE, frozenset())
    alice.set_acl("A", "-owner", REPLACE, ALL_RIGHTS)
    assert alice.my_rights("A") == frozenset("la")
    with pytest.raises(StorageError) as refusal:
        alice.set_acl("A", "!$team", REPLACE, frozenset("l"))
    assert refusal.value.reason is Reason.CANNOT
    assert alice.my_rights("A") == frozenset("la")


def test_long_lists_are_not_all_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_file, "_KEPT_OCTETS", 10_000)
    monkeypatch.setattr(acl_file, "_COOLED", 0)
    alice = account(root, "alice")
    lists = alice._acls
    for number in range(20):
        path = box(root / f".Box{number}", f"user=bob lr{'x' * (number % 2)}\n" + "user=someone l\n" * 200)
        assert ("x" in lists.read(bytes(path)).lines[0].rights) == bool(number % 2)
        assert sum(os.path.getsize(known) for known in lists._known) <= 10_000
    assert lists._known
