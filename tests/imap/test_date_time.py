"""Dates and times in a zone, whatever locale and TZ are; RFC 9051 9, 6.4.4."""

import os
import time
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import (
    InternalDates,
    date_text,
    date_time,
    day_range,
    format_date_time,
    load_zone,
    search_date,
    start_of_day,
)

BERLIN = ZoneInfo("Europe/Berlin")
CHATHAM = ZoneInfo("Pacific/Chatham")


def at(text):
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    "text, expected",
    [
        (b'"17-Jul-1996 02:44:25 -0700"', "1996-07-17T09:44:25+00:00"),  # RFC 9051 8
        (b'" 7-Feb-1994 21:52:25 -0800"', "1994-02-08T05:52:25+00:00"),  # RFC 9051 6.3.12
        (b'"01-jAN-1970 00:00:00 +0000"', "1970-01-01T00:00:00+00:00"),
        (b'"31-Dec-2016 23:59:60 +0000"', "2017-01-01T00:00:00+00:00"),  # a leap second
        (b'"29-Feb-2024 00:00:00 +1245"', "2024-02-28T11:15:00+00:00"),
        (b'"31-Dec-1969 23:59:59 +0000"', "1970-01-01T00:00:00+00:00"),  # never -1, which means "not known"
        (b'"01-Jan-0001 00:00:00 +0000"', "1970-01-01T00:00:00+00:00"),
        (b'"31-Dec-9999 23:59:59 -2359"', None),
    ],
)
def test_date_time(text, expected):
    cur = Cursor(text)
    seconds = date_time(cur)
    cur.end()
    if expected is not None:
        assert seconds == at(expected)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"17-Jul-1996 02:44:25 -0700",
        b'"7-Jul-1996 02:44:25 -0700"',  # date-day-fixed: two places
        b'"17-Jul-96 02:44:25 -0700"',
        b'"17-Juli-1996 02:44:25 -0700"',
        b'"17-Xyz-1996 02:44:25 -0700"',
        b'"30-Feb-1996 02:44:25 -0700"',
        b'"00-Feb-1996 02:44:25 -0700"',
        b'"29-Feb-2023 02:44:25 -0700"',
        b'"17-Jul-0000 02:44:25 -0700"',
        b'"17-Jul-1996 24:00:00 -0700"',
        b'"17-Jul-1996 02:60:25 -0700"',
        b'"17-Jul-1996 02:44:61 -0700"',
        b'"17-Jul-1996 02:44:25 -0760"',
        b'"17-Jul-1996 02:44:25 -2400"',
        b'"17-Jul-1996 02:44:25 PDT"',
        b'"17-Jul-1996 2:44:25 -0700"',
        b'"17-Jul-1996  02:44:25 -0700"',
    ],
)
def test_what_is_no_date_time(text):
    with pytest.raises(BadSyntax):
        date_time(Cursor(text))


@pytest.mark.parametrize(
    "moment, zone, expected",
    [
        ("1996-07-17T09:44:25+00:00", timezone(timedelta(hours=-7)), b'"17-Jul-1996 02:44:25 -0700"'),
        ("1994-02-08T05:52:25+00:00", timezone(timedelta(hours=-8)), b'" 7-Feb-1994 21:52:25 -0800"'),
        ("2024-03-31T00:59:59+00:00", BERLIN, b'"31-Mar-2024 01:59:59 +0100"'),
        ("2024-03-31T01:00:00+00:00", BERLIN, b'"31-Mar-2024 03:00:00 +0200"'),
        ("2024-10-27T00:30:00+00:00", BERLIN, b'"27-Oct-2024 02:30:00 +0200"'),
        ("2024-10-27T01:30:00+00:00", BERLIN, b'"27-Oct-2024 02:30:00 +0100"'),
        ("2024-01-01T00:00:00+00:00", CHATHAM, b'" 1-Jan-2024 13:45:00 +1345"'),
        ("2024-07-01T00:00:00+00:00", CHATHAM, b'" 1-Jul-2024 12:45:00 +1245"'),
        ("2024-01-01T12:00:00+00:00", ZoneInfo("America/St_Johns"), b'" 1-Jan-2024 08:30:00 -0330"'),
        ("1971-06-01T00:00:00+00:00", ZoneInfo("Africa/Monrovia"), b'"31-May-1971 23:15:00 -0045"'),  # -00:44:30 then
        ("1970-01-01T00:00:00+00:00", UTC, b'" 1-Jan-1970 00:00:00 +0000"'),
    ],
)
def test_format_date_time(moment, zone, expected):
    assert format_date_time(at(moment), zone) == expected


@pytest.mark.parametrize("seconds", [-1, -(10**18), 10**18])
def test_dates_beyond_the_calendar_are_still_dates(seconds):
    for zone in (UTC, CHATHAM, timezone(timedelta(hours=-23))):
        date_time(Cursor(format_date_time(seconds, zone)))


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"1-Feb-1994", date(1994, 2, 1)),  # RFC 9051 6.4.4
        (b"01-Feb-1994", date(1994, 2, 1)),
        (b'"31-dEC-2024"', date(2024, 12, 31)),
    ],
)
def test_search_date(text, expected):
    cur = Cursor(text)
    assert search_date(cur) == expected
    cur.end()


@pytest.mark.parametrize(
    "text",
    [b"", b" 1-Feb-1994", b"1-Feb-94", b"1-Fev-1994", b"30-Feb-1994", b"0-Jan-1994", b'"1-Feb-1994', b"1-Feb-0000"],
)
def test_what_is_no_search_date(text):
    with pytest.raises(BadSyntax):
        search_date(Cursor(text))


@pytest.mark.parametrize(
    "day, zone, first, last",
    [
        (date(2024, 1, 2), UTC, "2024-01-02T00:00:00+00:00", "2024-01-03T00:00:00+00:00"),
        (date(2024, 3, 31), BERLIN, "2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"),  # 23 hours
        (date(2024, 10, 27), BERLIN, "2024-10-27T00:00:00+02:00", "2024-10-28T00:00:00+01:00"),  # 25 hours
        # Brazil's summer began at midnight: 00:00 did not exist, the day begins at 01:00 -0200.
        (date(2018, 11, 4), ZoneInfo("America/Sao_Paulo"), "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"),
        # Samoa had no 30 December 2011.
        (date(2011, 12, 30), ZoneInfo("Pacific/Apia"), "2011-12-30T10:00:00+00:00", "2011-12-30T10:00:00+00:00"),
        (date(2024, 1, 2), CHATHAM, "2024-01-02T00:00:00+13:45", "2024-01-03T00:00:00+13:45"),
    ],
)
def test_day_range(day, zone, first, last):
    assert day_range(day, zone) == (at(first), at(last))


@pytest.mark.parametrize("day", [date.min, date.max])
@pytest.mark.parametrize("zone", [UTC, CHATHAM, timezone(timedelta(hours=-23))])
def test_the_ends_of_the_calendar(day, zone):
    first, last = day_range(day, zone)
    assert first < last
    assert start_of_day(day, zone) == first


def test_load_zone():
    assert load_zone("Europe/Berlin").utcoffset(datetime(2024, 7, 1)) == timedelta(hours=2)
    for name in ("Europe/Nowhere", "../../etc/passwd", "/etc/passwd", "\0"):
        with pytest.raises(ValueError):
            load_zone(name)


@pytest.fixture
def tz():
    """Set TZ as the shell would; put back afterwards."""
    before = os.environ.get("TZ")

    def change(value):
        os.environ.pop("TZ", None)
        if value is not None:
            os.environ["TZ"] = value
        time.tzset()

    yield change
    change(before)


@pytest.mark.parametrize(
    "value, offset", [("Pacific/Chatham", 13.75), (":Europe/Berlin", 1), ("UTC", 0), ("No/Such_Zone", 0)]
)
def test_the_systems_zone_is_that_of_tz(tz, value, offset):
    tz(value)
    assert load_zone("").utcoffset(datetime(2024, 1, 1)) == timedelta(hours=offset)


def test_the_systems_zone_agrees_with_the_c_library(tz):
    tz(None)
    moment = at("2024-07-01T12:00:00+00:00")
    local = time.localtime(moment)
    assert load_zone("").utcoffset(datetime(*local[:6])) == timedelta(seconds=local.tm_gmtoff)


@pytest.mark.parametrize("rule", ["CET-1CEST,M3.5.0,M10.5.0/3", "<+1245>-12:45", "EST5EDT,M3.2.0,M11.1.0"])
def test_a_rule_in_tz_agrees_with_the_c_library(tz, rule):
    tz(rule)
    for month in (1, 7):
        moment = at(f"2024-{month:02}-15T12:00:00+00:00")
        local = time.localtime(moment)
        assert datetime.fromtimestamp(moment, load_zone("")).utcoffset() == timedelta(seconds=local.tm_gmtoff)


@pytest.mark.parametrize("rule", ["n24", "CET24", "CET-24CEST,M3.5.0,M10.5.0/3", "CET-1CEST-24,J200,J300"])
def test_a_rule_in_tz_with_an_offset_of_a_day_is_none(tz, rule):
    """`ZoneInfo` takes it, and has no times for it: then each INTERNALDATE would be a bug. Found by fuzzing."""
    tz(rule)
    assert load_zone("") is UTC


def test_named_zones_do_not_depend_on_tz(tz):
    tz("Pacific/Chatham")
    assert format_date_time(0, BERLIN) == b'" 1-Jan-1970 01:00:00 +0100"'
    assert start_of_day(date(2024, 1, 1), UTC) == at("2024-01-01T00:00:00+00:00")


zones = st.sampled_from([UTC, BERLIN, CHATHAM, ZoneInfo("Africa/Monrovia"), ZoneInfo("America/St_Johns")])


@given(st.integers(0, 253402214400), zones)
def test_a_moment_comes_back(seconds, zone):
    cur = Cursor(format_date_time(seconds, zone))
    assert date_time(cur) == seconds
    cur.end()


@given(st.integers(0, 4102444800), zones)
def test_a_moment_lies_in_the_day_that_is_shown(seconds, zone):
    shown = format_date_time(seconds, zone)
    cur = Cursor(shown[1:12].lstrip())
    first, last = day_range(date_text(cur), zone)
    # Monrovia had odd seconds before 1972, which a date-time cannot show.
    assert first - 60 <= seconds < last + 60


@given(st.one_of(st.binary(), st.text('"0123456789-:+ JanFeb').map(str.encode)))
def test_any_octets_give_a_date_or_bad_syntax(text):
    for rule in (date_time, search_date, date_text):
        try:
            rule(Cursor(text))
        except BadSyntax:
            pass


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Pacific/Chatham", "America/St_Johns", "Africa/Monrovia"])
@given(st.lists(st.integers(-1, 2**38), max_size=20))
def test_many_moments_are_formatted_as_one_is(name, moments):
    days = [711_846_000, 1_711_846_800, 1_729_990_800, 63_593_070]  # of changes of the offset, and around them
    moments = [*moments, *(day + near for day in days for near in (-86_400, -1, 0, 1, 86_400))]
    zone = load_zone(name)
    dates = InternalDates(name)
    assert dates.format(moments) == [format_date_time(moment, zone) for moment in moments]
    assert dates.format(moments) == [format_date_time(moment, zone) for moment in moments]
