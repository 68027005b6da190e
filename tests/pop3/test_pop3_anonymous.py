"""AUTH ANONYMOUS in POP3: RFC 5034 4, RFC 4505."""

import pytest

from greenmail.auth.sasl import MECHANISMS
from greenmail.storage.guest import GuestAccount

from .pop3_host import Host


@pytest.fixture
def host():
    made = Host(mechanisms=tuple(MECHANISMS), pop3_login_delay=60)
    account = made.account
    made.services = type(made.services)(
        **{
            **{name: getattr(made.services, name) for name in made.services.__dataclass_fields__},
            "open_account": lambda user: GuestAccount(account) if user.is_anonymous else account,
        }
    )
    made.users.anonymous_user = "alice"
    made.seats.wait = 60.0  # for whoever is no guest
    return made


def guest(host):
    wire = host.connect()
    assert host.talk(wire, b"AUTH ANONYMOUS c2lyaGM=\r\n").startswith(b"+OK Logged in, 3 messages")
    return wire


def test_it_is_offered_only_with_the_setting(host):
    wire = host.connect()
    assert b" ANONYMOUS\r\n" in host.talk(wire, b"CAPA\r\n")
    host.users.anonymous_user = ""
    assert b"ANONYMOUS" not in host.talk(wire, b"CAPA\r\n")
    assert host.talk(wire, b"AUTH ANONYMOUS c2lyaGM=\r\n").startswith(b"-ERR")
    host.users.anonymous_user = "alice"
    assert host.talk(wire, b"AUTH ANONYMOUS QA==\r\n").startswith(b"-ERR")
    assert host.talk(wire, b"AUTH ANONYMOUS\r\n") == b"+ \r\n"
    assert host.talk(wire, b"c2lyaGM=\r\n").startswith(b"+OK")


def test_guests_read_and_remove_nothing(host):
    uids, first = host.uids(), host.inbox.first_recent
    wire = guest(host)
    assert b"first" in host.talk(wire, b"RETR 1\r\n")
    assert host.talk(wire, b"DELE 1\r\n").startswith(b"-ERR [SYS/PERM]")
    assert host.talk(wire, b"QUIT\r\n").startswith(b"+OK")
    assert host.uids() == uids and host.flags(uids[0]) == frozenset() and host.inbox.first_recent == first


def test_guests_do_not_wait_for_one_another_and_keep_nobody_out(host):
    """The maildrop's lock is for who can change something; LOGIN-DELAY is one user's."""
    first, second = guest(host), guest(host)
    assert host.seats.polls == []
    host.seats.wait = 0.0
    assert b"-ERR" not in host.talk(host.connect(), b"USER alice\r\nPASS secret\r\n")
    for wire in (first, second):
        assert host.talk(wire, b"STAT\r\n").startswith(b"+OK 3 ")
