"""Commands and octets that are made to hurt: each costs bounded time and memory, and leaves the server serving.

`test_hostile.py` has clients that read nothing, and random octets; `test_hostile_mail.py` messages and files; here is
what else is known to have hurt other servers.
"""

import base64
import contextlib
import os
import socket
import time
import zlib
from collections.abc import Iterator

import pytest
from support.hostile_site import (
    ANONYMOUS,
    MIB,
    RIGHT,
    WRONG,
    bounded,
    hostile_site,
    worked,
)
from support.interop_site import Site, make_box
from support.wire_client import Imap, Pop3, unverified


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with hostile_site(tmp_path_factory.mktemp("hostile")) as made:
        yield made


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
