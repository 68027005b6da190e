"""Mail of many uids: a session goes on as the mail's owner, and nobody reads what that uid may not."""

import contextlib
import os
import pwd
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.server import Server, start
from support.wire_client import Imap, unverified

from greenmail.config import load
from greenmail.net import control_client

ALICE, BOB, LOW = 54321, 54322, 500
USERS = (
    f"alice:{{PLAIN}}secret:{ALICE}:{ALICE}::%H/alice\n"
    f"bob:{{PLAIN}}secret:{BOB}:{BOB}::%H/bob\n"
    f"low:{{PLAIN}}secret:{LOW}:{LOW}::%H/low\n"
    "root:{PLAIN}secret:0:0::/root\n"
    "shared:{PLAIN}secret::::%H/shared\n"
    f"lost:{{PLAIN}}secret:54323:54323::%H/alice\n"
    "groupless:{PLAIN}secret:54329:::%H/alice\n"  # nobody has this uid: the system knows no group of it
    "system:{PLAIN}secret:2:::%H/system\n"
)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")


@dataclass
class Homes:
    """The server, and where the homes are."""

    server: Server
    path: Path

    def imap(self, name: str, **more: Any) -> Imap:
        return Imap(self.server.imaps, tls=True, timeout=30, **more).login(name, "secret")


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[Homes]:
    """A server with homes, directly below /tmp: other users must be able to reach them."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="greenmail-homes-", dir="/tmp") as made:
        path = Path(made)
        path.chmod(0o711)
        for name, uid, gid in (("alice", ALICE, ALICE), ("bob", BOB, BOB), ("shared", nobody.pw_uid, nobody.pw_gid)):
            (path / name).mkdir(mode=0o700)
            os.chown(path / name, uid, gid)
        with start(
            path / "server", "~/Maildir", USERS.replace("%H", made), user="nobody", group=str(nobody.pw_gid),
            run_path=str(path / "run"), **{"owner_processes": 4, **settings},
        ) as server:  # fmt: skip
            yield Homes(server, path)


@pytest.fixture(scope="module")
def homes() -> Iterator[Homes]:
    with running(secure_networks=["127.0.0.0/8"]) as made:
        yield made


def owners_of(top: Path) -> set[int]:
    return {found.lstat().st_uid for found in [top, *top.rglob("*")]}


def processes(server: Server) -> dict[int, set[int]]:
    """uid of every process of the server -> pids."""
    found: dict[int, set[int]] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if re.search(rf"^(PPid|Pid):\t{server.process.pid}$", text, re.MULTILINE):
            uids = re.search(r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", text, re.MULTILINE)
            assert uids is not None and len(set(uids.groups())) == 1, "real, effective, saved and file-system uid"
            found.setdefault(int(uids[1]), set()).add(int(status.parent.name))
    return found


def test_a_session_is_served_by_its_mails_owner(homes: Homes) -> None:
    with homes.imap("alice") as imap:
        imap.ok("APPEND INBOX (\\Seen)", b"Subject: mine\r\n\r\nhello\r\n")
        imap.ok("CREATE Sent")
        imap.ok("SELECT INBOX")
        assert imap.fetch("1 (FLAGS BODY[TEXT])")[1]["BODY[TEXT]"] == "hello\r\n"
        assert ALICE in processes(homes.server)
        page = homes.server.scrape()  # what the owner's process counts is seen, too
        assert re.search(r'^greenmail_logins_total\{protocol="imap",result="ok"\} [1-9]', page, re.MULTILINE)
        assert re.search(r'^greenmail_commands_total\{.*command="FETCH".* [1-9]', page, re.MULTILINE)
    assert owners_of(homes.path / "alice") == {ALICE}
    assert b"UNAUTHENTICATE" not in imap.greeting


def test_no_user_of_the_system_comes_near_the_figures(homes: Homes) -> None:
    """The parent, root, adds up what is in them: whoever may write there can write what never ends."""
    with homes.imap("alice") as imap:
        imap.ok("NOOP")
        (figures,) = (homes.path / "run").glob("figures-*")
        assert figures.stat().st_mode & 0o007 == 0, "nor may others lock them"
        assert len(list(figures.glob("*.db"))) > 4 * len(processes(homes.server)) - 4
        assert owners_of(figures) == {0}


def test_the_socket_of_a_session_is_in_its_process_once() -> None:
    """The first session of an owner is the reason for the fork: what came with it must not be inherited as well."""
    with running() as homes, homes.imap("alice"):
        (pid,) = processes(homes.server)[ALICE]
        sockets = [os.readlink(found) for found in Path(f"/proc/{pid}/fd").iterdir() if found.is_symlink()]
        sockets = [name for name in sockets if name.startswith("socket:")]
        assert len(sockets) == len(set(sockets)) > 1


def test_pop3_too(homes: Homes) -> None:
    with socket.create_connection(("127.0.0.1", homes.server.pop3s), 30) as raw, unverified().wrap_socket(raw) as tls:
        lines = tls.makefile("rb")
        tls.sendall(b"USER bob\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
        answers = [lines.readline() for _ in range(5)]
    assert answers[2].startswith(b"+OK Logged in") and answers[3] == b"+OK 0 0\r\n" and answers[4].startswith(b"+OK")
    assert owners_of(homes.path / "bob") == {BOB}


def test_what_is_sent_ahead_is_not_lost(homes: Homes) -> None:
    """Commands behind LOGIN in the same octets, a literal among them."""
    with Imap(homes.server.imaps, tls=True, timeout=30) as imap:
        imap.send(b"a LOGIN alice secret\r\nb CREATE {5+}\r\nAhead\r\nc LOGOUT\r\n")
        lines = imap.file.readlines()
    assert [line.split()[:2] for line in lines if line[:2] in (b"a ", b"b ", b"c ")] == [
        [b"a", b"OK"], [b"b", b"OK"], [b"c", b"OK"],
    ]  # fmt: skip


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "port, commands, last",
    [
        ("imap", b"a LOGIN alice secret\r\nb CREATE Half-%d\r\nc STATUS INBOX (MESSAGES)\r\n", b"c OK"),
        ("pop3", b"USER bob\r\nPASS secret\r\nCAPA\r\nSTAT\r\n", b"+OK 0 0"),
    ],
)
def test_a_client_that_says_no_more_still_hears_all(
    homes: Homes, port: str, commands: bytes, last: bytes, tls: bool
) -> None:
    """Half of the connection is closed behind the last command, as `nc -N` does, and the answers come."""
    where = getattr(homes.server, port + "s" * tls)
    commands = commands % tls if b"%d" in commands else commands
    with (
        socket.create_connection(("127.0.0.1", where), 30) as raw,
        unverified().wrap_socket(raw) if tls else contextlib.nullcontext(raw) as sock,
    ):
        sock.sendall(commands)
        socket.socket.shutdown(sock, socket.SHUT_WR)  # of TCP alone
        heard = sock.makefile("rb").read()
    assert heard.splitlines()[-1].startswith(last), heard


def test_mail_of_the_servers_own_user_stays_where_it_is(homes: Homes) -> None:
    with homes.imap("shared") as imap:
        imap.ok("SELECT INBOX")
    assert owners_of(homes.path / "shared") == {pwd.getpwnam("nobody").pw_uid}


@pytest.mark.parametrize("name", ["low", "root"])
def test_uids_below_the_lowest_cannot_log_in(homes: Homes, name: str) -> None:
    with Imap(homes.server.imaps, tls=True, timeout=30) as imap:
        answer, _ = imap.command(f"LOGIN {name} secret")
        assert answer.startswith(b"NO [AUTHENTICATIONFAILED]")
    assert "OWNER" in homes.server.logged()


def test_the_group_is_that_of_the_uid_where_none_is_said(homes: Homes) -> None:
    """The process that may become anybody asks nobody: what looks that up may hang (NSS over the network)."""
    with Imap(homes.server.imaps, tls=True, timeout=30) as imap:
        answer, _ = imap.command("LOGIN groupless secret")
        assert answer.startswith(b"NO [UNAVAILABLE]"), answer
    assert "uid 54329 has no gid here" in homes.server.logged()
    found = pwd.getpwuid(2)
    with running(owner_lowest_uid=2, secure_networks=["127.0.0.0/8"]) as other:
        (other.path / "system").mkdir(mode=0o700)
        os.chown(other.path / "system", 2, found.pw_gid)
        with other.imap("system") as imap:
            imap.ok("CREATE Sent")
        made = other.path / "system" / "Maildir"
        assert (made.stat().st_uid, made.stat().st_gid) == (2, found.pw_gid)


def test_a_home_of_somebody_else_is_not_opened(homes: Homes) -> None:
    """The user database is wrong: the kernel refuses, and the client is told NO."""
    with homes.imap("alice") as imap:
        imap.ok("NOOP")
    with Imap(homes.server.imaps, tls=True, timeout=30) as imap:
        answer, _ = imap.command("LOGIN lost secret")
        assert answer.startswith(b"NO "), answer


def test_a_planted_link_leads_nowhere(homes: Homes) -> None:
    """Bob's folder is a link to Alice's mail: it is served as Bob, who may not read it."""
    with homes.imap("alice") as imap:
        imap.ok("APPEND INBOX", b"Subject: secret\r\n\r\nfor alice alone\r\n")
    with homes.imap("bob") as imap:
        imap.ok("NOOP")
    link = homes.path / "bob" / "Maildir" / ".Hers"
    link.symlink_to(homes.path / "alice" / "Maildir")
    os.lchown(link, BOB, BOB)
    with homes.imap("bob") as imap:
        answer, _ = imap.command("SELECT Hers")
        assert answer.startswith(b"NO "), answer
    link.unlink()


def test_an_idling_client_hears_of_mail(homes: Homes) -> None:
    with homes.imap("alice") as imap:
        imap.ok("SELECT INBOX")
        before = len(list((homes.path / "alice/Maildir/cur").iterdir()))
        imap.send(b"i IDLE\r\n")
        while not imap.line().startswith(b"+"):
            pass
        made = homes.path / "alice/Maildir/tmp/1.x"
        made.write_bytes(b"Subject: new\n\nx\n")
        os.chown(made, ALICE, ALICE)
        made.rename(homes.path / f"alice/Maildir/new/{before}.M1P1.x")
        while b"EXISTS" not in imap.line():
            pass
        imap.send(b"DONE\r\n")
        while not imap.line().startswith(b"i OK"):
            pass


def test_large_literals_and_a_client_that_reads_late(homes: Homes) -> None:
    body = b"Subject: large\r\n\r\n" + b"x" * 76 * 40_000
    with homes.imap("bob") as imap:
        imap.ok("APPEND INBOX", body)
        imap.ok("SELECT INBOX")
        for _ in range(8):
            imap.send(b"f FETCH * BODY.PEEK[]\r\n")
        time.sleep(0.3)  # both directions are full
        answers = 0
        while answers < 8:
            answers += flat_ok(imap)


def flat_ok(imap: Imap) -> int:
    first = imap.response()[0]
    return int(isinstance(first, bytes) and first.startswith(b"f OK"))


def test_who_and_kick_know_the_session(homes: Homes) -> None:
    with homes.imap("alice") as imap:
        imap.ok("SELECT INBOX")
        with control_client.connected(load(str(homes.server.config))) as control:
            found = control.ask("who", words=["alice"])["sessions"]
            assert [item["mailbox"] for item in found] == ["INBOX"]
            control.ask("kick", words=["alice"])
        imap.send(b"x NOOP\r\n")
        with pytest.raises(EOFError):
            while True:
                imap.line()


def test_a_reload_ends_sessions_with_a_farewell() -> None:
    with running() as homes:
        with homes.imap("alice") as imap:
            imap.ok("SELECT INBOX")
            imap.send(b"i IDLE\r\n")
            while not imap.line().startswith(b"+"):
                pass
            homes.server.process.send_signal(signal.SIGHUP)
            assert imap.line().startswith(b"* BYE [UNAVAILABLE]")
        with homes.imap("alice") as imap:
            imap.ok("NOOP")


def test_processes_are_few_and_end_when_nobody_is_there() -> None:
    with running(owner_idle=1, owner_processes=2) as homes:
        with homes.imap("alice"), homes.imap("bob"):
            assert {ALICE, BOB} <= processes(homes.server).keys()
            (homes.path / "alice").rename(homes.path / "elsewhere")
            (homes.path / "elsewhere").rename(homes.path / "alice")
            with Imap(homes.server.imaps, tls=True, timeout=30) as imap:
                answer, _ = imap.command("LOGIN lost secret")
                assert answer.startswith(b"NO [UNAVAILABLE]"), answer
                assert imap.command("NOOP")[0].startswith(b"OK"), "the connection goes on"
        deadline = time.monotonic() + 15
        while processes(homes.server).keys() & {ALICE, BOB}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with homes.imap("alice") as imap:
            imap.ok("NOOP")
