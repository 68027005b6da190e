"""What every mail store keeps to in a mailbox: `greenmail.storage.api`, method by method, on each backend."""

import pytest
from support.contract import ADD, MAIL, REMOVE, REPLACE, change, flags_of, put, put_many, refused, whole

from greenmail.errors import Reason
from greenmail.storage.api import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    SEEN,
    Account,
    CacheKind,
    FlagAction,
    Mailbox,
)


def test_a_new_mailbox_is_empty(inbox: Mailbox) -> None:
    inbox.look()
    counters = inbox.counters()
    assert (counters.messages, counters.recent, counters.unseen, counters.deleted, counters.size) == (0, 0, 0, 0, 0)
    assert inbox.uidnext == 1 and inbox.uidvalidity > 0 and inbox.modseq >= 1
    assert len(inbox.mailbox_id) == 32 and int(inbox.mailbox_id, 16) >= 0
    assert (counters.uidnext, counters.uidvalidity) == (1, inbox.uidvalidity)
    assert inbox.tracks_modseq and inbox.can_add_keywords and not inbox.read_only


def test_save_gives_ascending_uids_and_a_row_each(inbox: Mailbox) -> None:
    uids = put(inbox, MAIL % 1, MAIL % 2, MAIL % 3, flags=[SEEN, "work"])
    assert uids == [1, 2, 3] and inbox.uidnext == 4
    assert list(inbox.table.uids) == uids
    row = inbox.last_row(2)
    assert row is not None
    assert row.flags == {SEEN, "work"} and row.modseq == inbox.modseq
    inbox.fill(uids, sizes=True, dates=True)
    assert list(inbox.table.sizes) == [len(MAIL % 1)] * 3
    assert list(inbox.table.dates) == [1_700_000_000] * 3
    assert inbox.counters().size == 3 * len(MAIL % 1)


@pytest.mark.parametrize(
    "given, sent",
    [
        (b"A: b\r\n\r\nx\r\n", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\n\nx\n", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\n\r\nx", b"A: b\r\n\r\nx"),
        (b"A: b\r\n\r\na\rb\r\n", b"A: b\r\n\r\na\rb\r\n"),  # a lone CR is no line end
        (b"\r\nno header", b"\r\nno header"),
        (b"A: only a header\r\n", b"A: only a header\r\n"),
    ],
)
def test_content_has_crlf_line_ends(inbox: Mailbox, given: bytes, sent: bytes) -> None:
    (uid,) = put(inbox, given)
    assert whole(inbox, uid) == sent
    inbox.fill([uid], sizes=True)
    assert inbox.table.sizes[inbox.table.row(uid)] == len(sent)


def test_an_upload_in_pieces_that_cut_a_line_end(inbox: Mailbox) -> None:
    upload = inbox.upload()
    for piece in (b"A: b\r", b"\n", b"\r", b"\nx\r", b"y\r\n"):
        upload.write(piece)
    (uid,) = inbox.save([upload])
    assert whole(inbox, uid) == b"A: b\r\n\r\nx\ry\r\n"


def test_content_in_slices(inbox: Mailbox) -> None:
    (uid,) = put(inbox, b"A: b\r\n\r\n" + b"line\r\n" * 50_000)
    content = inbox.content(uid)
    assert content.header() == b"A: b\r\n\r\n"
    assert content.read(0, 4) == b"A: b"
    assert content.read(8 + 6 * 40_000, 8 + 6 * 40_000 + 7) == b"line\r\nl"
    assert content.read(content.size - 2) == b"\r\n"
    assert content.read(content.size, content.size + 10) == b""
    assert content.read(content.size + 5) == b""
    content.close()


def test_content_of_nothing_is_expunged(inbox: Mailbox) -> None:
    refused(Reason.EXPUNGED, inbox.content, 77)


def test_aborted_uploads_leave_nothing(inbox: Mailbox) -> None:
    upload = inbox.upload()
    upload.write(b"x")
    upload.abort()
    upload.abort()
    inbox.look()
    assert inbox.uidnext == 1 and len(inbox.table) == 0


def test_an_upload_may_be_aborted_after_it_was_saved(inbox: Mailbox) -> None:
    upload = inbox.upload()
    upload.write(MAIL % 1)
    (uid,) = inbox.save([upload])
    upload.abort()
    assert whole(inbox, uid) == MAIL % 1


# Flags


@pytest.mark.parametrize(
    "before, action, given, after",
    [
        ({SEEN}, ADD, {FLAGGED}, {SEEN, FLAGGED}),
        ({SEEN, FLAGGED}, REMOVE, {SEEN, DRAFT}, {FLAGGED}),
        ({SEEN, "old"}, REPLACE, {ANSWERED, "new"}, {ANSWERED, "new"}),
        ({SEEN}, REPLACE, set(), set()),
        (set(), ADD, {"\\SEEN", "\\flagged"}, {SEEN, FLAGGED}),  # RFC 9051 2.3.2: flags are compared without case
        ({"Work"}, ADD, {"wORK"}, {"Work"}),
        ({"Work"}, REMOVE, {"WORK"}, set()),
        (set(), ADD, {"\\Recent"}, set()),
        (set(), ADD, {"$Forwarded", "NonJunk"}, {"$Forwarded", "NonJunk"}),
    ],
)
def test_store(inbox: Mailbox, before: set[str], action: FlagAction, given: set[str], after: set[str]) -> None:
    (uid,) = put(inbox, MAIL % 1, flags=before)
    modseq = inbox.modseq
    done = inbox.store([uid], change(action, *given))
    assert flags_of(inbox, uid) == after
    assert done.changed == ([uid] if before != after else [])
    assert not done.modified and not done.missing and not done.ignored
    row = inbox.last_row(uid)
    assert row is not None and (row.modseq > modseq) == (before != after)
    assert inbox.modseq >= row.modseq


def test_store_on_messages_that_are_not_there(inbox: Mailbox) -> None:
    uids = put_many(inbox, 2)
    done = inbox.store([*uids, 9], change(ADD, SEEN))
    assert (done.changed, done.missing) == (uids, [9])


def test_store_unchanged_since(inbox: Mailbox) -> None:
    """RFC 7162 3.1.3."""
    uids = put_many(inbox, 3)
    before = inbox.modseq
    inbox.store([uids[1]], change(ADD, SEEN))
    done = inbox.store(uids, change(ADD, FLAGGED), before)
    assert done.changed == [uids[0], uids[2]]
    assert done.modified == [uids[1]]
    assert flags_of(inbox, uids[1]) == {SEEN}


def test_store_of_many(inbox: Mailbox) -> None:
    uids = put_many(inbox, 250)
    assert inbox.store(uids, change(ADD, SEEN, "kw")).changed == uids
    assert inbox.counters().unseen == 0
    assert all(flags_of(inbox, uid) == {SEEN, "kw"} for uid in uids)


def test_keywords_are_known_in_the_order_of_first_use(inbox: Mailbox) -> None:
    (uid,) = put(inbox, MAIL % 1, flags=["zeta"])
    inbox.store([uid], change(ADD, "alpha"))
    inbox.store([uid], change(REPLACE, "ZETA"))
    assert inbox.keywords == ("zeta", "alpha")


def test_counters(inbox: Mailbox) -> None:
    uids = put_many(inbox, 5)
    inbox.store(uids[:2], change(ADD, SEEN))
    inbox.store(uids[1:3], change(ADD, DELETED))
    counters = inbox.counters()
    assert (counters.messages, counters.unseen, counters.deleted, counters.recent) == (5, 3, 2, 5)
    inbox.expunge(None)
    counters = inbox.counters()
    assert (counters.messages, counters.unseen, counters.deleted, counters.recent) == (3, 2, 0, 3)
    assert counters.modseq == inbox.modseq


# Expunge, copy, move


def test_expunge_takes_what_is_deleted(inbox: Mailbox) -> None:
    uids = put_many(inbox, 5)
    inbox.store([uids[0], uids[2], uids[3]], change(ADD, DELETED))
    assert inbox.expunge([uids[1], uids[2]]) == [uids[2]]
    assert inbox.expunge(None) == [uids[0], uids[3]]
    assert inbox.expunge(None) == []
    assert list(inbox.table.uids) == [uids[1], uids[4]]
    refused(Reason.EXPUNGED, inbox.content, uids[0])


def test_a_uid_is_never_used_again(inbox: Mailbox) -> None:
    uids = put_many(inbox, 2)
    inbox.store(uids, change(ADD, DELETED))
    inbox.expunge(None)
    assert put(inbox, MAIL % 1) == [uids[-1] + 1]


def test_the_row_of_an_expunged_message_is_remembered(inbox: Mailbox) -> None:
    (uid,) = put(inbox, MAIL % 1, flags=[DELETED, "kw"])
    inbox.expunge(None)
    row = inbox.last_row(uid)
    assert row is not None and row.flags == {DELETED, "kw"} and row.uid == uid
    assert inbox.last_row(uid + 1) is None


def test_copy_keeps_flags_and_date(account: Account, inbox: Mailbox) -> None:
    account.create("Copies")
    target = account.open("Copies")
    put(target, MAIL % 9)
    uids = put_many(inbox, 3, flags=[SEEN, "kw"])
    assert inbox.copy([uids[0], uids[2], 99], target) == [(uids[0], 2), (uids[2], 3)]
    assert flags_of(target, 3) == {SEEN, "kw"}
    target.fill([3], sizes=True, dates=True)
    assert target.table.dates[target.table.row(3)] == 1_700_000_000
    assert whole(target, 3) == whole(inbox, uids[2])
    assert len(inbox.table) == 3


def test_copy_twice_and_onto_itself(account: Account, inbox: Mailbox) -> None:
    account.create("Copies")
    target = account.open("Copies")
    (uid,) = put(inbox, MAIL % 1)
    assert [inbox.copy([uid], target) for _ in range(2)] == [[(uid, 1)], [(uid, 2)]]
    ((_, again),) = inbox.copy([uid], inbox)
    assert again != uid and whole(inbox, again) == whole(inbox, uid) == whole(target, 2)


def test_copy_of_nothing(account: Account, inbox: Mailbox) -> None:
    assert inbox.copy([5, 6], inbox) == []
    assert inbox.move([5, 6], inbox) == []


def test_move(account: Account, inbox: Mailbox) -> None:
    """RFC 6851 3.3."""
    account.create("Moved")
    target = account.open("Moved")
    uids = put_many(inbox, 3, flags=[FLAGGED])
    since = inbox.modseq
    assert inbox.move(uids[:2], target) == [(uids[0], 1), (uids[1], 2)]
    assert list(inbox.table.uids) == [uids[2]]
    assert inbox.changes(since).expunged == uids[:2]
    assert flags_of(target, 2) == {FLAGGED} and whole(target, 2) == MAIL % 1


def test_move_within_a_mailbox_gives_new_uids(inbox: Mailbox) -> None:
    uids = put_many(inbox, 2)
    assert inbox.move(uids[:1], inbox) == [(uids[0], 3)]
    assert list(inbox.table.uids) == [2, 3]
    assert whole(inbox, 3) == MAIL % 0


# What happened


def test_changes(inbox: Mailbox) -> None:
    start = inbox.modseq
    uids = put_many(inbox, 4)
    appended = inbox.modseq
    inbox.store([uids[1]], change(ADD, SEEN))
    stored = inbox.modseq
    inbox.store([uids[2]], change(ADD, DELETED))
    inbox.expunge(None)
    assert start < appended < stored < inbox.modseq
    assert inbox.changes(start).changed == [uids[0], uids[1], uids[3]]
    assert inbox.changes(appended).changed == [uids[1]]
    assert inbox.changes(appended).expunged == [uids[2]]
    assert inbox.changes(inbox.modseq).changed == []
    assert inbox.changes(inbox.modseq).expunged == []


def test_subscribers_hear_of_changes_until_they_cancel(account: Account, inbox: Mailbox) -> None:
    heard: list[str] = []
    cancel = inbox.subscribe(lambda: heard.append("one"))
    cancel_other = inbox.subscribe(lambda: heard.append("two"))
    (uid,) = put(account.open("INBOX"), MAIL % 1)
    assert set(heard) == {"one", "two"}
    heard.clear()
    cancel()
    account.open("INBOX").store([uid], change(ADD, DELETED))
    assert set(heard) == {"two"}
    heard.clear()
    cancel_other()
    cancel_other()
    inbox.expunge(None)
    assert not heard


def test_recent_is_claimed_once(account: Account, inbox: Mailbox) -> None:
    uids = put_many(inbox, 2)
    other = account.open("INBOX")
    assert inbox.counters().recent == 2
    assert other.claim_recent() == uids[0]
    assert inbox.claim_recent() == inbox.uidnext
    assert inbox.counters().recent == 0
    (third,) = put(inbox, MAIL % 3)
    assert other.counters().recent == 1
    assert other.claim_recent() == third


def test_cached_values_are_opaque_and_by_kind(account: Account, inbox: Mailbox) -> None:
    uids = put_many(inbox, 2)
    assert inbox.cached(uids[0], CacheKind.ENVELOPE) is None
    inbox.cache(uids[0], CacheKind.ENVELOPE, b"\0any\r\n\xff")
    inbox.cache(uids[0], CacheKind.PREVIEW, b"")
    assert inbox.cached(uids[0], CacheKind.ENVELOPE) == b"\0any\r\n\xff"
    assert account.open("INBOX").cached(uids[0], CacheKind.PREVIEW) == b""
    assert inbox.cached(uids[0], CacheKind.BODY) is None
    assert inbox.cached(uids[1], CacheKind.ENVELOPE) is None


# POP3


def test_maildrop(inbox: Mailbox) -> None:
    uids = put_many(inbox, 3)
    items = inbox.maildrop()
    assert [item.uid for item in items] == uids
    assert len({item.base_name for item in items}) == len({item.guid for item in items}) == 3


def test_the_maildrop_is_locked_once(account: Account, inbox: Mailbox) -> None:
    """RFC 1939 3."""
    held = inbox.lock_maildrop()
    refused(Reason.IN_USE, account.open("INBOX").lock_maildrop)
    held.release()
    held.release()
    account.open("INBOX").lock_maildrop().release()
