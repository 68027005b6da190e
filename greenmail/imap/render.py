"""ENVELOPE, BODY and BODYSTRUCTURE as FETCH sends them, RFC 9051 7.5.2; rendered once a message and cached.

What is cached serves every client, so nothing here depends on the session: text that is not US-ASCII is a literal,
which is right before and after ENABLE. Whatever a message holds, what comes out fits the grammar of RFC 9051 9.
"""

from collections.abc import Sequence
from functools import lru_cache

from greenmail.imap.serialize import address, address_list, nstring, parenthesized, string
from greenmail.message.envelope import Addresses, Envelope
from greenmail.message.headers import Params
from greenmail.message.structure import Part

_MAX_NUMBER = 0xFFFFFFFF
_SHORT = 80  # octets of a type with its parameter that are remembered
_USUAL_ENCODINGS = {
    encoding: string(encoding) for encoding in (b"7bit", b"8bit", b"base64", b"quoted-printable", b"binary")
}


def envelope(value: Envelope) -> bytes:
    """envelope = "(" env-date SP env-subject SP env-from ... SP env-message-id ")" """
    sent_by = _addresses(value.from_)
    return parenthesized(
        [
            nstring(value.date),
            nstring(value.subject),
            sent_by,
            sent_by if value.sender is value.from_ else _addresses(value.sender),
            sent_by if value.reply_to is value.from_ else _addresses(value.reply_to),
            _addresses(value.to),
            _addresses(value.cc),
            _addresses(value.bcc),
            nstring(value.in_reply_to),
            nstring(value.message_id),
        ]
    )


def body(part: Part, extended: bool) -> bytes:
    """body = "(" (body-type-1part / body-type-mpart) ")"; `extended`: BODYSTRUCTURE, with all extension data."""
    return parenthesized(_multipart(part, extended) if part.is_multipart else _single(part, extended))


def _addresses(values: Addresses) -> bytes:
    return address_list([address(one.name, one.route, one.mailbox, one.host) for one in values])


def _multipart(part: Part, extended: bool) -> list[bytes]:
    """body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]; no space between the bodies."""
    pieces = [b"".join([body(child, extended) for child in part.children]), string(part.subtype)]
    if extended:
        pieces += [_params(part.params), _disposition(part), _languages(part.languages), nstring(part.location)]
    return pieces


def _single(part: Part, extended: bool) -> list[bytes]:
    """body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]"""
    pieces = [
        (_known_media if _is_short(part) else _media)(part.type, part.subtype, part.params),
        nstring(part.content_id),
        nstring(part.description),
        _USUAL_ENCODINGS.get(part.encoding) or string(part.encoding),
        _number(part.octets),
    ]
    if part.message is not None and part.envelope is not None:
        pieces += [envelope(part.envelope), body(part.message, extended), b"%d" % part.lines]
    elif part.is_text:
        pieces.append(b"%d" % part.lines)
    if extended:
        if part.md5 is None and part.disposition is None and not part.languages and part.location is None:
            pieces.append(b"NIL NIL NIL NIL")  # most parts
        else:
            pieces += [nstring(part.md5), _disposition(part), _languages(part.languages), nstring(part.location)]
    return pieces


def _is_short(part: Part) -> bool:
    """Whether a type is worth remembering: with one parameter at most, which is the charset of most texts."""
    octets = len(part.type) + len(part.subtype)
    for name, value in part.params:
        octets += len(name) + len(value)
    return octets <= _SHORT and len(part.params) <= 1


def _media(major: bytes, minor: bytes, params: Params) -> bytes:
    """media-basic or media-text, and body-fld-param."""
    return b"%b %b %b" % (string(major), string(minor), _params(params))


@lru_cache(maxsize=256)
def _known_media(major: bytes, minor: bytes, params: Params) -> bytes:
    """`_media`: most mail says the same few."""
    return _media(major, minor, params)


def _number(value: int) -> bytes:
    """number: RFC 9051 9 has body-fld-octets in 32 bits."""
    return b"%d" % min(value, _MAX_NUMBER)


def _params(params: Params) -> bytes:
    """body-fld-param = "(" string SP string *(SP string SP string) ")" / nil"""
    if not params:
        return b"NIL"
    return parenthesized([string(word) for pair in params for word in pair])


def _disposition(part: Part) -> bytes:
    """body-fld-dsp = "(" string SP body-fld-param ")" / nil"""
    if part.disposition is None:
        return b"NIL"
    return parenthesized([string(part.disposition), _params(part.disposition_params)])


def _languages(languages: Sequence[bytes]) -> bytes:
    """body-fld-lang = nstring / "(" string *(SP string) ")" """
    if len(languages) < 2:
        return nstring(languages[0] if languages else None)
    return parenthesized([string(language) for language in languages])
