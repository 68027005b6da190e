"""QUIT and the UPDATE state, and a mailbox that others change meanwhile. RFC 1939 6."""

from typing import Any

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import DELETED, SEEN, FlagAction, FlagChange, MaildropItem

from .pop3_host import Host
from .pop3_talk import shown

# --- QUIT ------------------------------------------------------------------------------------------------------------


def test_quit_removes_and_marks_as_seen() -> None:
    host = Host()
    wire = host.login()
    host.talk(wire, b"RETR 1\r\nRETR 3\r\nTOP 2 1\r\nDELE 3\r\n")
    assert host.flags(1) == frozenset()
    assert shown(host.talk(wire, b"QUIT\r\n")) == ["+OK"]
    assert wire.closed
    assert host.uids() == [1, 2]
    assert host.flags(1) == {SEEN}
    assert host.flags(2) == frozenset()


def test_quit_removes_nothing_but_what_was_deleted_here() -> None:
    host = Host()
    host.inbox.store([1], FlagChange(FlagAction.ADD, frozenset({DELETED})))  # by an IMAP client
    wire = host.login()
    assert shown(host.talk(wire, b"DELE 2\r\nQUIT\r\n")) == ["+OK", "+OK"]
    assert host.uids() == [1, 3]
    assert DELETED in host.flags(1)


def test_a_message_removed_elsewhere_counts_as_removed() -> None:
    host = Host()
    wire = host.login()
    host.talk(wire, b"DELE 1\r\nDELE 2\r\n")
    remove(host, 1)
    assert shown(host.talk(wire, b"QUIT\r\n")) == ["+OK"]
    assert host.uids() == [3]


def test_quit_says_so_if_a_message_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag was taken away between STORE and EXPUNGE: the message stays."""
    host = Host()
    wire = host.login()
    real = host.inbox.expunge

    def raced(uids: list[int]) -> Any:
        host.inbox.store([2], FlagChange(FlagAction.REMOVE, frozenset({DELETED})))
        return real(uids)

    monkeypatch.setattr(host.inbox, "expunge", raced)
    assert shown(host.talk(wire, b"DELE 1\r\nDELE 2\r\nQUIT\r\n")) == ["+OK", "+OK", "-ERR [SYS/TEMP]"]
    assert host.uids() == [2, 3]
    assert wire.closed


@pytest.mark.parametrize("step", ["store", "expunge"])
def test_quit_says_so_if_the_store_fails(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    wire = host.login()

    def busy(*arguments: object) -> None:
        raise StorageError(Reason.IN_USE, "locked by another program")

    monkeypatch.setattr(host.inbox, step, busy)
    assert shown(host.talk(wire, b"DELE 1\r\nQUIT\r\n")) == ["+OK", "-ERR [IN-USE]"]
    assert wire.closed
    assert host.uids() == [1, 2, 3]
    assert host.seats.entries == []
    monkeypatch.undo()
    host.login()


def test_seen_that_cannot_be_stored_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()
    wire = host.login()

    def full(*arguments: object) -> None:
        raise StorageError(Reason.NO_SPACE, "no space")

    monkeypatch.setattr(host.inbox, "store", full)
    assert shown(host.talk(wire, b"RETR 2\r\nQUIT\r\n"))[-1] == "+OK"
    assert "not marked as seen" in caplog.text


def test_a_read_only_maildrop_can_be_read() -> None:
    host = Host()
    host.inbox.read_only = True
    wire = host.login()
    assert shown(host.talk(wire, b"DELE 1\r\nRETR 1\r\nQUIT\r\n")) == [
        "-ERR [SYS/PERM]", "+OK", "Subject: one", "", "first", ".", "+OK",
    ]  # fmt: skip


def test_flag_instead_of_removal() -> None:
    """Dovecot's pop3_delete_type = flag."""
    host = Host(pop3_deleted_flag="$POP3Deleted", pop3_no_flag_updates=True)
    wire = host.login()
    assert shown(host.talk(wire, b"RETR 1\r\nDELE 2\r\nQUIT\r\n"))[-1] == "+OK"
    assert host.uids() == [1, 2, 3]
    assert host.flags(1) == frozenset()
    assert host.flags(2) == {"$POP3Deleted"}
    assert shown(host.talk(host.login(), b"LIST\r\n")) == ["+OK", "1 23", "2 36", "."]


# --- Others change the mailbox ---------------------------------------------------------------------------------------


def remove(host: Host, uid: int) -> None:
    host.inbox.store([uid], FlagChange(FlagAction.ADD, frozenset({DELETED})))
    host.inbox.expunge([uid])


def test_the_list_is_frozen_at_login() -> None:
    host = Host()
    wire = host.login()
    host.inbox.add([(b"new\r\n", frozenset(), 0)])
    remove(host, 2)
    assert host.talk(wire, b"STAT\r\n") == b"+OK 3 94\r\n"
    assert shown(host.talk(wire, b"RETR 2\r\nTOP 2 0\r\nRETR 3\r\nLIST\r\n")) == [
        "-ERR [SYS/PERM]", "-ERR [SYS/PERM]", "+OK", "Subject: three", "X: y", "", "1", "2", "3", "4", ".",
        "+OK", "1 23", "2 35", "3 36", ".",
    ]  # fmt: skip


def test_a_size_that_lies_is_corrected(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    host.inbox.table.sizes[0] = 1000
    wire = host.login()
    assert host.talk(wire, b"LIST 1\r\nSTAT\r\n") == b"+OK 1 1000\r\n+OK 3 1071\r\n"
    assert host.talk(wire, b"RETR 1\r\n").startswith(b"+OK 23 octets\r\n")
    assert host.talk(wire, b"LIST 1\r\nSTAT\r\nDELE 1\r\nSTAT\r\n").split(b"\r\n")[:2] == [b"+OK 1 23", b"+OK 3 94"]
    assert "wrong size" in caplog.text


def test_order_and_unique_ids_are_the_maildrops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Courier's list, or uidlist fields O and P: `formats.md` 6.2 and 8."""
    host = Host()
    items = [
        MaildropItem(3, 1, "UID3-7", "c", "c"),
        MaildropItem(1, 2, "", "base.1", "a"),
        MaildropItem(2, None, None, "b", "b"),
    ]
    monkeypatch.setattr(host.inbox, "maildrop", lambda: items)
    answer = host.talk(host.login(), b"UIDL\r\nLIST\r\n")
    assert answer.split(b"\r\n")[1:4] == [b"1 UID3-7", b"2 base.1", b"3 000000026b02c396"]
    assert answer.split(b"\r\n")[6:9] == [b"1 36", b"2 23", b"3 35"]


def test_a_store_that_fails_in_the_middle_of_a_message_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent must not look like a whole message."""
    host = Host([b"x" * 200000])
    wire = host.login()
    content = host.inbox.content(1)

    class Failing:
        size = content.size

        def read(self, start: int, end: int) -> bytes:
            if start > 100000:
                raise StorageError(Reason.UNAVAILABLE, "input/output error")
            return bytes(content.read(start, end))

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(host.inbox, "content", lambda uid: Failing())
    answer = host.talk(wire, b"DELE 1\r\nRSET\r\nRETR 1\r\nQUIT\r\n")
    assert not answer.endswith(b".\r\n")
    assert wire.closed
    assert host.uids() == [1]
