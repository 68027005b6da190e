"""The part of LDAP that needs no server; that is in tests/interop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth.directory import escaped, filter_for


@pytest.mark.parametrize(
    "template, name, expected",
    [
        ("(uid=%n)", "bob@example.org", "(uid=bob)"),
        ("(mail=%u)", "bob@example.org", "(mail=bob@example.org)"),
        ("(&(dc=%d)(uid=%n)(!(x=100%%)))", "bob@example.org", "(&(dc=example.org)(uid=bob)(!(x=100%)))"),
        ("(dc=%d)", "bob", "(dc=)"),
        ("(cn=%u)", "Parens R Us (for all your parenthetical needs)",  # RFC 4515 4
         "(cn=Parens R Us \\28for all your parenthetical needs\\29)"),
        ("(cn=*%u*)", "*", "(cn=*\\2a*)"),
        ("(filename=%u)", "C:\\MyFile", "(filename=C\\3a\\5cMyFile)"),
        ("(sn=%u)", "Lučić", "(sn=Lu\\c4\\8di\\c4\\87)"),
        ("(cn=%u)", "%n", "(cn=\\25n)"),
        ("(cn=%u)", ")(uid=*", "(cn=\\29\\28uid\\3d\\2a)"),
    ],
)  # fmt: skip
def test_names_are_escaped(template, name, expected):
    assert filter_for(template, name) == expected


@given(st.text())
def test_nothing_that_means_something_in_a_filter_comes_through(text):
    found = escaped(text)
    assert not set(found) & set("*()\0=&|!<>~%") and found.isascii()
    octets = bytearray()
    rest = found
    while rest:
        if rest[0] == "\\":
            octets.append(int(rest[1:3], 16))
            rest = rest[3:]
        else:
            octets += rest[0].encode()
            rest = rest[1:]
    assert octets.decode("utf-8", "surrogateescape") == text
