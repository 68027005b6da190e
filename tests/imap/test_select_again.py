"""SELECT of the mailbox that is selected: nothing is looked up, and everything is as if it had been. RFC 9051 6.3.2."""

from pathlib import Path

import pytest
from harness.engine import KEEPER, USER, Engine, deliver
from harness.green import Scheduler
from harness.stores import STORES

from greenmail.storage.api import AclAction


@pytest.fixture(params=STORES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    scheduler = Scheduler()
    return Engine(scheduler, STORES[request.param](tmp_path)(scheduler))


def test_it_is_as_new_and_the_old_one_is_closed(made: Engine) -> None:
    outside = made.backend.outside
    outside.create("A")
    deliver(outside, "A", [(b"\r\n", 0)] * 2)
    wire = made.login()
    first = made.talk(wire, b"a SELECT A\r\n")
    assert b"* 2 EXISTS\r\n* 2 RECENT\r\n" in first and first.endswith(b"a OK [READ-WRITE] SELECT completed\r\n")
    again = made.talk(wire, b"a SELECT A\r\n")
    assert again.startswith(b"* OK [CLOSED] ") and b"* 2 EXISTS\r\n* 0 RECENT\r\n" in again  # claimed by the first
    deliver(outside, "A", [(b"\r\n", 0)])
    examined = made.talk(wire, b"a EXAMINE A\r\n")
    assert b"* 3 EXISTS\r\n* 1 RECENT\r\n" in examined
    assert examined.endswith(b"a OK [READ-ONLY] EXAMINE completed\r\n")
    assert b"* 3 EXISTS\r\n* 1 RECENT\r\n" in made.talk(wire, b"a SELECT A\r\n")
    assert made.talk(wire, b"a SEARCH RETURN (SAVE) ALL\r\n").endswith(b"completed\r\n")
    made.talk(wire, b"a SELECT A\r\n")
    assert b"FETCH (" not in made.talk(wire, b"a UID FETCH $ (UID)\r\n")  # RFC 5182 2.1


def test_one_that_is_gone_is_closed_and_not_selected(made: Engine) -> None:
    outside = made.backend.outside
    outside.create("A")
    wire = made.login()
    made.talk(wire, b"a SELECT A\r\n")
    outside.delete("A")
    answer = made.talk(wire, b"a SELECT A\r\n")
    assert answer.startswith(b"* OK [CLOSED] ") and b"\r\na NO [NONEXISTENT] " in answer
    assert made.talk(wire, b"a FETCH 1 UID\r\n").startswith(b"a BAD ")
    outside.create("A")
    deliver(outside, "A", [(b"\r\n", 0)])
    assert b"* 1 EXISTS\r\n" in made.talk(wire, b"a SELECT A\r\n")


def test_the_name_may_be_that_of_another_mailbox_now(made: Engine) -> None:
    outside = made.backend.outside
    outside.create("A")
    outside.create("A/below")
    deliver(outside, "A/below", [(b"\r\n", 0)] * 2)
    wire = made.login()
    first = made.talk(wire, b"a SELECT A/below\r\n")
    outside.rename("A", "B")
    outside.create("A/below")
    answer = made.talk(wire, b"a SELECT A/below\r\n")
    assert answer.startswith(b"* OK [CLOSED] ") and b"* 0 EXISTS\r\n" in answer
    assert _mailbox_id(answer) != _mailbox_id(first)
    moved = made.talk(wire, b"a SELECT B/below\r\n")
    assert b"* 2 EXISTS\r\n" in moved and _mailbox_id(moved) == _mailbox_id(first)


def test_who_may_not_read_any_more_has_none_selected(made: Engine) -> None:
    assert made.backend.give is not None
    made.backend.give(KEEPER)
    keeper = made.backend.outside
    keeper.create("A")
    keeper.set_acl("A", USER, AclAction.REPLACE, frozenset("lrs"))
    wire = made.login()
    assert b"\r\na OK [READ-WRITE] " in made.talk(wire, b"a SELECT A\r\n")
    keeper.set_acl("A", USER, AclAction.REPLACE, frozenset("lr"))
    assert b"\r\na OK [READ-ONLY] " in made.talk(wire, b"a SELECT A\r\n")
    keeper.set_acl("A", USER, AclAction.REPLACE, frozenset("l"))
    answer = made.talk(wire, b"a SELECT A\r\n")
    assert answer.startswith(b"* OK [CLOSED] ") and b"\r\na NO [NOPERM] " in answer
    assert made.talk(wire, b"a FETCH 1 UID\r\n").startswith(b"a BAD ")


def _mailbox_id(answer: bytes) -> bytes:
    return answer.partition(b"[MAILBOXID (")[2].partition(b")")[0]
