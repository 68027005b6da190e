"""COMPRESS=DEFLATE, RFC 4978. The streams themselves are `net.deflate`.

compress  = "COMPRESS" SP algorithm
algorithm = "DEFLATE"
"""

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import COMPRESSIONACTIVE, LIMIT, Ok
from greenmail.imap.session import Session


def parse_compress(cur: Cursor, uid: bool) -> None:
    """compress — RFC 4978 5."""
    cur.space()
    start = cur.pos
    if grammar.atom(cur).upper() != "DEFLATE":
        cur.pos = start
        raise cur.wrong("DEFLATE is the only algorithm")


def run_compress(session: Session, argument: None) -> Ok:
    """Compression begins behind the tagged OK. RFC 4978 3."""
    if session.wire.compressed:
        raise BadSyntax("compression is in use already", COMPRESSIONACTIVE)
    if not session.wire.can_compress:
        raise Refused("too many connections are compressed already", LIMIT)
    session.afterwards = session.wire.start_compression
    return Ok("DEFLATE active")


def _offered(session: Session) -> bool:
    return session.account is not None and session.wire.can_compress


COMPRESS = Command("COMPRESS", states=AUTHENTICATED, parse=parse_compress, run=run_compress)

FEATURE: Feature = Feature("compress", commands=(COMPRESS,), capabilities=(Capability("COMPRESS=DEFLATE", _offered),))
