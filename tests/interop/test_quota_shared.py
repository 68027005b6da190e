"""One `maildirsize` for GreenMail, Dovecot 2.3 and maildrop: each sees what the others did. `formats.md` 5."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import dovecot, trees
from support import server as greenmail
from support.interop_site import make_box, need
from support.wire_client import Imap

pytestmark = pytest.mark.interop

MAIL = b"From: a@example.org\r\nSubject: %s\r\n\r\n" + b"0123456789 0123456789 0123456789\r\n" * 20
DOVECOT = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  %s
}
"""


@dataclass
class Site:
    """One Maildir, served by GreenMail and by Dovecot in turn; `rule` is configured in both."""

    where: Path
    maildir: Path
    rule: str = ""
    count: int = 0

    @contextlib.contextmanager
    def greenmail(self) -> Iterator[Imap]:
        self.count += 1
        dovecot.give(self.maildir)
        extra = f":::::: userdb_quota_rule={self.rule}" if self.rule else ""
        with greenmail.start(
            self.where / f"run{self.count}", str(self.maildir), passwd=f"alice:{{PLAIN}}secret{extra}\n",
            user=dovecot.OWNER, group=dovecot.OWNER, run_path=str(self.where / f"sockets{self.count}"),
        ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
            yield client

    @contextlib.contextmanager
    def dovecot(self) -> Iterator[Imap]:
        self.count += 1
        dovecot.give(self.maildir)
        plugin = DOVECOT % (f"quota_rule = {self.rule}" if self.rule else "")
        where = self.where / f"dovecot{self.count}"
        with dovecot.start(where, self.maildir, location=plugin) as server, Imap(server.imap).login() as client:
            yield client

    def in_both(self) -> bytes:
        """What both servers say of the quota, which is the same."""
        with self.greenmail() as client:
            ours = quota(client)
        with self.dovecot() as client:
            theirs = quota(client)
        assert ours == theirs
        return ours

    @property
    def file(self) -> Path:
        return self.maildir / "maildirsize"


@pytest.fixture
def site(place: Path) -> Site:
    """An empty Maildir with two mailboxes."""
    maildir = place / "Maildir"
    for name in ("", ".Box"):
        make_box(maildir, name)
    return Site(place, maildir)


def quota(client: Imap) -> bytes:
    """The untagged QUOTA."""
    root, found = [line for line in client.lines("GETQUOTAROOT INBOX") if line.startswith(b"* QUOTA")]
    assert root == b'* QUOTAROOT INBOX "User quota"'
    return found


def append(client: Imap, number: int = 1, box: str = "INBOX") -> bytes:
    for k in range(number):
        answer, _ = client.command(f"APPEND {box}", MAIL % b"%d" % k)
    return answer


def work(client: Imap) -> None:
    """Two messages more: one of three is copied, one moved, one removed."""
    assert append(client, 3).startswith(b"OK")
    client.ok("SELECT INBOX")
    uids = sorted(client.fetch("1:* (UID)"))[-3:]
    client.ok(f"UID COPY {uids[0]} Box")
    client.ok(f"UID MOVE {uids[1]} Box")
    client.ok(f"UID STORE {uids[2]} +FLAGS.SILENT (\\Deleted)")
    client.ok(f"UID EXPUNGE {uids[2]}")
    client.ok("CREATE Gone")
    client.ok(f"UID COPY {uids[0]} Gone")
    client.ok("DELETE Gone")


def test_check_10_the_recorded_tree(place: Path) -> None:
    site = Site(place, trees.unpack("dovecot", place))
    recorded = [line.encode() for line in trees.expected("dovecot")["quotaroot_inbox_raw"]]
    before = site.file.read_bytes()
    with site.greenmail() as client:
        assert client.lines("GETQUOTAROOT INBOX") == recorded
        assert append(client).startswith(b"OK")
    head, *_ = site.file.read_bytes().splitlines()
    assert site.file.read_bytes().startswith(before) and head == b"10485760S,1000C"
    with site.dovecot() as client:
        assert quota(client) == b'* QUOTA "User quota" (STORAGE 31 10240 MESSAGE 36 1000)'


def test_work_in_both_with_equal_limits(site: Site) -> None:
    site.rule = "*:storage=10M:messages=1000"
    for number, start in enumerate((site.greenmail, site.dovecot, site.greenmail), 1):
        with start() as client:
            work(client)
            assert f"MESSAGE {3 * number} 1000)".encode() in quota(client)
    site.in_both()
    head, *changes = site.file.read_text().splitlines()
    files = [path for part in ("new", "cur", ".Box/new", ".Box/cur") for path in (site.maildir / part).iterdir()]
    assert head == "10485760S,1000C" and len(changes) > 10
    assert sum(int(line.split()[1]) for line in changes) == len(files) == 9
    assert sum(int(line.split()[0]) for line in changes) == sum(path.stat().st_size for path in files)


def test_limits_that_are_in_the_file_alone(site: Site) -> None:
    site.file.write_text("2500S,9C\n0 0\n")
    with site.greenmail() as client:
        assert append(client, 3).startswith(b"OK")
        assert append(client).startswith(b"NO [OVERQUOTA]")
    with site.dovecot() as client:
        assert append(client).startswith(b"NO [OVERQUOTA]")
        client.ok("SELECT INBOX")
        client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")
        assert append(client).startswith(b"OK")
    assert site.file.read_text().startswith("2500S,9C\n")
    assert site.in_both().startswith(b'* QUOTA "User quota" (STORAGE 1 3 MESSAGE 1 9)')


LETTER = (MAIL % b"letter").replace(b"\r\n", b"\n")


def deliver(program: list[str], maildir: Path) -> int:
    """Let an MDA deliver; its exit status. It runs as the owner of the mail."""
    return subprocess.run(
        program, input=LETTER, timeout=30, cwd=maildir.parent, user=dovecot.OWNER, group=dovecot.OWNER, check=False
    ).returncode


def test_maildrop_delivers_as_long_as_there_is_room(site: Site) -> None:
    maildrop = need("maildrop", "maildrop")
    rules = site.where / "mailfilter"
    rules.write_text(f'to "{site.maildir}"\n')
    rules.chmod(0o600)
    site.rule = "*:messages=4"
    with site.greenmail() as client:
        assert append(client, 2).startswith(b"OK")
        dovecot.give(rules)
        dovecot.give(site.maildir)
        assert deliver([maildrop, str(rules)], site.maildir) == 0
        assert quota(client) == b'* QUOTA "User quota" (MESSAGE 3 4)'
        assert append(client).startswith(b"OK")
        assert deliver([maildrop, str(rules)], site.maildir) != 0, "maildrop read our lines: there is no room"
        assert append(client).startswith(b"NO [OVERQUOTA]")
        client.ok("SELECT INBOX")
        client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")
        assert deliver([maildrop, str(rules)], site.maildir) == 0
        assert quota(client) == b'* QUOTA "User quota" (MESSAGE 4 4)'
    theirs, ours, delivered = site.file.read_text().splitlines()[1:]  # maildrop counted before it refused
    assert theirs.startswith("     ") and delivered.startswith("     ") and ours.startswith("-")


def test_deliverquota_and_the_octets(site: Site) -> None:
    program = [need("deliverquota", "maildrop"), str(site.maildir)]
    site.rule = f"*:bytes={3 * len(LETTER) + 5}"
    with site.greenmail() as client:
        quota(client)
        assert [deliver(program, site.maildir) for _ in range(2)] == [0, 0]
        assert quota(client) == b'* QUOTA "User quota" (STORAGE %d %d)' % (
            -(-2 * len(LETTER) // 1024),
            -(-(3 * len(LETTER) + 5) // 1024),
        )
        assert client.command("APPEND INBOX", MAIL % b"letter")[0].startswith(b"OK")
        assert deliver(program, site.maildir) == 77
        assert client.command("APPEND INBOX", MAIL % b"letter")[0].startswith(b"NO [OVERQUOTA]")
    assert sum(int(line.split()[1]) for line in site.file.read_text().splitlines()[1:]) == 3
