"""Dovecot's passwd-file: lines, re-reading, and its editor."""

import grp
import logging
import os
import pwd
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import passwd_edit
from greenmail.auth.database import Entry, StandIn, Unavailable
from greenmail.auth.passwd_edit import NewUser
from greenmail.auth.passwd_file import PasswdFile, parse
from greenmail.errors import Refused

ROOT = pwd.getpwuid(0).pw_name
WHEEL = grp.getgrgid(0).gr_name


def call(function, *args):
    return function(*args)


@pytest.mark.parametrize(
    "line, entry",
    [
        ("alice:{PLAIN}x", Entry("alice", "{PLAIN}x")),
        ("alice:{PLAIN}x:::::", Entry("alice", "{PLAIN}x")),
        (
            "alice@a.org:{CRYPT}$6$a$b:1000:1001:Alice A.:/home/alice:/bin/sh:userdb_quota_rule=*:storage=1G",
            Entry("alice@a.org", "{CRYPT}$6$a$b", 1000, 1001, "/home/alice", extra={"quota_rule": "*:storage=1G"}),
        ),
        ("a:b:0:0::/h", Entry("a", "b", 0, 0, "/h")),
        (f"a:b:{ROOT}:{WHEEL}", Entry("a", "b", 0, 0)),
        ("a:b:1:1::::userdb_uid=5 userdb_gid=6 userdb_home=/x",
         Entry("a", "b", 5, 6, "/x", extra={"uid": "5", "gid": "6", "home": "/x"})),
        ("a:b::::::nologin", Entry("a", "b", no_login="nologin is set")),
        ("a:b::::::nologin=gone away", Entry("a", "b", no_login="nologin is set")),
        ("a:b::::::allow_nets=10.0.0.0/8,::1 x=y", Entry("a", "b", allow_nets=("10.0.0.0/8", "::1"))),
        ("a:b::::::allow_nets=", Entry("a", "b", allow_nets=())),
        ("a:b::::::  userdb_mail=maildir:~/M:INDEX=/i  ", Entry("a", "b", extra={"mail": "maildir:~/M:INDEX=/i"})),
        ("a:b::::::userdb_quota_rule=*:bytes=5 userdb_noquota",
         Entry("a", "b", extra={"quota_rule": "*:bytes=5", "noquota": "yes"})),
        ("a:", Entry("a", "")),
        ("a:b\r", Entry("a", "b")),
    ],
)  # fmt: skip
def test_lines(line, entry):
    table = parse(line.encode())
    assert list(table.entries.values()) == [entry]
    assert table.problems == ()


def test_proxied_users_are_not_served_from_here():
    for field in ("proxy", "proxy=y host=10.0.0.1", "proxy_maybe=y"):
        assert "another server" in parse(f"a:b::::::{field}".encode()).entries["a"].no_login


def test_what_is_no_user():
    table = parse(b"# comment:x\n\n:x:1:1\n#\n\na:b")
    assert list(table.entries) == ["a"] and table.problems == ()


@pytest.mark.parametrize(
    "text, problem",
    [
        ("alice", "line=1 has no : in it, so no password"),
        ("\n# x\na:b:no-such-user-here:1", "line=3 user='a' has a uid or gid that is neither a number nor known here"),
        ("a:b:1:-1", "line=1 user='a' has a uid or gid that is neither a number nor known here"),
        ("a:b:4294967295:1", "line=1 user='a' has a uid or gid that is neither a number nor known here"),
        ("a:b:٣:1", "line=1 user='a' has a uid or gid that is neither a number nor known here"),
        ("a:b\na:c", "line=2 user='a' is there twice, the first one counts"),
    ],
)
def test_a_broken_line_costs_one_user(text, problem):
    table = parse((text + "\nlast:good").encode())
    assert table.problems == (problem,)
    assert "last" in table.entries
    if "twice" in problem:
        assert table.entries["a"].stored == "b"


def test_octets_that_are_no_utf8():
    assert parse(b"a:{PLAIN}\xff\nb\xfe:x").entries["a"].stored == "{PLAIN}\udcff"


def test_stored_passwords_do_not_show():
    assert "geheim" not in repr(parse(b"a:{PLAIN}geheim"))


@given(st.binary(max_size=200) | st.text(alphabet="ab:#\n{}= 0", max_size=200).map(str.encode))
def test_any_octets_give_a_table(octets):
    table = parse(octets)
    assert all(name and ":" not in name and "\n" not in name for name in table.entries)


def test_stand_in_is_some_users_own_and_stays():
    table = parse(b"".join(b"u%d:{PLAIN}%d\n" % (n, n) for n in range(10)))
    picks = {name: table.stand_in(name, b"k") for name in map(str, range(50))}
    assert len(set(picks.values())) > 3
    assert picks == {name: table.stand_in(name, b"k") for name in picks}
    assert parse(b"").stand_in("x", b"k") == ""


# ---- the file as it changes ----

OLD = 1_700_000_000_000_000_000


def write(path, text: str, mtime_ns: int = OLD) -> None:
    path.write_text(text)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def stored(found) -> str:
    assert isinstance(found, Entry)
    return found.stored


def test_read_once_and_again_when_it_changes(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "users"
    write(path, "a:1\n")
    database = PasswdFile(str(path))
    reads = []

    def counted(function, *args):
        reads.append(args)
        return function(*args)

    assert database.recall("a") is None  # not read yet: that is no work for a green thread
    assert stored(database.find("a", counted)) == "1"
    assert stored(database.find("a", counted)) == "1" and database.recall("a") is not None
    assert len(reads) == 1
    write(path, "a:2\n", OLD + 1)  # the same size, another time
    assert database.recall("a") is None
    assert stored(database.find("a", counted)) == "2"
    write(path, "a:23\n", OLD + 1)  # another size
    assert stored(database.find("a", counted)) == "23"
    other = tmp_path / "new"
    write(other, "a:24\n", OLD + 1)  # another inode
    other.rename(path)
    assert stored(database.find("a", counted)) == "24"
    assert len(reads) == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"passwd-file path={str(path)!r} users=1 scram=none"
    ] * 4


def test_many_who_wait_for_a_changed_file_parse_it_once(tmp_path):
    path = tmp_path / "users"
    write(path, "a:1\n")
    database = PasswdFile(str(path))
    waiting = []

    def first_come(function, *args):
        """The pool takes up the first load only when a second one waits behind it."""
        if not waiting:
            waiting.append(args)
            second = database.find("a", call)
            first = function(*args)
            assert stored(second) == "1"
            return first
        return function(*args)

    assert database.find("a", first_come) is database.recall("a")
    table = database._files[str(path)].table
    assert isinstance(database.find("nobody", call), StandIn)
    assert database._files[str(path)].table is table


def test_a_file_just_written_is_not_trusted(tmp_path):
    path = tmp_path / "users"
    write(path, "a:1\n", OLD)
    now = [OLD + 1_000_000]
    database = PasswdFile(str(path), lambda: now[0])
    assert stored(database.find("a", call)) == "1"
    write(path, "a:2\n", OLD)  # in the same tick of the clock, with the same size: stat shows nothing
    assert stored(database.find("a", call)) == "2"
    now[0] += 10_000_000_000
    assert stored(database.find("a", call)) == "2"
    assert database.recall("a") is not None


def test_unknown_users_and_unreadable_files(tmp_path, caplog):
    path = tmp_path / "users"
    database = PasswdFile(str(path))
    assert isinstance(database.find("a", call), Unavailable)
    assert isinstance(database.find("a", call), Unavailable)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]  # said once
    write(path, "b:{PLAIN}x\n")
    assert database.find("a", call) == StandIn("{PLAIN}x")
    path.unlink()
    assert isinstance(database.find("b", call), Unavailable)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_problems_are_logged_with_their_line_once(tmp_path, caplog):
    path = tmp_path / "users"
    write(path, "nonsense\na:b\n")
    database = PasswdFile(str(path))
    for _ in range(3):
        database.find("x", call)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"passwd-file path={str(path)!r} line=1 has no : in it, so no password"]


def test_one_file_a_domain(tmp_path):
    (tmp_path / "example.org").mkdir()
    write(tmp_path / "example.org" / "users", "a@example.org:1\n")
    database = PasswdFile(f"{tmp_path}/%d/users")
    assert stored(database.find("a@example.org", call)) == "1"
    assert database.recall("a@example.org") is not None
    assert database.find("a@example.net", call) == StandIn("")
    assert database.find("a", call) == StandIn("")


# ---- the editor ----

USERS = (
    b"# our users\n\nalice:{PLAIN}a:1000:1000::/home/alice::userdb_quota_rule=*:storage=1G\n"
    b"  odd line \xff\nbob:x\r\n\n"
)


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_bytes(USERS)
    path.chmod(0o604)
    return path


@pytest.mark.parametrize(
    "change, before, after",
    [
        (lambda p: passwd_edit.set_password(p, "alice", "{PLAIN}b"), b"alice:{PLAIN}a:", b"alice:{PLAIN}b:"),
        (lambda p: passwd_edit.set_password(p, "bob", "{PLAIN}b"), b"bob:x\r\n", b"bob:{PLAIN}b\r\n"),
        (lambda p: passwd_edit.delete(p, "bob"), b"bob:x\r\n", b""),
        (
            lambda p: passwd_edit.add(p, NewUser("carol", "{PLAIN}c")),
            b"bob:x\r\n\n",
            b"bob:x\r\n\ncarol:{PLAIN}c::::::\n",
        ),
        (
            lambda p: passwd_edit.add(p, NewUser("d", "h", "5", "6", "/home/d")),
            b"bob:x\r\n\n",
            b"bob:x\r\n\nd:h:5:6::/home/d::\n",
        ),
    ],
)
def test_other_lines_stay_to_the_octet(users, change, before, after):
    change(str(users))
    assert users.read_bytes() == USERS.replace(before, after)
    assert stat.S_IMODE(users.stat().st_mode) == 0o604
    assert sorted(entry.name for entry in users.parent.iterdir()) == ["users", "users.lock"]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: passwd_edit.add(p, NewUser("alice", "x")),
        lambda p: passwd_edit.add(p, NewUser("a:b", "x")),
        lambda p: passwd_edit.add(p, NewUser("a\nroot", "x")),
        lambda p: passwd_edit.add(p, NewUser("#a", "x")),
        lambda p: passwd_edit.add(p, NewUser("a", "x", home="/a:b")),
        lambda p: passwd_edit.set_password(p, "nobody", "x"),
        lambda p: passwd_edit.set_password(p, "alice", "x:0:0"),
        lambda p: passwd_edit.set_password(p, "alic", "x"),
        lambda p: passwd_edit.delete(p, "nobody"),
        lambda p: passwd_edit.delete(p, "# our users"),
    ],
)
def test_refused_edits_change_nothing(users, change):
    inode = users.stat().st_ino
    with pytest.raises(Refused):
        change(str(users))
    assert (users.read_bytes(), users.stat().st_ino) == (USERS, inode)
    assert sorted(entry.name for entry in users.parent.iterdir()) in (["users"], ["users", "users.lock"])


def test_a_last_line_without_its_end_is_ended_first(tmp_path):
    path = tmp_path / "users"
    path.write_bytes(b"a:b")
    passwd_edit.add(str(path), NewUser("c", "d"))
    assert path.read_bytes() == b"a:b\nc:d::::::\n"


def test_a_new_file_is_not_for_everybody(tmp_path):
    path = tmp_path / "users"
    passwd_edit.add(str(path), NewUser("c", "d"))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"c:d::::::\n", 0o640)
    with pytest.raises(FileNotFoundError):
        passwd_edit.delete(str(tmp_path / "other"), "c")


def test_a_symbolic_link_stays_one(users):
    link = users.parent / "link"
    link.symlink_to("users")
    passwd_edit.delete(str(link), "bob")
    assert link.is_symlink() and b"bob" not in users.read_bytes()


def test_many_editors_lose_nothing(tmp_path):
    path = str(tmp_path / "users")
    threads = [threading.Thread(target=passwd_edit.add, args=(path, NewUser(f"u{n}", "x"))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(path, "rb") as file:
        assert set(parse(file.read()).entries) == {f"u{n}" for n in range(12)}


def test_a_failed_write_leaves_the_old_file(users, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        passwd_edit.delete(str(users), "bob")
    assert users.read_bytes() == USERS
    assert sorted(entry.name for entry in users.parent.iterdir()) == ["users", "users.lock"]


# ---- what an attacker sees and can use up ----


def test_unknown_users_wait_in_the_queue_as_often_as_known_ones(tmp_path):
    """Behind a full queue one hop more would show which names exist."""
    path = tmp_path / "users"
    write(path, "a:1\n")
    database = PasswdFile(str(path))
    database.find("a", call)

    def counted(function, *args):
        hops.append(function.__name__)
        return function(*args)

    hops: list[str] = []
    assert stored(database.find("a", counted)) == "1"
    assert database.find("b", counted) == StandIn("1")
    assert hops == []


def test_a_domain_without_a_file_costs_no_hop(tmp_path):
    database = PasswdFile(f"{tmp_path}/%d/users")
    assert database.find("a@example.net", lambda function, *args: pytest.fail("a hop")) == StandIn("")


@pytest.mark.parametrize("template", ["%d/users", "users.%u", "file/%d"])
def test_names_that_can_have_no_file_are_unknown_and_leave_nothing_behind(tmp_path, template, caplog):
    (tmp_path / "file").write_text("")
    database = PasswdFile(f"{tmp_path}/{template}")
    for number in range(3):
        name = f"a@{number}{'x' * 252}"
        assert database.find(name, call) == StandIn("")
    assert not caplog.records
    assert not database._unreadable and not database._files


def test_a_change_that_keeps_time_and_size_is_seen(tmp_path):
    path = tmp_path / "users"
    write(path, "a:1\n")
    database = PasswdFile(str(path))
    assert stored(database.find("a", call)) == "1"
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:  # the next tick of the file system's clock
        write(path, "a:2\n")
    assert stored(database.find("a", call)) == "2"
