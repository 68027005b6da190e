"""What stands only in Dovecot's index: HIGHESTMODSEQ and the keywords that found no letter. `formats.md` 3.8, 3.9.

Dovecot's files are read and never written. All integers are little-endian, except as said.

    log     = header *record                    ; dovecot.index.log, and .log.2 before it
    header  = major(1) minor(1) header-size(2) index-id(4) sequence(4) previous-sequence(4) previous-offset(4)
              created(4) initial-modseq(8) ...  ; a header may be longer, or end before its last fields
    record  = size(4) type(4) body              ; size: of all three, in words of 4; big-endian, 7 bits an octet, of
                                                ; which the top bit is set when the record is whole

    index   = header *extension *message        ; dovecot.index, as of a place in one of the logs
    header  = major(1) minor(1) base-size(2) header-size(4) record-size(4) ... log-sequence(4, at 60) offset(4, at 64)
    extension = data-size(4) reset-id(4) offset(2) size(2) align(2) name-size(2) name data  ; padded to 8 octets twice
    message = uid(4) flags(1) ...               ; `offset`, `size` of the extension "keywords": one bit a keyword

The functions take any octets: what cannot be read ends the reading, and what was read before it counts.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from greenmail.storage.filesystem import Files

_U32 = struct.Struct("<I")
_LOG_HEADER = struct.Struct("<BBHIIIII")
_LOG_MODSEQ = struct.Struct("<Q")  # at 24, in headers that reach so far
_RANGE = struct.Struct("<II")
_FLAG_UPDATE = struct.Struct("<IIBBBx")
_EXTENSION = struct.Struct("<IIHHHH")
_EXTENSION_INTRO = 20  # octets before the name

_EXTERNAL = 0x10000000
_KIND = 0x0FFFFFFF
_PROTECTION = 0xCD90  # written with an expunge, so that damage is not taken for one
_EXPUNGES = (0x1 | _PROTECTION, 0x2000 | _PROTECTION)
_APPEND, _FLAGS, _INTRO, _KEYWORDS, _KEYWORD_RESET, _MODSEQ, _ATTRIBUTE = 0x2, 0x4, 0x40, 0x400, 0x800, 0x8000, 0x100000
_ALWAYS = (_APPEND, _KEYWORDS, _KEYWORD_RESET, _ATTRIBUTE)
_INTERNAL_FLAGS = 0xE0  # recent, and two of the index itself: no client sees them change
_ADD, _REMOVE, _REPLACE = range(3)
_MODSEQ_LIMIT = 1 << 62  # beyond it: damage. RFC 7162 7 has 63 bits, and we must be able to go on counting


@dataclass(frozen=True, slots=True)
class Log:
    """One log: its place in the row of logs, and whole records from a place on."""

    data: bytes
    header_size: int
    sequence: int
    initial_modseq: int

    def records(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """(type, body) of each record from `start` on; ends at the first that is not whole."""
        place = max(start, self.header_size)
        while place + 8 <= len(self.data):
            size = _record_size(self.data[place : place + 4])
            if size < 8 or place + size > len(self.data):
                return
            yield _U32.unpack_from(self.data, place + 4)[0], self.data[place + 8 : place + size]
            place += size


def parse_log(data: bytes) -> Log | None:
    """The log, or None for what is none."""
    if len(data) < _LOG_HEADER.size:
        return None
    major, _, header_size, index_id, sequence, *_ = _LOG_HEADER.unpack_from(data)
    if major != 1 or not index_id or not _LOG_HEADER.size <= header_size <= len(data):
        return None
    has_modseq = header_size >= _LOG_HEADER.size + _LOG_MODSEQ.size
    initial: int = _LOG_MODSEQ.unpack_from(data, _LOG_HEADER.size)[0] if has_modseq else 0
    return Log(data, header_size, sequence, initial if initial < _MODSEQ_LIMIT else 0)


def _record_size(octets: bytes) -> int:
    size = 0
    for octet in octets:
        if octet < 0x80:
            return 0
        size = size << 7 | octet & 0x7F
    return size * 4


def highest_modseq(log: Log) -> int:
    """HIGHESTMODSEQ at the end of the log; 0 if mod-sequences were never asked for."""
    modseq = log.initial_modseq
    for kind, body in log.records():
        if modseq == 0:
            modseq = int(kind & _KIND == _INTRO and _intro_name(body) == b"modseq")
        elif kind & _KIND == _MODSEQ:
            for place in range(0, len(body) - 11, 12):
                low, high = _RANGE.unpack_from(body, place + 4)
                if high << 32 | low < _MODSEQ_LIMIT:
                    modseq = max(modseq, high << 32 | low)
        elif _counts(kind, body):
            modseq += 1
    return modseq


def _intro_name(body: bytes) -> bytes:
    if len(body) < _EXTENSION_INTRO:
        return b""
    size = int.from_bytes(body[_EXTENSION_INTRO - 2 : _EXTENSION_INTRO], "little")
    return body[_EXTENSION_INTRO : _EXTENSION_INTRO + size]


def _counts(kind: int, body: bytes) -> bool:
    """Whether a record raises the mod-sequence."""
    if kind & _KIND in _EXPUNGES:
        return bool(kind & _EXTERNAL)
    if kind & _KIND != _FLAGS:
        return kind & _KIND in _ALWAYS
    updates = _FLAG_UPDATE.iter_unpack(body[: len(body) // 12 * 12])
    return any((add | remove) & ~_INTERNAL_FLAGS or raises for _, _, add, remove, raises in updates)


@dataclass(slots=True)
class Flagged:
    """The UIDs that have each keyword; `known`: of every message. `sequence`, `offset`: where in the logs to go on."""

    uids: dict[bytes, set[int]] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    sequence: int = 0
    offset: int = 0

    def _among(self, body: bytes) -> Iterator[set[int]]:
        for first, last in _RANGE.iter_unpack(body[: len(body) // 8 * 8]):
            yield {uid for uid in self.known if first <= uid <= last}

    def take(self, kind: int, body: bytes) -> None:
        """One record of a log."""
        if kind & _KIND == _APPEND:
            self.known.update(uid for uid, _ in _RANGE.iter_unpack(body[: len(body) // 8 * 8]))
        elif kind & _KIND == _KEYWORD_RESET:
            for among in self._among(body):
                self._drop(among)
        elif kind & _KIND == _KEYWORDS and len(body) >= 4:
            size = int.from_bytes(body[2:4], "little")
            name = body[4 : 4 + size]
            for among in self._among(body[4 + size + -size % 4 :]):
                if body[0] == _REPLACE:
                    self._drop(among)
                if body[0] in (_ADD, _REPLACE):
                    self.uids.setdefault(name, set()).update(among)
                elif body[0] == _REMOVE:
                    self.uids.setdefault(name, set()).difference_update(among)

    def _drop(self, uids: set[int]) -> None:
        for has in self.uids.values():
            has -= uids


def parse_index(data: bytes) -> Flagged | None:
    """What `dovecot.index` says of keywords, or None for what is none, or damaged."""
    try:
        return _parse_index(data)
    except (struct.error, IndexError):  # its lengths lead out of the file
        return None


def _parse_index(data: bytes) -> Flagged | None:
    base_size, header_size, record_size = struct.unpack_from("<HII", data, 2)
    sequence, offset = _RANGE.unpack_from(data, 60)
    if data[0] != 7 or record_size < 5 or not 68 <= base_size <= header_size <= len(data):
        return None
    found = Flagged(sequence=sequence, offset=offset)
    names: list[bytes] = []
    bits = slice(0, 0)
    place = base_size + -base_size % 8
    while place + _EXTENSION.size <= header_size:
        size, _, start, length, _, name_size = _EXTENSION.unpack_from(data, place)
        name = data[place + _EXTENSION.size : place + _EXTENSION.size + name_size]
        place += _EXTENSION.size + name_size
        place += -place % 8
        if name == b"keywords" and place + size <= header_size:
            names, bits = _names(data[place : place + size]), slice(start, start + length)
        place += size + -size % 8
    for at in range(header_size, len(data) - record_size + 1, record_size):
        uid = _U32.unpack_from(data, at)[0]
        found.known.add(uid)
        mask = int.from_bytes(data[at : at + record_size][bits], "little")
        for number, name in enumerate(names):
            if mask >> number & 1:
                found.uids.setdefault(name, set()).add(uid)
    return found


def _names(data: bytes) -> list[bytes]:
    """Count, for each an unused word and the place of its name, then the names, which NUL ends."""
    count = _U32.unpack_from(data)[0]
    if count > len(data) // 8:
        return []
    table = data[4 + 8 * count :]
    places = [place for _, place in _RANGE.iter_unpack(data[4 : 4 + 8 * count])]
    return [table[place : table.index(0, place)] if 0 in table[place:] else b"" for place in places]


def keywords(index: bytes, logs: Sequence[Log]) -> dict[str, set[int]]:
    """UIDs by keyword. `logs` in order; what happened before the first that is left is in the index."""
    found = parse_index(index) or Flagged()
    for log in logs:
        if log.sequence >= found.sequence:
            for kind, body in log.records(found.offset if log.sequence == found.sequence else 0):
                found.take(kind, body)
    return {name.decode("ascii", "replace"): uids for name, uids in found.uids.items() if uids}


@dataclass(frozen=True, slots=True)
class Imported:
    """What one mailbox had."""

    modseq: int
    keywords: dict[str, set[int]]


def read(files: Files, directory: bytes) -> Imported:
    """What Dovecot's index files in `directory` say; nothing if they are not there or cannot be read."""
    parsed = [parse_log(_read(files, directory + b"/dovecot.index.log" + end)) for end in (b".2", b"")]
    logs = sorted((log for log in parsed if log is not None), key=_sequence)
    modseq = max((highest_modseq(log) for log in logs), default=0)
    return Imported(modseq, keywords(_read(files, directory + b"/dovecot.index"), logs))


def _read(files: Files, path: bytes) -> bytes:
    try:
        return files.read_file(path)
    except OSError:  # not there, or not for us: then there is nothing to import
        return b""


def _sequence(log: Log) -> int:
    return log.sequence
