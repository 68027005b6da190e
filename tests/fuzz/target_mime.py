"""A message: any octets give a tree whose parts lie within each other, and answers that fit the grammar.

What has a quick way and a general one is done both ways, and in pieces as well as at once. The last octet chooses how.
"""

from collections.abc import Iterator

from harness.response_grammar import responses
from harness.response_octets import Octets, string

from greenmail.imap import digest, header_record, made, parts, render, text_probe
from greenmail.imap.search_key import TextKey
from greenmail.imap.serialize import string as written
from greenmail.message import decode, envelope, headers, search, sort_keys, structure, unbinary
from greenmail.message.collation import INSTALLED, Comparator
from greenmail.message.content import BytesContent, header_end, to_crlf
from greenmail.message.fuzzy import fitness, wanted
from greenmail.message.preview import LONGEST, preview
from greenmail.message.structure import MAX_DEPTH, Part, scan
from greenmail.message.subject import base_subject
from greenmail.storage.api import CacheKind

NAMES = (b"Content-Type", b"Subject", b"From", b"To", b"X-Odd", b"Message-ID", b"References")
ODD_NAMES = (b"", b"a b", b"Subject:")
PLAIN = frozenset(name.lower() for name in NAMES)
NEEDLES = (b"a", b"re", b"x y", b"boundary", b"=", b"?")
KINDS = frozenset((
    CacheKind.ENVELOPE, CacheKind.BODY, CacheKind.BODYSTRUCTURE, CacheKind.PARTS, CacheKind.HEADERS, CacheKind.PREVIEW,
    CacheKind.SENT, CacheKind.THREAD, *made.SORTED_BY,
))  # fmt: skip
COMPARATORS = tuple(map(Comparator, INSTALLED))
LARGE = 280_000  # octets of a message that is made large


def check(data: bytes) -> None:
    mode = data[-1] if data else 0
    message = to_crlf(data)
    if mode & 63 == 63:
        message += b"\r\n" + message * (LARGE // (len(message) + 2) if len(message) > 200 else 500) + b"y\r\n" * 10_000
    assert to_crlf(message) == message
    root = scan(message)
    _within(root, 0, len(message), 0)
    _parts(message, root)
    if len(message) < 20_000:
        _answers(message, root)
        _search(message, root)
        _digest(message, root)
        _header(message[: header_end(message)] if header_end(message) >= 0 else message, mode)
        _header(message, mode)
    _params(data)
    _addresses(data)
    _words(data)
    _dates(data)
    _bodies(data, mode % 29 + 1)
    structure.scan(b"Content-Type: " + data)
    _as_text(message)


def _within(part: Part, start: int, end: int, depth: int) -> None:
    assert depth <= MAX_DEPTH + 1
    # A header with nothing behind it ends with the line end of the next delimiter, be it one of a multipart around.
    assert start <= part.header[0] <= part.header[1] <= part.body[0] <= part.body[1] <= end + 2 * (depth > 0), part
    assert part.octets == part.body[1] - part.body[0]
    assert part.is_multipart == bool(part.children)
    place = part.body[0]
    for child in part.children:
        _within(child, place, part.body[1], depth + 1)
        place = child.body[1]
    if part.message is not None:
        _within(part.message, part.body[0], part.body[1], depth + 1)


def _answers(message: bytes, root: Part) -> None:
    for extended in (False, True):
        responses(b"* 1 FETCH (%b %b)\r\n" % (b"BODYSTRUCTURE" if extended else b"BODY", render.body(root, extended)))
    whole = envelope.envelope(message)
    assert whole == envelope.envelope(message, 0, root.header[1]) or header_end(message) < 0
    responses(b"* 1 FETCH (ENVELOPE %b)\r\n" % render.envelope(envelope.envelope(message, 0, root.header[1])))
    text = preview(lambda start, end: message[start:end], root)
    assert len(text) <= LONGEST and "\n" not in text and "\r" not in text
    string(Octets(written(text.encode("utf-8", "replace"), utf8=True), utf8=True))


def _parts(message: bytes, root: Part) -> None:
    """What is cached of the places of parts says what the tree says; text lines are counted right."""
    made = parts.format_parts(root)
    for name, part in list(parts.numbered(root))[:50]:
        place = parts.find_part(made, tuple(map(int, name.split(b"."))))
        assert place is not None, name
        assert (place.header_start, place.header_end) == part.header
        assert (place.body_start, place.body_end) == part.body
        assert place.is_message == (part.message is not None) and place.is_text <= place.is_leaf
        if part.is_text or part.message is not None:
            assert part.lines == message.count(b"\n", *part.body)
    assert parts.find_part(made, ()) is not None and parts.find_part(made, (9, 9, 9, 9999)) is None
    left = parts.without_data(message, made, 0)
    assert left is None or len(left) <= len(message)


def _search(message: bytes, root: Part) -> None:
    """What is found out without reading a message as text is what reading it finds out."""

    def read(start: int, end: int) -> bytes:
        return message[start:end]

    made = parts.format_parts(root)
    texts = [needle.decode("ascii") for needle in NEEDLES]
    body = search.look(read, root, texts, with_header=False)
    whole = search.look(read, root, texts, with_header=True)
    assert all(one <= other for one, other in zip(body, whole, strict=True))
    for number, (needle, text) in enumerate(zip(NEEDLES, texts, strict=True)):
        assert search.look(read, root, [text], with_header=False) == [body[number]]
        end = root.header[1]
        for looked, found in ((b"", body), (message[:end], whole)):
            if search.lacks_as_it_stands(message[:end], looked, message[end:], [needle]):
                assert not found[number], needle
        for with_header, found in ((False, body), (True, whole)):
            wanted_text = text_probe.Needle(TextKey(needle, with_header), text)
            for comparator in COMPARATORS:
                _probed(message, root, made, wanted_text, comparator)
            assert bool(text_probe.TextProbe([wanted_text], COMPARATORS[0]).of(message, made)[0]) == found[number]
    if len(message) < 2000:
        text = "".join(block for part in search.text_leaves(root) for block in search.leaf_text(read, part)).casefold()
        assert 0 <= fitness(wanted(text[:60]), [(text, 1.0)]) <= 1


def _probed(message: bytes, root: Part, made: bytes, needle: text_probe.Needle, comparator: Comparator) -> None:
    """Whether the parts are known or not, and octets are looked through first or not."""
    probe = text_probe.TextProbe([needle], comparator)
    known, nothing = probe.of(message, made)
    unknown, scanned = probe.of(message, None)
    assert nothing is None and scanned in (made, None)
    assert known == unknown == text_probe.text_hits(message, root, [needle], comparator), needle


def _digest(message: bytes, root: Part) -> None:
    """All at once and each by itself, of the octets and of the header alone: the same."""
    content = BytesContent(message)
    [whole] = digest.digests([content], KINDS)
    assert isinstance(whole, dict) and whole.keys() >= KINDS
    for kind in KINDS:
        [alone] = digest.digests([content], frozenset((kind,)))
        assert isinstance(alone, dict) and alone[kind] == whole[kind], kind
    header = message[: root.header[1]]
    in_file = header.replace(b"\r\n", b"\n")
    if b"\r" not in in_file:  # headers are read as they stand in files
        maker = made.Maker(KINDS & made.OF_HEADER)
        assert maker.make(0, in_file) == maker.make(0, header)
    assert sort_keys.thread_keys(whole[CacheKind.THREAD]) == sort_keys.thread_keys(whole[CacheKind.SORT])
    assert whole[CacheKind.SENT] == sort_keys.field(whole[CacheKind.SORT], sort_keys.Place.DATE)
    record = whole[CacheKind.HEADERS]
    if record != header_record.TOO_LONG:
        kept = header_record.header_of(record)
        fields = header_record.CACHED_FIELDS
        assert headers.select(kept, fields) == headers.select(header, fields)
        assert sort_keys.sort_record(kept) == whole[CacheKind.SORT]
        assert sort_keys.sent_record(kept) == whole[CacheKind.SENT]
        assert sort_keys.thread_record(kept) == whole[CacheKind.THREAD]
        end = b"\r\n" if header_record.ends_with_empty_line(header) else b""
        for names in ([b"Subject"], [b"FROM", b"to", b"Subject"], [b"List-Id"]):
            assert header_record.Subset(names).of(record) == headers.select(header, names)[:-2] + end


def _header(header: bytes, mode: int) -> None:
    fields = list(headers.split(header))
    names = {field.name for field in fields if field.name}
    chosen = headers.select(header, names)
    left = headers.select(header, names, exclude=True)
    assert chosen.endswith(b"\r\n") and left.endswith(b"\r\n")
    raws = [field.raw if field.raw.endswith(b"\n") else field.raw + b"\r\n" for field in fields]
    assert chosen == b"".join(raw for raw, field in zip(raws, fields, strict=True) if field.name) + b"\r\n"
    assert left == b"".join(raw for raw, field in zip(raws, fields, strict=True) if not field.name) + b"\r\n" or any(
        b":" in field.raw for field in fields if not field.name
    )
    for name in (*list(names)[:5], *ODD_NAMES):
        assert {field.name.lower() for field in headers.split(headers.select(header, [name]))} <= {name.lower(), b""}
    _three_ways(header, PLAIN, mode)
    _three_ways(
        header,
        {name.lower() for name in list(names)[:5] if headers._PLAIN_NAME.fullmatch(name) and len(name) < 200},
        mode,
    )
    plain = headers.Header(header)
    for name in NAMES:
        assert plain.all(name)[:1] == ([plain.first(name)] if plain.first(name) is not None else [])
    assert plain.all(b"") == [] and plain.first(b"") is None
    for comparator in COMPARATORS:
        record = sort_keys.sort_record(header, comparator)
        keys = sort_keys.thread_keys(record)
        assert sort_keys.field(record, sort_keys.Place.SUBJECT) == keys.subject
        assert sort_keys.field(record, sort_keys.Place.MESSAGE_ID) == keys.message_id
        assert len(keys.references) <= sort_keys.MOST


def _three_ways(header: bytes, names: set[bytes] | frozenset[bytes], mode: int) -> None:
    """Short headers of the usual form, short ones of any form, and long ones in windows."""
    short, window = headers.SHORT, headers.WINDOW
    finder = headers.finder(*names, prefix=b"")
    ways = []
    try:
        for headers.SHORT, headers.WINDOW in ((1 << 14, 1 << 18), (-1, mode + 300), (-1, 1 << 18)):
            ways.append((headers.named(header, names), headers.values(header, names), _nonempty(finder, header)))
    finally:
        headers.SHORT, headers.WINDOW = short, window
    assert ways[0][0] == ways[1][0], (ways[0][0], ways[1][0])
    assert ways[0][1] == ways[1][1], (ways[0][1], ways[1][1])
    assert ways[0][2] == ways[1][2] == ways[2][2], ways
    assert headers._named_among_any(header, names) == ways[0][0]
    end = header_end(header)
    alone = header if end < 0 else header[:end]
    for name in names:
        found = headers.collect(headers.finder(name, prefix=name.lower()), alone, 0, len(alone))
        assert found.get(name, []) == ways[0][2].get(name, []), name


def _nonempty(finder: headers.Names, header: bytes) -> dict[bytes, list[bytes]]:
    end = header_end(header)
    return headers.collect(finder, header, 0, len(header) if end < 0 else end)


def _params(data: bytes) -> None:
    usual = headers._read_usual(data)
    whole = headers._read_any(data)
    assert usual is None or usual == whole, (usual, whole)
    assert headers.token_and_params(data) == whole
    headers.tokens(data)
    for name, _ in whole[1][:20]:
        decode.param_text(whole[1], name.lower())
        decode.param_text(whole[1], name.lower().partition(b"*")[0])


def _addresses(data: bytes) -> None:
    for value in (data, data.replace(b"\n", b""), *data.split(b"\n")[:5]):
        usual: list[envelope.Address] = []
        if envelope._read_usual(value, usual):
            general: list[envelope.Address] = []
            envelope._AddressList(general).read(value)
            assert usual == general, (usual, general)
        else:
            assert not usual
        found = envelope.addresses([value])
        assert len(found) <= envelope.MAX_ADDRESSES
        inside = 0
        for address in found:  # groups begin and end
            if address.host is None:
                inside += 1 if address.mailbox is not None else -1
            assert 0 <= inside <= 1
        assert not inside
    envelope.addresses([data, data])


def _words(data: bytes) -> None:
    text = decode.decode_words(data)
    converted = decode.converted_words(data)
    assert converted is None or converted == text or b"=?" not in data, (converted, text)
    decode.words_octets(data)
    base, is_reply = base_subject(text)
    again, replies = base_subject(base)
    assert not replies or not is_reply or again != base
    first = data.split(b"\n")[0]
    assert decode.reads_ascii(first) <= (decode.codec(first) is not None)
    for comparator in COMPARATORS:
        assert comparator.fold(comparator.fold(text[:200])) == comparator.fold(text[:200])
        comparator.key(text)


def _dates(data: bytes) -> None:
    for value in (data, *data.split(b"\n")[:3]):
        moment = decode.sent_time(value)
        day = decode.sent_date(value)
        assert (moment.date() if moment else None) == day
        assert decode.sent_seconds(value) == (int(moment.timestamp()) if moment else None), value


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _bodies(data: bytes, size: int) -> None:
    """At once, and in pieces."""
    encoding, _, rest = data.partition(b"\n")
    charset, _, body = rest.partition(b"\n")
    for name in {encoding, b"base64", b"quoted-printable"}:
        decoder = decode.transfer_decoder(name)
        whole = decode.transfer_decode(body, name)
        if decoder is None:
            assert whole is None
        elif len(body) < 2000:  # longer lines are cut where they can be
            assert b"".join(decoder(_pieces(body, size))) == whole, name
        else:
            for _ in decoder(_pieces(body, size * 100)):
                pass
    text = decode.to_text(body, charset)
    assert isinstance(text, str)
    name = decode.codec(charset)
    if name in ("utf_8", "latin_1", "utf_16", "cp1252", "gb18030"):
        assert "".join(decode.text_blocks(_pieces(body, size), charset)) == text
    else:
        "".join(decode.text_blocks(_pieces(body, size), charset))


def _as_text(message: bytes) -> None:
    """APPEND of binary parts to a store that has none: RFC 3516 4.4."""
    try:
        made = unbinary.as_text(message)
    except unbinary.Unfit:
        return
    assert b"\0" not in made
