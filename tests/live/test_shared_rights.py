"""alice shares a mailbox with bob over a real server with several workers: what RFC 4314 promises, at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.wire_client import Imap, flat

MAIL = b"From: a@example.org\r\nSubject: one\r\n\r\nbody\r\n"
PASSWD = "alice:{PLAIN}secret\nbob:{PLAIN}secret::::::userdb_acl_groups=team,others\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[greenmail.Server]:
    with greenmail.start(
        tmp_path / "run",
        str(tmp_path / "%u" / "Maildir"),
        passwd=PASSWD,
        namespaces=[{"type": "shared", "prefix": "user/%u/", "list": "children"}],
    ) as running:
        yield running


def names(client: Imap) -> set[str]:
    return {flat(parts).decode().split(' "/" ')[1] for parts in client.ok('LIST "" *')}


def answer(client: Imap, line: str) -> bytes:
    return client.command(line)[0]


def test_a_mailbox_is_shared_used_and_taken_back(server: greenmail.Server, tmp_path: Path) -> None:
    with Imap(server.imaps, tls=True).login() as alice, Imap(server.imaps, tls=True).login("bob") as bob:
        alice.ok("CREATE Sales")
        alice.ok("CREATE Sales/Private")
        alice.ok("CREATE Secret")
        alice.ok("APPEND Sales", MAIL)
        assert names(bob) == {"INBOX"}
        hidden = answer(bob, "SELECT user/alice/Sales")
        assert hidden.startswith(b"NO [NONEXISTENT]")
        assert hidden == answer(bob, "SELECT user/alice/Nothing") == answer(bob, "SELECT user/nobody/Sales")

        alice.ok("SETACL Sales $team lrs")
        assert names(bob) == {"INBOX", "user", "user/alice", "user/alice/Sales"}
        assert flat(bob.ok("MYRIGHTS user/alice/Sales")[0]) == b"* MYRIGHTS user/alice/Sales lrs"
        bob.ok("SELECT user/alice/Sales")
        assert set(bob.fetch("1 (FLAGS BODY[])")[1]["FLAGS"]) == {"\\Seen", "\\Recent"}
        for line in (
            "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "UID EXPUNGE 1", "UID MOVE 1 INBOX", "DELETE user/alice/Sales",
            "RENAME user/alice/Sales user/alice/Mine", "CREATE user/alice/Sales/New", "CREATE user/alice/New",
            "GETACL user/alice/Sales", "SETACL user/alice/Sales bob lrswipkxtea", "DELETEACL user/alice/Sales $team",
            "LISTRIGHTS user/alice/Sales bob", "UID COPY 1 user/alice/Sales",
        ):  # fmt: skip
            assert answer(bob, line).startswith(b"NO [NOPERM]"), line
        for name in ("user/alice/Secret", "user/alice/Sales/Private", "user/alice"):
            for line in (f"STATUS {name} (MESSAGES)", f"DELETE {name}", f"MYRIGHTS {name}", f"SUBSCRIBE {name}"):
                assert answer(bob, line).startswith((b"NO [NONEXISTENT]", b"NO [HASCHILDREN]")), line
        bob.ok("UID COPY 1 INBOX")

        alice.ok("SETACL Sales bob lrswite")  # goes before what is said of his group
        assert flat(bob.ok("NOOP")[-1]).startswith(b"* OK [PERMANENTFLAGS (\\Answered")
        bob.ok("APPEND user/alice/Sales (\\Flagged)", MAIL)
        bob.ok("STORE 1 +FLAGS (\\Deleted)")
        bob.ok("EXPUNGE")
        assert (tmp_path / "alice" / "Maildir" / ".Sales" / "dovecot-acl").read_bytes() == (
            b"group=team lrs\nuser=bob eilrwts\n"
        )

        alice.ok("DELETEACL Sales bob")
        alice.ok("DELETEACL Sales $team")
        bob.send(b"last NOOP\r\n")
        assert bob.line().startswith(b"* BYE ")
    with Imap(server.imaps, tls=True).login("bob") as bob:
        assert names(bob) == {"INBOX"}
        assert answer(bob, "SELECT user/alice/Sales").startswith(b"NO [NONEXISTENT]")
