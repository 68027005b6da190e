"""Messages, names and files that are made to hurt: each costs bounded time and memory, and the server goes on."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.hostile_site import MIB, bounded, hostile_site, worked
from support.interop_site import Site, make_box
from support.wire_client import Imap

MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
SECRET = "do not show this to anybody"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with hostile_site(tmp_path_factory.mktemp("hostile")) as made:
        yield made


# Messages


def many(text: bytes, times: int) -> bytes:
    """Numbered."""
    return b"".join(text % number for number in range(times))


def nested(levels: int) -> bytes:
    opening = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(levels))
    return opening + b"\r\nend\r\n"


BOMBS: dict[str, Callable[[], bytes]] = {  # made when they are wanted: together they are large
    "100,000 header fields": lambda: many(b"X-%d: x\r\n", 100_000) + b"\r\nx",
    "100,000 times the same field": lambda: b"Subject: x\r\n" * 100_000 + b"\r\nx",
    "10,000 parts": lambda: MULTIPART + b"--b\r\n\r\nx\r\n" * 10_000 + b"--b--\r\n",
    "50,000 empty parts": lambda: MULTIPART + b"--b\r\n\r\n" * 50_000,
    "1,000 levels of multipart": lambda: nested(1000),
    "1,000 messages in messages": lambda: b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"x",
    "lines of 64 KiB": lambda: b"Subject: " + b"s" * 65_536 + b"\r\n\r\n" + (b"y" * 65_536 + b"\r\n") * 16,
    "a folded field of 1 MiB": lambda: b"Subject: x\r\n" + b" y\r\n" * 262_144 + b"\r\nx",
    "30,000 addresses": lambda: b"To: " + b"a@b," * 30_000 + b"\r\n\r\nx",
    "100,000 comments in comments": lambda: b"From: " + b"(" * 100_000 + b"\r\nDate: " + b"(" * 100_000 + b"\r\n\r\nx",
    "50,000 quotes that do not end": lambda: b"To: " + b'"\\' * 50_000 + b"\r\nSender: " + b"<" * 50_000 + b"\r\n\r\nx",
    "20,000 encoded words": lambda: b"Subject: " + b"=?utf-8?q?=C3=A9?= " * 20_000 + b"\r\n\r\nx",
    "20,000 references": lambda: b"References: " + many(b"<%d@x> ", 20_000) + b"\r\n\r\nx",
    "20,000 prefixes of a subject": lambda: b"Subject: " + b"Re: Fwd: [x] " * 20_000 + b"\r\n\r\nx",
    "20,000 parameters": lambda: b"Content-Type: text/plain" + many(b"; a*%d=x", 20_000) + b"\r\n\r\nx",
    "a tag of 1 MiB": lambda: b"Content-Type: text/html\r\n\r\n" + b"<b " * 350_000,
    "quoted-printable of equal signs": lambda: b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * MIB,
    "base64 of anything": lambda: b"Content-Transfer-Encoding: base64\r\n\r\n" + b"====A" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_is_a_bomb(site: Site, bomb: str) -> None:
    with bounded(site, 4, 160 * MIB), site.imap() as client:
        client.command("CREATE bombs")
        client.ok("APPEND bombs", BOMBS[bomb]())
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
