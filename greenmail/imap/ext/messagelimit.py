"""MESSAGELIMIT and SAVELIMIT, RFC 9738: how many messages one command may process; search keys UIDAFTER, UIDBEFORE.

    capability     =/ "MESSAGELIMIT=" message-limit / "SAVELIMIT=" message-limit
    resp-text-code =/ "MESSAGELIMIT" SP message-limit [SP uniqueid]

SEARCH, FETCH, STORE, MOVE and UID EXPUNGE process the highest UIDs and name the lowest of these; what must be done as a
whole (COPY, APPEND, SORT, THREAD, a page of PARTIAL) is refused. EXPUNGE, CLOSE and STATUS know no limit.

SAVELIMIT is told where it says more than MESSAGELIMIT, which is about COPY and APPEND, too: RFC 9738 3.
"""

from collections.abc import Mapping, Sequence

from greenmail.errors import Refused
from greenmail.imap.command import Capability, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import Returns
from greenmail.imap.ext.partial import Page
from greenmail.imap.grammar import nz_number
from greenmail.imap.message_set import message_ranges, selected
from greenmail.imap.news import highestmodseq
from greenmail.imap.response import EXPUNGEISSUED, MESSAGELIMIT, Completion, No, Ok
from greenmail.imap.search_key import AndKey, Key, SearchKey, SetKey
from greenmail.imap.sequence_set import SequenceSet
from greenmail.imap.session import Session

_MAX = 0xFFFFFFFF


def newest(session: Session, uids: Sequence[int]) -> tuple[Sequence[int], bytes]:
    """Those of `uids` (ascending) that a command processes; and the response code, if these are not all."""
    most = session.limits.message_limit
    if not 0 < most < len(uids):
        return uids, b""
    some = uids[-most:]
    return some, b"%b %d %d" % (MESSAGELIMIT.encode("ascii"), most, some[0])


def told(session: Session, completion: Completion, code: bytes) -> Completion:
    """The completion with the `code` of `newest`, which is untagged beside another one. RFC 9738 3.1."""
    if not code:
        return completion
    if isinstance(completion, No) and completion.code == EXPUNGEISSUED.encode("ascii"):
        completion = Ok(completion.text, completion.code)  # together with MESSAGELIMIT it MUST be a tagged OK
    if isinstance(completion, No) or completion.code or (completion.expunged and highestmodseq(session)):
        session.out.status(b"* NO [%b] The messages below were not processed\r\n" % code)
        return completion
    text = f"{completion.text} for the last {session.limits.message_limit} messages"
    return completion._replace(text=text, code=code)


def refusal(most: int, uids: Sequence[int] = ()) -> Refused:
    """NO for what must be done as a whole; with the lowest UID that would be done of `uids`. RFC 9738 5."""
    lowest = f" {uids[-most]}" if uids else ""
    return Refused(f"more than {most} messages; nothing was done, try fewer", f"{MESSAGELIMIT} {most}{lowest}")


def check_copy(session: Session, uids: Sequence[int]) -> None:
    """COPY is all or nothing. RFC 9738 3.1."""
    most = session.limits.savable
    if 0 < most < len(uids):
        raise refusal(most, uids)


def searched(session: Session, key: Key, returns: Returns | None) -> tuple[Sequence[int], bytes]:
    """What SEARCH looks at for `key`, and the code as of `newest`. What counts is what is looked at: RFC 9738 3.1."""
    most = session.limits.message_limit
    view = selected(session)
    if not 0 < most < len(view.uids):
        return view.uids, b""
    if any(isinstance(value, Page) and value.last - value.first >= most for _, value in (returns or {}).values()):
        raise refusal(most)
    return newest(session, _scope(session, key))


def check_whole(session: Session, key: Key) -> None:
    """SORT and THREAD need all messages: RFC 9738 3.3."""
    most = session.limits.message_limit
    if 0 < most < len(selected(session).uids) and len(_scope(session, key)) > most:
        raise refusal(most)


def _scope(session: Session, key: Key) -> Sequence[int]:
    """The messages of the view among which `key` lets search, by the sets that stand at its top."""
    view = selected(session)
    scope: Sequence[int] = view.uids
    waiting = [key]
    while waiting:
        part = waiting.pop()
        if isinstance(part, AndKey):
            waiting.extend(part.keys)
        elif isinstance(part, SetKey):
            named = set(view.between(message_ranges(session, part.seqs, part.uid), part.uid))
            scope = [uid for uid in scope if uid in named]
    return scope


def _after(uid: int) -> SequenceSet:
    return SequenceSet(((uid + 1, _MAX),) if uid < _MAX else ())


def _before(uid: int) -> SequenceSet:
    return SequenceSet(((1, uid - 1),) if uid > 1 else ())


def _parse_after(cur: Cursor, table: Mapping[str, SearchKey]) -> Key:
    """ "UIDAFTER" SP uniqueid: never the last message if its UID is not greater, RFC 9738 3.2."""
    cur.space()
    return SetKey(_after(nz_number(cur)), uid=True)


def _parse_before(cur: Cursor, table: Mapping[str, SearchKey]) -> Key:
    """ "UIDBEFORE" SP uniqueid — RFC 9738 3.2."""
    cur.space()
    return SetKey(_before(nz_number(cur)), uid=True)


def _has_limit(session: Session) -> bool:
    return session.limits.message_limit > 0


def _saves_less(session: Session) -> bool:
    limits = session.limits
    return limits.savable > 0 and limits.savable != limits.message_limit


FEATURE: Feature = Feature(
    "messagelimit",
    capabilities=(
        Capability("MESSAGELIMIT", _has_limit, lambda session: (f"MESSAGELIMIT={session.limits.message_limit}",), True),
        Capability("SAVELIMIT", _saves_less, lambda session: (f"SAVELIMIT={session.limits.savable}",), True),
    ),
    search_keys={
        "UIDAFTER": SearchKey("UIDAFTER", _parse_after),
        "UIDBEFORE": SearchKey("UIDBEFORE", _parse_before),
    },
)
