"""UIDBATCHES, RFC 10022: ranges of UIDs with equally many messages each, the newest first.

    message-batches     = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]
    uidbatches-response = "UIDBATCHES" search-correlator [SP uid-range *("," uid-range)]

Batches are as large as was asked for, but for the last, which ends in UID 1 so that it is known as the last (3.1.4).
Not followed: that who asks again too early SHOULD get NO with LIMIT (3.1.1). An answer costs two look-ups a batch.
"""

from dataclasses import dataclass

from greenmail.errors import BadSyntax, Refused
from greenmail.imap.command import SELECTED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.grammar import nz_number
from greenmail.imap.message_set import selected
from greenmail.imap.response import CLIENTBUG, TOOFEW, TOOMANY, Ok
from greenmail.imap.session import Session

UIDBATCHES = "UIDBATCHES"


@dataclass(frozen=True, slots=True)
class BatchesRequest:
    """The arguments of UIDBATCHES: messages in a batch, and which batches, from 1; None: all."""

    size: int
    batches: tuple[int, int] | None


def parse_batches(cur: Cursor, uid: bool) -> BatchesRequest:
    """SP nz-number [SP nz-number ":" nz-number] — RFC 10022 4."""
    cur.space()
    size = nz_number(cur)
    if not cur.take(b" "):
        return BatchesRequest(size, None)
    first = nz_number(cur)
    cur.expect(b":")
    last = nz_number(cur)
    if first > last:  # RFC 10022 3.1.5
        raise BadSyntax("a range of batches begins with the lower number", CLIENTBUG)
    return BatchesRequest(size, (first, last))


def run_batches(session: Session, request: BatchesRequest) -> Ok:
    """The untagged answer comes always, also without a range: RFC 10022 3.1.2, 3.1.6."""
    limits = session.limits
    if request.size < limits.min_uid_batch_size:
        raise Refused(f"a batch has {limits.min_uid_batch_size} messages at least", TOOFEW)
    uids = selected(session).uids
    count = -(-len(uids) // request.size)
    first, last = request.batches or (1, count)
    wanted = range(first, min(last, count) + 1)
    if len(wanted) > limits.max_uid_batches:
        raise Refused(f"these are more than {limits.max_uid_batches} batches", TOOMANY)
    ranges = []
    for batch in wanted:
        end = len(uids) - (batch - 1) * request.size
        lowest = uids[end - request.size] if batch < count else 1
        ranges.append(b"%d:%d" % (uids[end - 1], lowest))
    answer = b'* UIDBATCHES (TAG "%b")' % session.tag
    session.out.write(answer + (b" " + b",".join(ranges) if ranges else b"") + b"\r\n")
    return Ok("UIDBATCHES completed")


COMMAND = Command(UIDBATCHES, states=SELECTED, parse=parse_batches, run=run_batches)

FEATURE: Feature = Feature("uidbatches", commands=(COMMAND,), capabilities=(Capability(UIDBATCHES, always),))
