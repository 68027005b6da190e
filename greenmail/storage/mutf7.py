"""Modified UTF-7, the encoding of mailbox names in IMAP and on disk: RFC 3501 5.1.3, RFC 9051 Appendix A.1.

Printable US-ASCII stands for itself, "&" is "&-", and every run of other characters is "&", their UTF-16BE in base64
without padding and with "," for "/", "-". There is exactly one way to write a name, and only that one is decoded:
otherwise one mailbox would have several names.
"""

import binascii
import re

_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*")
_OTHER = re.compile(r"[^\x20-\x25\x27-\x7e]+")


class Malformed(ValueError):
    """Not modified UTF-7 in its only form; the text says what is wrong."""


def encode(name: str) -> bytes:
    """`name` in modified UTF-7. Raises UnicodeEncodeError for a surrogate without its partner."""
    return _OTHER.sub(_encode_run, name).encode("ascii")


def _encode_run(match: re.Match[str]) -> str:
    # "&" may stand in the midst of other characters: it is a run of its own, "&-".
    return "&-".join(_base64(piece) for piece in match[0].split("&"))


def _base64(text: str) -> str:
    if not text:
        return ""
    coded = binascii.b2a_base64(text.encode("utf-16-be"), newline=False)
    return "&" + coded.rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"


def decode(name: bytes) -> str:
    """The name that `encode` gives `name` for; raises Malformed for everything else.

    RFC 9051 Appendix A.1: no printable US-ASCII in base64, no superfluous shift ("-&"), no NUL, no 8-bit octets.
    """
    pieces = name.split(b"&")
    plain = pieces[0]
    if not _PLAIN.fullmatch(plain):
        raise Malformed("octets outside of printable US-ASCII")
    if len(pieces) == 1:
        return plain.decode("ascii")
    result = [plain.decode("ascii")]
    for piece in pieces[1:]:
        coded, dash, plain = piece.partition(b"-")
        if not dash:
            raise Malformed('"&" without "-"')
        if not _PLAIN.fullmatch(plain):
            raise Malformed("octets outside of printable US-ASCII")
        result.append(_decode_run(coded) + plain.decode("ascii"))
    text = "".join(result)
    # One comparison finds every other spelling: padding bits, adjacent runs, encoded ASCII.
    if encode(text) != name:
        raise Malformed("not in the only form allowed")
    return text


def _decode_run(coded: bytes) -> str:
    if not coded:
        return "&"
    if b"/" in coded or b"=" in coded:
        raise Malformed("not modified base64")
    try:
        data = binascii.a2b_base64(coded.replace(b",", b"/") + b"=" * (-len(coded) % 4), strict_mode=True)
        text = data.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise Malformed("not UTF-16 in base64") from None
    if "\0" in text:
        raise Malformed("NUL")
    return text
