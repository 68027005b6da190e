"""What is made of one message, to be kept: of its header where that says it all, else of a scan of all its octets."""

from collections.abc import Callable, Sequence, Set
from functools import partial

from greenmail.imap import render
from greenmail.imap.header_record import Recorder
from greenmail.imap.parts import format_parts
from greenmail.imap.serialize import string
from greenmail.message import collation
from greenmail.message.collation import Comparator
from greenmail.message.envelope import envelope
from greenmail.message.preview import preview
from greenmail.message.sort_keys import sent_record, sort_record, thread_record
from greenmail.message.structure import Part, scan
from greenmail.storage.api import CacheKind

# Which comparator the keys of a SORT record are made with.
SORTED_BY = {
    CacheKind.SORT: collation.DEFAULT,
    CacheKind.SORT_ASCII: Comparator(collation.ASCII_CASEMAP),
    CacheKind.SORT_OCTET: Comparator(collation.OCTET),
}


class Maker:
    """Makes some kinds for many messages; `order` says which, one after the other."""

    __slots__ = ("_by_header", "_by_scan", "order", "whole")

    def __init__(self, kinds: Set[CacheKind]) -> None:
        """More than `kinds` is made where they need a scan.

        That is what costs: whoever asks for a structure will ask for parts, and the other way round.
        """
        self.whole = not kinds <= OF_HEADER  # all octets of a message are needed, and not its header alone
        of_header = sorted(kinds & OF_HEADER)
        of_scan = sorted((kinds | _FOR_NOTHING) - OF_HEADER) if self.whole else []
        self.order: Sequence[CacheKind] = [*of_header, *of_scan]
        ways = {**_BY_HEADER, CacheKind.HEADERS: Recorder().record}
        self._by_header = [ways[kind] for kind in of_header]
        self._by_scan = [_BY_SCAN[kind] for kind in of_scan]

    def make(self, place: int, octets: bytes) -> list[bytes]:
        """What is made of a message if `whole`, else of its header; `place`, which `make_many` gives, does not matter.

        Lines end with CRLF; in a header without any CR with LF.
        """
        if not self.whole:
            return [way(octets) for way in self._by_header]
        root = scan(octets)
        header = octets[: root.header[1]] if self._by_header else b""
        made = [way(header) for way in self._by_header]
        made += [scanned(octets, root) for scanned in self._by_scan]
        return made


def _envelope(header: bytes) -> bytes:
    return render.envelope(envelope(header, 0, len(header)))


def _body(data: bytes, root: Part) -> bytes:
    return render.body(root, extended=False)


def _bodystructure(data: bytes, root: Part) -> bytes:
    return render.body(root, extended=True)


def _parts(data: bytes, root: Part) -> bytes:
    return format_parts(root)


def _preview(data: bytes, root: Part) -> bytes:
    return string(preview(lambda start, end: data[start:end], root).encode("utf-8", "replace"))


_BY_HEADER: dict[CacheKind, Callable[[bytes], bytes]] = {
    CacheKind.ENVELOPE: _envelope,
    CacheKind.SENT: sent_record,
    CacheKind.THREAD: thread_record,
    **{kind: partial(sort_record, comparator=comparator) for kind, comparator in SORTED_BY.items()},
}
_BY_SCAN: dict[CacheKind, Callable[[bytes, Part], bytes]] = {
    CacheKind.BODY: _body,
    CacheKind.BODYSTRUCTURE: _bodystructure,
    CacheKind.PARTS: _parts,
    CacheKind.PREVIEW: _preview,
}
OF_HEADER = frozenset({*_BY_HEADER, CacheKind.HEADERS})  # these need no body
_FOR_NOTHING = frozenset({CacheKind.BODYSTRUCTURE, CacheKind.PARTS})
