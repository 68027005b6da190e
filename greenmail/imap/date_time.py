"""Dates of RFC 9051 9: INTERNALDATE and the days of SEARCH, in the server's time zone.

Nothing here depends on the locale: month names come from a table. Seconds count since 1970 in UTC.
"""

import io
import os
import re
import struct
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from greenmail.imap.cursor import Cursor

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_NUMBERS = {name.upper(): number for number, name in enumerate(MONTHS, 1)}

_DATE_TEXT = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_DATE_TIME = re.compile(
    rb'"( [0-9]|[0-9]{2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
_MINUTES = tuple(b"%02d:%02d:" % divmod(minute, 60) for minute in range(1440))
_SECONDS = tuple(b"%02d" % second for second in range(60))
_DAY = 86400
_DAYS = 20_000  # days whose names are remembered: fifty years of mail
_LATEST = 253402214400  # 9999-12-31 00:00 UTC: the last day that every zone can show
_LEAP_YEAR = 1_704_067_200  # 1 January 2024
_LOCALTIME = "/etc/localtime"


def load_zone(name: str) -> tzinfo:
    """The IANA time zone of that name; the system's if it is empty. Raises ValueError if there is none.

    The system's is what TZ names, else what /etc/localtime holds, else UTC; tzset(3) says the same.
    """
    if name:
        return _named(name)
    wanted = os.environ.get("TZ", "").removeprefix(":")
    for zone in (_named, _posix) if wanted else ():
        try:
            return zone(wanted)
        except ValueError:
            continue
    if wanted:
        return UTC  # as the C library does with what it does not know
    try:
        with open(_LOCALTIME, "rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return UTC


def _named(name: str) -> tzinfo:
    """Raises ValueError for every kind of wrong name: ZoneInfo raises also KeyError and OSError."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def _posix(rule: str) -> tzinfo:
    """A zone without history, by a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`. Raises ValueError.

    The rule becomes the footer of a time zone file, tzfile(5), that has one type of local time and no transitions.
    """
    block = struct.pack(">4sc15x6I ibb4s", b"TZif", b"2", 0, 0, 0, 0, 1, 4, 0, 0, 0, b"UTC\0")
    zone = ZoneInfo.from_file(io.BytesIO(block + block + b"\n" + rule.encode("utf-8", "replace") + b"\n"))
    # An offset of a whole day is refused only when somebody asks for it.
    for day in range(366):
        datetime.fromtimestamp(_LEAP_YEAR + day * _DAY, zone).utcoffset()
    return zone


def date_time(cur: Cursor) -> int:
    """date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE — RFC 9051 9.

    Seconds since 1970; an earlier moment is 0, since stores keep dates as file times and -1 means "not known".
    """
    found = _DATE_TIME.match(cur.text, cur.pos)
    if found is None:
        raise cur.wrong("expected a date and time")
    day, month, year, hour, minute, second, sign, east, rest = found.groups()
    midnight = _date(cur, day, month, year)
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60 or int(east) > 23 or int(rest) > 59:
        raise cur.wrong("there is no such time")
    cur.pos = found.end()
    offset = (int(east) * 60 + int(rest)) * 60
    seconds = (midnight.toordinal() - _EPOCH) * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    return max(0, seconds - (offset if sign == b"+" else -offset))


_EPOCH = date(1970, 1, 1).toordinal()


def _date(cur: Cursor, day: bytes, month: bytes, year: bytes) -> date:
    number = _NUMBERS.get(month.upper())
    if number is None:
        raise cur.wrong("expected a month such as Jan")
    try:
        return date(int(year), number, int(day))
    except ValueError:
        raise cur.wrong("there is no such day") from None


def search_date(cur: Cursor) -> date:
    """date = date-text / DQUOTE date-text DQUOTE — RFC 9051 9."""
    if not cur.take(b'"'):
        return date_text(cur)
    day = date_text(cur)
    cur.expect(b'"')
    return day


def date_text(cur: Cursor) -> date:
    """date-text = date-day "-" date-month "-" date-year — RFC 9051 9."""
    found = _DATE_TEXT.match(cur.text, cur.pos)
    if found is None:
        raise cur.wrong("expected a date such as 1-Feb-1994")
    day, month, year = found.groups()
    value = _date(cur, day, month, year)
    cur.pos = found.end()
    return value


def format_date_time(seconds: int, zone: tzinfo) -> bytes:
    """date-time, with its quotes: b'"17-Jul-1996 02:44:25 -0700"'. RFC 9051 7.5.2 INTERNALDATE.

    An offset with odd seconds (before the zone had a standard time) is cut to minutes, and the clock with it: the
    moment stays the same.
    """
    seconds = min(max(seconds, 0), _LATEST)
    offset = datetime.fromtimestamp(seconds, zone).utcoffset() or timedelta(0)
    minutes = int(offset.total_seconds() // 60)
    local = datetime.fromtimestamp(seconds + minutes * 60, UTC)
    sign, size = (b"-", -minutes) if minutes < 0 else (b"+", minutes)
    clock = b"%2d-%b-%04d %02d:%02d:%02d" % (
        local.day,
        MONTHS[local.month - 1],
        local.year,
        local.hour,
        local.minute,
        local.second,
    )
    return b'"%b %b%02d%02d"' % (clock, sign, size // 60, size % 60)


class InternalDates:
    """Formats many moments in one zone as `format_date_time` does; what a whole day has in common is kept."""

    __slots__ = ("_days", "_name", "_offsets", "_zone")

    def __init__(self, name: str) -> None:
        """`name` as for `load_zone`, which is done when the first moment is asked for."""
        self._name = name
        self._zone: tzinfo | None = None
        self._offsets: dict[int, tuple[int, bytes] | None] = {}  # UTC day: offset; None where it changes
        self._days: dict[int, bytes] = {}  # local day: its date

    def format(self, moments: Iterable[int]) -> list[bytes]:
        """date-time for each of `moments`, in seconds since 1970."""
        return [self._one(seconds) for seconds in moments]

    def _one(self, seconds: int) -> bytes:
        day = seconds // _DAY
        try:
            known = self._offsets[day]
        except KeyError:
            known = self._learn(day)
        if known is None:
            return format_date_time(seconds, self.zone)
        offset, end = known
        day, second = divmod(seconds + offset, _DAY)
        date = self._days.get(day) or self._date(day)
        return b"%b%b%b%b" % (date, _MINUTES[second // 60], _SECONDS[second % 60], end)

    @property
    def zone(self) -> tzinfo:
        if self._zone is None:
            self._zone = load_zone(self._name)
        return self._zone

    def _learn(self, day: int) -> tuple[int, bytes] | None:
        """What the UTC day has as its offset from its first to its last second; None if there are several."""
        if len(self._offsets) > _DAYS:
            self._offsets.clear()
            self._days.clear()
        first, last = (self._offset(day, second) for second in (0, _DAY - 1))
        self._offsets[day] = None
        if first is not None and first == last:
            size = abs(first) // 60
            end = b' %b%02d%02d"' % (b"-" if first < 0 else b"+", size // 60, size % 60)
            self._offsets[day] = first, end
        return self._offsets[day]

    def _offset(self, day: int, second: int) -> int | None:
        """Seconds east of UTC; None if that is not a number of minutes, or at the two ends of the calendar."""
        moment = day * _DAY + second
        if not _DAY <= moment <= _LATEST - _DAY:
            return None
        offset = int((datetime.fromtimestamp(moment, self.zone).utcoffset() or timedelta(0)).total_seconds())
        return None if offset % 60 else offset

    def _date(self, day: int) -> bytes:
        local = date.fromordinal(day + _EPOCH)
        name = self._days[day] = b'"%2d-%b-%04d ' % (local.day, MONTHS[local.month - 1], local.year)
        return name


def start_of_day(day: date, zone: tzinfo) -> int:
    """The first second of `day` in `zone`, in seconds since 1970; where a day begins at one o'clock, that second."""
    try:
        return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
    except (OverflowError, ValueError):
        return (day.toordinal() - _EPOCH) * 86400  # at the two ends of the calendar


def day_range(day: date, zone: tzinfo) -> tuple[int, int]:
    """First second of `day` in `zone`, and first second of the next: ON is first <= t < next, RFC 9051 6.4.4."""
    if day == date.max:
        first = start_of_day(day, zone)
        return first, first + 86400
    return start_of_day(day, zone), start_of_day(day + timedelta(days=1), zone)
