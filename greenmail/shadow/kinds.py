"""Every kind of difference that can be told, and one difference."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Kind:
    """What is compared; `told_only`: clients would not notice, the administrator may like to know."""

    title: str
    told_only: bool = False


KINDS = {
    "refused": Kind("Mailboxes that only the old server opens"),
    "mailbox-missing": Kind("Mailboxes that GreenMail does not list"),
    "mailbox-extra": Kind("Mailboxes that only GreenMail lists"),
    "separator": Kind("Hierarchy separator"),
    "namespace": Kind("Namespaces"),
    "attributes": Kind("Attributes of mailboxes"),
    "special-use": Kind("Special uses that GreenMail does not tell"),
    "subscription-missing": Kind("Subscriptions that GreenMail does not have"),
    "subscription-extra": Kind("Subscriptions that only GreenMail has"),
    "uidvalidity": Kind("UIDVALIDITY: clients download the mailbox again; its messages were not compared"),
    "uidnext": Kind("UIDNEXT lower: UIDs may be given out twice"),
    "uid-missing": Kind("Messages that GreenMail does not have"),
    "uid-extra": Kind("Messages that only GreenMail has"),
    "flags": Kind("Flags and keywords"),
    "internaldate": Kind("Dates of arrival (INTERNALDATE)"),
    "size": Kind("Sizes (RFC822.SIZE)"),
    "body": Kind("Contents of messages"),
    "pop3-uidl": Kind("POP3: unique ids: clients download these again"),
    "pop3-missing": Kind("POP3: messages that GreenMail does not list"),
    "pop3-extra": Kind("POP3: messages that only GreenMail lists"),
    "pop3-size": Kind("POP3: sizes"),
    "copy-older": Kind("News since the copy was made", told_only=True),
    "special-use-extra": Kind("Special uses that only GreenMail tells", told_only=True),
    "uidnext-higher": Kind("UIDNEXT higher", told_only=True),
    "modseq": Kind("HIGHESTMODSEQ lower: CONDSTORE clients may miss changes of flags", told_only=True),
    "structure": Kind("BODYSTRUCTURE", told_only=True),
    "capability": Kind("IMAP capabilities that GreenMail does not have", told_only=True),
    "pop3-capability": Kind("POP3 capabilities that GreenMail does not have", told_only=True),
    "pop3-order": Kind("POP3: order of messages", told_only=True),
}
# One of the servers has it, the other has not: the value of that one is THERE, or what it is.
ONE_SIDED = frozenset({
    "mailbox-missing", "mailbox-extra", "subscription-missing", "subscription-extra", "uid-missing", "uid-extra",
    "pop3-missing", "pop3-extra",
})  # fmt: skip
THERE = "there"
MOST_KEPT = 100_000  # differences of one kind in one mailbox; more are counted


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the two servers answer differently."""

    kind: str  # key of KINDS
    theirs: str
    ours: str
    mailbox: str = ""  # as people read it; empty: the account itself
    uid: int = 0  # of the message, in POP3 its number; 0: it is not about one message

    @property
    def told_only(self) -> bool:
        """Whether no client would notice."""
        return KINDS[self.kind].told_only


@dataclass(slots=True)
class Tally:
    """Differences of one account, all counted and the first of each kind kept."""

    kept: list[Difference] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)  # by kind and mailbox

    def add(self, difference: Difference) -> None:
        """Count it, and keep it if there are not too many."""
        key = difference.kind, difference.mailbox
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] <= MOST_KEPT:
            self.kept.append(difference)

    def add_all(self, differences: Iterable[Difference]) -> None:
        """Several."""
        for difference in differences:
            self.add(difference)

    def take(self, other: "Tally") -> None:
        """What was found elsewhere, in other mailboxes."""
        self.kept += other.kept
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count

    def both_times(self, again: "Tally") -> "Tally":
        """What was different before and is still different, in the same way: the rest was work in progress."""
        known = set(self.kept)
        lasting = Tally()
        lasting.add_all(difference for difference in again.kept if difference in known)
        for key, count in again.counts.items():
            if count > MOST_KEPT and key in lasting.counts:
                lasting.counts[key] = min(count, self.counts.get(key, 0))
        return lasting

    @property
    def differs(self) -> bool:
        """Whether a client would notice."""
        return any(not KINDS[kind].told_only for kind, _ in self.counts)
