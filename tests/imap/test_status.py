"""STATUS and NAMESPACE: RFC 9051 6.3.10, 6.3.11, RFC 3501 6.3.10, RFC 2342 5."""

import pytest
from harness.bare import account_with, say, session_for
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax, Reason, Refused, StorageError
from greenmail.imap.commands.status import Status, parse_status
from greenmail.imap.cursor import Cursor
from greenmail.storage.api import DELETED, SEEN, FlagAction, FlagChange, Namespace


def filled():
    account = account_with("blurdybloop")
    mailbox = account.open("blurdybloop")
    uploads = []
    for size in (10, 20, 30):
        upload = mailbox.upload()
        upload.write(b"x" * size)
        uploads.append(upload)
    mailbox.save(uploads)
    mailbox.store([1, 2], FlagChange(FlagAction.ADD, frozenset({SEEN})))
    mailbox.store([1], FlagChange(FlagAction.ADD, frozenset({DELETED})))
    return account


@pytest.mark.parametrize(
    "items, expected",
    [
        ("UIDNEXT MESSAGES", "UIDNEXT 4 MESSAGES 3"),  # RFC 9051 6.3.11
        ("unseen", "UNSEEN 1"),
        ("DELETED SIZE", "DELETED 1 SIZE 60"),
        ("RECENT", "RECENT 3"),  # RFC 3501 6.3.10
        ("SIZE SIZE", "SIZE 60"),
    ],
)
def test_status(items, expected):
    assert say(session_for(filled()), f"STATUS blurdybloop ({items})") == [f"* STATUS blurdybloop ({expected})", "OK"]


def test_uidvalidity():
    account = filled()
    number = account.open("blurdybloop").uidvalidity
    assert (
        say(session_for(account), "STATUS blurdybloop (UIDVALIDITY)")[0]
        == f"* STATUS blurdybloop (UIDVALIDITY {number})"
    )


def test_status_takes_no_recent_messages():
    account = filled()
    session = session_for(account)
    say(session, "STATUS blurdybloop (RECENT)")
    assert say(session, "STATUS blurdybloop (RECENT)")[0] == "* STATUS blurdybloop (RECENT 3)"


def test_names_are_answered_in_the_sessions_encoding():
    account = account_with("Entwürfe")
    assert say(session_for(account), "STATUS Entw&APw-rfe (MESSAGES)")[0] == "* STATUS Entw&APw-rfe (MESSAGES 0)"
    assert (
        say(session_for(account, "IMAP4REV2"), 'STATUS "Entwürfe" (MESSAGES)')[0] == '* STATUS "Entwürfe" (MESSAGES 0)'
    )
    assert say(session_for(account), "STATUS iNbOx (MESSAGES)")[0] == "* STATUS INBOX (MESSAGES 0)"


def test_a_mailbox_that_is_not_there():
    with pytest.raises(StorageError) as error:
        say(session_for(account_with()), "STATUS nowhere (MESSAGES)")
    assert error.value.reason is Reason.NOT_FOUND


def test_an_item_that_nobody_knows():
    with pytest.raises(BadSyntax):
        say(session_for(account_with()), "STATUS INBOX (MESSAGES WEATHER)")


@pytest.mark.parametrize(
    "text", [b"", b" INBOX", b" INBOX ()", b" INBOX (MESSAGES", b" INBOX MESSAGES", b" INBOX (A  B)"]
)
def test_what_is_no_status(text):
    with pytest.raises(BadSyntax):
        parse_status(Cursor(text), False)


def test_parse_status():
    assert parse_status(Cursor(b' "a b" (messages UIDNEXT)'), False) == Status("a b", ("MESSAGES", "UIDNEXT"))


@given(st.binary())
def test_any_octets_give_a_status_or_a_refusal(text):
    try:
        parse_status(Cursor(b" " + text), False)
    except (BadSyntax, Refused):
        pass


@pytest.mark.parametrize(
    "personal, others, shared, expected",
    [
        # RFC 9051 6.3.10, examples 1, 3, 4, 5 and 9
        (Namespace("", "/"), (), (), '(("" "/")) NIL NIL'),
        (Namespace("", "/"), (), (Namespace("Public Folders/", "/"),), '(("" "/")) NIL (("Public Folders/" "/"))'),
        (
            Namespace("", "/"),
            (Namespace("~", "/"),),
            (Namespace("#shared/", "/"), Namespace("#public/", "/"), Namespace("#ftp/", "/"), Namespace("#news.", ".")),
            '(("" "/")) (("~" "/")) (("#shared/" "/")("#public/" "/")("#ftp/" "/")("#news." "."))',
        ),
        (Namespace("INBOX.", "."), (), (), '(("INBOX." ".")) NIL NIL'),
        (Namespace("", "/"), (Namespace("Für/", "/"),), (), '(("" "/")) (("F&APw-r/" "/")) NIL'),
        (Namespace("", ""), (), (), '(("" NIL)) NIL NIL'),
    ],
)
def test_namespace(personal, others, shared, expected):
    account = account_with()
    account.personal, account.other_users, account.shared = personal, others, shared
    assert say(session_for(account), "NAMESPACE") == [f"* NAMESPACE {expected}", "OK"]
