"""From octets to text: transfer encodings, charsets, encoded words and dates. Nothing here raises.

RFC 2045 6 (base64, quoted-printable), RFC 2047 (encoded words), RFC 2231 (parameters), RFC 5322 3.3 (dates). Wrong
input is read as its writer most likely meant it: octets outside the alphabet are skipped, an unknown charset is read as
UTF-8 if it is UTF-8 and as latin-1 otherwise.
"""

import binascii
import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from encodings.aliases import aliases
from functools import lru_cache

from greenmail.message.headers import Params

_IDENTITY = frozenset((b"7bit", b"8bit", b"binary", b""))
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_NO_TEXT = ("bz2_codec", "hex_codec", "base64_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs")
# Only codecs named here are ever asked for: `codecs.lookup` keeps every name it does not know for ever, and mail could
# name any number of them.
_CODECS = {
    **{name.replace(".", "_"): codec for name, codec in aliases.items() if codec not in _NO_TEXT},
    **{codec: codec for codec in aliases.values() if codec not in _NO_TEXT},
    "x_sjis": "cp932",
    "x_gbk": "gbk",
    "x_euc_jp": "euc_jp",
    "gb_2312_80": "gbk",
    "gb2312": "gb18030",  # what is labelled so is often its superset
    "utf8mb4": "utf_8",
    "cp874": "cp874",
    "windows_874": "cp874",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "cp65001": "utf_8",
    "unicode_1_1_utf_7": "utf_7",
}
_BLANKS_AT_END = re.compile(rb"(?<![ \t])[ \t]+(?=\r?\n|\Z)")
_WORD = re.compile(rb"=\?([^?\s*]{1,76})(?:\*[^?\s]{0,76})?\?([bBqQ])\?([^?\r\n]*)\?=")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"(?<!\d)(?P<day>\d{1,2})(?!\d)[\s-]*(?P<month>[A-Za-z]{3})[A-Za-z]{0,6}[\s,-]*(?P<year>\d{2,4})(?!\d)"
    r"(?:[\s,]+(?P<hour>\d{1,2})\s*:\s*(?P<minute>\d{2})(?:\s*:\s*(?P<second>\d{2}))?\s*(?P<zone>[+-]\d{4}|[A-Za-z]{1,4})?)?"
)
# What most of them look like. Nothing in it is changed by what `sent_time` does with others.
_USUAL_DATE = re.compile(
    rb"(?:[A-Z][a-z][a-z], ?)?([0-3]?[0-9]) ([A-Z][a-z][a-z]) ([12][0-9]{3})"
    rb" ([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))? ([+-])([01][0-9]|2[0-3])([0-5][0-9])(?: \([A-Z]{1,5}\))?"
)
_MONTH_NUMBERS = {month.capitalize().encode(): number for number, month in enumerate(_MONTHS, 1)}
_EPOCH = date(1970, 1, 1).toordinal()
_ASCTIME = re.compile(
    r"(?P<month>[A-Za-z]{3})\s+(?P<day>\d{1,2})\s+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?\s+(?P<zone>[A-Za-z]{3,4}\s+)?(?P<year>\d{4})"
)
_COMMENT = re.compile(r"\([^()]*\)")
_ZONES = {"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8}  # RFC 5322 4.3
_ASCII = bytes(range(128))
_LONGEST_NAME = 200  # octets of a charset with what stands around it
_DATE_OCTETS = 1000  # of a Date field that are looked at


def transfer_decoder(encoding: bytes) -> "Callable[[Iterable[bytes]], Iterator[bytes]] | None":
    """What turns blocks of an encoded body into blocks of its octets; None for an encoding nobody knows."""
    name = encoding.strip().lower()
    if name in _IDENTITY:
        return iter
    return {b"base64": _base64_blocks, b"quoted-printable": _quoted_printable_blocks}.get(name)


def transfer_decode(data: bytes, encoding: bytes) -> bytes | None:
    """The octets of a whole body; None for an encoding nobody knows (RFC 9051 7.1: UNKNOWN-CTE)."""
    decoder = transfer_decoder(encoding)
    return None if decoder is None else b"".join(decoder((data,)))


def codec(charset: bytes) -> str | None:
    """Python's name for a charset, or None if it is not known (RFC 9051 7.1: BADCHARSET)."""
    return _codec(charset) if len(charset) <= _LONGEST_NAME else None


@lru_cache(maxsize=256)
def _codec(charset: bytes) -> str | None:
    name = charset.partition(b"*")[0].strip(b" \t\"'").lower().decode("latin-1")
    return _CODECS.get(re.sub(r"[-_ .:]+", "_", name))


def reads_ascii(charset: bytes) -> bool:
    """Whether octets below 128 are US-ASCII in this charset, by themselves and always."""
    return _reads_ascii(codec(charset))


@lru_cache(maxsize=256)
def _reads_ascii(name: str | None) -> bool:
    try:
        return name is not None and _ASCII.decode(name) == _ASCII.decode("ascii")
    except (UnicodeError, ValueError):
        return False


def to_text(data: bytes, charset: bytes = b"") -> str:
    """`data` as text. What the charset cannot decode is replaced, never lost."""
    if not charset and data.isascii():
        return data.decode("ascii")
    return "".join(text_blocks((data,), charset))


def text_blocks(blocks: Iterable[bytes], charset: bytes = b"") -> Iterator[str]:
    """Blocks of octets as blocks of text; a character may be cut between two blocks."""
    name = codec(charset)
    if name is None or name == "ascii":  # also the default of RFC 2045 5.2, which much 8-bit mail relies on
        yield from _guessed(blocks)
        return
    decoder = codecs.getincrementaldecoder(name)("replace")
    for block in blocks:
        yield _decoded(decoder, block)
    yield _decoded(decoder, b"", final=True)


def decode_words(value: bytes) -> str:
    """An unstructured field or a phrase with its encoded words decoded; RFC 2047, RFC 2231 5."""
    if b"=?" not in value:
        return value.decode("ascii") if value.isascii() else to_text(value)
    return "".join([to_text(octets, charset) for octets, charset in _runs(value)])


def converted_words(value: bytes) -> str | None:
    """As `decode_words`, if all octets are what their charsets say, or UTF-8 where none is named; else None.

    RFC 5255 4.6 (b).
    """
    if b"=?" not in value and value.isascii():
        return value.decode("ascii")
    pieces: list[str] = []
    for octets, charset in _runs(value):
        name = codec(charset) if charset else "utf_8"
        if name is None:
            return None
        try:
            pieces.append(octets.decode(name))
        except (UnicodeError, ValueError):
            return None
    return "".join(pieces)


def words_octets(value: bytes) -> bytes:
    """An unstructured field with its encoded words decoded to octets, whatever their charsets. RFC 5255 4.6 (a)."""
    return b"".join([octets for octets, _ in _runs(value)])


def _runs(value: bytes) -> list[tuple[bytes, bytes]]:
    """What a field is made of: octets and their charset, which is empty outside of encoded words."""
    runs: list[tuple[bytes, bytes]] = []
    place = 0
    octets: list[bytes] = []  # of encoded words with one charset that follow each other: a character may be cut
    charset = b""
    for match in _WORD.finditer(value):
        between = value[place : match.start()]
        if octets and (between.strip(b" \t\r\n") or match[1].lower() != charset):
            runs.append((b"".join(octets), charset))
            octets = []
            between = between if between.strip(b" \t\r\n") else b""
        elif octets:
            between = b""
        runs.append((between, b""))
        charset = match[1].lower()
        octets.append(_word_octets(match[2], match[3]))
        place = match.end()
    runs.append((b"".join(octets), charset))
    runs.append((value[place:], b""))
    return runs


def param_text(params: Params, name: bytes) -> str | None:
    """A parameter as text: `name*` by RFC 2231 4, else `name`, where encoded words are tolerated; or None."""
    plain = None
    for key, value in params:
        if key.lower() == name + b"*":
            charset, _, rest = value.partition(b"'")
            text = rest.partition(b"'")[2] if b"'" in rest else value
            return to_text(_percent_decode(text), charset if b"'" in rest else b"")
        if key.lower() == name and plain is None:
            plain = decode_words(value)
    return plain


def sent_seconds(value: bytes) -> int | None:
    """`sent_time` in seconds since 1970."""
    usual = _USUAL_DATE.fullmatch(value)
    month = _MONTH_NUMBERS.get(usual[2]) if usual is not None else None
    if usual is None or month is None:
        return _any_seconds(value)
    day, _, year, hour, minute, second, sign, hours, minutes = usual.groups()
    try:
        days = date(int(year), month, int(day)).toordinal() - _EPOCH
    except ValueError:  # 31 February
        return _any_seconds(value)
    east = 3600 * int(hours) + 60 * int(minutes)
    time = 86400 * days + 3600 * int(hour) + 60 * int(minute) + int(second or 0)
    return time + east if sign == b"-" else time - east


def _any_seconds(value: bytes) -> int | None:
    sent = sent_time(value)
    return None if sent is None else int(sent.timestamp())


def sent_time(value: bytes) -> datetime | None:
    """The time of a Date field in its own zone (UTC if it names none), or None. RFC 5322 3.3 and 4.3."""
    text = value[:_DATE_OCTETS].decode("latin-1")
    if "(" in text:
        text = _COMMENT.sub(" ", text)
    found = _DATE.search(text) or _ASCTIME.search(text)
    if found is None:
        return None
    month = found["month"].lower()
    if month not in _MONTHS:
        return None
    try:
        return datetime(
            _year(found["year"]),
            _MONTHS.index(month) + 1,
            int(found["day"]),
            min(int(found["hour"] or 0), 23),
            min(int(found["minute"] or 0), 59),
            min(int(found["second"] or 0), 59),  # a leap second is the second before it
            tzinfo=_zone(found["zone"]),
        )
    except (ValueError, OverflowError):  # 31 February, or the year 0
        return None


def sent_date(value: bytes) -> date | None:
    """The day a Date field names, without regard to its zone: RFC 9051 6.4.4, SENTON."""
    time = sent_time(value)
    return time.date() if time else None


def _year(text: str) -> int:
    """RFC 5322 4.3: two digits are 1950 to 2049, three count from 1900."""
    year = int(text)
    if len(text) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(text) == 3 else year


def _zone(text: str | None) -> timezone:
    if text is None:
        return UTC
    if text[0] in "+-":
        offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
        if offset < timedelta(hours=24):
            return timezone(-offset if text[0] == "-" else offset)
    return timezone(timedelta(hours=_ZONES.get(text.strip().upper(), 0)))


def _base64_blocks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 2045 6.8: octets outside the alphabet are skipped; padding ends the data."""
    held = b""
    for block in blocks:
        letters, padding, _ = (held + block.translate(None, _NOT_BASE64)).partition(b"=")
        whole = len(letters) - len(letters) % 4
        held = letters[whole:]
        if whole:
            yield binascii.a2b_base64(letters[:whole])
        if padding:
            break
    if len(held) > 1:  # one letter alone is no octet
        yield binascii.a2b_base64(held + b"=" * (4 - len(held)))


def _quoted_printable_blocks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 2045 6.7: white space at the end of a line goes, a "=" that begins no octet stays."""
    held = b""
    for block in blocks:
        data = held + block
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > 2048:  # a line without end: cut where no "=XX" and no white space is
            cut = _safe_cut(data)
        held = data[cut:]
        if cut:
            yield _unquoted(data[:cut])
    yield _unquoted(held)


def _safe_cut(data: bytes) -> int:
    """An offset near the end of `data` that is neither in nor behind white space, nor in "=XX"."""
    end = len(data) - 3
    for cut in range(end, max(end - 200, 1), -1):
        if data[cut - 1] not in b" \t\r=" and b"=" not in data[cut - 2 : cut]:
            return cut
    return end


def _unquoted(data: bytes) -> bytes:
    if data.endswith((b" ", b"\t")) or _has_blanks_at_end(data):
        data = _BLANKS_AT_END.sub(b"", data)
    return binascii.a2b_qp(data)


def _has_blanks_at_end(data: bytes) -> bool:
    """Whether white space stands before a line end."""
    if b" \r\n" in data or b" \n" in data:
        return True
    return b"\t" in data and (b"\t\r\n" in data or b"\t\n" in data)  # one octet is found much faster


def _guessed(blocks: Iterable[bytes]) -> Iterator[str]:
    """UTF-8 as long as it is UTF-8, from the first octet that is not latin-1."""
    decoder = codecs.getincrementaldecoder("utf_8")("strict")
    utf8 = True
    held = b""  # what the decoder keeps back: the beginning of a character
    for block in blocks:
        if utf8:
            try:
                yield decoder.decode(block)
                held = decoder.getstate()[0]
                continue
            except UnicodeDecodeError:
                utf8 = False
                block = held + block
                held = b""
        yield block.decode("latin-1")
    yield held.decode("latin-1")


def _decoded(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> str:
    try:
        return decoder.decode(block, final)
    except (UnicodeError, ValueError):  # a few codecs raise even when they are told to replace
        decoder.reset()
        return block.decode("latin-1")


def _word_octets(encoding: bytes, text: bytes) -> bytes:
    """RFC 2047 4."""
    if encoding in b"bB":
        return b"".join(_base64_blocks((text,)))
    return binascii.a2b_qp(text.replace(b" ", b"_"), header=True)


def _percent_decode(text: bytes) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes((int(match[1], 16),)), text)
