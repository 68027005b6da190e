"""What the tests of `greenmail.storage.api` ask of a mailbox."""

from collections.abc import Callable, Iterable

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import (
    FlagAction,
    FlagChange,
    Mailbox,
)

ADD, REMOVE, REPLACE = FlagAction.ADD, FlagAction.REMOVE, FlagAction.REPLACE
MAIL = b"From: a@example.org\r\nSubject: %d\r\n\r\nHello\r\n"


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
