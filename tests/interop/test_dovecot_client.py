"""Dovecot's own client side: `doveadm backup` and `sync` by imapc, from GreenMail into a Maildir of Dovecot, and back.

What imapc cannot do with any server is to make a mailbox there, which would need the GUID of the other one, and to know
that one was deleted there: in `sync` nothing of the kind happens.
"""

import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from support import dovecot
from support import server as greenmail
from support.interop_site import Site, make_box, need
from support.wire_client import parse

pytestmark = pytest.mark.interop

CONFIG = """\
base_dir = {where}/base
state_dir = {where}/state
log_path = {where}/log
ssl = no
ssl_client_ca_file = {cert}
mail_location = maildir:{where}/Maildir
mail_home = {where}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 0
last_valid_uid = 0
first_valid_gid = 0
default_internal_user = {owner}
default_internal_group = {owner}
default_login_user = {owner}
namespace inbox {{
  inbox = yes
  separator = /
}}
imapc_host = 127.0.0.1
imapc_port = {port}
imapc_ssl = imaps
imapc_user = alice
imapc_password = secret
imapc_features = rfc822.size fetch-headers fetch-bodystructure search modseq
"""
State = dict[str, tuple[int, dict[int, tuple[frozenset[str], str]]]]


@dataclass
class Both:
    """GreenMail with mail of `alice`, and a Dovecot without any, of which only `doveadm` runs."""

    site: Site
    where: Path

    def doveadm(self, *words: str) -> list[list[str]]:
        """The lines that it says, as fields."""
        owner = pwd.getpwnam(dovecot.OWNER)
        done = subprocess.run(
            [need("doveadm", "dovecot-core"), "-f", "tab", "-c", str(self.where / "dovecot.conf"), *words],
            env={"USER": "alice", "HOME": str(self.where), "PATH": os.environ["PATH"]},
            user=owner.pw_uid, group=owner.pw_gid, extra_groups=[],
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.site.server.logged()[-3000:]}"
        assert "Error:" not in done.stderr and "Warning:" not in done.stderr, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def theirs(self) -> State:
        """What Dovecot has: UIDVALIDITY, and flags and date by UID, of each mailbox."""
        found: State = {}
        for name, _, uidvalidity in self.doveadm("mailbox", "status", "messages uidvalidity", "*")[1:]:
            rows = self.doveadm("fetch", "uid flags date.received", "mailbox", name)[1:]
            messages = {int(uid): (frozenset(flags.split()) - {"\\Recent"}, date) for uid, flags, date in rows}
            found[name] = int(uidvalidity), messages
        return found

    def ours(self) -> State:
        """The same by GreenMail."""
        found: State = {}
        with self.site.imap() as client:
            client.ok("ENABLE IMAP4rev2")
            for parts in client.ok('LIST "" * RETURN (STATUS (UIDVALIDITY))'):
                words = parse(parts)
                if words[1] == "STATUS":
                    name = str(words[2]).encode("latin-1").decode()
                    client.ok(f'EXAMINE "{name}"')
                    found[name] = (
                        words[3][1],
                        {
                            uid: (frozenset(items["FLAGS"]) - {"\\Recent"}, local_time(items["INTERNALDATE"]))
                            for uid, items in client.fetch("1:* (FLAGS INTERNALDATE)").items()
                        },
                    )
        return found


def local_time(date: str) -> str:
    """INTERNALDATE as doveadm writes it."""
    return datetime.strptime(date, "%d-%b-%Y %H:%M:%S %z").astimezone().strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture
def both(place: Path) -> Iterator[Both]:
    need("doveadm", "dovecot-core")
    if os.getuid() != 0:
        pytest.skip("doveadm is to run as another user, which needs root here")
    maildir = place / "alice" / "Maildir"
    for name in ("", ".Sent", ".Archive", ".Archive.2024", ".New", ".Entw&APw-rfe"):
        make_box(maildir, name)
    where = place / "dovecot"
    where.mkdir()
    owner = pwd.getpwnam(dovecot.OWNER)
    os.chown(where, owner.pw_uid, owner.pw_gid)
    with greenmail.start(place / "run", str(place / "%u" / "Maildir"), workers=1) as server:
        (place / "run").chmod(0o755)
        values = {"uid": owner.pw_uid, "gid": owner.pw_gid, "owner": dovecot.OWNER, "port": server.imaps}
        (where / "dovecot.conf").write_text(CONFIG.format(where=where, cert=server.cert, **values))
        made = Both(Site(server, maildir, where), where)
        for number in range(1, 11):
            made.site.deliver(number, flags="S" if number % 2 else None)
        made.site.deliver(11, ".Sent", flags="RS")
        yield made


def change(site: Site) -> None:
    """What another client did meanwhile: flags, a keyword, expunges, a move, new mail, a mailbox."""
    with site.imap() as client:
        client.ok("SELECT INBOX")
        client.ok("UID STORE 3:4 +FLAGS (\\Flagged $Label1)")
        client.ok("UID STORE 5 -FLAGS (\\Seen)")
        client.ok("UID STORE 6:7 +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
        client.ok("UID MOVE 1 Archive/2024")
        client.ok('CREATE "New/below"')
        client.ok("SUBSCRIBE Archive/2024")
        client.ok('APPEND INBOX (\\Draft) "01-Feb-2024 10:00:00 +0000"', b"Subject: later\r\n\r\nx\r\n")


def test_backup_has_everything_and_follows(both: Both) -> None:
    """UIDs, UIDVALIDITY, flags, keywords, dates, mailboxes and subscriptions; a second backup brings what changed."""
    both.doveadm("backup", "-R", "imapc:")
    theirs, ours = both.theirs(), both.ours()
    assert len(ours["INBOX"][1]) == 10 and "Entwürfe" in ours
    assert {name: theirs[name] for name in ours} == ours
    change(both.site)
    with both.site.imap() as client:
        client.ok("DELETE Sent")
    both.doveadm("backup", "-R", "imapc:")
    theirs, ours = both.theirs(), both.ours()
    assert {name: theirs[name] for name in ours} == ours
    assert "Sent" not in theirs and "New/below" in theirs
    assert "$Label1" in ours["INBOX"][1][3][0] and not {1, 6, 7} & set(ours["INBOX"][1])
    assert ["Archive/2024"] in both.doveadm("mailbox", "list", "-s")
    (source,) = both.doveadm("fetch", "body", "mailbox", "Archive/2024")[2:3]
    assert source


def test_sync_goes_both_ways(both: Both) -> None:
    """What either side did since the last time is on both, with one UID; then there is nothing to do."""
    both.doveadm("backup", "-R", "imapc:")
    change(both.site)
    both.doveadm("flags", "add", "\\Answered $Label2", "mailbox", "INBOX", "uid", "8")
    both.doveadm("expunge", "mailbox", "INBOX", "uid", "9")
    letter = both.where / "letter"
    letter.write_text("Subject: by Dovecot\n\nhello\n")
    both.doveadm("save", "-m", "Entwürfe", str(letter))
    for _ in range(2):
        both.doveadm("sync", "imapc:")
        theirs, ours = both.theirs(), both.ours()
        assert {name: theirs[name] for name in ours} == ours
        assert ours["INBOX"][1][8][0] >= {"\\Answered", "$Label2"} and 9 not in ours["INBOX"][1]
        assert len(ours["Entwürfe"][1]) == 1 and not {6, 7} & set(ours["INBOX"][1])
