"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE: RFC 9051 6.3.4 to 6.3.8."""

import unicodedata

import pytest
from harness.bare import account_with, say, session_for
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax, Reason, Refused, StorageError
from greenmail.imap.commands.mailboxes import Create, Rename, parse_create, parse_mailbox, parse_rename
from greenmail.imap.cursor import Cursor

NFC, NFD = "Entwürfe", unicodedata.normalize("NFD", "Entwürfe")


def names(account):
    return [folder.name for folder in account.folders() if folder.selectable]


def refusal(account, command, *enabled):
    with pytest.raises(StorageError) as error:
        say(session_for(account, *enabled), command)
    return error.value.reason


def test_create():
    account = account_with()
    session = session_for(account)
    assert say(session, "CREATE owatagusiam/") == ["OK"]  # RFC 9051 6.3.4
    assert say(session, "CREATE owatagusiam/blurdybloop") == ["OK"]
    assert say(session, "CREATE missing/parent/child") == ["OK"]
    assert names(account) == ["INBOX", "missing/parent/child", "owatagusiam", "owatagusiam/blurdybloop"]
    assert refusal(account, "CREATE inbox") is Reason.EXISTS
    assert refusal(account, "CREATE owatagusiam") is Reason.EXISTS


def test_create_for_a_special_use():
    account = account_with(Sent="\\Sent")
    session = session_for(account)
    assert say(session, "CREATE MySpecial (USE (\\Drafts \\junk))") == ["OK"]  # RFC 6154 5.3
    assert say(session, "CREATE Plain (USE ())") == ["OK"]
    account.create("Sent")
    assert {folder.name: folder.special_use for folder in account.folders() if folder.special_use} == {
        "MySpecial": ("\\Drafts", "\\Junk"),
        "Sent": ("\\Sent",),
    }
    for uses in ("\\All", "\\Drafts \\Flagged", "\\Whatever", "\\Sent"):
        with pytest.raises(Refused) as error:
            say(session, f"CREATE Everything (USE ({uses}))")
        assert error.value.code == "USEATTR"
    assert "Everything" not in names(account)


@pytest.mark.parametrize(
    "text, expected",
    [
        (b" a", Create("a")),
        (b" a (use (\\Sent \\dRAFTS \\sent))", Create("a", ("\\SENT", "\\DRAFTS"))),
        (b" a (USE ())", Create("a")),
    ],
)
def test_parse_create(text, expected):
    cur = Cursor(text)
    assert parse_create(cur, False) == expected
    cur.end()


@pytest.mark.parametrize(
    "text", [b" a ", b" a ()", b" a (USE)", b" a (USE (Sent))", b" a (USE (\\Sent)", b" a (WHAT (\\Sent))"]
)
def test_what_is_no_create(text):
    with pytest.raises(BadSyntax):
        parse_create(Cursor(text), False)


def test_a_new_name_becomes_net_unicode_after_enable():
    # RFC 9051 6.3.4, 6.3.9.7
    account = account_with()
    session = session_for(account, "IMAP4REV2")
    assert say(session, f'CREATE "{NFD}/"') == [f'* LIST () "/" "{NFC}" ("OLDNAME" ("{NFD}"))', "OK"]
    assert names(account) == ["INBOX", NFC]
    assert say(session, f'RENAME "{NFC}" "x{NFD}"') == [f'* LIST () "/" "x{NFC}" ("OLDNAME" ("{NFC}"))', "OK"]
    assert say(session, f'DELETE "x{NFD}"') == [f'* LIST (\\NonExistent) "/" "x{NFC}" ("OLDNAME" ("x{NFD}"))', "OK"]
    assert names(account) == ["INBOX"]


def test_without_enable_names_are_taken_as_they_are():
    account = account_with()
    assert say(session_for(account), "CREATE Entwu&Awg-rfe") == ["OK"]
    assert names(account) == ["INBOX", NFD]


def test_a_mailbox_that_another_program_named_is_found_under_its_own_name():
    account = account_with(NFD)
    session = session_for(account, "IMAP4REV2")
    assert say(session, f'RENAME "{NFD}" "plain"') == ["OK"]
    assert names(account) == ["INBOX", "plain"]


@pytest.mark.parametrize("name", ["a\nb", "a\x7fb", "a\x80b", "a\u2028b"])
@pytest.mark.parametrize("command", ["CREATE", "RENAME x"])
def test_controls_are_no_part_of_a_name(command, name):
    # RFC 5198 2, RFC 9755 3
    data = name.encode()
    line = command.encode() + b" {%d}\r\n%b" % (len(data), data)
    with pytest.raises(Refused) as error:
        say(session_for(account_with("x"), "IMAP4REV2"), line)
    assert error.value.code == "CANNOT"


def test_delete():
    account = account_with("blurdybloop", "foo/bar")
    session = session_for(account)
    assert say(session, "DELETE blurdybloop") == ["OK"]
    assert refusal(account, "DELETE foo") is Reason.HAS_CHILDREN  # RFC 9051 6.3.5
    assert refusal(account, "DELETE INBOX") is Reason.CANNOT
    assert refusal(account, "DELETE blurdybloop") is Reason.NOT_FOUND
    assert names(account) == ["INBOX", "foo/bar"]


def test_a_mailbox_that_is_made_again_has_a_higher_uidvalidity():
    # RFC 9051 6.3.4, 6.3.6: after DELETE, and after RENAME
    account = account_with("foo")
    session = session_for(account)
    numbers = [account.open("foo").uidvalidity]
    for command in ("DELETE foo", "RENAME foo bar"):
        say(session, command)
        say(session, "CREATE foo")
        numbers.append(account.open("foo").uidvalidity)
    assert numbers == sorted(set(numbers))
    assert account.open("bar").uidvalidity == numbers[1]


def test_delete_leaves_names_below():
    account = account_with("foo", "foo.bar", separator=".")
    assert say(session_for(account), "DELETE foo") == ["OK"]
    assert names(account) == ["INBOX", "foo.bar"]


def test_rename():
    account = account_with("blurdybloop", "foo/bar")
    session = session_for(account)
    assert say(session, "RENAME blurdybloop sarasoop") == ["OK"]  # RFC 9051 6.3.6
    assert say(session, "RENAME foo zowie") == ["OK"]
    assert say(session, "RENAME sarasoop new/place/") == ["OK"]
    assert names(account) == ["INBOX", "new/place", "zowie/bar"]
    assert refusal(account, "RENAME nowhere x") is Reason.NOT_FOUND
    assert refusal(account, "RENAME zowie/bar new/place") is Reason.EXISTS
    assert refusal(account, "RENAME zowie/bar inbox") is Reason.EXISTS


def test_rename_inbox_moves_its_messages():
    account = account_with("INBOX/bar")
    inbox = account.open("INBOX")
    upload = inbox.upload()
    upload.write(b"x")
    inbox.save([upload])
    assert say(session_for(account), "RENAME inbox old-mail") == ["OK"]
    assert names(account) == ["INBOX", "INBOX/bar", "old-mail"]
    assert [len(account.open(name).table) for name in ("INBOX", "old-mail")] == [0, 1]


def test_subscribe():
    account = account_with("news", "Entwürfe")
    session = session_for(account)
    for command in ("SUBSCRIBE news", "SUBSCRIBE news", "SUBSCRIBE inbox", "SUBSCRIBE Entw&APw-rfe"):
        assert say(session, command) == ["OK"]
    assert account.subscriptions() == ["news", "INBOX", "Entwürfe"]
    assert refusal(account, "SUBSCRIBE nowhere") is Reason.NOT_FOUND
    for command in ("UNSUBSCRIBE news", "UNSUBSCRIBE news", "UNSUBSCRIBE InBox"):
        assert say(session, command) == ["OK"]
    assert account.subscriptions() == ["Entwürfe"]


def test_rename_and_delete_leave_the_subscriptions():
    # RFC 9051 6.3.6, 6.3.7
    account = account_with("x", "y")
    session = session_for(account)
    for command in ("SUBSCRIBE x", "SUBSCRIBE y", "RENAME x z", "DELETE y"):
        say(session, command)
    assert account.subscriptions() == ["x", "y"]


@pytest.mark.parametrize("text", [b"", b" ", b" a b", b" (a)", b" %"])
def test_what_is_no_mailbox(text):
    cur = Cursor(text)
    with pytest.raises(BadSyntax):
        parse_mailbox(cur, False)
        cur.end()


def test_parse_rename():
    assert parse_rename(Cursor(b' "a b" {1}\r\nc'), False) == Rename("a b", "c")
    with pytest.raises(BadSyntax):
        parse_rename(Cursor(b" a"), False)


@given(st.binary())
def test_any_octets_give_names_or_a_refusal(text):
    for rule in (parse_create, parse_mailbox, parse_rename):
        try:
            rule(Cursor(b" " + text), False)
        except (BadSyntax, Refused):
            pass
