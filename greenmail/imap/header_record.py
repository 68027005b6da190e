"""CacheKind.HEADERS: the header fields that clients list and search, so that any of them are picked without looking at
octets.

    record = names NUL *(field NUL) end

`names` are those of the fields in lower case with a space between them, each `field` stands as it does in the message,
and `end` is the empty line that ends the header, or nothing if it ends without one. A record that is `-` alone says
that they are too long to be kept, or have a NUL in them.
"""

from collections.abc import Callable, Iterable, Set
from operator import itemgetter

from greenmail.message.content import to_crlf
from greenmail.message.headers import lines_of_lf, named, unfold

MAX_HEADERS = 16384  # octets of one record
MAX_ORDERS = 1000  # of names that are remembered at once, and of spellings
LONGEST_NAME = 80  # octets of one that is remembered
TOO_LONG = b"-"

# What Thunderbird, Apple Mail, Roundcube and mutt ask for in their lists, and what SEARCH has keys for.
CACHED_FIELDS = frozenset(
    b"date subject from sender reply-to to cc bcc in-reply-to message-id references newsgroups content-type "
    b"content-transfer-encoding mime-version list-id list-post list-unsubscribe priority x-priority importance "
    b"x-mailer user-agent delivered-to".split()
)


class Recorder:
    """Makes the records of many messages: which names are CACHED_FIELDS is worked out once for each spelling."""

    __slots__ = ("_spelled",)

    def __init__(self) -> None:
        self._spelled: dict[bytes, bytes] = {}  # to lower case; empty for those of other fields

    def record(self, header: bytes) -> bytes:
        """Of a message with this header, whose lines end with CRLF; or with LF, if there is no CR in it."""
        lines = lines_of_lf(header)
        if lines is None:
            return headers_record(to_crlf(header))
        names: list[bytes] = []
        fields: list[bytes] = []
        for line in lines:
            colon = line.find(b":")
            if colon < 0:
                continue
            spelled = line[:colon]
            name = self._spelled.get(spelled)
            if name is None:
                name = self._learn(spelled)
            if name:
                names.append(name)
                fields.append(line)
        fields.append(b"")
        # A NUL stands for a line end within a field; there is no CR in any of them.
        text = b"\n\r".join(fields).replace(b"\0", b"\n").replace(b"\r", b"\0").replace(b"\n", b"\r\n")
        end = b"\r\n" if header.endswith(b"\n\n") else b""
        record = b"%b\0%b%b" % (b" ".join(names), text, end)
        return record if len(record) <= MAX_HEADERS else TOO_LONG

    def _learn(self, spelled: bytes) -> bytes:
        name = spelled.rstrip(b" \t").lower()
        if name not in CACHED_FIELDS:
            name = b""
        if len(spelled) <= LONGEST_NAME:
            if len(self._spelled) >= MAX_ORDERS:
                self._spelled.clear()
            self._spelled[spelled] = name
        return name


def headers_record(header: bytes) -> bytes:
    """The record of a message with this header, in the slow way."""
    fields = named(header, CACHED_FIELDS)
    names = b" ".join([name for name, _ in fields])
    record = b"\0".join([names, *[raw for _, raw in fields], b"\r\n" if ends_with_empty_line(header) else b""])
    if len(record) > MAX_HEADERS or record.count(b"\0") != len(fields) + 1:
        return TOO_LONG
    return record


def header_of(record: bytes) -> bytes:
    """The header that has the fields of a HEADERS record and no others."""
    return b"".join(record.split(b"\0")[1:])


def values_of(record: bytes, wanted: Set[bytes]) -> dict[bytes, list[bytes]]:
    """`headers.values` of a HEADERS record that is not TOO_LONG; `wanted` are CACHED_FIELDS."""
    pieces = record.split(b"\0")
    found: dict[bytes, list[bytes]] = {name: [] for name in wanted}
    for place, name in enumerate(pieces[0].split(b" "), 1):
        if name in wanted:
            found[name].append(unfold(pieces[place].partition(b":")[2]))
    return found


class Subset:
    """HEADER.FIELDS of HEADERS records: which fields those are is worked out once for each order of names."""

    __slots__ = ("_pickers", "_wanted")

    def __init__(self, names: Iterable[bytes]) -> None:
        """`names` in any case, all of them CACHED_FIELDS."""
        self._wanted = frozenset([name.lower() for name in names])
        self._pickers: dict[bytes, Callable[[list[bytes]], Iterable[bytes]]] = {}

    def of(self, record: bytes) -> bytes:
        """The fields, and the empty line if the message has one: RFC 9051 6.4.5.1."""
        pieces = record.split(b"\0")
        picker = self._pickers.get(pieces[0])
        if picker is None:
            picker = self._learn(pieces[0])
        return b"".join(picker(pieces))

    def _learn(self, names: bytes) -> Callable[[list[bytes]], Iterable[bytes]]:
        places = [place for place, name in enumerate(names.split(b" "), 1) if name in self._wanted]
        if len(self._pickers) > MAX_ORDERS:
            self._pickers.clear()
        picker = self._pickers[names] = itemgetter(*places, -1) if places else itemgetter(slice(-1, None))
        return picker


def ends_with_empty_line(header: bytes) -> bool:
    """False for a message that has neither body nor empty line, RFC 9051 6.4.5.1."""
    return header == b"\r\n" or header.endswith(b"\r\n\r\n")
