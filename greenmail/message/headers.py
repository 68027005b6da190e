"""Header fields as octets, and the words of structured fields: RFC 5322 2.2 and 3.2, RFC 2045 5.1.

A field reaches from its name to the line end before the next line that does not begin with white space. Lines that
are no field at all (no colon) are kept as fields without a name, so that nothing of a header is ever lost.
"""

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from enum import Enum

MAX_FIELDS = 1000  # of one name that are read for their meaning
MAX_VALUE = 1 << 20  # octets of one: ten thousand addresses fit; more is no mail to anybody, and costs time and memory
WINDOW = 1 << 18  # octets looked through at once
SHORT = 1 << 14  # a header up to here is taken apart at one go: nearly all are
MAX_PARAMS = 1000  # of one field; real mail has a handful, a mail bomb has as many as fit

Params = tuple[tuple[bytes, bytes], ...]

# One field, or a line that is none; the matches of a whole header follow each other without a gap.
_FIELD = re.compile(rb"(([!-9;-~]++)[ \t]*+:[^\n]*+\n?(?:[ \t][^\n]*+\n?)*+)|[^\n]++\n?|\n")
_EMPTY_LINE = re.compile(rb"(?:\A|\n)\r?\n")
FOLDED = b"\0"  # stands for a line end within a field, while headers without a NUL are taken apart
_PLAIN_NAME = re.compile(rb"[!-9;-~]+")
_LINE_END = re.compile(rb"\r?\n")
_SPACE = re.compile(rb"[ \t\r\n]+")
_QUOTED = re.compile(rb'"((?:[^"\\]++|\\[\x00-\xff])*+)("?)')
_ESCAPE = re.compile(rb"\\([\x00-\xff])")
_COMMENT_MARK = re.compile(rb"[()\\]")
_TOKEN = re.compile(rb"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]+")  # RFC 2045 5.1, and 8-bit octets
_HEAD = re.compile(rb"[^ \t\r\n;(]+")
_PARAM_MARK = re.compile(rb"[;(\"]")
_LITERAL = re.compile(rb"\[[^\[\]]*+\]")
# What most values look like: `text; name=value; name="value"`.
_USUAL_HEAD = re.compile(rb"[ \t\r\n]*+([^ \t\r\n;(]++)[ \t\r\n]*+(?=;|\Z)")
_USUAL_PARAM = re.compile(
    rb";[ \t\r\n]*+([^\x00-\x20()<>@,;:\\\"/\[\]?=*\x7f]++)="
    rb"(?:\"([^\"\\]*+)\"|([^ \t\r\n;\"(\\]++))[ \t\r\n]*+(?=;|\Z)"
)
_BARE_VALUE = re.compile(rb"[^ \t\r\n;]+")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field."""

    name: bytes  # as spelled; empty for a line that is no field
    raw: bytes  # all octets of the field with its line end

    @property
    def value(self) -> bytes:
        """What stands behind the colon, unfolded (RFC 5322 2.2.3) and without white space around it."""
        return unfold(self.raw.partition(b":")[2] if self.name else self.raw)


class Header:
    """The fields of one header, in order."""

    __slots__ = ("_places", "fields")

    def __init__(self, octets: bytes) -> None:
        self.fields = tuple(split(octets))
        self._places: dict[bytes, list[int]] = {}
        for place, field in enumerate(self.fields):
            self._places.setdefault(field.name.lower(), []).append(place)

    def first(self, name: bytes) -> bytes | None:
        """The value of the first field of that name (any case), or None."""
        places = self._places.get(name.lower())
        return self.fields[places[0]].value if places and name else None

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name (any case)."""
        return [self.fields[place].value for place in self._places.get(name.lower(), ())] if name else []


def split(header: bytes) -> Iterator[Field]:
    """The fields of `header`, up to the empty line if it has one; one pass."""
    for raw in _blocks(header):
        name, colon, _ = raw.partition(b":")
        name = name.rstrip(b" \t")  # RFC 5322 4.5: white space may stand before the colon
        plain = colon and name and not any(octet <= 32 for octet in name)
        yield Field(name if plain else b"", raw)


def select(header: bytes, names: Iterable[bytes], exclude: bool = False) -> bytes:
    """HEADER.FIELDS or (`exclude`) HEADER.FIELDS.NOT: fields as they stand, then an empty line. RFC 9051 6.4.5.1."""
    wanted = {name.lower() for name in names}
    is_plain = not exclude and all(map(_PLAIN_NAME.fullmatch, wanted))
    fields = named(header, wanted) if is_plain else _by_blocks(header, wanted, exclude)
    return b"".join([*[raw for _, raw in fields], b"\r\n"])


def _by_blocks(header: bytes, wanted: Set[bytes], exclude: bool) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    for raw in _blocks(header):
        name, colon, _ = raw.partition(b":")
        name = name.rstrip(b" \t").lower()
        if bool(colon and name in wanted) != exclude:
            found.append((name, raw if raw.endswith(b"\n") else raw + b"\r\n"))
    return found


def named(header: bytes, wanted: Set[bytes]) -> list[tuple[bytes, bytes]]:
    """The fields whose names (in lower case; printable octets but no colon) are among `wanted`: name, and as it stands.

    A line end is added to the last one if it has none.
    """
    if len(header) > SHORT:
        return _by_blocks(header, wanted, exclude=False)
    lines = lines_of_crlf(header)
    if lines is None:
        return _named_among_any(header, wanted)
    found: list[tuple[bytes, bytes]] = []
    for line in lines:
        name, colon, _ = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        if name in wanted and colon:
            found.append((name, line.replace(FOLDED, b"\r\n") + b"\r\n"))
    return found


def _named_among_any(header: bytes, wanted: Set[bytes]) -> list[tuple[bytes, bytes]]:
    empty = _EMPTY_LINE.search(header)
    fields = _FIELD.findall(header, 0, empty.end() if empty else len(header))
    found = [(name.lower(), raw) for raw, name in fields if name.lower() in wanted]
    if found and not found[-1][1].endswith(b"\n"):
        found[-1] = (found[-1][0], found[-1][1] + b"\r\n")
    return found


def lines_of_crlf(header: bytes) -> list[bytes] | None:
    """The lines, each with those that continue it, and FOLDED for the line ends between these.

    None where a line ends otherwise than with CRLF, a NUL stands in it, or something behind the empty line. A line
    that is no field has no name that a field could have.
    """
    if FOLDED in header or header.count(b"\n") != header.count(b"\r\n"):
        return None
    if header.startswith(b"\r\n") or 0 <= header.find(b"\r\n\r\n") < len(header) - 4:
        return None
    return header.replace(b"\r\n ", b"\0 ").replace(b"\r\n\t", b"\0\t").split(b"\r\n")


def lines_of_lf(header: bytes) -> list[bytes] | None:
    """The same of a short header in which LF alone ends a line, as most files have it; None where it is not such."""
    if b"\r" in header or FOLDED in header or len(header) > SHORT:
        return None
    if header.startswith(b"\n") or 0 <= header.find(b"\n\n") < len(header) - 2:
        return None
    return header.replace(b"\n ", b"\0 ").replace(b"\n\t", b"\0\t").split(b"\n")


def values(header: bytes, names: Set[bytes]) -> dict[bytes, list[bytes]]:
    """Lower-case name to the values of all fields of that name, as `Header` has them."""
    if len(header) > SHORT or not all(map(_PLAIN_NAME.fullmatch, names)):
        fields = Header(header)
        return {name: fields.all(name) for name in names}
    found: dict[bytes, list[bytes]] = {name: [] for name in names}
    for name, raw in named(header, names):
        found[name].append(unfold(raw[raw.index(b":") + 1 :]))
    return found


def unfold(value: bytes) -> bytes:
    """RFC 5322 2.2.3: line ends go, the white space behind them stays; none is left at the two ends."""
    if b"\n" in value:
        value = _LINE_END.sub(b"", value)
    return value.strip(b" \t\r\n")


class Names:
    """The names of fields that `collect` looks for."""

    __slots__ = ("line", "pattern", "prefix", "wanted")

    def __init__(self, names: Iterable[bytes], prefix: bytes) -> None:
        self.wanted = frozenset(name.lower() for name in names)
        self.prefix = prefix
        self.line = b"\n" + prefix  # how they begin, but for the first
        any_name = b"|".join(map(re.escape, sorted(self.wanted)))
        self.pattern = re.compile(rb"^(" + any_name + rb")[ \t]*:()", re.IGNORECASE | re.MULTILINE)


def finder(*names: bytes, prefix: bytes = b"") -> Names:
    """What `collect` wants to know of these names. `prefix`: in lower case, what all of them begin with."""
    return Names(names, prefix)


def collect(names: Names, data: bytes, start: int, end: int) -> dict[bytes, list[bytes]]:
    """Lower-case name to unfolded values, of the fields of these names in `data[start:end]`, which begins with a line.

    At most MAX_FIELDS values of a name, each cut off at MAX_VALUE octets.
    """
    if names.prefix and end - start <= SHORT:
        return _with_prefix(names, data[start:end])
    found: dict[bytes, list[bytes]] = {}
    if end - start <= SHORT:
        wanted = names.wanted
        header = data[start:end]
        lines = lines_of_crlf(header) if b"\r" in header else lines_of_lf(header)
        if lines is None:
            for raw, name in _FIELD.findall(data, start, end):
                name = name.lower()
                if name in wanted:
                    found.setdefault(name, []).append(unfold(raw[raw.index(b":") + 1 :]))
        else:
            for line in lines:
                colon = line.find(b":")
                name = line[: max(colon, 0)].rstrip(b" \t").lower()
                if name in wanted:
                    value = line[colon + 1 :].replace(FOLDED, b"").strip(b" \t\r\n")
                    if name in found:
                        found[name].append(value)
                    else:
                        found[name] = [value]
        for values in found.values():
            del values[MAX_FIELDS:]
        return found
    while start < end:
        # In windows that end with a line: during one call no other thread runs.
        stop = min(start + WINDOW, end)
        stop = end if stop == end else data.rfind(b"\n", start, stop) + 1 or stop
        for match in names.pattern.finditer(data, start, stop):
            values = found.setdefault(match[1].lower(), [])
            if len(values) < MAX_FIELDS:
                values.append(unfold(_value(data, match.start(2), end)))
        start = stop
    return found


def _with_prefix(names: Names, header: bytes) -> dict[bytes, list[bytes]]:
    """`collect` of a short header: only lines that begin with the prefix are looked at."""
    found: dict[bytes, list[bytes]] = {}
    line, low = names.line, header.lower()
    at = 0 if low.startswith(names.prefix) else low.find(line) + 1
    while at or low.startswith(names.prefix):
        end = low.find(b"\n", at)
        colon = low.find(b":", at, end if end >= 0 else len(low))
        if colon >= 0 and (name := low[at:colon].rstrip(b" \t")) in names.wanted:
            if end >= 0 and low[end + 1 : end + 2] not in (b" ", b"\t"):
                value = header[colon + 1 : end].strip(b" \t\r\n")
            else:
                value = unfold(_value(header, colon + 1, len(header)))
            values = found.setdefault(name, [])
            if len(values) < MAX_FIELDS:
                values.append(value)
        at = low.find(line, at) + 1
        if not at:
            break
    return found


def _value(data: bytes, start: int, end: int) -> bytes:
    """The value that begins at `start`, with its continuation lines."""
    end = min(end, start + MAX_VALUE)
    last = data.find(b"\n", start, end)
    while 0 <= last < end - 1 and data[last + 1] in b" \t":
        last = data.find(b"\n", last + 1, end)
    return data[start : end if last < 0 else last]


class Kind(Enum):
    """What a piece of a structured field is."""

    WORD = "a run of octets that are neither white space, quote, comment nor special"
    QUOTED = "a quoted string, its value without quotes and backslashes"
    COMMENT = "a comment, its value without the outer parentheses"
    SPECIAL = "one special character"
    OPEN = "a quoted string that is never closed"


def words(value: bytes, atom: re.Pattern[bytes]) -> Iterator[tuple[Kind, bytes]]:
    """The words of a structured field, RFC 5322 3.2; `atom` matches runs, all other characters are specials.

    Domain literals `[...]` are words. RFC 5322 3.4.1.
    """
    place = 0
    while place < len(value):
        first = value[place : place + 1]
        if first in b" \t\r\n":
            place = _past(_SPACE, value, place)
        elif first == b'"':
            text, closed, place = quoted(value, place)
            yield (Kind.QUOTED if closed else Kind.OPEN), text
        elif first == b"(":
            text, place = comment(value, place)
            yield Kind.COMMENT, text
        elif literal := _LITERAL.match(value, place):
            yield Kind.WORD, literal[0]
            place = literal.end()
        elif match := atom.match(value, place):
            yield Kind.WORD, match[0]
            place = match.end()
        else:
            yield Kind.SPECIAL, first
            place += 1


def quoted(value: bytes, place: int) -> tuple[bytes, bool, int]:
    """The quoted string whose quote stands at `place`: its text, whether it is closed, the offset behind it."""
    match = _QUOTED.match(value, place)
    if match is None:
        return b"", False, len(value)
    if not match[2]:
        return _ESCAPE.sub(rb"\1", value[place + 1 :]), False, len(value)
    text = match[1]
    return _ESCAPE.sub(rb"\1", text) if b"\\" in text else text, True, match.end()


def comment(value: bytes, place: int) -> tuple[bytes, int]:
    """The comment whose parenthesis stands at `place`: its text, the offset behind it. Counts, does not recurse."""
    depth = 0
    at = place
    while mark := _COMMENT_MARK.search(value, at):
        at = mark.end()
        if mark[0] == b"\\":
            at += 1
        else:
            depth += 1 if mark[0] == b"(" else -1
            if depth == 0:
                return _ESCAPE.sub(rb"\1", value[place + 1 : at - 1]), at
    return _ESCAPE.sub(rb"\1", value[place + 1 :]), len(value)


def token_and_params(value: bytes) -> tuple[bytes, Params]:
    """`text; name=value ...` as Content-Type and Content-Disposition have it: RFC 2045 5.1, RFC 2183 2.

    The text is what stands before the parameters, without comments and white space. Parameters of RFC 2231 3 that
    come in pieces are put together under one name; their encoding is left alone. What cannot be read is left out.
    """
    return _read_usual(value) or _read_any(value)


def _read_usual(value: bytes) -> tuple[bytes, Params] | None:
    """`token_and_params` of a value that has nothing unusual in it, else None."""
    if not value:
        return b"", ()
    match = _USUAL_HEAD.match(value)
    if match is None:
        return None
    head = match[1]
    params: list[tuple[bytes, bytes]] = []
    while (place := match.end()) < len(value):
        match = _USUAL_PARAM.match(value, place)
        if match is None or len(params) >= MAX_PARAMS:
            return None
        quoted_value = match[2]
        params.append((match[1], match[3] if quoted_value is None else quoted_value))
    return head, tuple(params)


def _read_any(value: bytes) -> tuple[bytes, Params]:
    head, place = _until_semicolon(value, 0)
    plain: list[tuple[bytes, bytes]] = []
    pieces: list[tuple[bytes, bytes]] = []
    while place < len(value) and len(plain) + len(pieces) < MAX_PARAMS:
        param, place = _param(value, place + 1)
        if param is not None:
            (pieces if b"*" in param[0] else plain).append(param)
    return head, (*plain, *_joined(pieces))


def tokens(value: bytes) -> tuple[bytes, ...]:
    """The tokens of a list with commas, RFC 3282 2 (Content-Language)."""
    if not value:
        return ()
    found = []
    for piece in value.split(b",", MAX_PARAMS)[:MAX_PARAMS]:
        place = _skip(piece, 0)
        if match := _TOKEN.match(piece, place):
            found.append(match[0])
    return tuple(found)


def _blocks(header: bytes) -> Iterator[bytes]:
    """The octets of each field with its line end, up to the empty line."""
    start = 0
    while start < len(header):
        end = header.find(b"\n", start) + 1 or len(header)
        if header[start:end] in (b"\r\n", b"\n"):
            return
        while header[end : end + 1] in (b" ", b"\t"):
            end = header.find(b"\n", end) + 1 or len(header)
        yield header[start:end]
        start = end


def _past(pattern: re.Pattern[bytes], value: bytes, place: int) -> int:
    match = pattern.match(value, place)
    return match.end() if match else place


def _skip(value: bytes, place: int) -> int:
    """The offset behind white space and comments."""
    while place < len(value):
        if value[place : place + 1] == b"(":
            place = comment(value, place)[1]
        elif (past := _past(_SPACE, value, place)) != place:
            place = past
        else:
            break
    return place


def _until_semicolon(value: bytes, place: int) -> tuple[bytes, int]:
    """What stands before the next semicolon, without comments and white space; the semicolon's offset."""
    pieces: list[bytes] = []
    while match := _HEAD.match(value, place := _skip(value, place)):
        pieces.append(match[0])
        place = match.end()
    return b"".join(pieces), place


def _param(value: bytes, place: int) -> tuple[tuple[bytes, bytes] | None, int]:
    """One `name=value` at `place`, or None; the offset of the semicolon behind it."""
    place = _skip(value, place)
    name = _TOKEN.match(value, place)
    equals = _skip(value, name.end()) if name else place
    if name is None or value[equals : equals + 1] != b"=":
        return None, _next_semicolon(value, place)
    place = _skip(value, equals + 1)
    if value[place : place + 1] == b'"':
        text, closed, place = quoted(value, place)
        return ((name[0], text) if closed else None), _next_semicolon(value, place)
    # Lenient: a value without quotes may hold specials, as in boundary=a/b=c; RFC 2045 5.1 wants a token.
    match = _BARE_VALUE.match(value, place)
    text = match[0] if match else b""
    return (name[0], text), _next_semicolon(value, place + len(text))


def _next_semicolon(value: bytes, place: int) -> int:
    """The offset of the next semicolon outside comments and quoted strings, or the end."""
    while mark := _PARAM_MARK.search(value, place):
        place = mark.start()
        if mark[0] == b";":
            return place
        place = comment(value, place)[1] if mark[0] == b"(" else quoted(value, place)[2]
    return len(value)


def _joined(pieces: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """RFC 2231 3: `name*0*`, `name*1` ... as one `name*` (or `name`, if nothing of it is encoded)."""
    numbered: dict[bytes, dict[int, tuple[bool, bytes]]] = {}
    order: dict[bytes, None] = {}
    loose: list[tuple[bytes, bytes]] = []
    for name, value in pieces:
        stem, _, rest = name.partition(b"*")
        encoded = not rest or rest.endswith(b"*")
        digits = rest.removesuffix(b"*") or b"0"
        if not stem or not digits.isdigit() or len(digits) > 4:
            loose.append((name, value))
            continue
        order.setdefault(stem)
        numbered.setdefault(stem.lower(), {}).setdefault(int(digits), (encoded, value))
    for stem in order:
        parts = numbered.pop(stem.lower(), {})
        if parts and 0 not in parts:
            loose.extend(
                (b"%s*%d%s" % (stem, n, b"*" if coded else b""), text) for n, (coded, text) in sorted(parts.items())
            )
        elif parts:
            yield _whole(stem, parts)
    yield from loose


def _whole(stem: bytes, parts: dict[int, tuple[bool, bytes]]) -> tuple[bytes, bytes]:
    """The pieces 0, 1, 2 ... as far as they follow one another."""
    count = next(n for n in range(len(parts) + 1) if n not in parts)
    chosen = [parts[n] for n in range(count)]
    if not any(encoded for encoded, _ in chosen):
        return stem, b"".join(text for _, text in chosen)
    lead = b"" if chosen[0][0] else b"''"  # no charset and no language: RFC 2231 4
    return stem + b"*", lead + b"".join(text if encoded else _percent(text) for encoded, text in chosen)


def _percent(text: bytes) -> bytes:
    """A piece that is not encoded among those that are: its percent signs stand for themselves. RFC 2231 4.1."""
    return text.replace(b"%", b"%25")
