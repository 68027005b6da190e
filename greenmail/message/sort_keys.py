"""What SORT and THREAD want to know of a message, RFC 5256, RFC 5957; made of its header once, kept as one record.

The record is fields with a NUL between them, in the order of `Place`. Texts are keys of a comparator: compared as they
stand. One whose octets are not what their charset says is FAILED and these octets, RFC 5255 4.6 (c). Message IDs are
normalized, and have a space between them.

A string longer than LONGEST octets is ordered by its beginning, and of a message's references the last MOST count.
"""

import re
from enum import IntEnum
from typing import NamedTuple

from greenmail.message.collation import DEFAULT, FAILED, Comparator
from greenmail.message.decode import converted_words, sent_seconds, words_octets
from greenmail.message.envelope import Address, addresses
from greenmail.message.headers import collect, finder
from greenmail.message.subject import base_subject

LONGEST = 1000  # octets of one key
MOST = 1000  # references of a message

_FIELDS = finder(b"Date", b"Subject", b"From", b"To", b"Cc", b"Message-ID", b"In-Reply-To", b"References")
_THREAD_FIELDS = finder(b"Date", b"Subject", b"Message-ID", b"In-Reply-To", b"References")
_DATE = finder(b"Date", prefix=b"date")
_NOBODY = [b""] * 5
_ID = re.compile(rb"<\s*+(\"(?:[^\"\\]|\\.)*+\"|[^\s<>@\"]++)\s*+@\s*+([^\s<>@]++)\s*+>", re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)


class Place(IntEnum):
    """Where a field is in a record."""

    DATE = 0  # sent date in seconds since 1970, in decimal; empty if there is none
    FROM = 1
    TO = 2
    CC = 3
    DISPLAY_FROM = 4
    DISPLAY_TO = 5
    SUBJECT = 6  # base subject
    IS_REPLY = 7  # "1": the subject is that of a reply or forward
    MESSAGE_ID = 8
    REFERENCES = 9


class ThreadKeys(NamedTuple):
    """What threads are made of."""

    date: int | None
    subject: bytes
    is_reply: bool
    message_id: bytes  # empty: none that is valid
    references: tuple[bytes, ...]


def sort_record(header: bytes, comparator: Comparator = DEFAULT) -> bytes:
    """The record of a message with this header."""
    found = collect(_FIELDS, header, 0, len(header))
    sender, to = addresses(found.get(b"from", ())), addresses(found.get(b"to", ()))
    people = [
        _mailbox(sender, comparator),
        _mailbox(to, comparator),
        _mailbox(addresses(found.get(b"cc", ())), comparator),
        _display(sender, comparator),
        _display(to, comparator),
    ]
    return _record(found, people, comparator)


def thread_record(header: bytes) -> bytes:
    """The record of the default comparator without what nothing but SORT wants, FROM to DISPLAY_TO, which are empty."""
    return _record(collect(_THREAD_FIELDS, header, 0, len(header)), _NOBODY, DEFAULT)


def _record(found: dict[bytes, list[bytes]], people: list[bytes], comparator: Comparator) -> bytes:
    subjects = found.get(b"subject")
    subject, is_reply = _subject(subjects[0], comparator) if subjects else (b"", False)
    ids = message_ids(b" ".join(found.get(b"message-id", ())))
    fields = [*people, subject, b"1" if is_reply else b"", ids[0] if ids else b""]
    short = [field.replace(b"\0", b"")[:LONGEST] for field in fields]
    references = b" ".join(_references(found)[-MOST:]).replace(b"\0", b"")
    return b"\0".join([_sent(found), *short, references])


def _sent(found: dict[bytes, list[bytes]]) -> bytes:
    dates = found.get(b"date")
    seconds = sent_seconds(dates[0]) if dates else None
    return b"" if seconds is None else b"%d" % seconds


def sent_record(header: bytes) -> bytes:
    """The field DATE of `sort_record`, alone."""
    return _sent(collect(_DATE, header, 0, len(header)))


def field(record: bytes, place: Place) -> bytes:
    """One field of a record."""
    return record.split(b"\0", place + 1)[place]


def has_date(record: bytes) -> bool:
    """Whether the field DATE of a record, which is its first, is not empty."""
    return not record.startswith(b"\0")


def thread_keys(record: bytes) -> ThreadKeys:
    """What threads are made of, out of a record."""
    fields = record.split(b"\0")
    return ThreadKeys(
        int(fields[Place.DATE]) if fields[Place.DATE] else None,
        fields[Place.SUBJECT],
        bool(fields[Place.IS_REPLY]),
        fields[Place.MESSAGE_ID],
        tuple(fields[Place.REFERENCES].split()),
    )


def message_ids(value: bytes) -> list[bytes]:
    """The valid Message IDs of a field, in one spelling: `<"a"@b>` is `<a@b>`. RFC 5256 3, RFC 5322 3.6.4.

    A space that was quoted becomes one octet that no ID has otherwise, so that IDs can be listed with spaces between.
    """
    found = []
    for left, right in _ID.findall(value):
        if left.startswith(b'"'):
            left = _QUOTED_PAIR.sub(rb"\1", left[1:-1])
            left = re.sub(rb"\s", b"\x01", left)
        found.append(b"<%b@%b>" % (left, right))
    return found


def _references(found: dict[bytes, list[bytes]]) -> list[bytes]:
    """References, or else the first Message ID of In-Reply-To."""
    references = message_ids(b" ".join(found.get(b"references", ())))
    return references or message_ids(b" ".join(found.get(b"in-reply-to", ())))[:1]


def _subject(value: bytes, comparator: Comparator) -> tuple[bytes, bool]:
    """The key of the base subject; what there is to be stripped is US-ASCII, whatever the rest is."""
    text = converted_words(value)
    if text is not None:
        base, is_reply = base_subject(text)
        return comparator.key(base), is_reply
    base, is_reply = base_subject(words_octets(value).decode("latin-1"))
    return FAILED + base.encode("latin-1"), is_reply


def _key(value: bytes, comparator: Comparator) -> bytes:
    """Of a field or phrase with encoded words."""
    text = converted_words(value)
    return comparator.key(text) if text is not None else FAILED + words_octets(value)


def _mailbox(found: tuple[Address, ...], comparator: Comparator) -> bytes:
    """addr-mailbox of the first address, in which there are no encoded words."""
    return _raw_key(found[0].mailbox, comparator) if found and found[0].mailbox else b""


def _raw_key(octets: bytes, comparator: Comparator) -> bytes:
    try:
        return comparator.key(octets.decode("utf-8"))
    except UnicodeDecodeError:
        return FAILED + octets


def _display(found: tuple[Address, ...], comparator: Comparator) -> bytes:
    """RFC 5957 3: the name, or else mailbox@host, or else the mailbox."""
    if not found:
        return b""
    first = found[0]
    if first.name and (name := _key(first.name, comparator)):
        return name
    if first.mailbox is None:
        return b""
    return _raw_key(first.mailbox if first.host is None else b"%b@%b" % (first.mailbox, first.host), comparator)
