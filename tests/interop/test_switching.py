"""There and back again: a client that keeps what it has downloaded does not notice which server it talks to."""

import contextlib
import os
import pwd
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import dovecot, trees
from support import server as greenmail
from support.in_turns import mail
from support.interop_site import need
from support.wire_client import unverified

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROUNDS = 3


@dataclass
class Switched:
    """One Maildir, served by one of the two at a time."""

    where: Path
    maildir: Path
    count: int = 0
    cert: Path = Path()

    @contextlib.contextmanager
    def served_by(self, name: str) -> Iterator[int]:
        """The port of IMAP: of Dovecot without TLS, of GreenMail with it."""
        self.count += 1
        dovecot.give(self.maildir)
        if name == "dovecot":
            with dovecot.start(self.where / f"dovecot{self.count}", self.maildir) as theirs:
                yield theirs.imap
                complaints = re.findall("^.*(?:Error|Warning|Panic).*$", theirs.logged(), re.MULTILINE)
            assert not complaints, complaints
            return
        with greenmail.start(
            self.where / f"green{self.count}", str(self.maildir), user=dovecot.OWNER, group=dovecot.OWNER,
            run_path=str(self.where / f"sockets{self.count}"),
        ) as ours:  # fmt: skip
            self.cert = ours.cert
            yield ours.imaps

    def deliver(self, text: str) -> None:
        owner = pwd.getpwnam(dovecot.OWNER)
        path = self.maildir / "tmp" / f"18{self.count:08}.M1P1.mx"
        path.write_bytes(mail(text).replace(b"\r\n", b"\n"))
        os.chown(path, owner.pw_uid, owner.pw_gid)
        path.rename(self.maildir / "new" / path.name)


@pytest.fixture
def switched(place: Path) -> Switched:
    return Switched(place, trees.unpack("dovecot", place))


@dataclass
class Cache:
    """A client that keeps every body by mailbox, UIDVALIDITY and UID."""

    bodies: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    flags: dict[tuple[str, int, int], set[bytes]] = field(default_factory=dict)

    def sync(self, client: Any) -> list[bytes]:
        """Bring the cache up to date; what had to be downloaded."""
        downloaded = []
        there = set()
        self.flags = {}
        for attributes, _, name in client.list_folders():
            if b"\\Noselect" in attributes or b"\\NonExistent" in attributes:
                continue
            validity = client.select_folder(name)[b"UIDVALIDITY"]
            flags = client.get_flags(found) if (found := client.search()) else {}
            known = {(name, validity, uid) for uid in flags}
            there |= known
            self.flags |= {
                (name, validity, uid): {flag for flag in has if flag != b"\\Recent"} for uid, has in flags.items()
            }
            for key in sorted(known - self.bodies.keys()):
                self.bodies[key] = client.fetch([key[2]], ["BODY.PEEK[]"])[key[2]][b"BODY[]"]
                downloaded.append(self.bodies[key])
        for key in self.bodies.keys() - there:
            del self.bodies[key]
        return downloaded


def test_three_switches_there_and_back_download_nothing_twice(switched: Switched) -> None:
    imapclient = pytest.importorskip("imapclient", reason="PyPI: imapclient")

    def connected(name: str, port: int) -> Any:
        tls = {"ssl": True, "ssl_context": unverified()} if name == "greenmail" else {"ssl": False}
        client = imapclient.IMAPClient("127.0.0.1", port, **tls)
        client.login("alice", "secret")
        return client

    cache = Cache()
    with switched.served_by("dovecot") as port, connected("dovecot", port) as client:
        assert len(cache.sync(client)) > 30
    downloads = 0
    for number in range(2 * ROUNDS):
        name = ("greenmail", "dovecot")[number % 2]
        before = dict(cache.flags)
        with switched.served_by(name) as port, connected(name, port) as client:
            assert cache.sync(client) == [], name
            assert cache.flags == before, name  # and no flag is other than it was
            new = [mail(f"switch {number} {what}") for what in ("delivered", "appended", "draft")]
            switched.deliver(f"switch {number} delivered")
            client.append("INBOX", new[1], (b"\\Seen", b"kw%d" % number))
            client.append("Drafts", new[2], (b"\\Draft",))
            client.select_folder("INBOX")
            uids = client.search()
            client.add_flags(uids[number : number + 3], [b"\\Flagged"])
            client.copy(uids[:1], "Empty")
            client.delete_messages([uids[-3]])
            client.expunge()
            got = cache.sync(client)
            downloads += len(got)
            assert len([body for body in got if body in new]) == 3
            assert len(got) == 4  # and the copy
    print({"switches": 2 * ROUNDS, "messages": len(cache.bodies), "downloads": downloads, "twice": 0})


MBSYNC = """\
IMAPAccount account
Host 127.0.0.1
Port {port}
User alice
Pass secret
{tls}

IMAPStore far
Account account

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns INBOX Archive Archive/2024 Sent Drafts "Many Keywords"
Create Near
Expunge Both
SyncState *
"""


def test_mbsync_downloads_nothing_twice(switched: Switched) -> None:
    mbsync = need("mbsync", "isync")
    local = switched.where / "Mail"
    local.mkdir()

    def sync(name: str, port: int) -> dict[str, int]:
        """Run mbsync; the files of messages and their inodes."""
        tls = "SSLType None" if name == "dovecot" else f"SSLType IMAPS\nCertificateFile {switched.cert}"
        rc = switched.where / "mbsyncrc"
        rc.write_text(MBSYNC.format(port=port, tls=tls, local=local).replace("127.0.0.1", "localhost"))
        done = subprocess.run(
            [mbsync, "-c", rc, "-a"], capture_output=True, text=True, timeout=60,
            env=os.environ | {"HOME": str(switched.where)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = [path for part in ("cur", "new") for path in local.rglob(f"{part}/*")]
        return {str(path.relative_to(local)).partition(":")[0]: path.stat().st_ino for path in found}

    with switched.served_by("dovecot") as port:
        known = sync("dovecot", port)
    assert len(known) > 20
    for number in range(2 * ROUNDS):
        name = ("greenmail", "dovecot")[number % 2]
        with switched.served_by(name) as port:
            assert sync(name, port) == known, name
            switched.deliver(f"mbsync {number}")
            after = sync(name, port)
            assert known.items() <= after.items() and len(after) == len(known) + 1, name
            assert sync(name, port) == after
            known = after
    print({"switches": 2 * ROUNDS, "messages": len(known), "twice": 0})
