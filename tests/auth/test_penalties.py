"""What an address has to wait for that guesses passwords."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth import penalties
from greenmail.auth.penalties import BanRule, Listed, Penalties, Toll, network

HERE = "192.0.2.7"


@pytest.mark.parametrize(
    "address, counts_as",
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::1", "2001:db8:1::/48"),
        ("2001:db8:2::1", "2001:db8:2::/48"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_one_address(address: str, counts_as: str) -> None:
    assert network(address) == counts_as


def test_each_failure_costs_more_up_to_fifteen_seconds() -> None:
    kept = Penalties(BanRule())
    waits = []
    for number in range(6):
        waits.append(kept.toll(HERE, float(number)).wait)
        kept.failed(HERE, f"try {number}", float(number))
    assert waits == [0, 2, 4, 8, 15, 15]
    assert kept.toll("192.0.2.8", 6.0) == Toll()


def test_it_is_forgotten_after_half_a_minute_and_by_a_success() -> None:
    kept = Penalties(BanRule())
    kept.failed(HERE, "a", 0.0)
    assert kept.toll(HERE, 28.9).wait == 2
    assert kept.toll(HERE, 29.0).wait == 0
    kept.failed(HERE, "b", 40.0)
    assert kept.toll(HERE, 41.0).wait == 2, "it begins anew"
    kept.succeeded(HERE)
    assert kept.toll(HERE, 41.0) == Toll()
    assert kept.listed(41.0) == []


def test_the_same_wrong_password_counts_once() -> None:
    kept = Penalties(BanRule(failures=3))
    for at in range(50):
        assert not kept.failed(HERE, "old password", float(at))
    assert kept.toll(HERE, 1.0).wait == 2
    for number in range(9):
        kept.failed(HERE, f"other {number}", 50.0)
    assert kept.clear(HERE) == 1


def test_what_is_not_among_the_last_ten_tries_counts_again() -> None:
    kept = Penalties(BanRule(failures=12))
    bans = [kept.failed(HERE, f"try {number % 11}", 0.0) for number in range(12)]
    assert bans == [False] * 11 + [True]


def test_a_proof_that_says_nothing_of_the_password_always_counts() -> None:
    kept = Penalties(BanRule(failures=3))
    assert [kept.failed(HERE, "", float(at)) for at in range(3)] == [False, False, True]


def test_a_ban_ends_and_counts_within_its_window_only() -> None:
    kept = Penalties(BanRule(failures=3, window=100.0, time=50.0))
    assert not kept.failed(HERE, "a", 0.0)
    assert not kept.failed(HERE, "b", 60.0)
    assert not kept.failed(HERE, "c", 101.0), "the first is no longer counted"
    assert kept.listed(101.0) == [Listed(HERE, 1, 2.0, 2, 0.0)]
    assert kept.failed(HERE, "d", 102.0)
    assert kept.toll(HERE, 151.9).is_banned
    assert kept.banned(110.0) == {HERE: 42.0}
    assert not kept.toll(HERE, 152.0).is_banned
    kept.succeeded(HERE)
    assert kept.banned(152.0) == {}


def test_a_ban_is_lifted() -> None:
    kept = Penalties(BanRule(failures=1))
    assert kept.failed("2001:db8::1", "a", 0.0)
    assert kept.toll("2001:db8:0:9::9", 1.0).is_banned
    assert kept.clear("2001:db8::5") == 1
    assert kept.toll("2001:db8::1", 1.0) == Toll()
    kept.failed(HERE, "a", 0.0)
    assert kept.clear() == 1 and kept.clear() == 0 and kept.clear(HERE) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalties, "MOST", 10)
    kept = Penalties(BanRule())
    for number in range(100):
        kept.failed(f"192.0.2.{number}", "a", float(number))
        kept.failed(HERE, f"{number}", float(number))
    assert kept.toll(HERE, 100.0).wait == 15
    assert len(kept.listed(100.0)) == 10


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from("abcdefghijklmno"), st.booleans())))
def test_no_wait_without_a_failure_in_the_last_half_minute(tries: list[tuple[float, str, bool]]) -> None:
    kept, now, last = Penalties(BanRule()), 0.0, -1000.0
    for pause, digest, success in tries:
        now += pause
        if success:
            kept.succeeded(HERE)
            last = -1000.0
        else:
            kept.failed(HERE, digest, now)
            last = now
        toll = kept.toll(HERE, now)
        assert toll.wait in penalties.STEPS and not toll.is_banned
        assert not toll.wait or now - last < penalties.FORGOTTEN
