"""How fast a client may be."""

from hypothesis import given
from hypothesis import strategies as st

from greenmail.pace import Pace


def test_a_minutes_commands_at_once_and_then_one_after_the_other() -> None:
    pace = Pace(60)
    assert [pace.wait(100.0) for _ in range(60)] == [0.0] * 60
    assert [pace.wait(100.0) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert pace.wait(104.0) == 0.0
    assert pace.wait(10_000.0) == 0.0


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(0)
    assert all(pace.wait(1.0) == 0.0 for _ in range(1000))


def test_a_clock_that_goes_back_gives_nothing() -> None:
    pace = Pace(60)
    for _ in range(60):
        pace.wait(100.0)
    assert pace.wait(50.0) == 1.0


@given(st.integers(1, 1000), st.lists(st.floats(0, 10), max_size=300))
def test_no_minute_has_more_than_twice_its_commands(limit: int, pauses: list[float]) -> None:
    """One bucket that was full, and what came in meanwhile."""
    pace, now, done = Pace(limit), 1.0, []
    for pause in pauses:
        now += pause
        now += pace.wait(now)
        done.append(now)
    assert all(sum(start <= at < start + 60 for at in done) <= 2 * limit + 1 for start in done)
