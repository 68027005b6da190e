"""Fields of a user from elsewhere: columns, attributes, JSON."""

import pwd
from decimal import Decimal

import pytest

from greenmail.auth.database import Entry, Unavailable
from greenmail.auth.fields import entry, text_of

ROOT = pwd.getpwuid(0).pw_name


@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, Entry("bob")),
        ({"password": None, "home": None, "uid": None}, Entry("bob")),
        ({"Password": "{PLAIN}x", "HOME": "/srv/bob"}, Entry("bob", "{PLAIN}x", home="/srv/bob")),
        ({"userdb_home": "/srv/bob", "userdb_quota_rule": "*:storage=1G"},
         Entry("bob", home="/srv/bob", extra={"quota_rule": "*:storage=1G"})),
        ({"uid": 5000, "gid": "5001"}, Entry("bob", uid=5000, gid=5001)),
        ({"uid": [b"5000"], "gid": []}, Entry("bob", uid=5000)),
        ({"uid": Decimal(5000), "gid": ROOT}, Entry("bob", uid=5000, gid=0)),
        ({"password": "$6$x$y"}, Entry("bob", "{CRYPT}$6$x$y")),
        ({"password": b"{SSHA}x"}, Entry("bob", "{SSHA}x")),
        ({"allow_nets": "10.0.0.0/8, ::1"}, Entry("bob", allow_nets=("10.0.0.0/8", "::1"))),
        ({"allow_nets": ""}, Entry("bob")),
        ({"nologin": True}, Entry("bob", no_login="nologin is set")),
        ({"nologin": "Y"}, Entry("bob", no_login="nologin is set")),
        ({"nologin": 0}, Entry("bob")),
        ({"nologin": "no"}, Entry("bob")),
        ({"proxy": "y"}, Entry("bob", is_elsewhere=True,
                               no_login="proxy is set: this user's mail is on another server")),
        ({"proxy_maybe": False}, Entry("bob")),
        ({"user": "robert", "home": "/srv/robert"}, Entry("robert", home="/srv/robert")),
        ({"user": ""}, Entry("bob")),
        ({"mail": "maildir:~/Maildir", "strange": {"a": 1}}, Entry("bob", extra={"mail": "maildir:~/Maildir"})),
    ],
)  # fmt: skip
def test_fields_become_a_user(values, expected):
    assert entry("bob", values, "CRYPT") == expected


@pytest.mark.parametrize(
    "values", [{"uid": "nobody-here"}, {"gid": -1}, {"uid": 0xFFFFFFFF}, {"uid": 1.5}, {"user": "../bob"}]
)
def test_a_broken_field_is_no_wrong_password(values):
    found = entry("bob", values)
    assert isinstance(found, Unavailable) and found.of_one and "bob" in found.text


def test_a_password_is_never_shown():
    assert "secret" not in repr(entry("bob", {"password": "{PLAIN}secret"}))


@pytest.mark.parametrize("value, text", [(None, None), ([], None), ({}, None), (object(), None), (b"\xff", "\udcff")])
def test_values_that_are_no_text(value, text):
    assert text_of(value) == text
