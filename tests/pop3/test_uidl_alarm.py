"""The alarm when messages have other unique ids than before."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.pop3.uidl_alarm import SAMPLES, compare

from .pop3_host import Host


def ids(*numbers: int, form: str = "%d") -> list[tuple[str, str]]:
    return [(f"guid{number}", form % number) for number in numbers]


def test_the_first_time_nothing_is_known():
    verdict = compare(b"", ids(1, 2))
    assert (str(verdict), verdict.known) == ("new", 0)
    assert json.loads(verdict.note) == {"guid1": "1", "guid2": "2"}


@pytest.mark.parametrize(
    "then, now, expected",
    [
        (ids(1, 2), ids(1, 2), ("same", 2, 0)),
        (ids(1, 2), ids(2, 3), ("same", 1, 0)),
        (ids(1, 2), ids(3), ("new", 0, 0)),
        (ids(1, 2), [], ("new", 0, 0)),
        (ids(1, 2), ids(1, 2, form="x%d"), ("changed", 2, 2)),
        (ids(1, 2), [*ids(1), *ids(2, form="x%d")], ("changed", 2, 1)),
    ],
)
def test_what_became_of_them(then, now, expected):
    verdict = compare(compare(b"", then).note, now)
    assert (str(verdict), verdict.known, verdict.changed) == expected


def test_new_mail_does_not_change_the_note_and_the_oldest_stay_in_it():
    first = compare(b"", ids(*range(30)))
    assert set(json.loads(first.note)) == {f"guid{number}" for number in range(SAMPLES)}
    assert compare(first.note, ids(*range(40))).note == first.note
    later = compare(first.note, ids(*range(10, 40)))
    assert set(json.loads(later.note)) == {f"guid{number}" for number in range(10, 26)}


def test_no_more_messages_are_looked_at_than_it_takes():
    noted = compare(b"", ids(*range(SAMPLES))).note
    now = iter(ids(*range(SAMPLES + 5)))
    assert str(compare(noted, now)) == "same"
    assert next(now) == ("guid16", "16")
    rest = iter(ids(*range(1, SAMPLES + 5)))  # the first is gone: it might come later
    assert compare(noted, rest).known == SAMPLES - 1 and list(rest) == []


@given(st.binary(max_size=40) | st.sampled_from([b"[1]", b'{"guid1": 5}', b"[" * 100_000, b'{"guid1": "1"']))
def test_a_note_that_is_none_is_forgotten(note):
    assert str(compare(note, ids(1))) == "new"


def test_a_session_says_it_once(caplog):
    caplog.set_level(logging.INFO)
    host = Host()
    host.talk(host.login(), b"UIDL\r\nQUIT\r\n")
    assert " uidl=new " in caplog.messages[-1]
    host.talk(host.login(), b"UIDL\r\nQUIT\r\n")
    assert " uidl=same " in caplog.messages[-1]
    host.talk(host.login(), b"STAT\r\nUIDL 1\r\nQUIT\r\n")
    assert " uidl=none " in caplog.messages[-1]
    host.inbox.uidvalidity += 1
    caplog.clear()
    host.talk(host.login(), b"UIDL\r\nUIDL\r\nQUIT\r\n")
    alarms = [line for line in caplog.messages if line.startswith("pop3-uidl-changed")]
    assert len(alarms) == 1 and "user='alice' changed=3 of=3" in alarms[0]
    assert " uidl=changed " in caplog.messages[-1]
    caplog.clear()
    host.talk(host.login(), b"UIDL\r\nQUIT\r\n")
    assert " uidl=same " in caplog.messages[-1]
