"""What an account may use, as it is configured: our settings, and Dovecot's fields in the passwd-file.

    quota_rule  = mailbox ":" limit *(":" limit)        ; quota_rule, quota_rule2, ...; as in Dovecot's documentation
    limit       = ("storage=" / "bytes=" / "messages=") value / "ignore"
    value       = ["+" / "-"] 1*DIGIT [unit]            ; storage counts in 1024 octets if there is no unit
    unit        = "B" / "K" / "M" / "G" / "T" / "%"     ; any case
    quota       = backend [":" root-name] *(":" option) ; "maildir:User quota:noenforcing"
    option      = "noenforcing" / limit / "ignore=" mailbox / others, which mean nothing here

    quota_mailboxes   = 1*DIGIT                         ; fields of ours, which mean nothing to Dovecot
    quota_annotations = 1*DIGIT [unit]                  ; in octets if there is no unit

The mailbox "*" stands for the whole account; "?" too, but what line 1 of `maildirsize` says comes first. A rule of a
single mailbox changes the limits for what is put there: `Trash:storage=+100M`. 0 is no limit.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from greenmail.storage.api import Quota

_VALUE = re.compile(r"([+-]?)([0-9]{1,18})([bkmgt%]?)", re.IGNORECASE)
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_RULE_KEY = re.compile(r"quota_rule([0-9]*)")
_DEFAULT_UNITS = {"storage": 1024, "bytes": 1, "messages": 1}
ROOT = "User quota"  # as the examples of Dovecot have it, and so most of its installations
OVER_TEXT = "There is no room left for this. Delete mail and empty the trash, then try again."
LARGEST = (1 << 63) - 1  # number64, RFC 9208 7


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that may be used; 0: not limited."""

    storage: int = 0  # octets
    messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.storage or self.messages)

    def exceeded_by(self, storage: int, messages: int) -> bool:
        """Whether so much is more than allowed."""
        return bool((self.storage and storage > self.storage) or (self.messages and messages > self.messages))


@dataclass(frozen=True, slots=True)
class OtherLimits:
    """The most that may be used of what `maildirsize` has no letter for; 0: not limited."""

    mailboxes: int = 0
    annotations: int = 0  # octets of names and values

    def __bool__(self) -> bool:
        return bool(self.mailboxes or self.annotations)


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule makes of one limit: `sign` is "+" or "-" for a difference, "" for the limit itself."""

    sign: str
    amount: int
    is_percent: bool

    def of(self, limit: int) -> int:
        """The new limit. Where nothing is limited, only a limit of its own changes that."""
        if not limit and (self.sign or self.is_percent):
            return 0
        amount = limit * self.amount // 100 if self.is_percent else self.amount
        if self.sign:
            return max(1, limit + amount if self.sign == "+" else limit - amount)
        return amount


@dataclass(frozen=True, slots=True)
class MailboxRule:
    """Other limits for mailboxes of some names."""

    mask: str
    storage: Change | None = None
    messages: Change | None = None


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """Everything that is configured of one account's quota."""

    limits: Limits = Limits()
    file_first: bool = False  # limits in `maildirsize` come before `limits`
    ignored: tuple[str, ...] = ()  # masks of mailboxes that are neither counted nor limited
    mailboxes: tuple[MailboxRule, ...] = ()
    root: str = ROOT
    enforced: bool = True  # False: a soft quota, which only warns
    others: OtherLimits = OtherLimits()

    def ignores(self, name: str, separator: str) -> bool:
        """Whether the mailbox has no quota root."""
        return any(matches(mask, name, separator) for mask in self.ignored)

    def quota(self, limits: Limits, storage: int, messages: int) -> Quota:
        """What clients are told, with so much in use."""
        most = limits.storage or None, limits.messages or None
        return Quota(self.root, storage, most[0], messages, most[1], not self.enforced)

    def limits_in(self, name: str, separator: str, limits: Limits) -> Limits:
        """What `limits` of the account are for a message that is put into the mailbox `name`."""
        for rule in self.mailboxes:
            if limits and matches(rule.mask, name, separator):
                return Limits(
                    rule.storage.of(limits.storage) if rule.storage else limits.storage,
                    rule.messages.of(limits.messages) if rule.messages else limits.messages,
                )
        return limits


def matches(mask: str, name: str, separator: str) -> bool:
    """Whether a mask, with "*" for any text and "%" for any without the separator, is `name`."""
    if "*" not in mask and "%" not in mask:
        return mask == name
    level = f"[^{re.escape(separator)}]*" if separator else ".*"
    pattern = "".join({"*": ".*", "%": level}.get(char, re.escape(char)) for char in re.sub(r"\*+", "*", mask))
    return re.fullmatch(pattern, name, re.DOTALL) is not None


def from_user(extra: Mapping[str, str], configured: QuotaRules) -> tuple[QuotaRules, list[str]]:
    """The rules for a user with these extra fields of the passwd-file, and what is wrong with them.

    A rule for "*" or "?" stands in the place of all configured limits, as in Dovecot. A wrong rule is left out.
    """
    others, problems = _others(extra, configured.others)
    found = replace(configured, others=others)
    steps = [("quota", extra["quota"])] if "quota" in extra else []
    steps += sorted(
        ((key, value) for key, value in extra.items() if _RULE_KEY.fullmatch(key)),
        key=lambda step: int(step[0].removeprefix("quota_rule")[:9] or "1"),
    )
    own = Limits()
    has_own = False
    for key, value in steps:
        try:
            read = _root(value) if key == "quota" else _rule(value)
        except ValueError as error:
            problems.append(f"{key}={value!r}: {error}")
            continue
        if read.limits or read.names_account:
            has_own = True
            own = Limits(read.limits.storage or own.storage, read.limits.messages or own.messages)
            found = replace(found, file_first=read.file_first)
        found = replace(
            found,
            ignored=(*found.ignored, *read.ignored),
            mailboxes=(*found.mailboxes, *read.mailboxes),
            root=read.root or found.root,
            enforced=found.enforced and read.enforced,
        )
    return (replace(found, limits=own) if has_own else found), problems


@dataclass(frozen=True, slots=True)
class _Read:
    """What one field says."""

    limits: Limits = Limits()
    names_account: bool = False
    file_first: bool = False
    ignored: tuple[str, ...] = ()
    mailboxes: tuple[MailboxRule, ...] = ()
    root: str = ""
    enforced: bool = True


def _others(extra: Mapping[str, str], configured: OtherLimits) -> tuple[OtherLimits, list[str]]:
    """The fields of ours, and what is wrong with them."""
    numbers, problems = {"mailboxes": configured.mailboxes, "annotations": configured.annotations}, []
    for kind in numbers:
        value = extra.get(f"quota_{kind}")
        match = None if value is None else _VALUE.fullmatch(value)
        if match is not None and not match[1] and match[3] != "%" and (kind == "annotations" or not match[3]):
            numbers[kind] = min(int(match[2]) * _UNITS.get(match[3].lower(), 1), LARGEST)
        elif value is not None:
            problems.append(f"quota_{kind}={value!r}: it is no limit")
    return OtherLimits(**numbers), problems


def _rule(text: str) -> _Read:
    mailbox, colon, rest = text.partition(":")
    if not colon or not mailbox:
        raise ValueError("expected a mailbox, a colon and a limit")
    options = rest.split(":")
    changes = _changes(option for option in options if option != "ignore")
    if mailbox in ("*", "?"):
        if any(change.sign or change.is_percent for change in changes.values()):
            raise ValueError("the limits of the account cannot be relative")
        return _Read(_limits(changes), names_account=True, file_first=mailbox == "?")
    if "ignore" in options:
        return _Read(ignored=(mailbox,))
    return _Read(mailboxes=(MailboxRule(mailbox, changes.get("storage"), changes.get("messages")),))


def _root(text: str) -> _Read:
    """The quota root; limits and "ignore=" in it are the form of Dovecot 1.0."""
    _backend, *parts = text.split(":")
    root = parts.pop(0) if parts and "=" not in parts[0] and parts[0] not in _WORDS else ""
    changes = _changes(part for part in parts if part.partition("=")[0] in _DEFAULT_UNITS)
    ignored = tuple(part.removeprefix("ignore=") for part in parts if part.startswith("ignore="))
    return _Read(_limits(changes), ignored=ignored, root=root, enforced="noenforcing" not in parts)


_WORDS = frozenset({"noenforcing", "hidden", "ignoreunlimited"})


def _limits(changes: Mapping[str, Change]) -> Limits:
    return Limits(*(changes[kind].amount if kind in changes else 0 for kind in ("storage", "messages")))


def _changes(options: Iterable[str]) -> dict[str, Change]:
    """Changes by kind: "storage" in octets, "messages"."""
    found: dict[str, Change] = {}
    for option in options:
        kind, _, value = option.partition("=")
        match = _VALUE.fullmatch(value)
        if kind not in _DEFAULT_UNITS or match is None:
            raise ValueError(f"{option!r} is no limit")
        sign, digits, unit = match.groups()
        factor = 1 if unit == "%" else _UNITS.get(unit.lower(), _DEFAULT_UNITS[kind])
        amount = min(int(digits) * factor, LARGEST)
        found["messages" if kind == "messages" else "storage"] = Change(sign, amount, unit == "%")
    return found
