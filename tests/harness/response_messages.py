"""message-data of RFC 9051 9: FETCH responses and their items, to the letter. `response_grammar` says what for."""

from collections.abc import Callable

from harness.response_octets import DATE_TIME, NZ, Octets, astring, binary, flag_list, nstring, number, string


def message_data(octets: Octets) -> None:
    if not octets.take(b"EXPUNGE"):
        octets.match(rb"(?:UID)?FETCH ", "message-data")  # RFC 9586 4
        octets.some(msg_att)


def msg_att(octets: Octets) -> None:
    name = octets.match(rb"[A-Z0-9.]+", "msg-att")
    if name in (b"BODY", b"BINARY", b"BINARY.SIZE") and octets.next() == b"[":
        section(octets, name)
        return
    octets.expect(b" ")
    if name not in ITEMS:
        raise octets.wrong(f"msg-att, but {name!r}")
    ITEMS[name](octets)


def section(octets: Octets, name: bytes) -> None:
    octets.expect(b"[")
    octets.match(rb"(?:" + NZ + rb"(?:\." + NZ + rb")*)?", "section-part")
    if name == b"BODY":
        text = octets.match(rb"\.?(?:HEADER\.FIELDS(?:\.NOT)? |HEADER|TEXT|MIME)?", "section-text")
        if text.endswith(b" "):
            octets.some(astring)
    octets.expect(b"]")
    if name != b"BINARY.SIZE":
        octets.match(rb"(?:<[0-9]+>)?", "origin")
    octets.expect(b" ")
    if name == b"BINARY.SIZE":
        number(octets)
    else:
        (binary if name == b"BINARY" else nstring)(octets)


def envelope(octets: Octets) -> None:
    octets.expect(b"(")
    for place in range(10):
        if place:
            octets.expect(b" ")
        (address_list if 2 <= place <= 7 else nstring)(octets)
    octets.expect(b")")


def address_list(octets: Octets) -> None:
    """ "(" 1*address ")" / nil"""
    if octets.take(b"NIL"):
        return
    octets.expect(b"(")
    while True:
        octets.expect(b"(")
        for end in (b" ", b" ", b" ", b")"):
            nstring(octets)
            octets.expect(end)
        if octets.take(b")"):
            return


def body(octets: Octets) -> None:
    _body(octets, extended=False)


def bodystructure(octets: Octets) -> None:
    _body(octets, extended=True)


def _body(octets: Octets, extended: bool) -> None:
    octets.expect(b"(")
    if octets.next() == b"(":
        while octets.next() == b"(":
            _body(octets, extended)
        octets.expect(b" ")
        string(octets)
        if extended:
            octets.expect(b" ")
            _params(octets)
            _extension(octets)
    else:
        _single(octets, extended)
    octets.expect(b")")


def _single(octets: Octets, extended: bool) -> None:
    kind = string(octets).lower()
    octets.expect(b" ")
    subtype = string(octets).lower()
    octets.expect(b" ")
    _params(octets)
    for rule in (nstring, nstring, string, lambda one: number(one, 0xFFFFFFFF)):
        octets.expect(b" ")
        rule(octets)
    if kind == b'"message"' and subtype in (b'"rfc822"', b'"global"'):
        octets.expect(b" ")
        envelope(octets)
        octets.expect(b" ")
        _body(octets, extended)
    if kind == b'"text"' or (kind == b'"message"' and subtype in (b'"rfc822"', b'"global"')):
        octets.expect(b" ")
        number(octets)
    if extended:
        octets.expect(b" ")
        nstring(octets)
        _extension(octets)


def _extension(octets: Octets) -> None:
    """SP body-fld-dsp SP body-fld-lang SP body-fld-loc"""
    octets.expect(b" ")
    if not octets.take(b"NIL"):
        octets.expect(b"(")
        string(octets)
        octets.expect(b" ")
        _params(octets)
        octets.expect(b")")
    octets.expect(b" ")
    if octets.next() == b"(":
        octets.some(string)
    else:
        nstring(octets)
    octets.expect(b" ")
    nstring(octets)


def _params(octets: Octets) -> None:
    if octets.take(b"NIL"):
        return
    count = 0

    def counted(one: Octets) -> None:
        nonlocal count
        count += 1
        string(one)

    octets.some(counted, least=2)
    if count % 2:
        raise octets.wrong("pairs")


def modseq(octets: Octets) -> None:
    octets.match(rb"\(" + NZ + rb"\)", "mod-sequence-value")


def date_time(octets: Octets) -> None:
    octets.match(DATE_TIME, "date-time")


def uniqueid(octets: Octets) -> None:
    octets.match(NZ, "uniqueid")


def object_id(octets: Octets) -> None:
    """ "(" objectid ")" / nil; objectid = 1*255(ALPHA / DIGIT / "_" / "-") — RFC 8474 7."""
    octets.match(rb"NIL|\([A-Za-z0-9_-]{1,255}\)", "objectid")


def save_date(octets: Octets) -> None:
    """date-time / nil — RFC 8514 7."""
    if not octets.take(b"NIL"):
        date_time(octets)


ITEMS: dict[bytes, Callable[[Octets], None]] = {
    b"FLAGS": flag_list,
    b"ENVELOPE": envelope,
    b"INTERNALDATE": date_time,
    b"RFC822.SIZE": number,
    b"RFC822": nstring,
    b"RFC822.HEADER": nstring,
    b"RFC822.TEXT": nstring,
    b"BODY": body,
    b"BODYSTRUCTURE": bodystructure,
    b"UID": uniqueid,
    b"MODSEQ": modseq,
    b"PREVIEW": nstring,
    b"EMAILID": object_id,
    b"THREADID": object_id,
    b"SAVEDATE": save_date,
}
