"""A Maildir that the server may not write, by mode or by mount: what IMAP and POP3 clients get."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support import trees
from support.wire_client import Imap, Pop3

pytestmark = pytest.mark.interop

REFUSED = (
    "STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "CREATE x", "DELETE Archive", "RENAME Archive z", "SUBSCRIBE Archive",
    "UNSUBSCRIBE Archive/2024", "COPY 1 Archive", "MOVE 1 Archive",
)  # fmt: skip


@contextlib.contextmanager
def by_mode(maildir: Path) -> Iterator[Path]:
    """Other users may only read; the server runs as one of them."""
    for path in (maildir, *maildir.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield maildir


@contextlib.contextmanager
def by_mount(maildir: Path) -> Iterator[Path]:
    """The owner's own mail, mounted read-only. Deliveries go to the place behind it."""
    for path in (maildir, *maildir.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    there = maildir.parent / "mounted"
    there.mkdir()
    done = subprocess.run(["mount", "--bind", str(maildir), str(there)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a directory cannot be mounted: {done.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(there)], check=True)
        yield there
    finally:
        subprocess.run(["umount", "-l", str(there)], check=True)


@pytest.mark.parametrize("sealed", [by_mode, by_mount])
def test_clients_read_and_are_told_why_they_cannot_write(place: Path, sealed: object) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: the server has to run as a user who may not write, or to mount")
    assert callable(sealed)
    maildir = trees.unpack("dovecot", place)
    recorded = [message["UID"] for message in trees.expected("dovecot")["mailboxes"]["INBOX"]["messages"]]
    with (
        sealed(maildir) as served,
        greenmail.start(
            place / "run", str(served), user="nobody", group="nogroup", run_path=str(place / "sockets")
        ) as server,
    ):
        before = names(maildir)
        with Imap(server.imaps, tls=True).login() as client:
            client.ok("SELECT INBOX")
            assert client.answer.startswith(b"OK [READ-ONLY]"), client.answer
            assert list(client.fetch("1:* (FLAGS)")) == recorded
            for command in REFUSED:
                answer, _ = client.command(command)
                assert answer.startswith(b"NO [NOPERM] "), (command, answer)
            answer, _ = client.command("APPEND INBOX", b"Subject: x\r\n\r\nx\r\n")
            assert answer.startswith(b"NO [NOPERM] "), answer
            client.ok('LIST "" "*"')
            client.ok("STATUS Archive (MESSAGES UNSEEN UIDNEXT)")
            client.ok("UID SEARCH BODY a")
            flags = client.fetch("1:* (FLAGS)")
            assert any("\\Seen" not in message["FLAGS"] for message in flags.values())
            client.ok("UID FETCH 1:* (BODY[])")  # which sets no \Seen here
            assert client.fetch("1:* (FLAGS)") == flags
            client.ok("EXAMINE INBOX")
            client.ok("SELECT INBOX")
            client.send(b"idle IDLE\r\n")
            assert client.line().startswith(b"+")
            (maildir / "new" / "1800000000.M1P1.host").write_bytes(b"Subject: delivered by others\n\nx\n")
            assert client.line() == b"* %d EXISTS" % (len(recorded) + 1)
            client.send(b"DONE\r\n")
            while not client.line().startswith(b"idle OK"):
                pass
            found = client.fetch("23 (BODY.PEEK[HEADER])")
            assert found[23]["BODY[HEADER]"] == "Subject: delivered by others\r\n\r\n"
        with Pop3(server.pop3s, tls=True).login() as pop3:
            listed = pop3.many("UIDL")
            assert len(listed) == len(recorded) + 1
            assert pop3.many("RETR 1")
            assert pop3.command("DELE 1").startswith(b"-ERR [SYS/PERM] ")
            with Pop3(server.pop3s, tls=True).login() as another:
                assert another.many("UIDL") == listed
            assert pop3.command("QUIT").startswith(b"+OK")
        after = names(maildir)
        assert after - before == {"new/1800000000.M1P1.host"} and not before - after
        for worker_line in server.logged().splitlines():
            assert "error[" not in worker_line, worker_line
        assert 1 <= server.logged().count("read-only mailbox='INBOX'") <= 2  # once a worker


def names(maildir: Path) -> set[str]:
    return {str(path.relative_to(maildir)) for path in maildir.rglob("*")}
