"""The view: what the client has been told, and what it must be told next."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.imap.view import NO_NEWS, Changed, News, View
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.memory import MemoryStore
from greenmail.storage.memory_mailbox import MemoryMailbox


def mailbox(number: int) -> MemoryMailbox:
    """A mailbox with messages 1 to `number`, not \\Recent."""
    account = MemoryStore(now=lambda: 1.0).open_account("alice")
    box = account.mailboxes["INBOX"]
    add(box, number)
    box.claim_recent()
    return box


def add(box: MemoryMailbox, number: int = 1) -> list[int]:
    return box.add([(b"A: b\r\n\r\n", frozenset(), 0)] * number)


def flag(box: MemoryMailbox, uids: list[int], *flags: str) -> int:
    box.store(uids, FlagChange(FlagAction.REPLACE, frozenset(flags)))
    return box.modseq


def remove(box: MemoryMailbox, *uids: int) -> None:
    box.store(uids, FlagChange(FlagAction.ADD, frozenset({"\\Deleted"})))
    box.expunge(uids)


def view(box: MemoryMailbox, read_only: bool = False, shows_recent: bool = True) -> View:
    first = box.first_recent if read_only else box.claim_recent()
    return View(box, read_only, first, shows_recent)


def test_no_change_is_no_news() -> None:
    assert view(mailbox(3)).news(may_expunge=True) == NO_NEWS
    assert not NO_NEWS


@pytest.mark.parametrize(
    ("is_taken_over", "change"),
    [
        (True, lambda box, old: None),
        (True, lambda box, old: [remove(box, 2), add(box), old.news(may_expunge=True)]),
        (False, lambda box, old: remove(box, 2)),
        (False, lambda box, old: [remove(box, 2), old.news(may_expunge=False)]),
        (False, lambda box, old: add(box)),
        (False, lambda box, old: flag(box, [2], "x")),
    ],
)
def test_who_selects_it_again_has_the_messages_of_now(
    is_taken_over: bool, change: Callable[[MemoryMailbox, View], object]
) -> None:
    """The column of the view before is taken over only where it says the same."""
    box = mailbox(5)
    old = view(box)
    before = old.uids
    change(box, old)
    new = View(box, False, box.claim_recent(), old=old)
    assert new.uids == box.table.uids
    assert (new.uids is before) == is_taken_over
    assert View(mailbox(5), False, 6, old=old).uids is not before
    add(box)
    assert new.news(may_expunge=True).exists == len(box.table)


def test_expunge_goes_highest_first() -> None:
    """RFC 9051 7.5.1: each renumbers what follows."""
    box = mailbox(5)
    seen = view(box)
    remove(box, 2, 3, 5)
    assert seen.news(may_expunge=True).expunged == ((5, 5), (3, 3), (2, 2))
    assert list(seen.uids) == [1, 4]


def test_expunge_is_held_back_and_numbers_stay() -> None:
    box = mailbox(4)
    seen = view(box)
    remove(box, 1)
    add(box)
    flag(box, [4], "\\Seen")
    news = seen.news(may_expunge=False)
    assert (news.expunged, news.exists, [item.seq for item in news.changed]) == ((), 5, [4])
    assert seen.seq(4) == 4
    assert seen.news(may_expunge=False) == NO_NEWS
    assert seen.news(may_expunge=True).expunged == ((1, 1),)
    assert seen.news(may_expunge=True) == NO_NEWS
    assert seen.seq(4) == 3


def test_many_expunged_at_once() -> None:
    box = mailbox(300)
    seen = view(box)
    remove(box, *range(1, 300, 2))
    assert [seq for seq, _ in seen.news(may_expunge=True).expunged] == list(range(299, 0, -2))
    assert list(seen.uids) == list(range(2, 301, 2))


def test_too_long_ago_compares_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has forgotten which messages went away since: `Changes.expunged` is None."""
    box = mailbox(3)
    seen = view(box)
    remove(box, 2)
    full = box.changes
    from greenmail.storage.api import Changes  # only here

    monkeypatch.setattr(box, "changes", lambda since: Changes(full(since).changed, None))
    assert seen.news(may_expunge=True).expunged == ((2, 2),)


def test_fallen_modseq_tells_everything_again() -> None:
    """A store that lost its memory may count from lower: nothing may be missed for that."""
    box = mailbox(2)
    seen = view(box)
    seen.told = box.modseq + 100
    flag(box, [1], "\\Seen")
    assert [item.uid for item in seen.news(may_expunge=True).changed] == [1, 2]
    assert seen.told == box.modseq


def test_message_that_came_and_went_is_not_told() -> None:
    box = mailbox(1)
    seen = view(box)
    first, _ = add(box, 2)
    remove(box, first)
    assert seen.news(may_expunge=True) == News(exists=2, recent=1)


def test_new_message_that_was_flagged_is_only_announced() -> None:
    """The client asks for what it does not know: EXISTS is enough."""
    box = mailbox(1)
    seen = view(box)
    flag(box, add(box), "\\Seen")
    assert seen.news(may_expunge=True) == News(exists=2, recent=1)


def test_own_change_is_not_told_again() -> None:
    box = mailbox(2)
    seen = view(box)
    modseq = flag(box, [1, 2], "\\Seen")
    seen.mark([1], modseq)
    assert seen.news(may_expunge=False).changed == (Changed(2, 2, frozenset({"\\Seen"}), modseq),)


def test_later_change_of_another_is_told() -> None:
    box = mailbox(1)
    seen = view(box)
    seen.mark([1], flag(box, [1], "\\Seen"))
    modseq = flag(box, [1], "\\Draft")
    assert not seen.knows_now(1)
    assert seen.news(may_expunge=False).changed == (Changed(1, 1, frozenset({"\\Draft"}), modseq),)
    assert seen.knows_now(1)


def test_change_of_a_pending_message_is_not_told() -> None:
    box = mailbox(2)
    seen = view(box)
    flag(box, [1], "\\Seen")
    remove(box, 1)
    assert seen.news(may_expunge=False) == NO_NEWS


def test_recent_goes_to_one_view() -> None:
    """RFC 3501 2.3.2."""
    box = mailbox(1)
    one, two, reader = view(box), view(box), view(box, read_only=True)
    add(box, 2)
    assert reader.news(may_expunge=True).recent == 2
    assert one.news(may_expunge=True) == News(exists=3, recent=2)
    assert two.news(may_expunge=True) == News(exists=3, recent=0)
    assert one.flags(3) == {"\\Recent"}
    assert two.flags(3) == frozenset()


def test_recent_is_forgotten_with_rev2() -> None:
    box = mailbox(0)
    seen = view(box)
    add(box)
    seen.news(may_expunge=True)
    seen.forget_recent()
    add(box)
    assert seen.news(may_expunge=True) == News(exists=2)
    assert seen.flags(1) == seen.flags(2) == frozenset()


@pytest.mark.parametrize("reason, is_told", [(Reason.NO_SPACE, True), (Reason.GONE, False)])
def test_claim_that_fails(reason: Reason, is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk keeps nothing from the client; a mailbox that is gone changes nothing in the view."""
    box = mailbox(1)
    seen = view(box)
    add(box)

    def fails() -> int:
        raise StorageError(reason, "no")

    monkeypatch.setattr(box, "claim_recent", fails)
    if is_told:
        assert seen.news(may_expunge=True) == News(exists=2, recent=0)
    else:
        with pytest.raises(StorageError):
            seen.news(may_expunge=True)
        assert list(seen.uids) == [1]
        monkeypatch.undo()
        assert seen.news(may_expunge=True) == News(exists=2, recent=1)


@pytest.mark.parametrize(
    "ranges, uid, expected",
    [
        ([(1, 2)], False, [2, 4]),
        ([(1, 1), (3, 3)], False, [2, 8]),
        ([(3, 9)], False, [8]),
        ([(1, 4)], True, [2, 4]),
        ([(5, 7)], True, []),
        ([(2, 2), (5, 100)], True, [2, 8]),
        ([], True, []),
    ],
)
def test_between(ranges: list[tuple[int, int]], uid: bool, expected: list[int]) -> None:
    box = mailbox(8)
    remove(box, 1, 3, 5, 6, 7)
    seen = view(box)
    assert seen.between(ranges, uid) == expected
    assert seen.largest_uid == 8


ACTIONS: dict[str, Callable[[MemoryMailbox, int], object]] = {
    "add": lambda box, number: add(box, number % 3),
    "flag": lambda box, number: flag(box, [number], "\\Seen") if number % 2 else flag(box, [number]),
    "remove": lambda box, number: remove(box, number),
    "claim": lambda box, number: box.claim_recent(),
}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(1, 12)),
            st.tuples(st.sampled_from(["tell", "tell and expunge"]), st.just(0)),
        ),
        max_size=40,
    )
)
def test_what_was_told_is_the_mailbox(actions: list[tuple[str, int]]) -> None:
    """A client that applies what it is told has the mailbox in the end, whatever happened in which order."""
    box = mailbox(4)
    seen = view(box)
    client = [(uid, frozenset[str]()) for uid in seen.uids]
    for action, number in [*actions, ("tell and expunge", 0)]:
        if action in ACTIONS:
            ACTIONS[action](box, number)
            continue
        news = seen.news(may_expunge=action == "tell and expunge")
        for seq, uid in news.expunged:
            assert client.pop(seq - 1)[0] == uid
        if news.exists is not None:
            new = list(seen.uids)[len(client) :]
            client += [(uid, seen.flags(uid) - {"\\Recent"}) for uid in new]
            assert len(client) == news.exists
        for item in news.changed:
            assert client[item.seq - 1][0] == item.uid
            client[item.seq - 1] = (item.uid, item.flags - {"\\Recent"})
    assert client == [(uid, box.table.flags_of(row)) for row, uid in enumerate(box.table.uids)]
