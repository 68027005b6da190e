"""Address lists and ENVELOPE."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.message.envelope import MAX_ADDRESSES, Address, _AddressList, addresses, envelope

END = Address(None, None, None, None)


def person(name: bytes | None, mailbox: bytes, host: bytes, route: bytes | None = None) -> Address:
    return Address(name, route, mailbox, host)


def group(name: bytes) -> Address:
    return Address(None, None, name, None)


@pytest.mark.parametrize(
    "value, expected",
    [
        # RFC 5322 A.1.1 to A.6
        (b"John Doe <jdoe@machine.example>", [person(b"John Doe", b"jdoe", b"machine.example")]),
        (b'"Joe Q. Public" <john.q.public@example.com>', [person(b"Joe Q. Public", b"john.q.public", b"example.com")]),
        (b"Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
         [person(b"Mary Smith", b"mary", b"x.test"), person(None, b"jdoe", b"example.org"),
          person(b"Who?", b"one", b"y.test")]),
        (b'<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>',
         [person(None, b"boss", b"nil.test"), person(b'Giant; "Big" Box', b"sysservices", b"example.net")]),
        (b"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
         [group(b"A Group"), person(b"Ed Jones", b"c", b"a.test"), person(None, b"joe", b"where.test"),
          person(b"John", b"jdoe", b"one.test"), END]),
        (b"Undisclosed recipients:;", [group(b"Undisclosed recipients"), END]),
        (b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [person(b"Pete", b"pete", b"silly.test")]),
        (b"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", [group(b"Hidden recipients"), END]),
        (b"Joe Q. Public <john.q.public@example.com>", [person(b"Joe Q. Public", b"john.q.public", b"example.com")]),
        (b"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
         [person(b"Mary Smith", b"mary", b"example.net", b"@node.test"), person(None, b"jdoe", b"test.example")]),
        (b"<@a.test,@b.test:c@d.test>", [person(None, b"c", b"d.test", b"@a.test,@b.test")]),
        # in use
        (b"joe@example.com (Joe Doe)", [person(b"Joe Doe", b"joe", b"example.com")]),
        (b"=?utf-8?q?J=C3=B6?= <j@x.test>", [person(b"=?utf-8?q?J=C3=B6?=", b"j", b"x.test")]),
        (b'"john doe"@example.com', [person(None, b"john doe", b"example.com")]),
        (b"j@[192.0.2.1]", [person(None, b"j", b"[192.0.2.1]")]),
        (b"j@x.test; k@y.test", [person(None, b"j", b"x.test"), person(None, b"k", b"y.test")]),
        (b"a@b <a@b>", [person(b"a@b", b"a", b"b")]),
        (b"A <a@b> B <c@d>", [person(b"A", b"a", b"b"), person(b"B", b"c", b"d")]),
        (b"John Doe john@x.test", [person(b"John Doe", b"john", b"x.test")]),
        (b"j\xc3\xb6@x.test", [person(None, b"j\xc3\xb6", b"x.test")]),
        (b"@route.example:mia@example.org", [person(None, b"mia", b"example.org", b"@route.example")]),
        # broken: an empty host, because NIL would be a group
        (b"root", [person(None, b"root", b"")]),
        (b"broken address <no-at-sign>", [person(b"broken address", b"no-at-sign", b"")]),
        (b"MAILER-DAEMON <>", [person(b"MAILER-DAEMON", b"", b"")]),
        (b'"John <john@x.test>', [person(b"John", b"john", b"x.test")]),
        (b"group: a@b", [group(b"group"), person(None, b"a", b"b"), END]),
        (b"A <a@b, C <c@d>", [person(b"A", b"a", b"b"), person(b"C", b"c", b"d")]),
        (b"<<a@b>>", [person(None, b"a", b"b")]),
        (b"", []), (b",,;", []), (b"(only a comment)", []),
    ],
)  # fmt: skip
def test_addresses(value: bytes, expected: list[Address]) -> None:
    assert list(addresses([value])) == expected


def test_several_fields_are_one_list() -> None:
    assert [each.mailbox for each in addresses([b"a@x", b"b@x"])] == [b"a", b"b"]


def test_envelope_defaults() -> None:
    """RFC 9051 7.5.2: Sender and Reply-To default to From; absent is NIL, present and empty is empty."""
    found = envelope(b"From: a@b\r\nSender:\r\nSubject:\r\nTo: \r\n\r\nCc: x@y\r\n")
    assert found.sender == found.reply_to == found.from_ == (person(None, b"a", b"b"),)
    assert (found.subject, found.date, found.message_id) == (b"", None, None)
    assert found.to == found.cc == ()


def test_envelope_is_unfolded_and_raw() -> None:
    found = envelope(b"SUBJECT: =?utf-8?q?=C3=84?=\r\n  x \r\nMessage-Id:\t<1@x>\r\nin-reply-to: <0@x>\r\n")
    assert (found.subject, found.message_id, found.in_reply_to) == (b"=?utf-8?q?=C3=84?=  x", b"<1@x>", b"<0@x>")


def test_work_is_bounded() -> None:
    assert len(addresses([b"a@b," * 200000])) == MAX_ADDRESSES
    for bomb in (
        b"[" * 300000,
        b"(" * 300000,
        b'"\\' * 150000,
        b"<" * 300000,
        b"@" * 100000,
        b"a" * 300000,
        b": " * 99999,
    ):
        addresses([bomb])


@given(
    st.lists(
        st.sampled_from([b'"', b"\\", b"(", b")", b"<", b">", b"@", b":", b";", b",", b".", b"a", b" ", b"[", b"]"])
    )
)
def test_groups_are_closed_and_mailboxes_have_hosts(parts: list[bytes]) -> None:
    inside = False
    for each in addresses([b"".join(parts)]):
        if each.host is None:
            assert inside != (each.mailbox is not None)
            inside = each.mailbox is not None
        else:
            assert each.mailbox is not None
    assert not inside


@given(st.binary(max_size=300))
def test_any_octets_have_an_envelope(data: bytes) -> None:
    envelope(data)
    addresses([data])


ADDRESS_PIECES = [
    b"a", b"b.c", b"\xc3\xa4", b"<a@b>", b"<", b">", b"@", b",", b" ", b"  ", b"\t", b'"x y"', b'"', b"\\", b"(c)",
    b";", b":", b"Ann Lee <a@b.c>", b"a@b", b'"Lee, Ann" <a.l@b.c>', b"=?utf-8?q?x?=", b"[1.2]", b"\x01", b"\x7f", b"?",
]  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.sampled_from(ADDRESS_PIECES), max_size=12))
def test_usual_addresses_are_read_as_all_others_are(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    slowly: list[Address] = []
    _AddressList(slowly).read(value)
    assert addresses([value]) == tuple(slowly)
