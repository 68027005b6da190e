"""From user and configuration to the settings of a store."""

import logging

import pytest

from greenmail.auth.api import User
from greenmail.config import from_mapping
from greenmail.errors import Refused
from greenmail.net import accounts
from greenmail.net.accounts import Known, places_for, settings_for
from greenmail.storage.quota_rules import Limits, QuotaRules

SITE = {"mail-path": "/srv/%n", "quota-storage": "1 MiB", "quota-messages": 7, "quota-ignore": ["Trash"]}


@pytest.mark.parametrize(
    "settings, extra, rules",
    [
        ({}, {}, QuotaRules()),
        (SITE, {}, QuotaRules(Limits(1 << 20, 7), ignored=("Trash",))),
        (SITE, {"quota_rule": "*:storage=10M"}, QuotaRules(Limits(10 << 20), ignored=("Trash",))),
        ({}, {"quota_rule": "*:messages=5", "mail": "maildir:/x"}, QuotaRules(Limits(messages=5))),
    ],
)
def test_the_quota_of_a_user(settings: dict[str, object], extra: dict[str, str], rules: QuotaRules) -> None:
    assert settings_for(from_mapping(settings), User("alice", "/home/alice", extra=extra)).quota == rules


def test_a_wrong_rule_is_told_to_the_administrator(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    user = User("alice", "/home/alice", extra={"quota_rule": "*:storage=much"})
    assert settings_for(from_mapping(SITE), user).quota.limits == Limits(1 << 20, 7)
    assert "quota user='alice'" in caplog.text and "*:storage=much" in caplog.text


def test_settings_that_are_known_follow_the_user_database(monkeypatch: pytest.MonkeyPatch) -> None:
    config = from_mapping(SITE | {"mail-path": "%h/Maildir"})
    monkeypatch.setattr(accounts, "_MOST_KNOWN", 2)
    known = Known(config)
    extra = {"quota_rule": "*:messages=5"}
    users = [
        User("alice", "/a"),
        User("alice", "/b"),
        User("alice", "/b", extra=extra),
        User("bob", "/a"),
        User("c", "/a"),
    ]
    for user in [*users, *users, User("alice", "/b", extra={})]:
        assert known.of(user) == settings_for(config, user)
    assert known.of(users[4]) is known.of(users[4])
    assert set(known._found) == {"c", "alice"}
    with pytest.raises(Refused):
        known.of(User("alice", ""))
    assert known.of(users[0]).mail_path == "/a/Maildir"


def test_further_private_mail_is_not_counted_and_has_the_bounds_of_the_first() -> None:
    """docs/namespaces.md."""
    more = {"namespaces": [{"type": "private", "prefix": "Old/", "mail-path": "/old/%n"}]}
    bounds = {"max-keywords": 3, "max-unpacked-size": "1 MiB"}
    (_, own), (prefix, old) = places_for(from_mapping(SITE | more | bounds), User("alice", "/home/alice"))
    assert (prefix, old.mail_path) == ("Old/", "/old/alice")
    assert own.quota.limits == Limits(1 << 20, 7) and old.quota == QuotaRules()
    assert {(one.max_keywords, one.max_unpacked_size) for one in (own, old)} == {(3, 1 << 20)}
