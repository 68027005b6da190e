"""SAVEDATE, RFC 8514, beside Dovecot 2.3: one date for what either of them saves; ours outlive its rewrites."""

import re
import time
from pathlib import Path

import pytest
from support.in_turns import Site, mail
from support.interop_site import make_box
from support.wire_client import Imap

pytestmark = pytest.mark.interop

_SAVED = re.compile(rb'UID (\d+) SAVEDATE "([^"]+)"')


def saved(client: Imap, mailbox: str) -> dict[int, float]:
    client.ok(f"SELECT {mailbox}")
    found = _SAVED.findall(b"\n".join(client.lines("UID FETCH 1:* (UID SAVEDATE)")))
    return {int(uid): time.mktime(time.strptime(when[:20].decode(), "%d-%b-%Y %H:%M:%S")) for uid, when in found}


def append(client: Imap, mailbox: str, name: str) -> None:
    client.ok(f'APPEND {mailbox} (\\Seen) "01-Jan-2001 00:00:00 +0000"', mail(name))


def test_both_say_the_same(place: Path) -> None:
    maildir = place / "Maildir"
    make_box(maildir, "")
    make_box(maildir, ".Trash")
    for number in range(3):
        (maildir / "new" / f"170928000{number}.M{number}P1.host").write_bytes(mail(f"n{number}"))
    site = Site(place, maildir)
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        began = int(time.time())
        client.ok("COPY 1 Trash")
        client.ok("MOVE 2 Trash")
        append(client, "Trash", "ours")
        ended = time.time()
        ours = saved(client, "Trash")
        assert len(ours) == 3 and all(began <= when <= ended for when in ours.values())
        assert saved(client, "INBOX") == {1: 1709280000.0, 3: 1709280002.0}
    with site.dovecot() as client:
        theirs = saved(client, "Trash")
        assert {uid: abs(when - ours[uid]) <= 3 for uid, when in theirs.items()} == dict.fromkeys(ours, True)
        append(client, "Trash", "theirs")
        client.ok("STORE 1 +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")  # so many lines without a message that Dovecot writes the file anew
        client.ok("STORE 1 +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
        appended = saved(client, "Trash")
    record = (maildir / ".Trash" / "dovecot-uidlist").read_text()
    with site.greenmail() as client:
        after = saved(client, "Trash")
        assert after[3] == ours[3]
        assert abs(after[4] - appended[4]) <= 1, record


def test_a_field_of_ours_outlives_a_rewrite_by_dovecot(place: Path) -> None:
    maildir = place / "Maildir"
    make_box(maildir, "")
    for number in range(4):
        (maildir / "cur" / f"170928000{number}.M1P1.host:2,S").write_bytes(mail(f"n{number}"))
    lines = "".join(f"{number + 1} D180000000{number} :170928000{number}.M1P1.host\n" for number in range(4))
    (maildir / "dovecot-uidlist").write_text(f"3 V5 N5\n{lines}")  # no GUID: Dovecot writes it anew
    site = Site(place, maildir)
    with site.dovecot() as client:
        client.ok("SELECT INBOX")
        client.ok("UID FETCH 1:* (RFC822.SIZE BODY.PEEK[])")
    kept = (maildir / "dovecot-uidlist").read_text()
    assert " G" in kept.splitlines()[0]
    assert re.findall(r"^(\d+) .*?D(\d+)", kept, re.MULTILINE) == [(str(n + 1), f"180000000{n}") for n in range(4)]
    with site.greenmail() as client:
        assert list(saved(client, "INBOX").values()) == [1800000000.0 + n for n in range(4)]
