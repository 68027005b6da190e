"""EMAILID and THREADID, RFC 8474, stay with a message that Dovecot 2.3 copied or moved, and without our own files."""

import re
from pathlib import Path

import pytest
from support.in_turns import Site, mail
from support.interop_site import make_box
from support.wire_client import Imap

pytestmark = pytest.mark.interop

_ID = re.compile(rb"UID (\d+) EMAILID (\(M\w+\)) THREADID (\(T\w+\))")


def ids(client: Imap, mailbox: str) -> dict[int, tuple[bytes, bytes]]:
    client.ok(f"SELECT {mailbox}")
    found = _ID.findall(b"\n".join(client.lines("UID FETCH 1:* (UID EMAILID THREADID)")))
    return {int(uid): (email, thread) for uid, email, thread in found}


def test_copied_and_moved_by_dovecot(place: Path) -> None:
    maildir = place / "Maildir"
    make_box(maildir, "")
    make_box(maildir, ".Kept")
    for number in range(4):
        (maildir / "new" / f"170928000{number}.M{number}P1.host").write_bytes(mail(f"n{number}"))
    site = Site(place, maildir)
    with site.greenmail() as client:
        before = ids(client, "INBOX")
        client.ok("COPY 1 Kept")
    assert len(set(before.values())) == 4
    with site.dovecot() as client:
        client.ok("SELECT INBOX")
        client.ok("COPY 2 Kept")
        client.ok("MOVE 3 Kept")
    for own in maildir.rglob("greenmail.*"):
        own.unlink()
    with site.greenmail() as client:
        assert list(ids(client, "Kept").values()) == [before[1], before[2], before[3]]
        assert ids(client, "INBOX") == {uid: one for uid, one in before.items() if uid != 3}
