"""STORE, RFC 9051 6.4.6, with UNCHANGEDSINCE, RFC 7162 3.1.3."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from greenmail.errors import Refused
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.columns import known_rows, numbers_of
from greenmail.imap.command import SELECTED, Command, Feature
from greenmail.imap.commands.expunge import writable
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import messagelimit
from greenmail.imap.ext.condstore import enable_in_mailbox
from greenmail.imap.ext.inprogress import in_slices
from greenmail.imap.message_set import message_uids, selected
from greenmail.imap.news import tells_modseq
from greenmail.imap.response import EXPUNGEISSUED, LIMIT, NOPERM, Completion, No, Ok
from greenmail.imap.sequence_set import SequenceSet, compact, sequence_set
from greenmail.imap.session import Session
from greenmail.imap.view import RECENT, View
from greenmail.storage.api import SYSTEM_FLAGS, FlagAction, FlagChange, Flags, Stored
from greenmail.storage.flag_names import changed

_CHUNK = 256  # answers that are written at once

_ACTIONS = {b"+": FlagAction.ADD, b"-": FlagAction.REMOVE}


class StoreRequest(NamedTuple):
    """The argument of STORE."""

    uid: bool
    seqs: SequenceSet
    change: FlagChange
    silent: bool
    unchanged_since: int | None = None


def parse_store(cur: Cursor, uid: bool) -> StoreRequest:
    """store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags — RFC 9051 9, RFC 4466 3."""
    cur.space()
    seqs = sequence_set(cur)
    cur.space()
    unchanged_since = None
    if cur.peek() == b"(":
        unchanged_since = store_modifiers(cur)
        cur.space()
    change, silent = store_att_flags(cur)
    return StoreRequest(uid, seqs, change, silent, unchanged_since)


def store_modifiers(cur: Cursor) -> int:
    """store-modifiers = "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")" — RFC 7162 7; there is no other one."""
    cur.open()
    cur.expect(b"UNCHANGEDSINCE")
    cur.space()
    modseq = grammar.mod_sequence_valzer(cur)
    cur.close()
    return modseq


def store_att_flags(cur: Cursor) -> tuple[FlagChange, bool]:
    """store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag))) — RFC 9051 9."""
    action = FlagAction.REPLACE
    if cur.peek() in _ACTIONS:
        action = _ACTIONS[cur.peek()]
        cur.pos += 1
    cur.expect(b"FLAGS")
    silent = cur.take(b".SILENT")
    cur.space()
    return FlagChange(action, grammar.store_flags(cur)), silent


def run_store(session: Session, request: StoreRequest) -> Completion:
    """Change the flags, then tell what became of them: all of it, or with .SILENT only what the client cannot know."""
    view = writable(session)
    uids, limit = messagelimit.newest(session, message_uids(session, request.seqs, request.uid))
    if request.unchanged_since is not None:
        enable_in_mailbox(session)
    expected = _expected(session, view, uids, request.change) if request.silent else {}
    done = _joined([_carry_out(view, some, request) for some in in_slices(session, uids)])
    missing, modified = set(done.missing), set(done.modified)
    starts = range(0, len(uids), _CHUNK)
    for start in reversed(starts) if limit else starts:  # from the highest UID to the lowest: RFC 9738 3.1
        chunk = [uid for uid in uids[start : start + _CHUNK] if uid not in missing]
        # Rendered and marked in one step, then written: what others do meanwhile is news.
        if request.silent or modified:
            lines = [_answer(session, request, uid, expected.get(uid), uid in modified) for uid in chunk]
        else:
            lines = _plain_answers(session, view, request.uid, chunk)
        session.out.write(b"".join(reversed(lines) if limit else lines))
        session.breathe()
    return messagelimit.told(session, _completion(view, request, done), limit)


def _joined(parts: Sequence[Stored]) -> Stored:
    """What was done to messages in ascending order."""

    def all_of(pick: Callable[[Stored], Sequence[int]]) -> list[int]:
        return [uid for part in parts for uid in pick(part)]

    ignored = frozenset(flag for part in parts for flag in part.ignored)
    return Stored(
        all_of(lambda part: part.changed),
        all_of(lambda part: part.modified),
        all_of(lambda part: part.missing),
        ignored,
    )


def _carry_out(view: View, uids: Sequence[int], request: StoreRequest) -> Stored:
    """Change the flags that the user may change; the others stay as they are. RFC 4314 4 STORE.

    It is refused if there is something to change, and nothing of it may be.
    """
    mailbox, change = view.mailbox, request.change
    every = frozenset((*SYSTEM_FLAGS, *mailbox.keywords))
    mine = rights.settable(view.rights, every)
    named = rights.settable(view.rights, change.flags)
    if (change.flags and not named) or not mine:
        raise Refused(rights.NO_PERMISSION, NOPERM)
    if change.action is not FlagAction.REPLACE or mine == every:
        return mailbox.store(uids, FlagChange(change.action, named), request.unchanged_since)
    kept = _folded(named)
    dropped = frozenset(flag for flag in mine if flag.casefold() not in kept)
    first = mailbox.store(uids, FlagChange(FlagAction.REMOVE, dropped), request.unchanged_since)
    left = [uid for uid in uids if uid not in set(first.modified)]
    second = mailbox.store(left, FlagChange(FlagAction.ADD, named))
    changed_uids = sorted({*first.changed, *second.changed})
    return Stored(changed_uids, first.modified, sorted({*first.missing, *second.missing}), second.ignored)


def _expected(session: Session, view: View, uids: Sequence[int], change: FlagChange) -> dict[int, Flags]:
    """What a client will believe after a silent change, for the messages of which it knows everything so far.

    What others change while this breathes is found when the answer is compared with it.
    """
    folded = FlagChange(change.action, _folded(change.flags))
    believed: dict[Flags, Flags] = {}
    expected: dict[int, Flags] = {}
    for place, uid in enumerate(uids):
        if place % _CHUNK == 0:
            session.breathe()
        row = view.mailbox.last_row(uid)
        if row is None or not view.knows_now(uid):
            continue
        if row.flags not in believed:
            believed[row.flags] = changed(_folded(row.flags), folded)
        expected[uid] = believed[row.flags]
    return expected


def _folded(flags: Iterable[str]) -> Flags:
    return frozenset(flag.casefold() for flag in flags)


def _plain_answers(session: Session, view: View, with_uid: bool, uids: list[int]) -> list[bytes]:
    """`_answer` for messages that all have one, at once: flags are rendered once for each set of them."""
    rows = known_rows(view.mailbox, uids)
    with_modseq = tells_modseq(session)
    with_uid = (with_uid or with_modseq) and not session.uid_only
    opening = session.fetch_opening
    rendered: dict[Flags, bytes] = {}
    lines: list[bytes] = []
    for seq, uid, flags, modseq in zip(numbers_of(view, rows.uids), rows.uids, rows.flags, rows.modseqs, strict=True):
        if not seq:
            continue
        shown = flags | {RECENT} if uid in view.recent else flags
        words = rendered.get(shown)
        if words is None:
            words = rendered[shown] = serialize.flag_list(shown)
        if modseq > view.answered.get(uid, 0):
            view.answered[uid] = modseq
        before = b"UID %d " % uid if with_uid else b""
        behind = b" MODSEQ (%d)" % modseq if with_modseq else b""
        lines.append((opening + b"%bFLAGS %b%b)\r\n") % (uid if session.uid_only else seq, before, words, behind))
    return lines


def _answer(session: Session, request: StoreRequest, uid: int, expected: Flags | None, failed: bool) -> bytes:
    """The FETCH for one message, or nothing: then it is as the client believes, or `execute` will tell it as news."""
    view = selected(session)
    row = view.mailbox.last_row(uid)
    seq = view.seq(uid)
    if row is None or not seq:
        return b""
    with_modseq = tells_modseq(session)
    items = [b"UID %d" % uid] if (request.uid or failed or with_modseq) and not session.uid_only else []
    if not request.silent or failed:
        items.append(b"FLAGS %b" % serialize.flag_list(view.flags(uid)))
    elif expected is None or expected != _folded(row.flags):
        return b""
    elif not with_modseq:
        view.mark([uid], row.modseq)
        return b""
    view.mark([uid], row.modseq)
    if with_modseq:
        items.append(b"MODSEQ (%d)" % row.modseq)
    return session.fetch_opening % (uid if session.uid_only else seq) + b" ".join(items) + b")\r\n"


def _completion(view: View, request: StoreRequest, done: Stored) -> Completion:
    """OK, unless the client must know that something was not done. RFC 7162 3.1.3, RFC 2180 4.2."""
    code = b""
    if done.modified:
        numbers = done.modified if request.uid else [view.seq(uid) for uid in done.modified]
        code = b"MODIFIED %b" % compact(numbers)
    if done.missing and not request.uid and not request.silent:
        return No("some of the messages are gone", code or EXPUNGEISSUED.encode())
    if done.ignored:
        return No(
            "a keyword is too long, or there are too many in this mailbox; other flags were stored",
            code or LIMIT.encode(),
        )
    return Ok("Conditional STORE failed for some" if code else "STORE completed", code)


STORE = Command("STORE", states=SELECTED, uid=True, uses_seqs=True, may_expunge=False, parse=parse_store, run=run_store)

FEATURE: Feature = Feature("store", commands=(STORE,))
