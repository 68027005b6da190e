"""Quota rules of the passwd-file, and `maildirsize`: any octets give limits and sums, none of them negative."""

from greenmail.storage.quota import extended, head_of, limits_of
from greenmail.storage.quota import parse as parse_sheet
from greenmail.storage.quota_rules import LARGEST, QuotaRules, from_user, matches

KEYS = ("quota", "quota_rule", "quota_rule2", "quota_rule10", "quota_mailboxes", "quota_annotations")


def check(data: bytes) -> None:
    values = data.decode("utf-8", "surrogateescape").split("\n")
    rules, problems = from_user(dict(zip(KEYS, values, strict=False)), QuotaRules())
    for problem in problems:
        assert problem.startswith("quota") and "\n" not in problem
    for limit in (*_pair(rules.limits), rules.others.mailboxes, rules.others.annotations):
        assert 0 <= limit <= LARGEST
    for name in ("INBOX", "Trash", values[-1][:50]):
        assert all(limit >= 0 for limit in _pair(rules.limits_in(name, "/", rules.limits)))
        rules.ignores(name, "/")
    if len(values) > 1 and len(values[0]) < 40:
        matches(values[0], values[1], "/")
    sheet = parse_sheet(data)
    head, _, lines = data.partition(b"\n")
    first = lines[: lines.find(b"\n") + 1]
    parts = extended(extended(parse_sheet(head + b"\n"), first), lines[len(first) :])
    if b"\n" in data:
        assert (parts.storage, parts.messages, parts.changes) == (sheet.storage, sheet.messages, sheet.changes)
    if sheet.head_is_good:
        limits = limits_of(sheet.head)
        assert limits_of(head_of(limits)) == limits


def _pair(limits: object) -> tuple[int, int]:
    return limits.storage, limits.messages  # type: ignore[attr-defined]  # Limits and SheetLimits have both
