"""Random mail in every charset and encoding, and words that may be in it."""

import base64
import quopri

from hypothesis import strategies as st

WORDS = [
    "invoice", "voice", "Rechnung", "Straße", "STRASSE", "Grüße", "été", "naïve", "ﬁnal", "Ⅳ", "İstanbul", "ΣΊΣΥΦΟΣ",
    "日本語の本", "Привет", "a", "re", '"quoted"', "100%", "can't", "AND", "x\u0301\u0316y", "\u1e9e", "e\u0301t", "ǆ",
    "\U0001f600ok", "key:value",
]  # fmt: skip
CHARSETS = (
    "utf-8", "iso-8859-1", "koi8-r", "iso-2022-jp", "utf-16", "utf-7", "us-ascii", "x-nobody", "gb2312", "shift_jis",
)  # fmt: skip

_BETWEEN = (" ", "  ", "\r\n", "\r\n ", "\t", "<b>", "</b>", "&uuml;", "=")

_text = st.lists(st.sampled_from([*WORDS, *_BETWEEN]), max_size=12).map("".join)


def _encoded(text: str, charset: str) -> bytes:
    return text.encode(charset if charset != "x-nobody" else "utf-8", "replace")


@st.composite
def _word(draw: st.DrawFn) -> bytes:
    """Text of a header field: as it is, or as encoded words."""
    text, charset = draw(_text).replace("\r\n", " "), draw(st.sampled_from(CHARSETS))
    octets = _encoded(text, charset)
    if draw(st.booleans()):
        return octets.replace(b"\n", b" ").replace(b"\r", b" ")
    if draw(st.booleans()):
        return b"=?%b?B?%b?=" % (charset.encode(), base64.b64encode(octets))
    return b"=?%b?q?%b?=" % (charset.encode(), quopri.encodestring(octets, header=True).replace(b"=\n", b""))


@st.composite
def _leaf(draw: st.DrawFn) -> bytes:
    """A part with its header."""
    kind = draw(st.sampled_from([b"text/plain", b"text/html", b"message/delivery-status", b"image/png"]))
    charset = draw(st.sampled_from(CHARSETS))
    octets = _encoded(draw(_text), charset) + draw(st.binary(max_size=5))
    how = draw(st.sampled_from([b"", b"base64", b"quoted-printable", b"x-nobody"]))
    body = {b"base64": base64.encodebytes, b"quoted-printable": quopri.encodestring}.get(how, bytes)(octets)
    head = b'Content-Type: %b; charset=%b; name="%b"\r\n' % (kind, charset.encode(), draw(_word()).replace(b'"', b""))
    return head + (b"Content-Transfer-Encoding: %b\r\n" % how if how else b"") + b"\r\n" + body.replace(b"\n", b"\r\n")


@st.composite
def mails(draw: st.DrawFn) -> bytes:
    """The octets of a message with CRLF line ends."""
    head = b"From: %b <a@example.org>\r\nSubject: %b\r\n" % (draw(_word()), draw(_word()))
    parts = draw(st.lists(_leaf(), min_size=1, max_size=3))
    if len(parts) == 1:
        return head + parts[0]
    if draw(st.booleans()):
        parts[-1] = b"Content-Type: message/rfc822\r\n\r\nSubject: " + draw(_word()) + b"\r\n" + parts[-1]
    joined = b"".join(b"\r\n--=_b\r\n" + part for part in parts)
    return head + b'Content-Type: multipart/mixed; boundary="=_b"\r\n' + joined + b"\r\n--=_b--\r\n"


def needles() -> st.SearchStrategy[str]:
    """What clients might look for: pieces of the words, and of two of them."""
    whole = st.lists(st.sampled_from([*WORDS, " "]), min_size=1, max_size=3).map("".join)
    return st.tuples(whole, st.integers(0, 6), st.integers(1, 12)).map(lambda cut: cut[0][cut[1] : cut[1] + cut[2]])
