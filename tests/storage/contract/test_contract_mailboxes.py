"""What every mail store keeps to around mailboxes: `greenmail.storage.api`, method by method, on each backend."""

import pytest
from support.contract import ADD, MAIL, change, flags_of, put, put_many, refused, whole

from greenmail.errors import Reason, StorageError
from greenmail.storage import BACKENDS
from greenmail.storage.api import (
    DELETED,
    SEEN,
    Account,
    Mailbox,
)


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
