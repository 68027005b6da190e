"""What a sequence-set of a command means in the selected mailbox: UIDs, in the client's order. RFC 9051 9."""

from bisect import bisect_right
from collections.abc import Sequence

from greenmail.errors import BadSyntax
from greenmail.imap.sequence_set import Ranges, SequenceSet, join, ranges_of, resolve
from greenmail.imap.session import Session
from greenmail.imap.view import View


def selected(session: Session) -> View:
    """The view of a command that runs only with a mailbox selected; `execute` has made sure of that."""
    assert session.view is not None
    return session.view


def message_uids(session: Session, seqs: SequenceSet, uid: bool) -> list[int]:
    """The UIDs of the messages that `seqs` names, ascending; UIDs that are not there are left out.

    A sequence number beyond the last message is BAD, RFC 9051 9 seq-number.
    Lenient: "*" in an empty mailbox is no message, for all who FETCH 1:* right behind SELECT; RFC 9051 9 wants BAD.
    """
    return selected(session).between(_known_ranges(session, seqs, uid), uid)


def message_run(session: Session, seqs: SequenceSet, uid: bool) -> Sequence[int]:
    """As `message_uids`; of the one range that most sets are, without an object for each."""
    view = selected(session)
    ranges = _known_ranges(session, seqs, uid)
    return view.neighbours(*ranges[0], uid) if len(ranges) == 1 else view.between(ranges, uid)


def named_among(session: Session, seqs: SequenceSet, uid: bool, uids: Sequence[int]) -> list[int]:
    """Those of `uids`, ascending, that `message_uids` would give: where they are few, it costs no more than they."""
    view = selected(session)
    ranges = _known_ranges(session, seqs, uid)
    firsts = [first for first, _ in ranges]
    found = []
    for one in uids:
        seq = view.seq(one)
        number = one if uid else seq
        place = bisect_right(firsts, number)
        if seq and place and number <= ranges[place - 1][1]:
            found.append(one)
    return found


def _known_ranges(session: Session, seqs: SequenceSet, uid: bool) -> Ranges:
    """`message_ranges`; raises BadSyntax for a sequence number beyond the last message."""
    if not uid:
        _check_numbers(selected(session), seqs)
    return message_ranges(session, seqs, uid)


def message_ranges(session: Session, seqs: SequenceSet, uid: bool) -> Ranges:
    """`seqs` as ranges of UIDs or sequence numbers, what "$" stands for included. RFC 5182 2.1."""
    view = selected(session)
    largest = view.largest_uid if uid else len(view.uids)
    ranges = resolve(seqs, largest) if largest else []
    if not seqs.saved:
        return ranges
    # What was expunged is not in the view any more: it drops out of "$" here.
    known = [(seq, saved) for saved in session.saved or () if (seq := view.seq(saved))]
    return join([*ranges, *ranges_of(saved if uid else seq for seq, saved in known)])


def _check_numbers(view: View, seqs: SequenceSet) -> None:
    """Raises BadSyntax if `seqs` has a sequence number for which there is no message."""
    count = len(view.uids)
    for pair in seqs.ranges:
        if any(number is not None and number > count for number in pair) and not (None in pair and not count):
            raise BadSyntax(f"message numbers end at {count} here" if count else "there is no message here")
