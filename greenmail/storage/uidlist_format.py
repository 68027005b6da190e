"""The text of `dovecot-uidlist`: grammar, reading and repair. `formats.md` 2.1 to 2.3, 2.6.

    file     = header *record
    header   = "3" *(SP LETTER value) LF        ; V<uidvalidity> N<next uid> G<mailbox GUID>, others are kept
             / "1" SP uidvalidity SP next-uid LF                       ; version 1, also courierimapuiddb
    record   = uid SP *(LETTER value SP) ":" base-name [":" hint] LF   ; version 3
             / uid SP base-name LF                                     ; version 1

    3 V1795343254 N21 G513ef33294c3026bc318000074170df8
    1 W315 :1704103200.V801I2f00M100001.mx1
    3 :1795343252.M946854P6340.mx.example.org,S=620,W=637

UIDs ascend strictly, and every line ends in LF. A record whose file is gone is normal; it goes at the next rewrite.

Reading is forgiving where Dovecot's is not: a damaged line costs its own message a new UID and no other.
"""

import operator
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenmail.storage.uidlist_records import YOUNG, Record, Records

LARGEST_UID = (1 << 32) - 2  # so that UIDNEXT is still a uint32
VERSION = 3  # the one we write
_SLICE = 1 << 17
_BASES = 4096  # that are looked at at once: no other thread can run meanwhile
_TRUSTED_GAP = 100_000  # a damaged line's UID that far above the others is not believed

RECORD = re.compile(rb"^(\d{1,10}) ((?:[A-Z][^ \r\n]* )*):([^:/\r\n]+)(?::[^/\n]*)?\r?\n", re.MULTILINE)
_RECORD_1 = re.compile(rb"^(\d{1,10})() ([^:/\r\n]+)(?::[^/\n]*)?\r?\n", re.MULTILINE)
_LENIENT_3 = re.compile(rb"\s*(\d{1,10})\s([^\r\n]*?):([^:/\r\n]+)(?::[^/\n]*)?\r?\n")
_LEADING_UID = re.compile(rb"(\d{1,10})(?=[ \r\n])")
_GUID = re.compile(rb"[0-9a-fA-F]{32}")
_NOT_IN_BASE = re.compile(rb"[:/\n\r]")
_FIELD = re.compile(rb"[A-Z][^ \r\n]*")


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. What is 0 or empty was not there or not valid."""

    version: int
    uidvalidity: int
    next_uid: int
    guid: bytes
    others: tuple[bytes, ...]  # unknown keys with their values


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole file."""

    header: Header
    uids: Records
    highest: int  # the highest UID that a line spoke of, readable or not
    lines: int
    damage: tuple[str, ...]  # for the log; empty if the file is fine


def new_guid() -> bytes:
    """A fresh mailbox GUID: 32 hex digits, 128 random bits."""
    return secrets.token_hex(16).encode("ascii")


def parse_fields(raw: bytes) -> dict[bytes, bytes]:
    """Letter -> value of raw fields, in their order."""
    return {field[:1]: field[1:] for field in raw.split(b" ") if field}


def format_fields(fields: Mapping[bytes, bytes]) -> bytes:
    """Raw fields from letter -> value, in the given order. ValueError for what would break the line."""
    raw = [letter + value for letter, value in fields.items()]
    for field in raw:
        if not _FIELD.fullmatch(field):
            raise ValueError(f"not a uidlist field: {field!r}")
    return b" ".join(raw)


def parse_header(line: bytes) -> Header:
    """header, either version; version 0 for anything else."""
    version, _, rest = line.rstrip(b"\r\n").partition(b" ")
    tokens = rest.split()
    if version == b"1":
        numbers = [_number(token) for token in tokens]
        return Header(1, numbers[0], numbers[1], b"", ()) if len(numbers) == 2 else Header(0, 0, 0, b"", ())
    if version != b"3":
        return Header(0, 0, 0, b"", ())
    values: dict[bytes, bytes] = {}
    others = []
    for token in tokens:
        if token[:1] in (b"V", b"N", b"G"):
            values.setdefault(token[:1], token[1:])
        elif token[:1].isalpha():
            others.append(token)
    guid = values.get(b"G", b"")
    return Header(
        3,
        _number(values.get(b"V", b"")),
        _number(values.get(b"N", b"")),
        guid if _GUID.fullmatch(guid) else b"",
        tuple(others),
    )


def _number(digits: bytes) -> int:
    value = int(digits) if digits.isdigit() and len(digits) <= 10 else 0
    return value if value < 1 << 32 else 0


def parse(data: bytes) -> Parsed:
    """A whole file; an unfinished last line is taken for a line. Never raises.

    What Dovecot would throw the file away for costs as little as can be: a line that cannot be read, and of two lines
    for one message the one with the lower UID, and of two messages with one UID the second.
    """
    damage = []
    end = data.find(b"\n") + 1
    # An unfinished header is none: its numbers may be cut.
    header = parse_header(data[:end])
    if data and not data.endswith(b"\n"):
        data += b"\n"
        damage.append("last line is unfinished")
    if not header.uidvalidity:
        damage.append("header is not valid")
        # If the first line is a record the header itself was lost.
        end = 0 if RECORD.match(data) else end
    lines = data.count(b"\n", end)
    pattern = _RECORD_1 if header.version == 1 else RECORD
    if lines > YOUNG and (many := _packed(pattern, data, end)) is not None:
        return Parsed(header, many, many.highest, lines, tuple(damage))
    rows = _find_rows(pattern, data, end)
    claimed = 0
    if len(rows) != lines:
        rows, bad, claimed = _forgiving(data[end:], pattern)
        damage += [f"cannot be read: {line[:200]!r}" for line in bad]
    uids = [int(row[0]) for row in rows]
    uid_of = dict(zip((row[2] for row in rows), uids, strict=True))
    if not _in_good_order(uids, uid_of):
        uid_of, found = _in_order(rows)
        damage += found
    fields = {int(uid): raw[:-1] for uid, raw, name in rows if raw and uid_of.get(name) == int(uid)}
    highest = next(reversed(uid_of.values()), 0)
    if claimed <= max(highest, header.next_uid) + _TRUSTED_GAP:
        highest = max(highest, claimed)
    return Parsed(header, Records.taking(uid_of, fields), highest, lines, tuple(damage))


def parse_appended(data: bytes, highest: int) -> list[Record] | None:
    """Whole lines that stand behind others, of which `highest` is the last UID; None if anything is wrong with them."""
    rows = RECORD.findall(data)
    uids = [int(digits) for digits, _, _ in rows]
    if len(rows) != data.count(b"\n") or not ascending([highest, *uids]) or (uids and uids[-1] > LARGEST_UID):
        return None
    if len({base for _, _, base in rows}) != len(rows):
        return None
    return [(uid, raw[:-1], base) for uid, (_, raw, base) in zip(uids, rows, strict=True)]


def tidied(record: Record) -> Record:
    """The same, its fields spelled as we do. ValueError for what cannot stand in a line."""
    uid, raw, base = record
    return uid, format_fields(parse_fields(raw)), base


def find(data: bytes, base: bytes) -> int | None:
    """The UID of a base name in a file of version 3 without damage, in whatever form `parse` takes its lines."""
    needle = b" :" + base
    place = data.find(needle, data.find(b"\n"))
    while place >= 0:
        behind = place + len(needle)
        if data[behind : behind + 1] in (b"\n", b":", b"\r"):  # else it is the beginning of another name
            line = RECORD.match(data, data.rfind(b"\n", 0, place) + 1)
            if line is not None and line[3] == base:  # else it stands in a hint
                return int(line[1])
        place = data.find(needle, place + 1)
    return None


def has_fields(data: bytes, keys: Iterable[bytes]) -> bool:
    """Whether some record of the file may have one of these fields, as far as can be seen without taking it apart."""
    start = data.find(b"\n")  # the header has fields of its own
    return any(data.find(b" " + key, start) >= 0 for key in keys)


def _packed(pattern: re.Pattern[bytes], data: bytes, start: int) -> Records | None:
    """All records of a long file, slice by slice; None if there is anything wrong."""
    records = Records()
    while start < len(data):
        end = data.find(b"\n", start + _SLICE) + 1 or len(data)
        rows = pattern.findall(data, start, end)
        if len(rows) != data.count(b"\n", start, end) or int(rows[-1][0]) > LARGEST_UID or not records.take(rows):
            return None
        start = end
    return None if records.has_twins() else records


def _find_rows(pattern: re.Pattern[bytes], data: bytes, start: int) -> list[tuple[bytes, bytes, bytes]]:
    """All rows, found in slices: no other thread can run during a search."""
    rows: list[tuple[bytes, bytes, bytes]] = []
    while start < len(data):
        end = data.find(b"\n", start + _SLICE) + 1 or len(data)
        rows += pattern.findall(data, start, end)
        start = end
    return rows


def _in_good_order(uids: list[int], uid_of: dict[bytes, int]) -> bool:
    """Whether all are UIDs, ascend strictly, and no name comes twice."""
    return not uids or (len(uid_of) == len(uids) and 0 < uids[0] <= uids[-1] <= LARGEST_UID and ascending(uids))


def ascending(uids: list[int]) -> bool:
    """Strictly."""
    return all(map(operator.lt, uids, uids[1:]))


def _forgiving(data: bytes, pattern: re.Pattern[bytes]) -> tuple[list[tuple[bytes, bytes, bytes]], list[bytes], int]:
    """Line by line: rows, lines that cannot be read, and the highest UID that one of those begins with."""
    rows: list[tuple[bytes, bytes, bytes]] = []
    bad = []
    claimed = 0
    for text in data.removesuffix(b"\n").split(b"\n"):
        line = text + b"\n"
        match = pattern.fullmatch(line)
        if match is not None:
            rows.append((match[1], match[2], match[3]))
            continue
        bad.append(line)
        lenient = _LENIENT_3.fullmatch(line) if pattern is RECORD else None
        if lenient is not None:
            # Fields that are none are dropped; the others, and the UID, stay.
            raw = b"".join(field + b" " for field in lenient[2].split() if _FIELD.fullmatch(field))
            rows.append((lenient[1], raw, lenient[3]))
        elif (leading := _LEADING_UID.match(line)) is not None and int(leading[1]) <= LARGEST_UID:
            claimed = max(claimed, int(leading[1]))
    return rows, bad, claimed


def _in_order(rows: list[tuple[bytes, bytes, bytes]]) -> tuple[dict[bytes, int], list[str]]:
    """Base name -> UID, ascending, from rows out of order or with duplicates; and what was wrong."""
    damage = []
    name_of: dict[int, bytes] = {}
    uid_of: dict[bytes, int] = {}
    last = 0
    for digits, _, name in rows:
        uid = int(digits)
        if not 0 < uid <= LARGEST_UID:
            damage.append(f"no UID: {uid}")
            continue
        if uid <= last:
            damage.append(f"UID {uid} follows {last}")
        last = max(last, uid)
        if name_of.setdefault(uid, name) != name:
            damage.append(f"UID {uid} is given to two messages")
            continue
        before = uid_of.get(name, 0)
        if before and before != uid:
            damage.append(f"message has UIDs {before} and {uid}")
        uid_of[name] = max(before, uid)
    return dict(sorted(uid_of.items(), key=operator.itemgetter(1))), damage


def check_base(base: bytes) -> None:
    """ValueError for what cannot stand in a record."""
    if not base or _NOT_IN_BASE.search(base) is not None:
        raise ValueError(f"not a base name: {base!r}")


def check_bases(bases: Sequence[bytes]) -> None:
    """`check_base` of each; many at once, as nearly always all are."""
    for at in range(0, len(bases), _BASES):
        some = bases[at : at + _BASES]
        joined = b"/".join(some)
        is_good = joined.count(b"/") == len(some) - 1 and all(some)
        if is_good and _NOT_IN_BASE.search(joined.replace(b"/", b"")) is None:
            continue
        for base in some:
            check_base(base)
