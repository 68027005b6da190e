"""What SORT and THREAD want to know of a message, RFC 5256, RFC 5957; made of its header once, kept as one record.

The record is fields with a NUL between them, in the order of `Place`. Texts are keys of a comparator: compared as they
stand. One whose octets are not what their charset says is FAILED and these octets, RFC 5255 4.6 (c). Message IDs are
normalized, and have a space between them.

A string longer than LONGEST octets is ordered by its beginning, and of a message's references the last MOST count.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from greenmail.message.collation import DEFAULT, FAILED, Comparator
from greenmail.message.decode import converted_words, sent_seconds, words_octets
from greenmail.message.envelope import Address, addresses
from greenmail.message.headers import collect, finder, first_value
from greenmail.message.subject import base_subject_of

LONGEST = 1000  # octets of one key
MOST = 1000  # references of a message

_FIELDS = finder(b"Date", b"Subject", b"From", b"To", b"Cc", b"Message-ID", b"In-Reply-To", b"References")
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


@dataclass(frozen=True, slots=True)
class ThreadKeys:
    """What threads are made of."""

    date: int | None
    subject: bytes
    is_reply: bool
    message_id: bytes  # empty: none that is valid
    references: tuple[bytes, ...]


def sort_record(header: bytes, comparator: Comparator = DEFAULT) -> bytes:
    """The record of a message with this header."""
    found = collect(_FIELDS, header, 0, len(header))
    sent = sent_seconds(found[b"date"][0]) if found.get(b"date") else None
    sender, to, cc = (addresses(found.get(name, ())) for name in (b"from", b"to", b"cc"))
    subject, is_reply = _subject(found[b"subject"][0], comparator) if found.get(b"subject") else (b"", False)
    ids = message_ids(b" ".join(found.get(b"message-id", ())))
    fields = [
        b"" if sent is None else b"%d" % sent,
        _mailbox(sender, comparator),
        _mailbox(to, comparator),
        _mailbox(cc, comparator),
        _display(sender, comparator),
        _display(to, comparator),
        subject,
        b"1" if is_reply else b"",
        ids[0] if ids else b"",
    ]
    short = [field.replace(b"\0", b"")[:LONGEST] for field in fields]
    references = _references(found)[-MOST:]
    return b"\0".join([*short, b" ".join(reference.replace(b"\0", b"") for reference in references)])


def sent_record(header: bytes) -> bytes:
    """The field DATE of `sort_record`, alone."""
    value = first_value(header, b"date")
    seconds = None if value is None else sent_seconds(value)
    return b"" if seconds is None else b"%d" % seconds


def field(record: bytes, place: Place) -> bytes:
    """One field of a record."""
    return record.split(b"\0", place + 1)[place]


def thread_keys(record: bytes) -> ThreadKeys:
    """What threads are made of, out of a record."""
    fields = record.split(b"\0")
    return ThreadKeys(
        date=int(fields[Place.DATE]) if fields[Place.DATE] else None,
        subject=fields[Place.SUBJECT],
        is_reply=bool(fields[Place.IS_REPLY]),
        message_id=fields[Place.MESSAGE_ID],
        references=tuple(fields[Place.REFERENCES].split()),
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
        base, is_reply = base_subject_of(text)
        return comparator.key(base), is_reply
    base, is_reply = base_subject_of(words_octets(value).decode("latin-1"))
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
