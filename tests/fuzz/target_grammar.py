"""One command: it is parsed, or BadSyntax or Refused says why not. What was parsed can be written and parsed again."""

import contextlib
import os
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from typing import Any

from harness import response_grammar, response_messages, response_octets

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import date_time, grammar, sequence_set, serialize
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import BinaryItem, BodyItem, RenderedItem, fetch_att, fetch_atts, named
from greenmail.imap.registry import COMMANDS, FETCH_ATTS
from greenmail.imap.section import format_section, section, section_binary

LATEST = 253402214400  # the last day of the year 9999, which no zone takes into the next
ZONES = {name: date_time.load_zone(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia")}
DATES = {name: date_time.InternalDates(name) for name in ZONES}
MACROS = {b"FAST": ("FLAGS", "INTERNALDATE")}

# Rules that nothing is written for: whatever comes is read, or BadSyntax.
RULES: tuple[Callable[[Cursor], Any], ...] = (
    grammar.tag, grammar.tagged_ext_label, grammar.capability, grammar.auth_type, grammar.base64, grammar.literal8,
    grammar.nstring, grammar.astring_text, grammar.userid, grammar.password, grammar.astring, grammar.charset,
    grammar.header_list, grammar.number, grammar.number64, grammar.nz_number, grammar.nz_number64, grammar.partial,
    grammar.string, grammar.mod_sequence_valzer, grammar.list_mailbox, grammar.flag_list,
    grammar.store_flags, grammar.literal, section_binary,
)  # fmt: skip


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    utf8, text = bool(data[0] & 1), data[1:]
    _command(text, utf8)
    for rule in RULES:
        _rule(rule, text, utf8)
    _numbers(text)
    _set(text)
    _name(text, utf8)
    _string(text, utf8)
    _flags(text)
    _date(text)
    _moment(text)
    _day(text)
    _zone(text)
    _section(text)
    _item(text)


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


def _rule(rule: Callable[[Cursor], Any], text: bytes, utf8: bool) -> None:
    """The same, whether the text ends there or goes on."""
    cur = Cursor(text, None, utf8)
    try:
        found = rule(cur)
    except (BadSyntax, Refused) as why:
        assert why.text.isprintable(), why.text
        return
    assert 0 <= cur.pos <= len(text)
    again = Cursor(text[: cur.pos], None, utf8)
    assert rule(again) == found and again.at_end()


def _numbers(text: bytes) -> None:
    for rule, most in ((grammar.number, 1 << 32), (grammar.number64, 1 << 63), (grammar.mod_sequence_valzer, 1 << 63)):
        cur = Cursor(text)
        with contextlib.suppress(BadSyntax):
            found = rule(cur)
            assert 0 <= found < most and found == int(text[: cur.pos].lstrip(b"0")[:30] or b"0")


def _set(text: bytes) -> None:
    cur = Cursor(text)
    try:
        found = sequence_set.sequence_set(cur)
    except BadSyntax:
        return
    assert sequence_set.sequence_set(Cursor(text[: cur.pos])) == found
    for largest in (0, 7, 1000):
        ranges = sequence_set.resolve(found, largest)
        assert all(0 < first <= last for first, last in ranges)
        assert all(one[1] + 1 < other[0] for one, other in pairwise(ranges)), "ascending, disjoint, not adjacent"
        assert sequence_set.join(ranges) == ranges
        if ranges:
            assert sequence_set.resolve(sequence_set.sequence_set(Cursor(sequence_set.render(ranges))), 0) == ranges
    uids = [uid for first, last in ranges for uid in range(first, min(last, first + 99) + 1)]
    if uids:
        assert sequence_set.uid_set(Cursor(sequence_set.compact(uids))) == sequence_set.ranges_of(uids)
    with contextlib.suppress(BadSyntax):
        assert sequence_set.uid_set(Cursor(text)) == sequence_set.resolve(found, 0)


def _date(text: bytes) -> None:
    """What APPEND takes as the time of a message, FETCH writes so that it is the same time."""
    cur = Cursor(text)
    try:
        seconds = date_time.date_time(cur)
    except BadSyntax:
        return
    _same_moment(seconds)


def _moment(text: bytes) -> None:
    """Any moment: quickly, with what is kept of a whole day, and by itself."""
    seconds = int.from_bytes(text[:6], "big") % (LATEST + 200_000)
    _same_moment(seconds)
    for shift in (1, 3599, 86_399):
        _same_moment(seconds + shift)


def _same_moment(seconds: int) -> None:
    for name, zone in ZONES.items():
        written = date_time.format_date_time(seconds, zone)
        assert date_time.date_time(Cursor(written)) == min(seconds, LATEST), (seconds, written)
        assert DATES[name].format([seconds]) == [written], "the quick way and the other one"


def _day(text: bytes) -> None:
    try:
        wanted = date_time.search_date(Cursor(text))
    except BadSyntax:
        return
    for zone in ZONES.values():
        first, behind = date_time.day_range(wanted, zone)
        assert 0 <= behind - first <= 90_000
        if date(1970, 1, 2) < wanted < date(9999, 12, 30) and first != behind:  # Apia had no 30 December 2011
            assert date_time.search_date(Cursor(date_time.format_date_time(first, zone)[1:12].strip())) == wanted


def _zone(text: bytes) -> None:
    """A name or rule of the administrator's."""
    name = text[:60].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        date_time.format_date_time(1_700_000_000, date_time.load_zone(name))
    before = os.environ.get("TZ")
    os.environ["TZ"] = name.replace("\0", "")
    try:
        date_time.format_date_time(1_700_000_000, date_time.load_zone(""))
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before


def _section(text: bytes) -> None:
    cur = Cursor(text)
    try:
        found = section(cur)
    except BadSyntax:
        return
    assert section(Cursor(format_section(found))) == found


def _item(text: bytes) -> None:
    """A data item of FETCH: the name of its answer asks for the same."""
    with contextlib.suppress(BadSyntax):
        fetch_atts(Cursor(text), FETCH_ATTS, MACROS)
    try:
        item = fetch_att(Cursor(text), FETCH_ATTS)
    except BadSyntax as why:
        assert why.text.isprintable()
        return
    if isinstance(item, BodyItem | BinaryItem):
        assert fetch_att(Cursor(item.name), FETCH_ATTS) == item._replace(partial=None, peek=False)
    elif isinstance(item, RenderedItem):
        assert named(item).parse(Cursor(b"")) == item


def _name(text: bytes, utf8: bool) -> None:
    cur = Cursor(text, utf8=utf8)
    try:
        name = grammar.mailbox(cur)
    except (BadSyntax, Refused):
        return
    assert "\0" not in name
    for written in (serialize.mailbox(name, utf8), serialize.mailbox_string(name, utf8)):
        assert grammar.mailbox(Cursor(written, utf8=utf8)) == name, (name, written)


def _string(text: bytes, utf8: bool) -> None:
    octets = text.replace(b"\0", b"")
    for written in (serialize.string(octets, utf8), serialize.literal_or_empty(octets)):
        assert grammar.string(Cursor(written, utf8=utf8)) == octets
    assert grammar.string(Cursor(serialize.literal(text))) == text.replace(b"\0", b"\x80")
    assert grammar.literal8(Cursor(serialize.literal8(text))) == text
    assert grammar.astring(Cursor(serialize.astring(octets, utf8), utf8=utf8)) == octets
    for value in (octets, None):
        assert grammar.nstring(Cursor(serialize.nstring(value, utf8), utf8=utf8)) == value
    first, _, rest = octets.partition(b" ")
    response_messages.address_list(
        response_octets.Octets(
            serialize.address_list([serialize.address(first, None, rest, b"", utf8)] * (len(first) % 3)), utf8
        )
    )
    words = serialize.text(octets.decode("utf-8", "replace"), utf8)
    response_grammar.responses(b"* OK %b\r\n" % words, utf8)
    char = chr(text[0] % 128)
    separator = serialize.separator("" if char in "\0\r\n" else char)
    assert grammar.nstring(Cursor(separator)) == (None if char in "\0\r\n" else char.encode())


def _flags(text: bytes) -> None:
    try:
        flags = grammar.flag_list(Cursor(text))
    except BadSyntax:
        flags = frozenset(text[:200].decode("utf-8", "replace").split(" "))
        assert grammar.flag_list(Cursor(serialize.flag_list(flags))) <= flags | set(map(str.title, flags))
        return
    assert grammar.flag_list(Cursor(serialize.flag_list(flags))) == flags
    assert len(serialize.flag_words([*flags, "\\*"])) == len(flags) + 1
