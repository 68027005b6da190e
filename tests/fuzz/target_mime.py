"""A message: any octets give a tree whose parts lie within each other, and answers that fit the grammar."""

from harness.response_grammar import responses

from greenmail.imap import render
from greenmail.message import decode, headers, structure
from greenmail.message.content import header_end, to_crlf
from greenmail.message.envelope import addresses, envelope
from greenmail.message.preview import LONGEST, preview
from greenmail.message.search import look
from greenmail.message.sort_keys import sort_record, thread_keys
from greenmail.message.structure import MAX_DEPTH, Part, scan
from greenmail.message.subject import base_subject


def check(data: bytes) -> None:
    message = to_crlf(data)
    root = scan(message)
    _within(root, 0, len(message), 0)
    for extended in (False, True):
        responses(b"* 1 FETCH (%b %b)\r\n" % (b"BODYSTRUCTURE" if extended else b"BODY", render.body(root, extended)))
    responses(b"* 1 FETCH (ENVELOPE %b)\r\n" % render.envelope(envelope(message, 0, root.header[1])))
    text = preview(lambda start, end: message[start:end], root)
    assert len(text) <= LONGEST and "\n" not in text and "\r" not in text
    look(lambda start, end: message[start:end], root, ["a", "é"], with_header=True)
    _header(message[: header_end(message)] or message)
    _values(data)


def _within(part: Part, start: int, end: int, depth: int) -> None:
    assert depth <= MAX_DEPTH + 1
    # A header with nothing behind it ends with the line end of the next delimiter, be it one of a multipart around.
    assert start <= part.header[0] <= part.header[1] <= part.body[0] <= part.body[1] <= end + 2 * (depth > 0), part
    assert part.octets == part.body[1] - part.body[0]
    place = part.body[0]
    for child in part.children:
        _within(child, place, part.body[1], depth + 1)
        place = child.body[1]
    if part.message is not None:
        _within(part.message, part.body[0], part.body[1], depth + 1)


def _header(header: bytes) -> None:
    fields = list(headers.split(header))
    names = {field.name for field in fields if field.name}
    chosen = headers.select(header, names)
    left = headers.select(header, names, exclude=True)
    assert chosen.endswith(b"\r\n") and left.endswith(b"\r\n")
    for name in list(names)[:5]:
        assert {field.name.lower() for field in headers.split(headers.select(header, [name]))} <= {name.lower(), b""}
    thread_keys(sort_record(header))


def _values(data: bytes) -> None:
    headers.token_and_params(data)
    headers.tokens(data)
    addresses([data])
    decode.decode_words(data)
    decode.words_octets(data)
    decode.sent_time(data)
    decode.sent_date(data)
    base, _ = base_subject(data)
    again, _ = base_subject(base.encode("utf-8", "surrogateescape"))
    assert isinstance(again, str)
    encoding, _, body = data.partition(b"\n")
    decode.transfer_decode(body, encoding)
    decode.to_text(body, encoding)
    _, params = headers.token_and_params(data)
    for name, _ in params:
        decode.param_text(params, name.lower())
    structure.scan(b"Content-Type: " + data)
