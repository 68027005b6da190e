"""One command: it is parsed, or BadSyntax or Refused says why not. What was parsed can be written and parsed again."""

from itertools import pairwise

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar, serialize
from greenmail.imap.cursor import Cursor
from greenmail.imap.date_time import date_time, day_range, format_date_time, load_zone, search_date
from greenmail.imap.registry import COMMANDS
from greenmail.imap.section import format_section, section
from greenmail.imap.sequence_set import compact, join, ranges_of, resolve, sequence_set, uid_set

LATEST = 253402214400  # the last day of the year 9999, which no zone takes into the next
ZONES = [load_zone("UTC"), load_zone("Europe/Berlin"), load_zone("America/St_Johns")]


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    utf8, text = bool(data[0] & 1), data[1:]
    _command(text, utf8)
    _set(text)
    _name(text, utf8)
    _string(text, utf8)
    _date(text)
    _day(text)
    _section(text)


def _command(text: bytes, utf8: bool) -> None:
    """`[UID SP] name ...`, as `execute` reads it."""
    cur = Cursor(text, utf8=utf8)
    try:
        name = grammar.atom(cur).upper()
        uid = name == "UID"
        if uid:
            cur.space()
            name = grammar.atom(cur).upper()
        command = COMMANDS.get(name)
        if command is None or (uid and not command.uid):
            return
        command.parse(cur, uid)
        cur.end()
    except (BadSyntax, Refused) as why:
        assert why.text.isprintable() and "\n" not in why.text, why.text
    assert 0 <= cur.pos <= len(text)
    assert cur.depth <= cur.max_depth + 1


def _set(text: bytes) -> None:
    cur = Cursor(text)
    try:
        found = sequence_set(cur)
    except BadSyntax:
        return
    assert sequence_set(Cursor(text[: cur.pos])) == found
    ranges = resolve(found, 1000)
    assert all(0 < first <= last for first, last in ranges)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(ranges)), "ascending, disjoint, not adjacent"
    assert join(ranges) == ranges
    uids = [uid for first, last in ranges for uid in range(first, min(last, 5000) + 1)]
    if uids:
        assert uid_set(Cursor(compact(uids))) == ranges_of(uids)


def _date(text: bytes) -> None:
    """What APPEND takes as the time of a message, FETCH writes so that it is the same time."""
    cur = Cursor(text)
    try:
        seconds = date_time(cur)
    except BadSyntax:
        return
    for zone in ZONES:
        written = format_date_time(seconds, zone)
        assert date_time(Cursor(written)) == min(seconds, LATEST), (text, written)


def _day(text: bytes) -> None:
    try:
        wanted = search_date(Cursor(text))
    except BadSyntax:
        return
    for zone in ZONES:
        first, behind = day_range(wanted, zone)
        assert 0 < behind - first <= 90_000


def _section(text: bytes) -> None:
    cur = Cursor(text)
    try:
        found = section(cur)
    except BadSyntax:
        return
    assert section(Cursor(format_section(found))) == found


def _name(text: bytes, utf8: bool) -> None:
    cur = Cursor(text, utf8=utf8)
    try:
        name = grammar.mailbox(cur)
    except (BadSyntax, Refused):
        return
    assert "\0" not in name
    written = serialize.mailbox(name, utf8)
    assert grammar.mailbox(Cursor(written, utf8=utf8)) == name, (name, written)


def _string(text: bytes, utf8: bool) -> None:
    octets = text.replace(b"\0", b"")
    assert grammar.string(Cursor(serialize.string(octets, utf8), utf8=utf8)) == octets
    assert grammar.astring(Cursor(serialize.astring(octets, utf8), utf8=utf8)) == octets
