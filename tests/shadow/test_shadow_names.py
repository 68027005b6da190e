"""What two servers say of an account, compared without servers."""

import pytest

from greenmail.shadow import names
from greenmail.shadow.client import Folder
from greenmail.shadow.kinds import Difference

SEPARATOR = b"/"


def account(
    *folders: tuple[bytes, str],
    subscribed: tuple[bytes, ...] = (),
    separator: bytes = SEPARATOR,
    namespace: str = '(("" "/")) NIL NIL',
    capabilities: str = "IMAP4REV1 SPECIAL-USE",
) -> names.Account:
    def folder(name: bytes, attributes: str) -> Folder:
        return Folder(name, separator, frozenset(attributes.lower().split()))

    def table(*found: Folder) -> dict[names.Key, Folder]:
        return {tuple(one.name.split(separator)): one for one in found}

    listed = table(*(folder(name, attributes) for name, attributes in folders))
    return names.Account(
        listed, table(*(folder(name, "") for name in subscribed)), namespace, frozenset(capabilities.split())
    )


@pytest.mark.parametrize(
    "theirs, ours, expected",
    [
        (account((b"INBOX", "")), account((b"INBOX", "")), []),
        # A server need not tell of children, and \Marked means nothing later.
        (account((b"a", "\\Marked \\HasNoChildren")), account((b"a", "")), []),
        (account((b"a", "\\NonExistent")), account((b"a", "\\Noselect")), []),
        (account((b"a", "\\Noselect")), account((b"a", "")), [Difference("attributes", "\\Noselect", "", "a")]),
        (
            account((b"a", "\\NoInferiors")),
            account((b"a", "")),
            [Difference("attributes", "\\NoInferiors", "", "a")],
        ),
        (
            account((b"a", "\\Sent")),
            account((b"a", "\\Junk")),
            [Difference("special-use", "\\Sent", "\\Junk", "a")],
        ),
        (account((b"a", "")), account((b"a", "\\Sent")), [Difference("special-use-extra", "", "\\Sent", "a")]),
        # With another separator the names are other ones, but the mailboxes are the same.
        (
            account((b"a.b", ""), separator=b".", namespace='(("" ".")) NIL NIL'),
            account((b"a/b", "")),
            [
                Difference("separator", ".", "/"),
                Difference("namespace", '(("" ".")) NIL NIL', '(("" "/")) NIL NIL'),
            ],
        ),
        (account((b"a", ""), namespace=""), account((b"a", "")), []),  # the old one has no NAMESPACE
        (
            account((b"&AOQ-&-", "")),
            account((b"a", "")),
            [Difference("mailbox-missing", "there", "", "ä&"), Difference("mailbox-extra", "", "there", "a")],
        ),
        (
            account(subscribed=(b"x", b"y")),
            account(subscribed=(b"y", b"z")),
            [
                Difference("subscription-missing", "there", "", "x"),
                Difference("subscription-extra", "", "there", "z"),
            ],
        ),
        (
            account(capabilities="IMAP4REV1 SORT AUTH=PLAIN STARTTLS LOGINDISABLED SPECIAL-USE"),
            account(capabilities="IMAP4REV1 SPECIAL-USE IDLE"),
            [Difference("capability", "SORT", "")],
        ),
    ],
)
def test_compare(theirs: names.Account, ours: names.Account, expected: list[Difference]) -> None:
    assert list(names.compare(theirs, ours)) == expected


def test_levels_shown_by_lsub_alone_are_not_subscribed() -> None:
    theirs, ours = account(), account()
    theirs.subscribed[(b"a",)] = Folder(b"a", SEPARATOR, frozenset({"\\noselect"}))  # RFC 3501 6.3.9
    assert list(names.compare(theirs, ours)) == list(names.compare(ours, theirs)) == []


def test_only_what_has_mail_at_both_is_opened() -> None:
    theirs = account((b"a", ""), (b"b", "\\Noselect"), (b"c", ""), (b"d", ""))
    ours = account((b"a", ""), (b"b", ""), (b"c", "\\NonExistent"))
    assert [pair.name for pair in names.pairs(theirs, ours)] == ["a"]


@pytest.mark.parametrize(
    "name, expected",
    [
        (b"INBOX", "INBOX"),
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),  # RFC 3501 5.1.3
        (b"A&-B", "A&B"),
        (b"&AB-", "&AB-"),  # no UTF-16
        (b"&2AA-", "&2AA-"),  # half of a surrogate pair
        ("größer".encode(), "größer"),
        (b"\xff", "\\xff"),
    ],
)
def test_readable(name: bytes, expected: str) -> None:
    assert names.readable(name) == expected
