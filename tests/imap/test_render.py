"""ENVELOPE and BODYSTRUCTURE as they are sent: RFC 9051 7.5.2, and its grammar for whatever a message holds."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import trees

from greenmail.imap import render
from greenmail.message.content import to_crlf
from greenmail.message.envelope import envelope
from greenmail.message.structure import scan

Value = list["Value"] | bytes | int | None

_TOKEN = re.compile(rb'[()]|"(?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*"|\{(\d+)\}\r\n|NIL|\d+|\\?[A-Za-z$][A-Za-z0-9.$]*| ')


def read(text: bytes) -> Value:
    """One parenthesized list of FETCH as nested lists; asserts that it is well-formed, spaces included."""
    value, place = _value(text, 0)
    assert place == len(text), text[place:]
    return value


def _value(text: bytes, place: int) -> tuple[Value, int]:
    found = _TOKEN.match(text, place)
    assert found, text[place : place + 40]
    token, place = found[0], found.end()
    if token == b"(":
        return _list(text, place)
    if found[1]:
        octets = text[place : place + int(found[1])]
        assert len(octets) == int(found[1])
        assert b"\0" not in octets
        return octets, place + len(octets)
    if token.startswith(b'"'):
        return re.sub(rb'\\(["\\])', rb"\1", token[1:-1]), place
    assert token not in (b" ", b")"), "misplaced"
    return None if token == b"NIL" else int(token), place


def _list(text: bytes, place: int) -> tuple[Value, int]:
    items: list[Value] = []
    while text[place : place + 1] != b")":
        if items and not (isinstance(items[-1], list) and text[place : place + 1] == b"("):
            assert text[place : place + 1] == b" "
            place += 1
        item, place = _value(text, place)
        items.append(item)
    assert items, "an empty list is not in the grammar"
    return items, place + 1


def is_nstring(value: Value) -> bool:
    return value is None or isinstance(value, bytes)


def check_envelope(value: Value) -> None:
    """envelope, RFC 9051 9."""
    assert isinstance(value, list)
    assert len(value) == 10
    for place in (0, 1, 8, 9):
        assert is_nstring(value[place])
    for addresses in value[2:8]:
        for one in addresses or []:
            assert isinstance(one, list)
            assert len(one) == 4
            assert all(map(is_nstring, one))


def check_params(value: Value) -> None:
    """body-fld-param"""
    if value is not None:
        assert isinstance(value, list)
        assert len(value) % 2 == 0
        assert all(isinstance(word, bytes) for word in value)


def check_extension(values: list[Value]) -> None:
    """body-fld-dsp SP body-fld-lang SP body-fld-loc"""
    disposition, language, location = values
    if disposition is not None:
        assert isinstance(disposition, list)
        assert isinstance(disposition[0], bytes)
        check_params(disposition[1])
        assert len(disposition) == 2
    assert is_nstring(language) or all(isinstance(word, bytes) for word in language)  # type: ignore[union-attr]  # a list
    assert is_nstring(location)


def check_body(value: Value, extended: bool) -> None:
    """body, RFC 9051 9."""
    assert isinstance(value, list)
    if isinstance(value[0], list):
        parts = [item for item in value if isinstance(item, list)]
        count = next(place for place, item in enumerate(value) if not isinstance(item, list))
        for part in parts[:count]:
            check_body(part, extended)
        assert isinstance(value[count], bytes)
        rest = value[count + 1 :]
        assert len(rest) == (4 if extended else 0)
        if extended:
            check_params(rest[0])
            check_extension(rest[1:])
        return
    kind, subtype, params, content_id, description, encoding, octets = value[:7]
    assert isinstance(kind, bytes)
    assert isinstance(subtype, bytes)
    check_params(params)
    assert is_nstring(content_id)
    assert is_nstring(description)
    assert isinstance(encoding, bytes)
    assert isinstance(octets, int)
    rest = value[7:]
    holds_message = bool(rest) and isinstance(rest[0], list) and kind.lower() == b"message"
    if holds_message:
        assert subtype.lower() in (b"rfc822", b"global")
        check_envelope(rest[0])
        check_body(rest[1], extended)
        rest = rest[2:]
    if holds_message or kind.lower() == b"text":
        assert isinstance(rest[0], int)
        rest = rest[1:]
    assert len(rest) == (4 if extended else 0)
    if extended:
        assert is_nstring(rest[0])
        check_extension(rest[1:])


@pytest.mark.parametrize(
    "message, expected",
    [
        # RFC 9051 7.5.2: "a simple text message of 48 lines and 2279 octets"
        (
            b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\nContent-Transfer-Encoding: 7BIT\r\n\r\n"
            + b"x\r\n" * 47
            + b"y" * (2279 - 3 * 47 - 2)
            + b"\r\n",
            b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 2279 48)',
        ),
        (
            b"Content-Type: image/png\r\nContent-ID: <a@b>\r\nContent-Description: d\r\n\r\nx",
            b'("image" "png" NIL "<a@b>" "d" "7bit" 1)',
        ),
    ],
)
def test_body(message: bytes, expected: bytes) -> None:
    assert render.body(scan(message), extended=False) == expected


def test_bodystructure_has_all_extension_data() -> None:
    message = (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-MD5: Q2hl\r\nContent-Language: en, de\r\n"
        b"Content-Location: http://a/\r\nContent-Disposition: inline; filename=x\r\n\r\n"
    )
    expected = (
        b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 0 0 "Q2hl" ("inline" ("filename" "x")) ("en" "de")'
        b' "http://a/")'
    )
    assert render.body(scan(message), extended=True) == expected


def test_envelope_of_the_rfc() -> None:
    """RFC 3501 8."""
    header = (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
        b"Cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n"
    )
    gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
    assert render.envelope(envelope(header)) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        + b" ".join([gray] * 3)
        + b' ((NIL NIL "imap" "cac.washington.edu"))'
        b' ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU"))'
        b' NIL NIL "<B27397-0100000@cac.washington.edu>")'
    )


_lines = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Content-Type: multipart/mixed; boundary=a",
                b"Content-Type: message/rfc822",
                b'Content-Type: text/plain; charset="\xe4\\"";  x*0=a; x*1=b; y*=utf-8\'\'%41',
                b"Content-Disposition: attachment; filename=a\x00b",
                b"Content-Language: en,de",
                b"From: A \xff <a@b>, group: c@d;",
                b'To: "',
                b"Subject: \x00",
                b"",
                b"--a",
                b"--a--",
            ]
        ),
        st.binary(max_size=30),
    ),
    max_size=25,
).map(b"\r\n".join)


@given(st.one_of(_lines, st.binary(max_size=200)))
def test_whatever_a_message_holds_the_answer_fits_the_grammar(octets: bytes) -> None:
    data = to_crlf(octets)
    root = scan(data)
    check_body(read(render.body(root, extended=False)), extended=False)
    check_body(read(render.body(root, extended=True)), extended=True)
    check_envelope(read(render.envelope(envelope(data))))


def test_deep_and_wide_messages_are_rendered() -> None:
    """clients.md: 10,000 parts, 1,000 levels."""
    wide = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 10_000
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1000))
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 1000
    for data in (wide, deep, nested):
        check_body(read(render.body(scan(data), extended=True)), extended=True)


def plain(value: Value) -> Any:
    """As `expected.json` writes it: octets as latin-1."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value


# Where ours stays as it is: Dovecot puts MISSING_DOMAIN into the broken addresses of one message and loses its route
# and group, Courier glues that route to the mailbox and forgets the names of groups.
REVIEWED = {("dovecot", "e1e3f117"), ("courier", "e1e3f117"), ("courier", "daa26330")}


@pytest.mark.parametrize(
    "server, items",
    [
        ("dovecot", ("ENVELOPE", "BODYSTRUCTURE")),
        # Courier's BODYSTRUCTURE knows no language and location, no default charset, and "8bit" as the default.
        ("courier", ("ENVELOPE",)),
    ],
)
def test_recorded_trees(server: str, items: tuple[str, ...], tmp_path: Path) -> None:
    """Checks 7 and 8 of formats.md 9: every recorded message, found by the digest of its octets."""
    mailboxes = trees.expected(server)["mailboxes"].values()
    recorded = {message["BODY_sha256"]: message for mailbox in mailboxes for message in mailbox.get("messages", ())}
    found = {}
    for path in trees.unpack(server, tmp_path).rglob("*:2,*"):
        data = to_crlf(path.read_bytes())
        found[hashlib.sha256(data).hexdigest()] = data
    for path in trees.unpack(server, tmp_path).rglob("new/*"):
        data = to_crlf(path.read_bytes())
        found[hashlib.sha256(data).hexdigest()] = data
    assert set(recorded) <= set(found)
    for digest, message in recorded.items():
        data = found[digest]
        root = scan(data)
        ours = {
            "ENVELOPE": render.envelope(envelope(data, *root.header)),
            "BODYSTRUCTURE": render.body(root, extended=True),
        }
        for item in items:
            same = plain(read(ours[item])) == message[item]
            assert same or (item == "ENVELOPE" and (server, digest[:8]) in REVIEWED), (digest, item)
        assert message["RFC822.SIZE"] == len(data)
