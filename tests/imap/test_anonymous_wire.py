"""AUTHENTICATE ANONYMOUS, and what a guest may do then: RFC 4505, RFC 9051 6.3.10, RFC 5092 6.1.2, RFC 9208 8."""

import logging

import pytest
from harness.engine import Backend, Engine, deliver
from harness.green import Scheduler

from greenmail.auth.api import User
from greenmail.auth.sasl import MECHANISMS
from greenmail.storage.guest import GuestAccount
from greenmail.storage.memory import MemoryStore

MAIL = b"Subject: one\r\n\r\nSi vis pacem, para bellum.\r\n"


class Archive:
    """A server with mail of alice, and an account that anybody may read."""

    def __init__(self, anonymous_user="public"):
        self.scheduler = Scheduler()
        self.store = MemoryStore(now=self.scheduler.clock.now)
        self.public = self.store.open_account("public")
        alice = self.store.open_account("alice")
        self.engine = Engine(
            self.scheduler,
            Backend(lambda: alice, alice),
            mechanisms=tuple(MECHANISMS),
            open_account=self._open,
            others=self,
            url_hosts=("example.com",),
            submit_users=("public",),
            normalize=str.lower,
            quota_set_by="owners",
        )
        self.engine.users.anonymous_user = anonymous_user
        self.engine.users.passwords["public"] = "secret"
        for account in (self.public, alice):
            deliver(account, "INBOX", [(MAIL, 0)])
        self.public.create("List")
        self.public.set_metadata("INBOX", {"/shared/comment": b"all", "/private/comment": b"mine"}, 100)

    def _open(self, user):
        account = self.store.open_account(user.name)
        return GuestAccount(account) if user.is_anonymous else account

    def find(self, name):
        return User(name) if name in self.engine.users.passwords else None

    def account(self, user):
        return self.store.open_account(user.name)

    def guest(self):
        wire = self.engine.connect()
        assert b"a OK" in self.engine.talk(wire, b"a AUTHENTICATE ANONYMOUS c2lyaGM=\r\n")
        return wire

    def user(self, name):
        wire = self.engine.connect()
        assert b"a OK" in self.engine.talk(wire, f"a LOGIN {name} secret\r\n".encode())
        return wire

    def state(self):
        """All that a guest could change."""
        found = {}
        for folder in self.public.folders():
            mailbox = self.public.open(folder.name)
            table = mailbox.table
            rows = [(uid, table.flags_of(row)) for row, uid in enumerate(table.uids)]
            found[folder.name] = rows, mailbox.first_recent, self.public.metadata(folder.name)
            mailbox.close()
        return found, self.public.subscriptions(), dict(self.public.url_keys.all()), self.public.metadata("")


def test_the_example(caplog):
    """RFC 4505 4."""
    caplog.set_level(logging.INFO)
    archive = Archive()
    wire = archive.engine.connect()
    assert b" AUTH=ANONYMOUS" in archive.engine.talk(wire, b"A001 CAPABILITY\r\n")
    assert archive.engine.talk(wire, b"A002 AUTHENTICATE ANONYMOUS\r\n") == b"+ \r\n"
    assert archive.engine.talk(wire, b"c2lyaGM=\r\n").startswith(b"A002 OK [CAPABILITY ")
    assert "user='public' rip=" in caplog.text and "trace='sirhc'" in caplog.text and "mech=ANONYMOUS" in caplog.text


@pytest.mark.parametrize("secure, user", [(True, ""), (False, "public")])
def test_where_it_is_not_offered(secure, user):
    archive = Archive(user)
    wire = archive.engine.connect(secure)
    assert b"ANONYMOUS" not in archive.engine.talk(wire, b"a CAPABILITY\r\n")
    assert archive.engine.talk(wire, b"b AUTHENTICATE ANONYMOUS c2lyaGM=\r\n").startswith(b"b NO ")
    assert archive.engine.users.attempts == []


def test_a_trace_that_is_none_is_bad():
    archive = Archive()
    wire = archive.engine.connect()
    assert b"\r\na BAD " in archive.engine.talk(wire, b"a AUTHENTICATE ANONYMOUS QA==\r\n")
    assert archive.engine.users.attempts == []


READING = [
    (b"SELECT INBOX", b"a OK [READ-ONLY]"),
    (b"STATUS INBOX (MESSAGES UNSEEN)", b"(MESSAGES 1 UNSEEN 1)"),
    (b"MYRIGHTS INBOX", b"* MYRIGHTS INBOX lr\r\n"),
    (b'LIST "" *', b"List"),
    (b"NAMESPACE", b'* NAMESPACE NIL NIL (("" "/"))\r\n'),
    (b"GETQUOTAROOT INBOX", b"* QUOTAROOT INBOX\r\na OK"),
    (b'GETQUOTA ""', b"a NO "),
    (b"GETMETADATA INBOX (/shared/comment /private/comment)", b'(/shared/comment "all" /private/comment NIL)\r\n'),
    (b"UNAUTHENTICATE", b"a OK"),
]


@pytest.mark.parametrize("command, expected", READING)
def test_what_a_guest_may_read(command, expected):
    archive = Archive()
    assert expected in archive.engine.talk(archive.guest(), b"a %b\r\n" % command)


RUMP = b'"imap://public@example.com/INBOX/;uid=1;urlauth=authuser"'
WRITING = [
    b"CREATE x", b"DELETE List", b"RENAME List x", b"RENAME INBOX x", b"SUBSCRIBE List", b"UNSUBSCRIBE List",
    b"APPEND INBOX {1+}\r\nx", b"SETACL INBOX bob lr", b"DELETEACL INBOX bob", b"GETACL INBOX", b"LISTRIGHTS INBOX bob",
    b'SETMETADATA INBOX (/private/comment "x")', b'SETMETADATA "" (/shared/comment "x")',
    b'SETMETADATA "" (/private/filters/values/x "ALL")', b'SETMETADATA List (/private/specialuse "\\\\Junk")',
    b"SETQUOTA \"\" (STORAGE 1)", b"GENURLAUTH %b INTERNAL" % RUMP, b"RESETKEY", b"RESETKEY INBOX",
]  # fmt: skip
WRITING_SELECTED = [
    b"STORE 1 +FLAGS (\\Seen)", b"STORE 1 +FLAGS.SILENT ($Junk)", b"UID STORE 1 -FLAGS (\\Flagged)", b"COPY 1 List",
    b"MOVE 1 List", b"EXPUNGE", b"UID EXPUNGE 1", b"REPLACE 1 INBOX {1+}\r\nx",
]  # fmt: skip


@pytest.mark.parametrize("command", WRITING)
def test_what_a_guest_may_not_change(command):
    archive = Archive()
    before = archive.state()
    answer = archive.engine.talk(archive.guest(), b"a %b\r\n" % command)
    assert answer.startswith(b"a NO "), answer
    assert archive.state() == before


@pytest.mark.parametrize("command", WRITING_SELECTED)
@pytest.mark.parametrize("select", [b"SELECT", b"EXAMINE"])
def test_what_a_guest_may_not_change_in_a_mailbox(select, command):
    archive = Archive()
    before = archive.state()
    wire = archive.guest()
    assert b"READ-ONLY" in archive.engine.talk(wire, b"s %b INBOX\r\n" % select)
    answer = archive.engine.talk(wire, b"a %b\r\n" % command)
    assert b"a NO " in answer, answer
    assert archive.state() == before


def test_what_a_guest_reads_is_not_seen_by_it():
    archive = Archive()
    before, wire = archive.state(), archive.guest()
    archive.engine.talk(wire, b"s SELECT INBOX\r\n")
    assert b"para bellum" in archive.engine.talk(wire, b"a FETCH 1 BODY[]\r\n")
    assert b"c OK" in archive.engine.talk(wire, b"c CLOSE\r\n")
    assert archive.state() == before


def test_the_user_himself_may_do_what_he_could_before():
    archive = Archive()
    wire = archive.user("public")
    assert b"a OK" in archive.engine.talk(wire, b"a CREATE x\r\n")
    assert b"s OK [READ-WRITE]" in archive.engine.talk(wire, b"s SELECT INBOX\r\n")


@pytest.mark.parametrize(
    "access, is_shown",
    [("anonymous", True), ("authuser", False), ("user+public", False), ("submit+public", False), ("user+alice", False)],
)
@pytest.mark.parametrize("owner", ["alice", "public"])
def test_which_urls_are_for_guests(owner, access, is_shown):
    """RFC 5092 6.1.2: "authuser" is prohibited to anonymous sessions."""
    archive = Archive()
    rump = f"imap://{owner}@example.com/INBOX/;uid=1/;section=TEXT;urlauth={access}"
    answer = archive.engine.talk(archive.user(owner), f'g GENURLAUTH "{rump}" INTERNAL\r\n'.encode())
    url = answer.split(b'"')[1]
    found = archive.engine.talk(archive.guest(), b'u URLFETCH "%b"\r\n' % url)
    assert (b"para bellum" in found) is is_shown and b"u OK" in found


def test_nobody_is_a_guest_any_more_after_unauthenticate():
    archive = Archive()
    wire = archive.guest()
    assert b"a OK" in archive.engine.talk(wire, b"a UNAUTHENTICATE\r\n")
    assert b"b OK" in archive.engine.talk(wire, b"b LOGIN alice secret\r\n")
    assert b"c OK" in archive.engine.talk(wire, b"c CREATE x\r\n")
    assert b"d OK" in archive.engine.talk(wire, b"d UNAUTHENTICATE\r\n")
    assert b"e OK" in archive.engine.talk(wire, b"e AUTHENTICATE ANONYMOUS =\r\n")
    assert b"f NO " in archive.engine.talk(wire, b"f CREATE y\r\n")
