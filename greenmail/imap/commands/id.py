"""ID, RFC 2971."""

import logging
from collections.abc import Mapping

from greenmail.imap import grammar, serialize
from greenmail.imap.command import ANY, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.session import Session

log = logging.getLogger(__name__)

_MOST_FIELDS = 30  # RFC 2971 3.3: not more pairs than this ...
_LONGEST_NAME = 30  # ... names of 30 octets ...
_LONGEST_VALUE = 1024  # ... and values of 1024

# The fields that are worth a line in the log, RFC 2971 3.3.
_LOGGED = ("name", "version", "os", "os-version", "vendor")


def parse_id(cur: Cursor, uid: bool) -> dict[str, str | None]:
    """id = "ID" SP id-params-list; id-params-list = "(" [string SP nstring *(SP string SP nstring)] ")" / nil.

    Names in lower case. RFC 2971 4.
    """
    cur.space()
    fields: dict[str, str | None] = {}
    if cur.take(b"NIL"):
        return fields
    cur.open()
    while cur.peek() != b")":
        if fields:
            cur.space()
        name = grammar.string(cur).decode("utf-8", "replace").lower()
        cur.space()
        value = grammar.nstring(cur)
        if name in fields:
            raise cur.wrong("a field is there twice")
        if len(fields) == _MOST_FIELDS or len(name) > _LONGEST_NAME or len(value or b"") > _LONGEST_VALUE:
            raise cur.wrong("too many fields, or too long ones")
        fields[name] = None if value is None else value.decode("utf-8", "replace")
    cur.close()
    return fields


def run_id(session: Session, fields: Mapping[str, str | None]) -> Ok:
    """Keep what the client says about itself, for the log only: RFC 2971 3 forbids to act on it."""
    session.client_id = fields
    if fields:
        known = {name: fields[name] for name in _LOGGED if name in fields}
        log.debug("id sid=%s user=%r client=%r", session.sid, session.user.name if session.user else "", known)
    pairs = session.services.server_id.items()
    words = [serialize.string(word.encode()) for pair in pairs for word in pair]
    session.out.write(b"* ID %b\r\n" % (serialize.parenthesized(words) if words else b"NIL"))
    return Ok("ID completed")


ID = Command("ID", states=ANY, parse=parse_id, run=run_id)

FEATURE: Feature = Feature("id", commands=(ID,), capabilities=(Capability("ID", always),))
