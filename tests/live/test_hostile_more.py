"""Octets and files that are made to hurt: each costs bounded time and memory, and leaves the server serving.

`test_hostile.py` has clients that read nothing, and random octets; here is what is known to have hurt other servers.
"""

import base64
import contextlib
import os
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import Site, make_box
from support.wire_client import Imap, Pop3, unverified

MIB = 1 << 20
SECRET = "do not show this to anybody"
RIGHT, WRONG = "c0rrect-h0rse-battery", "Xyzzy-wr0ng-passw0rd"
HANDSHAKE, ANONYMOUS = 3, 6  # seconds


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all tests here: what one of them leaves behind, the next ones notice."""
    here = tmp_path_factory.mktemp("hostile")
    maildir = here / "mail" / "alice" / "Maildir"
    make_box(maildir)
    with greenmail.start(
        here / "run",
        str(here / "mail" / "%u" / "Maildir"),
        f"alice:{{PLAIN}}secret\nbob:{{PLAIN}}{RIGHT}\ncarol:{{PLAIN}}secret\n",
        workers=1,
        timeout_handshake=HANDSHAKE,
        timeout_anonymous=ANONYMOUS,
        auth_failure_delay=0.01,
        log_level="trace",
    ) as server:
        yield Site(server, maildir, here)


def processes(site: Site) -> list[str]:
    pid = site.server.process.pid
    return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(site: Site) -> int:
    """Octets of private memory of the whole server."""
    lines = [line for one in processes(site) for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def worked(site: Site) -> float:
    """Seconds of processor that the server has used."""
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes(site)]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def bounded(site: Site, seconds: float, octets: int) -> Iterator[None]:
    """What happens inside takes at most so much processor and memory, and the server is there afterwards."""
    before = worked(site), resident(site)
    yield
    assert worked(site) - before[0] < seconds, f"{worked(site) - before[0]:.1f} s of processor"
    assert resident(site) - before[1] < octets, f"{(resident(site) - before[1]) / MIB:.0f} MiB"
    with site.imap() as client:
        client.ok("NOOP")


# Messages


def nested(levels: int) -> bytes:
    opening = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(levels))
    return opening + b"\r\nend\r\n"


BOMBS = {
    "100,000 header fields": b"".join(b"X-%d: x\r\n" % number for number in range(100_000)) + b"\r\nx",
    "100,000 times the same field": b"Subject: x\r\n" * 100_000 + b"\r\nx",
    "10,000 parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 10_000 + b"--b--\r\n",
    "50,000 empty parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 50_000,
    "1,000 levels of multipart": nested(1000),
    "1,000 messages in messages": b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"x",
    "lines of 64 KiB": b"Subject: " + b"s" * 65_536 + b"\r\n\r\n" + (b"y" * 65_536 + b"\r\n") * 16,
    "a folded field of 1 MiB": b"Subject: x\r\n" + b" y\r\n" * 262_144 + b"\r\nx",
    "30,000 addresses": b"To: " + b"a@b," * 30_000 + b"\r\n\r\nx",
    "100,000 comments in comments": b"From: " + b"(" * 100_000 + b"\r\nDate: " + b"(" * 100_000 + b"\r\n\r\nx",
    "50,000 quotes that do not end": b"To: " + b'"\\' * 50_000 + b"\r\nSender: " + b"<" * 50_000 + b"\r\n\r\nx",
    "20,000 encoded words": b"Subject: " + b"=?utf-8?q?=C3=A9?= " * 20_000 + b"\r\n\r\nx",
    "20,000 references": b"References: " + b"".join(b"<%d@x> " % n for n in range(20_000)) + b"\r\n\r\nx",
    "20,000 prefixes of a subject": b"Subject: " + b"Re: Fwd: [x] " * 20_000 + b"\r\n\r\nx",
    "20,000 parameters": b"Content-Type: text/plain" + b"".join(b"; a*%d=x" % n for n in range(20_000)) + b"\r\n\r\nx",
    "a tag of 1 MiB": b"Content-Type: text/html\r\n\r\n" + b"<b " * 350_000,
    "quoted-printable of equal signs": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * MIB,
    "base64 of anything": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"====A" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_is_a_bomb(site: Site, bomb: str) -> None:
    with bounded(site, 4, 160 * MIB), site.imap() as client:
        client.command("CREATE bombs")
        client.ok("APPEND bombs", BOMBS[bomb])
        client.ok("SELECT bombs")
        client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE RFC822.SIZE PREVIEW BODY.PEEK[HEADER.FIELDS (SUBJECT X-7)])")
        for item in ("BODY.PEEK[1.1.1.1.MIME]", "BINARY.SIZE[1]", "BINARY.PEEK[1]"):
            answer, _ = client.command(f"FETCH 1 ({item})")
            assert answer.startswith((b"OK", b"NO")) and b"SERVERBUG" not in answer, answer
        client.ok("SEARCH TEXT nowhere")
        client.ok("SORT (SUBJECT FROM DATE) UTF-8 ALL")
        client.ok("THREAD REFERENCES UTF-8 ALL")
        client.ok("UNSELECT")
        client.ok("DELETE bombs")


# Commands

DEEP = b"(" * 5000
LINES = [
    (b'LOGIN "al\0ice" secret', b"BAD"),
    (b'LOGIN "alice" "sec\0ret"', b"BAD"),
    (b'CREATE "a\0b"', b"BAD"),
    (b"CREATE {3+}\r\na\0b", b"BAD"),
    (b"SELECT a\0b", b"BAD"),
    (b"FETCH 4294967296 FLAGS", b"BAD"),
    (b"FETCH 99999999999999999999999999999999 FLAGS", b"BAD"),
    (b"FETCH " + b"9" * 6000 + b" FLAGS", b"BAD"),
    (b"FETCH 0 FLAGS", b"BAD"),
    (b"FETCH -1 FLAGS", b"BAD"),
    (b"FETCH 1 BODY[]<0.99999999999999999999>", b"BAD"),
    (b"FETCH 1 BODY[]<18446744073709551616.1>", b"BAD"),
    (b"FETCH 1 BODY[99999999999999999999]", b"BAD"),
    (b"FETCH 1 BODY[" + b"1." * 5000 + b"1]", b""),
    (b"FETCH 1 " + DEEP, b"BAD"),
    (b"SEARCH " + DEEP + b"ALL" + b")" * 5000, b"BAD"),
    (b"SEARCH " + b"NOT " * 5000 + b"ALL", b"BAD"),
    (b"SEARCH " + b"OR ALL " * 5000 + b"ALL", b"BAD"),
    (b"SEARCH LARGER 99999999999999999999", b"BAD"),
    (b"SEARCH SINCE 1-Jan-99999", b"BAD"),
    (b"SEARCH YOUNGER 99999999999999999999", b"BAD"),
    (b"SEARCH MODSEQ 99999999999999999999", b"BAD"),
    (b"SEARCH CHARSET " + b"x" * 5000 + b" ALL", b""),
    (b"STORE 1 +FLAGS (" + b"a " * 5000 + b"a)", b""),
    (b"LIST () \"\" (" + b"* " * 5000 + b"*)", b""),
    (b'LIST "" ' + b"*a" * 2000 + b"%", b"OK"),
    (b"ID (" + b'"a" "b" ' * 3000 + b")", b"BAD"),
    (b"SETQUOTA x (STORAGE 99999999999999999999)", b""),
    (b"SELECT INBOX (QRESYNC (99999999999 99999999999999999999))", b"BAD"),
    (b"NOTIFY SET " + DEEP, b"BAD"),
    (b"APPEND INBOX {99999999999999999999}", b"BAD"),
    (b"APPEND INBOX {9223372036854775807}", b""),
    (b"APPEND INBOX \" 1-Jan-2024 99:99:99 +9999\" {1+}\r\nx", b"BAD"),
    (b"AUTHENTICATE " + b"P" * 5000, b""),
    (b"AUTHENTICATE " + DEEP, b"BAD"),
    (b"SORT " + DEEP + b" UTF-8 ALL", b"BAD"),
    (b"THREAD REFERENCES UTF-8 " + DEEP, b"BAD"),
    (b"ESEARCH IN " + DEEP, b"BAD"),
    (b"FETCH 1 (BODY[" + DEEP + b"])", b"BAD"),
    (b"X" * 8000, b"BAD"),
    (b"UID UID UID UID FETCH 1 FLAGS", b"BAD"),
]  # fmt: skip


def test_commands_that_are_made_to_hurt(site: Site) -> None:
    with bounded(site, 3, 64 * MIB), site.imap() as client:
        client.ok("SELECT INBOX")
        for line, answer in LINES:
            client.ok("NOOP")  # so many BADs in a row would end the connection
            began = worked(site)
            said, _ = client.command(line)
            assert said.startswith(answer) and not said.startswith(b"BYE"), (line[:60], said)
            assert b"SERVERBUG" not in said, (line[:60], said)
            assert worked(site) - began < 1, line[:60]


def test_pop3_numbers_and_lines(site: Site) -> None:
    client = Pop3(site.server.pop3s, tls=True).login()
    for number in ("0", "-1", "4294967296", "9" * 30, "1e3", "0x1", "1.0", "\u0661", ""):
        assert client.command(f"RETR {number}").startswith(b"-ERR"), number
        assert client.command("NOOP").startswith(b"+OK")
        assert client.command(f"TOP 1 {number}").startswith(b"-ERR"), number
        assert client.command("NOOP").startswith(b"+OK")
    assert client.command("X" * 10_000).startswith(b"-ERR")
    assert client.command("NOOP").startswith(b"+OK")
    client.close()


# Names


def outside(site: Site) -> list[str]:
    """Every file that is not in the Maildir, and not the server's own."""
    return sorted(
        str(path) for path in site.home.rglob("*") if not path.is_relative_to(site.maildir) and "run" not in path.parts
    )


NAMES = [
    b'".."', b'"../x"', b'"../../x"', b'"a/../../../x"', b'"./x"', b'"a/./b"', b'"/etc/x"', b'"/"', b'"//x"',
    b'"~root/x"',
    b'"~/x"', b'"INBOX/.."', b'"INBOX/../x"', b'"a//b"', b'"..x/.."', b'".a"', b'"a."', b'"cur"', b'"new/x"', b'"tmp"',
    b'"dovecot-uidlist"', b'"maildirfolder"', b'"greenmail.log"', b'"&AC4ALg-"', b'"&AC8-etc"', b'"&AAA-"', b'"&2D0-"',
    b'"&AC4ALgAv-x"', b'"&"', b'"&&&"', b'"a&-b/.."', b"{3+}\r\na\nb", b"{3+}\r\na\rb", b"{2+}\r\n\xff\xfe",
    b"{255+}\r\n" + b"n" * 255, b"{256+}\r\n" + b"n" * 256, b"{5000+}\r\n" + b"n" * 5000,
    b"{4000+}\r\n" + b"a/" * 1999 + b"ab", b'"%"', b'"*"', b'"a\\\\b"', b'"..\\\\x"', b'"C:x"', b'"a:2,S"', b'"x\x7f"',
]  # fmt: skip


VERBS = [
    b"CREATE %b", b"SELECT %b", b"STATUS %b (MESSAGES)", b"SUBSCRIBE %b", b'LIST "" %b', b'LIST %b "*"',
    b"RENAME %b renamed", b"DELETE renamed", b"DELETE %b", b"UNSUBSCRIBE %b",
]  # fmt: skip


def test_no_name_leads_out_of_the_maildir(site: Site) -> None:
    (site.home / "mail" / "secret").mkdir(exist_ok=True)
    (site.home / "mail" / "secret" / "cur").mkdir(exist_ok=True)
    (site.home / "mail" / "secret" / "cur" / "1.M1P1.x:2,").write_text(SECRET)
    before = outside(site)
    with bounded(site, 4, 64 * MIB), site.imap() as client:
        for name in [*NAMES, b'"../../../secret"', b'"/mail/secret"']:
            for command in VERBS:
                said, untagged = client.command(command.replace(b"%b", name))
                assert said.startswith((b"OK", b"NO", b"BAD")) and b"SERVERBUG" not in said, (command, name[:60], said)
                assert SECRET.encode() not in repr(untagged).encode()
            client.ok("NOOP")
    assert outside(site) == before
    assert {"cur", "new", "tmp"} <= {path.name for path in site.maildir.iterdir()}
    left = [path.name for path in site.maildir.iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert sorted(left) == ["cur", "new", "tmp"]


# Files


def test_what_is_no_mail_in_a_maildir(site: Site, tmp_path: Path) -> None:
    """A FIFO and a link to a device stop nobody; what a directory is is no message."""
    box = site.maildir / ".Files"
    make_box(site.maildir, ".Files")
    (box / "cur" / "1704103200.M1P1.mx:2,").write_bytes(b"Subject: good\n\nx\n")
    os.mkfifo(box / "cur" / "1704103201.M1P1.mx:2,")
    (box / "cur" / "1704103202.M1P1.mx:2,").symlink_to("/dev/zero")
    (box / "cur" / "1704103203.M1P1.mx:2,").mkdir()
    (box / "cur" / "1704103204.M1P1.mx:2,").symlink_to("1704103204.M1P1.mx:2,")
    (box / "new" / "1704103205.M1P1.mx").symlink_to(tmp_path / "nowhere")
    os.mkfifo(box / "new" / "1704103206.M1P1.mx")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(box / "cur", os.O_DIRECTORY)
        listener.bind(f"/proc/self/fd/{here}/1704103207.M1P1.mx:2,")
        os.close(here)
    with bounded(site, 3, 64 * MIB), site.imap() as client:
        client.ok("SELECT Files")
        said, untagged = client.command("FETCH 1:* (UID RFC822.SIZE BODY.PEEK[])")
        assert b"good" in repr(untagged).encode() and b"SERVERBUG" not in said, said
        client.command("SEARCH TEXT x")
        client.command("UID STORE 1:* +FLAGS (\\Seen)")
        client.command("UID COPY 1:* INBOX")
        assert b"\x00" * 100 not in repr(untagged).encode()
        client.ok("NOOP")
    assert SECRET not in repr(untagged)


def test_a_list_that_is_a_device_or_a_fifo(site: Site) -> None:
    """The small files beside the mail."""
    make_box(site.maildir, ".Lists")
    box = site.maildir / ".Lists"
    (box / "dovecot-uidlist").symlink_to("/dev/zero")
    os.mkfifo(box / "dovecot-keywords")
    os.mkfifo(box / "dovecot-acl")
    with bounded(site, 3, 64 * MIB), site.imap() as client:
        client.socket.settimeout(20)
        said, _ = client.command("SELECT Lists")
        assert b"SERVERBUG" not in said, said
        client.ok("SELECT INBOX")


def test_what_lies_beside_the_mailboxes_is_a_device_or_a_fifo(site: Site) -> None:
    """Those files of an account that the server reads at a login and at each LIST, and its own caches."""
    root = site.home / "mail" / "carol" / "Maildir"
    make_box(root)
    for name in ("subscriptions", "greenmail.index", "dovecot-acl"):
        os.mkfifo(root / name)
    for name in ("maildirsize", "dovecot-uidvalidity", "greenmail.log", "greenmail.cache", "dovecot.index.log"):
        (root / name).symlink_to("/dev/zero")
    (root / "greenmail-data").mkdir()
    (root / "greenmail-data" / "metadata").symlink_to("/dev/zero")
    (root / ".Loop").symlink_to(".")
    (root / ".Up").symlink_to("..")
    (root / ".Root").symlink_to("/")
    with bounded(site, 4, 64 * MIB), Imap(site.server.imaps, tls=True) as client:
        client.socket.settimeout(30)
        client.login("carol", "secret")
        for line in (
            b'LIST "" *', b'LSUB "" *', b"SELECT INBOX", b'GETMETADATA "" (/private/comment)',
            b"SETMETADATA INBOX (/private/a b)",
            b"GETQUOTAROOT INBOX", b"MYRIGHTS INBOX", b"STATUS INBOX (MESSAGES SIZE)", b"SUBSCRIBE INBOX",
            b"CREATE new", b"SELECT Loop", b"SELECT Up", b"SELECT Root", b"STATUS Loop/Loop (MESSAGES)",
            b"APPEND INBOX {3+}\r\nx\r\n",
        ):  # fmt: skip
            began = worked(site)
            said, untagged = client.command(line)
            assert said.startswith((b"OK", b"NO", b"BAD")) and b"SERVERBUG" not in said, (line, said)
            assert worked(site) - began < 1, line
            assert len(untagged) < 100, line


# Lines

ENDLESS = 8 * MIB  # octets, without a line end


@pytest.mark.parametrize(
    "before", ["", "AUTHENTICATE PLAIN", "IDLE", "APPEND INBOX {99999999999+}", "SEARCH TEXT {99+}"]
)
def test_a_line_without_end(site: Site, before: str) -> None:
    """At each place where a line is read it costs no more memory than a line may have, and no time for what it had."""
    with bounded(site, 3, 24 * MIB):
        client = site.imap() if before in ("IDLE", "APPEND INBOX {99999999999+}") else Imap(site.server.imaps, tls=True)
        client.socket.settimeout(60)
        with contextlib.suppress(OSError):
            client.send(f"a {before}\r\n".encode() if before else b"")
            for _ in range(ENDLESS // 65_536):
                client.send(b"x" * 65_536)
            client.send(b"\r\nz LOGOUT\r\n")
        with contextlib.suppress(OSError):
            assert len(client.file.read()) < 10_000
        client.file.close()
        client.socket.close()


def test_empty_lines_without_end_keep_no_place(site: Site) -> None:
    """They are skipped before a command, as Apple Mail sends them; who sends nothing else has the time of a login."""
    with bounded(site, 8, 24 * MIB):
        client = Imap(site.server.imap)
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < ANONYMOUS + 15:
                client.send(b"\r\n" * 500)
                time.sleep(0.05)  # how a client goes on and on
        assert time.monotonic() - began < ANONYMOUS + 15, "empty lines keep a place for ever"
        client.file.close()
        client.socket.close()


# TLS


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_half_a_command_from_before_tls_is_no_command(site: Site, protocol: str) -> None:
    """What was sent in the clear does not become the beginning of what is sent behind it."""
    client = Imap(site.server.imap) if protocol == "imap" else Pop3(site.server.pop3)
    client.socket.sendall(b"s STARTTLS\r\nx LOGIN al" if protocol == "imap" else b"STLS\r\nUSER al")
    assert b"OK" in client.file.readline()
    client.socket = secured(client.socket)
    client.file = client.socket.makefile("rb")
    client.socket.sendall(b"ice secret\r\nz LOGOUT\r\n" if protocol == "imap" else b"ice\r\nQUIT\r\n")
    said = client.file.read()
    assert said.startswith((b"ice BAD", b"-ERR")), said
    client.file.close()
    client.socket.close()


@pytest.mark.parametrize("cut", ["CREATE cut", "APPEND Drafts {9+}\r\nSubject:", "APPEND Drafts {9+}\r\nSubj"])
def test_a_command_that_tls_was_cut_in_is_none(site: Site, cut: str) -> None:
    """Whoever can end the connection without TLS noticing cannot make a shorter command out of a long one."""
    client = site.imap()
    client.command("CREATE Drafts")  # which may be there
    before = client.ok("STATUS Drafts (UIDNEXT)"), client.ok('LIST "" *')
    ended(client, f"x {cut}".encode())
    client = site.imap()
    assert (client.ok("STATUS Drafts (UIDNEXT)"), client.ok('LIST "" *')) == before
    client.close()


def test_mail_stays_where_quit_was_cut_off(site: Site) -> None:
    with site.imap() as imap:
        imap.ok("APPEND INBOX", b"Subject: stays\r\n\r\n")
    client = Pop3(site.server.pop3s, tls=True).login()
    stat, last = client.command("STAT"), client.command("STAT").split()[1].decode()
    assert client.command(f"DELE {last}").startswith(b"+OK")
    ended(client, b"QUIT")
    with Pop3(site.server.pop3s, tls=True).login() as client:
        assert client.command("STAT") == stat
        assert client.command(f"DELE {last}").startswith(b"+OK")
        assert client.command("QUIT").startswith(b"+OK")
    with Pop3(site.server.pop3s, tls=True).login() as client:
        assert client.command("STAT") != stat


def ended(client: Imap | Pop3, last: bytes) -> None:
    """Send this, then end our half of TCP alone, and hear the rest."""
    client.socket.sendall(last)
    with socket.socket(fileno=os.dup(client.socket.fileno())) as plain:
        plain.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        client.file.read()
    client.file.close()
    client.socket.close()


def secured(plain: socket.socket) -> socket.socket:
    return unverified().wrap_socket(plain)


def test_what_was_sent_behind_starttls_is_thrown_away(site: Site) -> None:
    client = Imap(site.server.imap)
    assert b"LOGINDISABLED" in client.lines("CAPABILITY")[0], "who strips STARTTLS gains no password"
    assert client.command("LOGIN alice secret")[0].startswith(b"NO")
    client.send(b"s STARTTLS\r\ni LOGIN alice secret\r\nj CREATE injected\r\n")
    assert client.line().startswith(b"s OK")
    client.socket = secured(client.socket)
    client.file = client.socket.makefile("rb")
    assert client.lines("NOOP") == [], "an answer to what was injected"
    assert client.command("CREATE injected")[0].startswith(b"BAD"), "nobody is logged in"
    assert client.command("STARTTLS")[0].startswith((b"BAD", b"NO"))
    client.login()
    assert client.lines('LIST "" injected') == []
    client.close()


def test_what_was_sent_behind_stls_is_thrown_away(site: Site) -> None:
    client = Pop3(site.server.pop3)
    assert client.command("USER alice").startswith(b"-ERR"), "who strips STLS gains no password"
    client.socket.sendall(b"STLS\r\nUSER alice\r\nPASS secret\r\nSTAT\r\n")
    assert client.file.readline().startswith(b"+OK")
    client.socket = secured(client.socket)
    client.file = client.socket.makefile("rb")
    assert client.command("STAT").startswith(b"-ERR"), "nobody is logged in"
    assert client.command("STLS").startswith(b"-ERR")
    client.login()
    client.close()


def test_half_open_handshakes_and_slow_writers_are_closed_in_time(site: Site) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 100
    with bounded(site, 3, 64 * MIB):
        began = time.monotonic()
        half = [socket.create_connection(("127.0.0.1", site.server.imaps), 60) for _ in range(100)]
        for end in half:
            end.sendall(hello)
        slow = Imap(site.server.imap)
        slow.socket.settimeout(0.25)
        with site.imap() as neighbour, contextlib.suppress(OSError):
            while time.monotonic() - began < ANONYMOUS + 20:
                neighbour.ok("NOOP")
                slow.send(b"x")
                with contextlib.suppress(TimeoutError):
                    if not slow.socket.recv(1000):
                        break
        assert time.monotonic() - began < ANONYMOUS + 15, "an octet now and then keeps a place for ever"
        for end in half:
            with contextlib.suppress(ConnectionError):
                while end.recv(1000):
                    pass
            end.close()
        slow.file.close()
        slow.socket.close()


def test_a_compress_bomb(site: Site) -> None:
    """100 KiB that unpack to 100 MiB, as a line and as octets between commands."""
    for piece in (b"x" * MIB, b"\r\n" * (MIB // 2)):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = b"".join(packer.compress(piece) for _ in range(100)) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < MIB // 4
        with bounded(site, 4, 48 * MIB):
            client = site.imap()
            client.ok("COMPRESS DEFLATE")
            client.send(bomb + packer.compress(b"\r\ne LOGOUT\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
            unpacker = zlib.decompressobj(-15)
            said = b""
            with contextlib.suppress(ConnectionError):
                while octets := client.socket.recv(65_536):
                    said += unpacker.decompress(octets, MIB)
            assert len(said) < 10_000 and b"BYE" in said, said[:500]
            client.file.close()
            client.socket.close()


# Secrets


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ways(word: str) -> list[list[str]]:
    """The lines of a login, and of one that the user has mistyped."""
    plain = coded(f"\0bob\0{word}")
    return [
        [f"a LOGIN bob {word}"],
        [f'a LOGIN "bob" {{{len(word)}+}}', word],
        [f"a AUTHENTICATE PLAIN {plain}"],
        ["a AUTHENTICATE PLAIN", plain],
        ["a AUTHENTICATE LOGIN", coded("bob"), coded(word)],
        [f"a LOGIN bob {word} {word}"],
        [f"a LOGIN {word}"],
        [f"a LOGIN bob\\ {word}"],
    ]


def test_no_password_is_in_the_log_or_the_figures(site: Site) -> None:
    """Right and wrong ones, by each way to say them, at log-level trace."""
    make_box(site.home / "mail" / "bob" / "Maildir")
    for word in (RIGHT, WRONG):
        for lines in ways(word):
            client = Imap(site.server.imaps, tls=True)
            client.send("".join(f"{line}\r\n" for line in [*lines, "z LOGOUT"]).encode())
            said = client.file.read()
            assert b"z OK" in said or b"BYE" in said, (lines, said)
            assert word.encode() not in said, (lines, said)
            client.file.close()
            client.socket.close()
        pop3 = Pop3(site.server.pop3s, tls=True)
        pop3.command("USER bob")
        assert pop3.command(f"PASS {word}").startswith(b"+OK" if word == RIGHT else b"-ERR")
        pop3.close()
    assert "bob" in site.server.logged()
    for word in (RIGHT, WRONG):
        for form in (word, coded(word), coded(f"\0bob\0{word}")):
            assert form not in site.server.logged()
            assert form not in site.server.scrape()
