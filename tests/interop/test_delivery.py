"""Debian's delivery agents put mail into `new/` while a client IDLEs."""

import smtplib
import subprocess
from pathlib import Path

import pytest
from support import dovecot, postfix
from support import server as greenmail
from support.interop_site import Site, make_box, need
from support.wire_client import Imap

pytestmark = [pytest.mark.interop]

LETTER = "From: x@example.org\r\nTo: alice@example.com\r\nSubject: letter %d\r\n\r\nhello %d\r\n.\r\n..dots\r\n"


def idling(client: Imap) -> None:
    client.ok("SELECT INBOX")
    client.send(b"i IDLE\r\n")
    while not client.line().startswith(b"+"):
        pass


def hears_of(client: Imap, count: int) -> None:
    """Read until the mailbox has `count` messages."""
    while client.line() != b"* %d EXISTS" % count:
        pass


def done(client: Imap) -> None:
    client.send(b"DONE\r\n")
    while not client.line().startswith(b"i OK"):
        pass


def subjects(client: Imap) -> list[str]:
    found = client.fetch("1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [items["BODY[HEADER.FIELDS (SUBJECT)]"].strip() for _, items in sorted(found.items())]


def test_postfix_delivers_while_a_client_idles(place: Path) -> None:
    maildir = place / "Maildir"
    make_box(maildir)
    dovecot.give(maildir)
    with (
        postfix.start(maildir, dovecot.OWNER) as mta,
        greenmail.start(
            place / "run", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER,
            run_path=str(place / "sockets"),
        ) as server,
        Imap(server.imaps, tls=True, timeout=30).login() as client,
    ):  # fmt: skip
        idling(client)
        with smtplib.SMTP("127.0.0.1", mta.smtp, timeout=30) as smtp:
            for number in range(1, 6):
                smtp.sendmail("x@example.org", ["alice@example.com"], LETTER % (number, number))
                try:
                    hears_of(client, number)
                except OSError:
                    pytest.fail(f"no word of letter {number}; Postfix says:\n{mta.logged()}")
        done(client)
        assert subjects(client) == [f"Subject: letter {number}" for number in range(1, 6)]
        body = client.fetch("3 (BODY.PEEK[TEXT] FLAGS)")[3]
        assert body["BODY[TEXT]"] == "hello 3\r\n.\r\n..dots\r\n" and "\\Recent" in body["FLAGS"]
    assert not list((maildir / "new").iterdir()) and len(list((maildir / "cur").iterdir())) == 5


def test_maildrop_delivers_while_a_client_idles(site: Site) -> None:
    maildrop = need("maildrop", "maildrop")
    rules = site.home / "mailfilter"
    rules.write_text(f'to "{site.maildir}"\n')
    rules.chmod(0o600)
    with site.imap() as client:
        idling(client)
        for number in range(11, 16):
            letter = (LETTER % (number, number)).replace("\r\n", "\n")
            subprocess.run([maildrop, str(rules)], input=letter.encode(), check=True, timeout=30, cwd=site.home)
            hears_of(client, number)
        done(client)
        assert subjects(client)[10:] == [f"Subject: letter {number}" for number in range(11, 16)]
