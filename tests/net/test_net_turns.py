"""Guesses from one address at the same time: many connections are no way around the delay."""

import itertools
from collections import Counter
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from greenmail.auth.api import Denial, Denied, Secret, User
from greenmail.auth.logins import Failed, Logins, Patience
from greenmail.auth.penalties import BanRule, Turns
from greenmail.auth.postfix_auth import Remote
from greenmail.auth.sasl import Credentials
from greenmail.net import guard
from greenmail.net.guard import Gatekeeper, Guard

FREE, LONGEST = Turns().max_logins_at_once_per_address, Turns().max_waiting_logins_per_address
OF_ONE_NAME = int(LONGEST * guard.OF_ONE_NAME)
HERE, THERE = "192.0.2.7", "192.0.2.8"
SECOND = 0.001  # as long as one takes here


class House:
    """A worker with its parent; who may come in knows "right"."""

    takes_tokens = False
    anonymous_user = ""

    def __init__(self, exempt="", turns=None):
        self.gatekeeper = Gatekeeper(BanRule())
        self.guard = Guard(self.hear, lambda address: address == exempt, b"secret", turns=turns)
        self.checked = []  # passwords, in the order in which they were compared
        self.inside = self.most = 0
        self.slept = Counter()
        self.delay = 0.0  # auth-failure-delay

    def hear(self, message):
        for told in self.gatekeeper.hear(message):
            self.guard.told(told)

    def check(self, attempt):
        self.inside += 1
        self.most = max(self.most, self.inside)
        gevent.sleep(0.002)
        self.inside -= 1
        password = attempt.password.reveal()
        self.checked.append(password)
        if password.startswith(b"right"):
            return User(attempt.login)
        return Denied(Denial.MISMATCH, attempt.login, "")

    def guess(self, password, address=HERE, login="alice"):
        def sleep(seconds):
            self.slept[address] += seconds
            gevent.sleep(seconds * SECOND)

        runtime = SimpleNamespace(elapsed=lambda: 0.0, sleep=sleep)
        logins = Logins("imap", "s", Remote(address, secure=True), runtime, None, Patience(99, self.delay), self.guard)
        return logins.check(self, "PLAIN", Credentials(login, Secret(password)))

    def at_once(self, passwords, address=HERE, logins=("alice",)):
        names = itertools.cycle(logins)
        started = [gevent.spawn(self.guess, password, address, next(names)) for password in passwords]
        gevent.joinall(started, timeout=20, raise_error=True)
        return [one.value for one in started]


def known(house, failures):
    for number in range(failures):
        house.guess(b"before %d" % number)
    house.slept.clear()


def test_guesses_at_the_same_time_wait_as_one_after_the_other():
    """Each pays what the one before it has cost."""
    house = House()
    known(house, 1)
    house.at_once([b"guess %d" % number for number in range(6)])
    assert house.slept[HERE] == 2 + 4 + 8 + 15 + 15 + 15
    assert house.most == 1


def test_who_has_not_been_wrong_yet_has_a_few_for_nothing_and_no_more():
    house = House()
    house.at_once([b"guess %d" % number for number in range(12)])
    assert house.most == FREE
    assert house.slept[HERE] == 15 * (12 - FREE)


def test_the_same_password_again_is_no_guess_and_waits_for_nobody():
    house = House()
    known(house, 1)
    house.at_once([b"old password"] * 10)
    assert house.most == 10
    assert house.slept[HERE] == 2 * 10


def test_a_good_password_at_many_connections_is_one_of_them():
    """As a phone does that opens one for each folder."""
    house = House()
    assert house.at_once([b"right"] * 20) == [User("alice")] * 20
    assert house.most == 20 and not house.slept[HERE]


def test_others_and_who_is_exempt_do_not_wait():
    house = House(exempt=THERE)
    known(house, 3)
    started = gevent.spawn(house.at_once, [b"guess %d" % number for number in range(4)])
    gevent.sleep(0)
    house.at_once([b"theirs %d" % number for number in range(12)], THERE)
    assert house.most == 12 and not house.slept[THERE]
    started.get(timeout=20)


def test_many_users_behind_one_address_come_in_one_after_the_other():
    house = House()
    passwords = [b"right %d" % number for number in range(LONGEST)]
    users = [f"user{number}" for number in range(LONGEST)]
    assert house.at_once(passwords, logins=users) == [User(name) for name in users]
    assert not house.slept[HERE] and house.most == FREE


def test_a_line_has_an_end(monkeypatch, caplog):
    caplog.set_level("INFO")
    house = House()
    known(house, 1)
    found = house.at_once([b"guess %d" % number for number in range(LONGEST + 10)], logins=("alice", "bob"))
    assert found.count(Failed(unavailable=True)) == 9
    assert len(house.checked) == 1 + LONGEST + 1
    assert "reason=WAITING" in caplog.text


def test_nobody_waits_for_his_turn_for_ever():
    house = House(turns=Turns(timeout_waiting_login=0.005))
    known(house, 4)
    found = house.at_once([b"guess %d" % number for number in range(3)])
    assert found.count(Failed(unavailable=True)) == 2
    assert house.guess(b"right") == User("alice"), "who went away holds no turn"
    assert not house.guard._lines


@pytest.mark.parametrize("failure", [OSError, gevent.GreenletExit])
def test_a_turn_ends_with_its_connection(failure):
    house = House()

    def broken(attempt):
        raise failure

    check, house.check = house.check, broken
    with pytest.raises(failure):
        house.guess(b"right")
    house.check = check
    assert not house.guard._lines
    assert house.guess(b"right") == User("alice")


def test_a_connection_that_goes_while_it_waits_takes_nobody_s_turn():
    house = House()
    known(house, 1)
    started = [gevent.spawn(house.guess, b"guess %d" % number) for number in range(4)]
    gevent.sleep(0)
    started[1].kill()
    started[0].kill()  # the third is called, and
    started[2].kill()
    assert started[3].get(timeout=20) == Failed(unavailable=False)
    assert not house.guard._lines


def test_proofs_are_each_a_guess():
    """Of SCRAM the password is not known: two proofs cannot be told from each other."""
    house = House()
    house.at_once([b""] * 8)
    assert house.most == FREE


def test_who_is_refused_at_once_has_not_tried_the_password_that_is_being_checked():
    """Or a whole dictionary could be tried, from behind one address, while somebody there comes in."""
    house = House()
    known(house, 4)
    started = [gevent.spawn(house.guess, b"right")]
    gevent.sleep(0)
    started += [gevent.spawn(house.guess, b"guess %d" % number, HERE, f"u{number}") for number in range(LONGEST)]
    gevent.sleep(0)
    before = len(house.checked)
    assert [house.guess(word) for word in (b"wrong", b"right")] == [Failed(unavailable=True)] * 2
    assert len(house.checked) == before
    gevent.killall(started)


def test_who_is_told_to_come_back_later_is_not_told_at_once():
    house = House()
    known(house, 1)
    house.delay = 2.0
    found = house.at_once([b"guess %d" % number for number in range(OF_ONE_NAME + 3)])
    assert found.count(Failed(unavailable=True)) == 2
    waits = 2 + 4 + 8 + 15 * (OF_ONE_NAME - 2)
    assert house.slept[HERE] == waits + 2.0 * (OF_ONE_NAME + 3)


def test_who_guesses_at_one_name_does_not_keep_out_the_others_of_his_address():
    house = House()
    known(house, 1)
    guesses = [gevent.spawn(house.guess, b"guess %d" % number) for number in range(LONGEST + 10)]
    gevent.sleep(0)
    assert house.guess(b"right", login="bob") == User("bob")
    assert house.checked[1:] == [b"guess 0", b"right"]
    gevent.killall(guesses)
    assert not house.guard._lines


@pytest.mark.parametrize("free, waiting", [(FREE, 2), (1, 1), (7, 3)])
def test_how_many_try_and_how_many_wait_are_settings(free: int, waiting: int) -> None:
    """`max-logins-at-once-per-address`, `max-waiting-logins-per-address`: one more than these is told to come back."""
    turns = Turns(max_logins_at_once_per_address=free, max_waiting_logins_per_address=waiting)
    line = guard.Guard(lambda message: None, lambda address: False, b"key", turns=turns)
    refused, over, found = Event(), Event(), list[bool]()

    def guess(number: int) -> None:
        with line.turn(HERE, f"user{number}", b"guess %d" % number) as toll:
            found.append(toll is not None)
            (over.wait if toll is not None else refused.set)()

    guesses = [gevent.spawn(guess, number) for number in range(free + waiting + 1)]
    assert refused.wait(5)
    over.set()
    gevent.joinall(guesses, timeout=5, raise_error=True)
    assert found == [True] * free + [False] + [True] * waiting
