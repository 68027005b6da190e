"""What every mail store keeps to: `greenmail.storage.api`, method by method, on each backend."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.namespaces import ALIAS, OWN, SHARED, Spool

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage import BACKENDS
from greenmail.storage.api import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    SEEN,
    Account,
    CacheKind,
    FlagAction,
    FlagChange,
    Mailbox,
)
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.memory import MemoryStore

ADD, REMOVE, REPLACE = FlagAction.ADD, FlagAction.REMOVE, FlagAction.REPLACE
MAIL = b"From: a@example.org\r\nSubject: %d\r\n\r\nHello\r\n"
SPECIAL = {"Sent": "\\Sent", "Gesendet": "\\Sent"}


@pytest.fixture(params=["memory", "maildir", "namespaces"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    if request.param == "memory":
        return MemoryStore(special_use=SPECIAL).open_account("alice")
    if request.param == "namespaces":
        spool = Spool(tmp_path, (OWN, ALIAS, SHARED), settings={"special_use": SPECIAL})
        return spool.worker().account()
    settings = MaildirSettings(mail_path=str(tmp_path / "Maildir"), special_use=SPECIAL)
    return MaildirStore(direct()).open_account("alice", settings)


@pytest.fixture
def inbox(account: Account) -> Mailbox:
    return account.open("INBOX")


def put(mailbox: Mailbox, *messages: bytes, flags: Iterable[str] = (), date: int | None = 1_700_000_000) -> list[int]:
    uploads = []
    for message in messages:
        upload = mailbox.upload()
        upload.write(message)
        upload.flags, upload.date = frozenset(flags), date
        uploads.append(upload)
    return mailbox.save(uploads)


def put_many(mailbox: Mailbox, count: int, flags: Iterable[str] = ()) -> list[int]:
    return put(mailbox, *(MAIL % number for number in range(count)), flags=flags)


def change(action: FlagAction, *flags: str) -> FlagChange:
    return FlagChange(action, frozenset(flags))


def flags_of(mailbox: Mailbox, uid: int) -> set[str]:
    row = mailbox.last_row(uid)
    assert row is not None
    return set(row.flags)


def refused(reason: Reason, function: Callable[..., object], *args: object) -> None:
    with pytest.raises(StorageError) as caught:
        function(*args)
    assert caught.value.reason is reason
    assert caught.value.text


def whole(mailbox: Mailbox, uid: int) -> bytes:
    content = mailbox.content(uid)
    try:
        data = content.read()
        assert len(data) == content.size
        return data
    finally:
        content.close()


# Messages


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


# Mailboxes


def names(account: Account) -> list[str]:
    return [folder.name + ("" if folder.selectable else " (no)") for folder in account.folders()]


def test_create_and_list(account: Account) -> None:
    account.create("Archive/2024/März")
    account.create("a b")
    account.create("Trailing/")
    assert names(account) == [
        "INBOX",
        "Archive (no)",
        "Archive/2024 (no)",
        "Archive/2024/März",
        "Trailing",
        "a b",
    ]
    assert {folder.name for folder in account.folders() if folder.has_children} == {"Archive", "Archive/2024"}


@pytest.mark.parametrize("name", ["INBOX", "inbox", "Inbox"])
def test_inbox_is_there_and_has_one_spelling(account: Account, name: str) -> None:
    refused(Reason.EXISTS, account.create, name)
    assert account.open(name).name == "INBOX"
    refused(Reason.CANNOT, account.delete, name)


def test_create_refuses(account: Account) -> None:
    account.create("There")
    refused(Reason.EXISTS, account.create, "There")
    refused(Reason.EXISTS, account.create, "There/")
    for name in ("", "/", "/x", "a//b", "a\x01b", "a\nb"):
        refused(Reason.CANNOT, account.create, name)


def test_create_makes_a_missing_parent_real(account: Account) -> None:
    account.create("A/B")
    refused(Reason.NOT_FOUND, account.open, "A")
    account.create("A")
    assert names(account) == ["INBOX", "A", "A/B"]


def test_special_use_of_the_configuration(account: Account) -> None:
    """At most one mailbox for each attribute."""
    account.create("Sent")
    assert [folder.special_use for folder in account.folders() if folder.name == "Sent"] == [("\\Sent",)]
    account.create("Gesendet")
    assert sum(folder.special_use == ("\\Sent",) for folder in account.folders()) == 1


def test_create_gives_the_mailbox_id(account: Account) -> None:
    first, second = account.create("One"), account.create("Two")
    assert account.open("One").mailbox_id == first != second == account.open("Two").mailbox_id


def test_uidvalidity_grows_when_a_name_is_used_again(account: Account) -> None:
    account.create("Again")
    before = account.open("Again").uidvalidity
    account.delete("Again")
    account.create("Again")
    assert account.open("Again").uidvalidity > before
    account.rename("Again", "Other")
    account.create("Again")
    assert account.open("Again").uidvalidity > account.open("Other").uidvalidity


def test_delete(account: Account) -> None:
    account.create("A")
    account.create("A/B")
    account.delete("A")
    assert names(account) == ["INBOX", "A (no)", "A/B"]
    refused(Reason.HAS_CHILDREN, account.delete, "A")
    account.delete("A/B")
    assert names(account) == ["INBOX"]
    refused(Reason.NOT_FOUND, account.delete, "A/B")
    refused(Reason.NOT_FOUND, account.open, "A/B")


def test_rename_takes_the_children_along(account: Account) -> None:
    account.create("A")
    account.create("A/B/C")
    mailbox = account.open("A/B/C")
    put(mailbox, MAIL % 1, flags=["kw"])
    identity = (mailbox.uidvalidity, mailbox.mailbox_id)
    account.rename("A", "X")
    assert names(account) == ["INBOX", "X", "X/B (no)", "X/B/C"]
    mailbox = account.open("X/B/C")
    assert (mailbox.uidvalidity, mailbox.mailbox_id) == identity
    assert list(mailbox.table.uids) == [1] and flags_of(mailbox, 1) == {"kw"} and whole(mailbox, 1) == MAIL % 1


def test_rename_of_a_parent_that_is_none_itself(account: Account) -> None:
    account.create("A/B")
    account.rename("A", "X")
    assert names(account) == ["INBOX", "X (no)", "X/B"]


def test_rename_refuses(account: Account) -> None:
    account.create("A")
    account.create("B")
    refused(Reason.NOT_FOUND, account.rename, "None", "C")
    refused(Reason.EXISTS, account.rename, "A", "B")
    refused(Reason.EXISTS, account.rename, "A", "INBOX")
    refused(Reason.CANNOT, account.rename, "A", "A/B")
    refused(Reason.CANNOT, account.rename, "A", "x//y")
    assert names(account) == ["INBOX", "A", "B"]


def test_rename_of_inbox_moves_its_messages(account: Account, inbox: Mailbox) -> None:
    """RFC 9051 6.3.6: INBOX stays, empty, and what is below it stays too."""
    put_many(inbox, 2, flags=["kw"])
    account.create("INBOX/Sub")
    account.rename("INBOX", "Old")
    assert names(account) == ["INBOX", "INBOX/Sub", "Old"]
    old = account.open("Old")
    assert list(old.table.uids) == [1, 2] and flags_of(old, 1) == {"kw"} and whole(old, 2) == MAIL % 1
    inbox.look()
    assert len(inbox.table) == 0


@pytest.mark.parametrize("how", ["delete", "rename", "replace", "replace by rename"])
def test_an_open_mailbox_is_gone_when_its_name_leads_elsewhere(account: Account, how: str) -> None:
    account.create("Box")
    mailbox = account.open("Box")
    put_many(mailbox, 2, flags=[DELETED])
    upload = mailbox.upload()
    upload.write(MAIL % 7)
    if how.startswith("re") and how != "replace":
        account.rename("Box", "Elsewhere")
    else:
        account.delete("Box")
    if how == "replace":
        account.create("Box")
    if how == "replace by rename":
        account.create("Other")
        account.rename("Other", "Box")
    refused(Reason.GONE, mailbox.look)
    refused(Reason.GONE, mailbox.store, [1], change(ADD, SEEN))
    refused(Reason.GONE, mailbox.expunge, None)
    refused(Reason.GONE, mailbox.save, [upload])
    refused(Reason.GONE, mailbox.claim_recent)
    upload.abort()
    mailbox.close()
    if how.startswith("replace"):
        assert len(account.open("Box").table) == 0
    if how == "rename":
        assert list(account.open("Elsewhere").table.uids) == [1, 2]


# Subscriptions


def test_subscriptions_keep_their_order_and_outlive_the_mailbox(account: Account) -> None:
    for name in ("B", "A", "Grün/Ü"):
        account.create(name)
        account.subscribe(name)
    account.subscribe("B")
    assert account.subscriptions() == ["B", "A", "Grün/Ü"]
    account.delete("A")
    assert account.subscriptions() == ["B", "A", "Grün/Ü"]
    account.unsubscribe("A")
    account.unsubscribe("never was")
    assert account.subscriptions() == ["B", "Grün/Ü"]


def test_subscribe_to_nothing_is_refused(account: Account) -> None:
    refused(Reason.NOT_FOUND, account.subscribe, "Nothing")
    account.subscribe("inbox")
    assert account.subscriptions() == ["INBOX"]


def test_every_backend_is_tested_here() -> None:
    assert set(BACKENDS) == {"memory", "maildir"}


def test_namespaces(account: Account) -> None:
    assert account.separator == account.personal.separator == "/"
    assert account.personal.prefix == ""
    assert account.user == "alice"
    assert all(isinstance(path, str) for path in (*account.watched(), *account.open("INBOX").watched()))
    account.close()


def test_inbox_is_spelled_in_any_case_of_ascii_only(account: Account, inbox: Mailbox) -> None:
    """The capital of the dotless i is an I: a name that only looks like INBOX is another mailbox."""
    put(inbox, MAIL % 1)
    assert len(account.open("inBox").table) == 1
    other = "\u0131nbox"
    with pytest.raises(StorageError) as caught:
        account.open(other)
    assert caught.value.reason is Reason.NOT_FOUND
    with pytest.raises(StorageError) as caught:
        account.rename(other, "Elsewhere")
    assert caught.value.reason is Reason.NOT_FOUND
    account.create(other)
    assert len(account.open(other).table) == 0 and len(account.open("INBOX").table) == 1
    account.delete(other)


# Annotations


def test_annotations_are_set_and_removed_all_or_none(account: Account) -> None:
    assert account.metadata("INBOX") == {}
    account.set_metadata("INBOX", {"/shared/comment": b"a\0\r\n\xff", "/private/comment": b""}, 2)
    assert account.metadata("inbox") == {"/shared/comment": b"a\0\r\n\xff", "/private/comment": b""}
    refused(Reason.LIMIT, account.set_metadata, "INBOX", {"/shared/comment": b"new", "/shared/x": b""}, 2)
    assert account.metadata("INBOX") == {"/shared/comment": b"a\0\r\n\xff", "/private/comment": b""}
    account.set_metadata("INBOX", {"/shared/comment": None, "/shared/x": b"x"}, 2)
    assert account.metadata("INBOX") == {"/private/comment": b"", "/shared/x": b"x"}
    account.set_metadata("INBOX", {"/shared/x": b"y"}, 1)  # no more than there were
    account.set_metadata("INBOX", {"/private/comment": None, "/shared/x": None, "/shared/none": None}, 1)
    assert account.metadata("INBOX") == {}


def test_annotations_of_the_server_are_those_of_no_mailbox(account: Account) -> None:
    account.set_metadata("", {"/private/vendor/a/b": b"mine"}, 10)
    assert account.metadata("") == {"/private/vendor/a/b": b"mine"}
    assert account.metadata("INBOX") == {}


def test_annotations_go_with_their_mailbox(account: Account) -> None:
    account.create("Box")
    account.create("Box/Below")
    account.set_metadata("Box", {"/shared/comment": b"one"}, 10)
    account.set_metadata("Box/Below", {"/private/comment": b"two"}, 10)
    account.rename("Box", "New")
    assert account.metadata("New") == {"/shared/comment": b"one"}
    assert account.metadata("New/Below") == {"/private/comment": b"two"}
    account.create("Box")
    assert account.metadata("Box") == {}
    account.delete("New/Below")
    account.create("New/Below")
    assert account.metadata("New/Below") == {}
    refused(Reason.NOT_FOUND, account.metadata, "None")
    refused(Reason.NOT_FOUND, account.set_metadata, "None", {"/shared/comment": b"x"}, 10)


def test_annotations_of_inbox_are_on_both_after_a_rename(account: Account) -> None:
    account.set_metadata("INBOX", {"/shared/comment": b"one"}, 10)
    account.rename("INBOX", "Old")
    assert account.metadata("INBOX") == account.metadata("Old") == {"/shared/comment": b"one"}


def test_a_special_use_moves_from_one_mailbox_to_another(account: Account) -> None:
    for name in ("Sent", "Gesendet", "Other"):
        account.create(name)
    account.set_special_use("Other", ["\\Sent", "\\Junk"])
    found = {folder.name: folder.special_use for folder in account.folders()}
    assert found == {"INBOX": (), "Gesendet": (), "Other": ("\\Sent", "\\Junk"), "Sent": ()}
    account.set_special_use("Sent", ["\\Sent"])
    account.set_special_use("Other", [])
    found = {folder.name: folder.special_use for folder in account.folders()}
    assert found == {"INBOX": (), "Gesendet": (), "Other": (), "Sent": ("\\Sent",)}
    refused(Reason.NOT_FOUND, account.set_special_use, "None", ["\\Junk"])
    account.set_special_use("", ["\\Sent"])
    assert not any(folder.special_use for folder in account.folders())
