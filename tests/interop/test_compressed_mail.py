"""Mail that Dovecot's plugin zlib compressed, or an administrator: the same octets, sizes and answers from both."""

import bz2
import contextlib
import gzip
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import dovecot
from support import server as greenmail
from support.wire_client import Imap, Pop3

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.interop

ZLIB = """
mail_plugins = zlib
plugin {{
  zlib_save = {save}
}}
"""

LARGE = b"".join(b"row %d of a table with many rows, %d\r\n" % (n, n * n) for n in range(9000))
MAILS = [
    b"Subject: short\r\n\r\nbody with a needle\r\n",
    b"Subject: without a last line end\r\n\r\nno end",
    b"Subject: only a header\r\n\r\n",
    b"From: Gr\xc3\xbcn <a@example.org>\r\nTo: b@example.org, c@example.org\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100"
    b"\r\nMessage-ID: <4@example.org>\r\nSubject: =?utf-8?q?T=C3=BCr?=\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="x"\r\n\r\npreamble\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n'
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nT=C3=BCr und Tor, a needle\r\n--x\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQ=\r\n--x--\r\n",
    b"Subject: large\r\nMessage-ID: <5@example.org>\r\n\r\n" + LARGE,
    b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nneedle\r\n",
]
ITEMS = (
    "RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] "
    "BODY.PEEK[]<3.20> BODY.PEEK[]<200000.70000> BODY.PEEK[TEXT]<100.5000> BODY.PEEK[HEADER.FIELDS (SUBJECT)]"
)


@contextlib.contextmanager
def dovecot_of(place: Path, save: str) -> Iterator[dovecot.Dovecot]:
    number = len([*place.iterdir()])
    with dovecot.start(place / f"dovecot-{number}", place / "Maildir", extra=ZLIB.format(save=save)) as server:
        yield server
        complaints = [line for line in server.logged().splitlines() if re.search("Warning|Error|Panic|Fatal", line)]
        assert not complaints, complaints


@contextlib.contextmanager
def greenmail_of(place: Path, **settings: Any) -> Iterator[greenmail.Server]:
    dovecot.give(place / "Maildir")
    with greenmail.start(
        place / "run", str(place / "Maildir"), user=dovecot.OWNER, group=dovecot.OWNER,
        run_path=str(place / "sockets"), **settings,
    ) as server:  # fmt: skip
        yield server


def maildir(place: Path, *names: str) -> None:
    for name in ("", *names):
        for part in ("cur", "new", "tmp"):
            (place / "Maildir" / name / part).mkdir(parents=True)


def said(imap: Imap, mailbox: str = "INBOX") -> tuple[dict[int, dict[str, Any]], list[bytes]]:
    """All that the server says of the messages, and what SEARCH finds."""
    imap.ok(f"SELECT {mailbox}")
    found = [line for key in ("BODY needle", "TEXT needle", "LARGER 1000", "SUBJECT dots", "HEADER Subject large")
             for line in imap.lines(f"UID SEARCH {key}")]  # fmt: skip
    return imap.fetch(f"1:* ({ITEMS})"), found


def told(pop3: Pop3) -> list[list[bytes]]:
    """LIST, RETR and TOP of all messages."""
    listed = pop3.many("LIST")
    numbers = range(1, len(listed) + 1)
    return [listed, *(pop3.many(f"RETR {n}") for n in numbers), *(pop3.many(f"TOP {n} 3") for n in numbers)]


def compressed_files(place: Path, name: str = "") -> list[bytes]:
    """The octets of the mailbox's files that are compressed."""
    paths = [path for part in ("cur", "new") for path in (place / "Maildir" / name / part).iterdir()]
    data = [path.read_bytes() for path in paths]
    return [octets for octets in data if octets[:3] in (b"\x1f\x8b\x08", b"BZh", b"\x28\xb5\x2f", b"Dov")]


def test_what_dovecot_compressed_is_the_same_here_and_copies_are_the_same_there(place: Path) -> None:
    maildir(place, ".Copies", ".Moved")
    for save in ("gz", "bz2", "zstd", "lz4"):
        with dovecot_of(place, save) as server:
            with Imap(server.imap).login() as client:
                for number, mail in enumerate(MAILS):
                    flags = "\\Seen" if number % 2 else ""
                    client.ok(f'APPEND INBOX ({flags}) "1{number}-Nov-2026 10:00:00 +0000"', mail)
                theirs = said(client)
            with Pop3(server.pop3).login() as pop3:
                theirs_by_pop3 = told(pop3)
    before = sorted(compressed_files(place))
    assert len(before) == 4 * len(MAILS)
    assert len({data[:2] for data in before}) == 4
    with greenmail_of(place) as ours_now:
        with Imap(ours_now.imaps, tls=True).login() as client:
            ours = said(client)
            for uid, message in theirs[0].items():
                assert ours[0][uid] == message, uid
            assert ours == theirs
            assert [ours[0][uid]["BODY[]"] for uid in sorted(ours[0])] == [mail.decode("latin-1") for mail in MAILS] * 4
            assert client.lines("STATUS INBOX (SIZE)") == [b"* STATUS INBOX (SIZE %d)" % (4 * sum(map(len, MAILS)))]
            client.ok("UID COPY 1:* Copies")
            client.ok("UID COPY 1:* Moved")
            client.ok("SELECT Moved")
            client.ok("UID MOVE 1:2 Copies")
        with Pop3(ours_now.pop3s, tls=True).login() as pop3:
            assert told(pop3) == theirs_by_pop3
        assert "wrong-size" not in ours_now.logged()
    assert sorted(compressed_files(place, ".Copies") + compressed_files(place, ".Moved")) == sorted(before + before)
    assert bases(place, "") < bases(place, ".Copies")  # S= and W= as they were; besides, two that were moved there
    with dovecot_of(place, "gz") as server, Imap(server.imap).login() as client:
        assert said(client) == theirs
        copies, _ = said(client, "Copies")
        assert {uid: copies[uid] for uid in theirs[0]} == theirs[0]
        assert {uid: copies[uid + 4 * len(MAILS)] for uid in (1, 2)} == {
            uid: {**theirs[0][uid], "UID": uid + 4 * len(MAILS)} for uid in (1, 2)
        }


def bases(place: Path, name: str) -> set[str]:
    """The base names of a mailbox."""
    return {path.name.split(":")[0] for part in ("new", "cur") for path in (place / "Maildir" / name / part).iterdir()}


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("1700000001.M1P1.host,S={s},W={w}:2,SZ", gzip.compress),  # by Dovecot's recipe: a letter Z marks those done
    ("1700000002.M2P1.host,S={s}:2,S", bz2.compress),
    ("1700000003.M3P1.host:2,", zstd.compress),  # without sizes
    ("1700000004.M4P1.host,S={s},W={w}:2,", lambda data: data),  # not compressed yet
    ("1700000005.M5P1.host,S={s},W={w}:2,", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
]


def test_what_an_administrator_compressed_by_hand(place: Path) -> None:
    """Files with and without sizes in their names, made of members, or not compressed at all, in one mailbox."""
    maildir(place, ".Copies")
    mails = [MAILS[4].replace(b"large", b"number %d" % number) for number in range(1, 6)]
    for (name, pack), mail in zip(PACKED, mails, strict=True):
        stored = mail.replace(b"\r\n", b"\n")
        path = place / "Maildir" / "cur" / name.format(s=len(stored), w=len(mail))
        path.write_bytes(pack(stored))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    with greenmail_of(place) as server:
        with Imap(server.imaps, tls=True).login() as client:
            client.ok("SELECT INBOX")
            sizes = client.fetch("1:* (RFC822.SIZE)")
            assert [sizes[uid]["RFC822.SIZE"] for uid in range(1, 6)] == [len(mail) for mail in mails]
            ours = said(client)
            assert [ours[0][uid]["BODY[]"] for uid in range(1, 6)] == [mail.decode() for mail in mails]
            client.ok("UID COPY 1:* Copies")
            flags = client.fetch("1:* (FLAGS)")
            assert "\\Seen" in flags[1]["FLAGS"]
            client.ok("UID STORE 1 +FLAGS (\\Flagged)")
        with Pop3(server.pop3s, tls=True).login() as pop3:
            listed = pop3.many("LIST")
            assert listed == [b"%d %d" % (n, len(mail)) for n, mail in enumerate(mails, 1)]
            assert b"\r\n".join(pop3.many("RETR 3")) + b"\r\n" == mails[2]
    names = {path.name for path in (place / "Maildir" / "cur").iterdir()}
    assert any(name.endswith(":2,FSZ") for name in names), names  # the letter stays
    assert bases(place, ".Copies") == bases(place, "")
    with dovecot_of(place, "gz") as server, Imap(server.imap).login() as client:
        assert said(client) == ours
        copies, _ = said(client, "Copies")
        assert copies == ours[0]


def test_the_quota_counts_what_dovecot_counts(place: Path) -> None:
    """What the name says, which is what is in the file; else the file itself. `formats.md` 5."""
    maildir(place, ".Copies")
    for (name, pack), mail in zip(PACKED, [MAILS[4]] * 5, strict=True):
        stored = mail.replace(b"\r\n", b"\n")
        (place / "Maildir" / "cur" / name.format(s=len(stored), w=len(mail))).write_bytes(pack(stored))
    extra = ZLIB.format(save="gz").replace("zlib\n", "zlib quota\n").replace(
        "zlib_save = gz", "zlib_save = gz\n  quota = maildir:User quota\n  quota_rule = *:storage=100M"
    ) + "protocol imap {\n  mail_plugins = zlib quota imap_quota\n}\n"  # fmt: skip
    with (
        dovecot.start(place / "dovecot", place / "Maildir", extra=extra) as server,
        Imap(server.imap).login() as client,
    ):
        (theirs,) = [line for line in client.lines("GETQUOTAROOT INBOX") if b"STORAGE" in line]
    with greenmail_of(place, quota_storage=104857600) as ours, Imap(ours.imaps, tls=True).login() as client:
        (line,) = [line for line in client.lines("GETQUOTAROOT INBOX") if b"STORAGE" in line]
        used = re.compile(rb"STORAGE (\d+) ")
        assert used.findall(line) == used.findall(theirs)
        client.ok("SELECT INBOX")
        client.ok("UID COPY 1:* Copies")
        client.ok("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")
        (line,) = [line for line in client.lines("GETQUOTAROOT INBOX") if b"STORAGE" in line]
        assert used.findall(line) == used.findall(theirs)


def test_damaged_messages_do_not_hurt_the_others(place: Path) -> None:
    maildir(place)
    large = MAILS[4].replace(b"\r\n", b"\n")
    random = b"Subject: noise\n\n" + b"".join(b"%s\n" % os.urandom(30).hex().encode() for _ in range(9000))
    cut = gzip.compress(b"Subject: 3\n\nx\n")[:-4]
    for number, data in enumerate(
        (gzip.compress(large), gzip.compress(random)[:-100_000], cut, b"\x1f\x8b\x08", large)
    ):
        (place / "Maildir" / "cur" / f"170000000{number}.M1P1.host:2,").write_bytes(data)
    with greenmail_of(place) as server:
        with Imap(server.imaps, tls=True).login() as client:
            client.ok("SELECT INBOX")
            answer, _ = client.command("UID FETCH 1:* (RFC822.SIZE ENVELOPE)")
            assert answer.startswith(b"OK"), answer
            answer, untagged = client.command("UID FETCH 1:* (BODY.PEEK[])")
            assert answer.startswith(b"NO [CORRUPTION]"), answer
            assert len([parts for parts in untagged if b"BODY[]" in parts[0]]) == 3
            assert client.fetch("2 (BODY.PEEK[HEADER])")[2]["BODY[HEADER]"] == "Subject: noise\r\n\r\n"
            assert client.fetch("3 (BODY.PEEK[HEADER])")[3]["BODY[HEADER]"] == "Subject: 3\r\n\r\n"
            assert client.lines("UID SEARCH BODY row") == [b"* SEARCH 1 5"]
        with Pop3(server.pop3s, tls=True).login() as pop3:
            assert len(pop3.many("LIST")) == 5
            assert len(pop3.many("TOP 2 100")) == 102  # what is before the damage
            assert pop3.command("RETR 2").startswith(b"-ERR [SYS/PERM]")
            assert pop3.command("RETR 3").startswith(b"-ERR [SYS/PERM]")
            assert len(pop3.many("RETR 5")) == 9003
        assert "170000000" in server.logged() and "compressed file" in server.logged()


def test_a_client_cannot_append_what_would_be_unpacked(place: Path) -> None:
    maildir(place)
    with greenmail_of(place) as server, Imap(server.imaps, tls=True).login() as client:
        for data in (b"\x1f\x8b\x08rest", b"BZh91AY&SY\r\nrest", b"\x28\xb5\x2f\xfdrest" * 9, b"\xfd7zXZ\0rest"):
            answer, _ = client.command("APPEND INBOX", data.replace(b"\0", b""))
            assert answer.startswith(b"NO [CANNOT]" if b"\0" not in data else b"OK"), answer
        client.ok("APPEND INBOX", MAILS[0])
    assert not [path for path in (place / "Maildir" / "tmp").iterdir() if not path.name.startswith("greenmail.")]
