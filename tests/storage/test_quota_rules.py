"""Quota rules as Dovecot's fields in the passwd-file write them."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.storage.quota_rules import ROOT, Limits, QuotaRules, from_user, matches

NOBODY = QuotaRules()
SITE = QuotaRules(Limits(5000, 50), ignored=("Junk",))
K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def read(configured: QuotaRules = NOBODY, **extra: str) -> QuotaRules:
    rules, problems = from_user(extra, configured)
    assert problems == []
    return rules


@pytest.mark.parametrize(
    "rule, limits",
    [
        ("*:storage=1G", Limits(G)),  # the examples of Dovecot's documentation
        ("*:storage=10M:messages=1000", Limits(10 * M, 1000)),
        ("*:storage=102400", Limits(100 * M)),  # kilobytes, if there is no unit
        ("*:bytes=102400", Limits(102400)),
        ("*:bytes=2k", Limits(2 * K)),
        ("*:storage=5B", Limits(5)),
        ("*:storage=3t", Limits(3 * T)),
        ("*:messages=2k", Limits(0, 2048)),
        ("*:messages=7", Limits(0, 7)),
        ("*:storage=0:messages=0", Limits()),
    ],
)
def test_a_rule_of_the_account(rule: str, limits: Limits) -> None:
    assert read(quota_rule=rule).limits == limits
    assert read(SITE, quota_rule=rule).limits == limits, "it stands in the place of what is configured, as a whole"


def test_without_rules_the_configuration_counts() -> None:
    assert read(SITE) == SITE
    assert read(SITE, mail="maildir:/x") == SITE
    assert read(SITE, quota="maildir:User quota") == SITE


def test_several_rules_are_one() -> None:
    rules = read(quota_rule="*:storage=1M", quota_rule2="*:messages=9", quota_rule10="Trash:ignore")
    assert rules.limits == Limits(M, 9)
    assert rules.ignores("Trash", "/") and not rules.ignores("trash", "/") and not rules.ignores("Trash/x", "/")


def test_rules_come_in_the_order_of_their_numbers() -> None:
    assert (
        read(quota_rule10="*:messages=10", quota_rule9="*:messages=9", quota_rule="*:messages=1").limits.messages == 10
    )


def test_ignored_mailboxes_are_added_to_the_configured_ones() -> None:
    assert read(SITE, quota_rule2="Trash:ignore").ignored == ("Junk", "Trash")


def test_a_rule_that_lets_the_file_speak_first() -> None:
    assert read(quota_rule="?:storage=1M").file_first
    assert not read(quota_rule="*:storage=1M").file_first


@pytest.mark.parametrize(
    "rule, storage, messages",
    [
        ("Trash:storage=+1M", 11 * M, 1000),  # the example of Dovecot's documentation, in small
        ("Trash:storage=+10%", 11 * M, 1000),
        ("Trash:storage=-10%:messages=+5", 9 * M, 1005),
        ("Trash:storage=20%", 2 * M, 1000),
        ("Trash:storage=3M", 3 * M, 1000),
        ("Trash:storage=-99M", 1, 1000),  # not 0, which would be no limit
        ("Tr*:messages=1", 10 * M, 1),
        ("Spam:messages=1", 10 * M, 1000),
    ],
)
def test_a_rule_of_one_mailbox(rule: str, storage: int, messages: int) -> None:
    rules = read(quota_rule="*:storage=10M:messages=1000", quota_rule2=rule)
    assert rules.limits_in("Trash", "/", rules.limits) == Limits(storage, messages)
    assert rules.limits_in("INBOX", "/", rules.limits) == rules.limits


def test_what_is_not_limited_does_not_become_so_by_a_difference() -> None:
    rules = read(quota_rule="*:messages=3", quota_rule2="Trash:storage=+1M:messages=+1")
    assert rules.limits_in("Trash", "/", rules.limits) == Limits(0, 4)
    assert rules.limits_in("Trash", "/", Limits()) == Limits()


@pytest.mark.parametrize(
    "quota, expected",
    [
        ("maildir", QuotaRules()),
        ("maildir:", QuotaRules()),
        ("maildir:User quota", QuotaRules(root="User quota")),
        ("maildir:mine", QuotaRules(root="mine")),
        ("maildir:mine:noenforcing", QuotaRules(root="mine", enforced=False)),
        ("maildir:noenforcing", QuotaRules(enforced=False)),
        ("maildir:mine:ns=INBOX.", QuotaRules(root="mine")),
        ("maildir:mine:storage=10M:messages=5", QuotaRules(Limits(10 * M, 5), root="mine")),
        ("maildir:storage=10240:ignore=Trash", QuotaRules(Limits(10 * M), ignored=("Trash",))),  # Dovecot 1.0
        ("count:mine", QuotaRules(root="mine")),
    ],
)
def test_the_field_quota(quota: str, expected: QuotaRules) -> None:
    assert read(quota=quota) == expected


def test_a_rule_counts_more_than_the_old_form() -> None:
    assert read(quota="maildir:storage=5k", quota_rule="*:storage=7k").limits == Limits(7 * K)


@pytest.mark.parametrize(
    "rule",
    ["", "*", ":storage=1", "*:storage", "*:storage=", "*:storage=x", "*:storage=1X", "*:size=1", "*:storage=+1M",
     "*:messages=10%", "*:storage=-", "Trash:storage=1 M", "*:storage=" + "9" * 19, "*:storage=٣"],
)  # fmt: skip
def test_a_wrong_rule_is_named_and_left_out(rule: str) -> None:
    rules, problems = from_user({"quota_rule": rule, "quota_rule2": "Trash:ignore"}, SITE)
    assert rules.limits == SITE.limits and "Trash" in rules.ignored
    assert len(problems) == 1 and problems[0].startswith(f"quota_rule={rule!r}: ")


@given(st.dictionaries(st.sampled_from(["quota", "quota_rule", "quota_rule2"]), st.text("*?:=+-%" + string.printable)))
def test_any_fields_give_rules(extra: dict[str, str]) -> None:
    rules, problems = from_user(extra, SITE)
    assert rules.limits.storage >= 0 and rules.limits.messages >= 0 and len(problems) <= len(extra)


@pytest.mark.parametrize(
    "mask, name, expected",
    [
        ("Trash", "Trash", True), ("Trash", "Trash/a", False), ("Trash*", "Trash/a/b", True), ("%", "", True),
        ("Trash/%", "Trash/a", True), ("Trash/%", "Trash/a/b", False), ("*", "x\ny", True), ("a.b", "axb", False),
        ("***a", "bba", True),
    ],
)  # fmt: skip
def test_masks(mask: str, name: str, expected: bool) -> None:
    assert matches(mask, name, "/") is expected


def test_the_root_has_the_name_of_most_installations() -> None:
    assert NOBODY.root == ROOT == "User quota"


@pytest.mark.parametrize(
    "limits, storage, messages, expected",
    [
        (Limits(10, 2), 10, 2, False),
        (Limits(10, 2), 11, 2, True),
        (Limits(10, 2), 10, 3, True),
        (Limits(0, 2), 99, 2, False),
        (Limits(10), 10, 99, False),
        (Limits(), 99, 99, False),
    ],
)
def test_what_is_too_much(limits: Limits, storage: int, messages: int, expected: bool) -> None:
    assert limits.exceeded_by(storage, messages) is expected
