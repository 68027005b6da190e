"""One user at both servers: logs in, compares everything, and looks a second time at what differs.

A live account changes meanwhile. What differs is therefore looked at again after a moment; only what then is different
in the same way is a difference. Octets of messages never change, so they are compared once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from greenmail.errors import Disconnected, Refused
from greenmail.shadow import bodies, messages, names, popper
from greenmail.shadow.client import Client
from greenmail.shadow.kinds import Difference, Tally
from greenmail.shadow.logins import Login
from greenmail.shadow.messages import Rules
from greenmail.shadow.names import Pair
from greenmail.shadow.place import Place, Trust

_TRIES = 2  # at a mailbox in which something was removed while it was read


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and how one logs in there."""

    trust: Trust
    timeout: float
    imap: Place
    pop3: Place | None
    login: Callable[[str], Login]
    pop3_login: Callable[[str], Login]

    def client(self, user: str) -> Client:
        """A connection for `user`. Raises Refused, Disconnected."""
        return Client(self.imap, self.trust, self.login(user), self.timeout)

    def drop(self, place: Place, user: str) -> popper.Drop:
        """What POP3 shows. Raises Refused, Disconnected."""
        return popper.look(place, self.trust, self.pop3_login(user), self.timeout)


@dataclass(frozen=True, slots=True)
class NotCompared:
    """Something that could not be compared, and why; `mailbox` is empty for an account or POP3."""

    mailbox: str
    text: str
    is_gone: bool = False  # the server did not answer at all


@dataclass(slots=True)
class Outcome:
    """One user."""

    user: str
    tally: Tally = field(default_factory=Tally)
    not_compared: list[NotCompared] = field(default_factory=list)
    mailboxes: int = 0
    messages: int = 0
    bodies: int = 0

    @property
    def is_unreachable(self) -> bool:
        """Whether a server did not answer."""
        return any(failure.is_gone for failure in self.not_compared)


@dataclass(slots=True)
class Comparison:
    """The work on one user."""

    theirs: Side
    ours: Side
    rules: Rules
    progress: Callable[[str, int], None]  # mailbox, messages
    outcome: Outcome

    def run(self) -> None:
        """Compare all; what cannot be compared stands in the outcome."""
        try:
            with self.theirs.client(self.outcome.user) as theirs, self.ours.client(self.outcome.user) as ours:
                pairs = self._names(theirs, ours)
        except Refused as refused:
            self.outcome.not_compared.append(NotCompared("", refused.text))
            return
        except Disconnected as gone:
            self.outcome.not_compared.append(NotCompared("", gone.text, is_gone=True))
            return
        while pairs and not self.outcome.is_unreachable:
            pairs = self._mailboxes(pairs)
        if not self.outcome.is_unreachable:
            self._pop3()

    def _names(self, theirs: Client, ours: Client) -> list[Pair]:
        first = names.account(theirs), names.account(ours)
        tally = Tally()
        tally.add_all(names.compare(*first))
        if tally.differs:
            self.rules.settle()
            first = names.account(theirs), names.account(ours)
            again = Tally()
            again.add_all(names.compare(*first))
            tally = tally.both_times(again)
        self.outcome.tally.take(tally)
        return names.pairs(*first)

    def _mailboxes(self, pairs: list[Pair]) -> list[Pair]:
        """Compare them over one pair of connections; those that are left when one is closed in the middle."""
        done = 0
        try:
            with self.theirs.client(self.outcome.user) as theirs, self.ours.client(self.outcome.user) as ours:
                for pair in pairs:
                    self.progress(pair.name, 0)
                    done += 1
                    self._mailbox(pair, theirs, ours)
        except Disconnected as gone:
            # Some servers hang up over one bad message: the other mailboxes can still be compared.
            name = pairs[done - 1].name if done else ""
            self.outcome.not_compared.append(NotCompared(name, gone.text, is_gone=not done))
        except Refused as refused:
            self.outcome.not_compared.append(NotCompared("", refused.text))
            return []
        return pairs[done:]

    def _mailbox(self, pair: Pair, theirs: Client, ours: Client) -> None:
        for attempt in range(1, _TRIES + 1):
            looked = messages.Looked()
            try:
                self._look(pair, theirs, ours, looked)
            except Refused as refused:
                if attempt < _TRIES:
                    continue
                self.outcome.not_compared.append(NotCompared(pair.name, refused.text))
            except Disconnected:
                self._keep(looked)
                raise
            self._keep(looked)
            return

    def _keep(self, looked: messages.Looked) -> None:
        self.outcome.mailboxes += 1
        self.outcome.messages += looked.messages
        self.outcome.bodies += looked.bodies
        self.outcome.tally.take(looked.tally)

    def _look(self, pair: Pair, theirs: Client, ours: Client, looked: messages.Looked) -> None:
        messages.look(pair, theirs, ours, self.rules, looked, lambda number: self.progress(pair.name, number))
        if looked.tally.differs:
            before = looked.tally
            self.rules.settle()
            looked.begin()
            messages.look(pair, theirs, ours, self.rules, looked, lambda number: None)
            looked.tally = before.both_times(looked.tally)
        for uids in bodies.batches(looked.chosen(self.rules)):
            looked.tally.add_all(bodies.compare(pair.name, theirs, ours, uids))
            looked.bodies += len(uids)

    def _pop3(self) -> None:
        if self.theirs.pop3 is None or self.ours.pop3 is None:
            return
        self.progress("POP3", 0)
        try:
            tally = self._drops(self.theirs.pop3, self.ours.pop3)
            if tally.differs:
                self.rules.settle()
                tally = tally.both_times(self._drops(self.theirs.pop3, self.ours.pop3))
            self.outcome.tally.take(tally)
        except Refused as refused:
            self.outcome.not_compared.append(NotCompared("", refused.text))
        except Disconnected as gone:
            self.outcome.not_compared.append(NotCompared("", gone.text, is_gone=True))

    def _drops(self, their_place: Place, our_place: Place) -> Tally:
        his = self.theirs.drop(their_place, self.outcome.user)
        mine = self.ours.drop(our_place, self.outcome.user)
        tally = Tally()
        tally.add_all(_pop3_messages(his, mine))
        for name in names.lacking(his.capabilities, mine.capabilities):
            tally.add(Difference("pop3-capability", name, ""))
        return tally


def _pop3_messages(his: popper.Drop, mine: popper.Drop) -> list[Difference]:
    theirs, ours = dict(zip(his.ids, his.sizes, strict=True)), dict(zip(mine.ids, mine.sizes, strict=True))
    found = []
    paired = set()
    if len(his.ids) == len(mine.ids):
        # As many messages, and one that has another id: it is taken to be the same message.
        for number, (their, our) in enumerate(zip(his.ids, mine.ids, strict=True), start=1):
            if their not in ours and our not in theirs:
                found.append(Difference("pop3-uidl", their, our, "", number))
                paired |= {their, our}
    for number, uidl in enumerate(his.ids, start=1):
        if uidl not in ours and uidl not in paired:
            found.append(Difference("pop3-missing", uidl, "", "", number))
        elif uidl in ours and theirs[uidl] != ours[uidl]:
            found.append(Difference("pop3-size", str(theirs[uidl]), str(ours[uidl]), "", number))
    for number, uidl in enumerate(mine.ids, start=1):
        if uidl not in theirs and uidl not in paired:
            found.append(Difference("pop3-extra", "", uidl, "", number))
    common = [uidl for uidl in his.ids if uidl in ours]
    if common != [uidl for uidl in mine.ids if uidl in theirs]:
        found.append(Difference("pop3-order", "in this order", "in another order"))
    return found
