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
from greenmail.shadow.messages import Looked, Rules
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
    _clients: tuple[Client, Client] | None = None
    _looked: dict[bytes, Looked] = field(default_factory=dict)  # by name of the mailbox there

    def run(self) -> None:
        """Compare all; what cannot be compared stands in the outcome."""
        try:
            self._compare()
        finally:
            self._hang_up()

    def _connected(self) -> tuple[Client, Client]:
        """Logged in at both; for as long as they last. Raises Refused, Disconnected."""
        if self._clients is None:
            theirs = self.theirs.client(self.outcome.user)
            try:
                self._clients = theirs, self.ours.client(self.outcome.user)
            except (Refused, Disconnected):
                theirs.close()
                raise
        return self._clients

    def _hang_up(self) -> None:
        for client in self._clients or ():
            client.close()
        self._clients = None

    def _compare(self) -> None:
        found = self._names()
        if found is None:
            return
        tally, pairs = found
        self._each(pairs, self._first)
        pop3 = self._pop3()
        doubtful = [pair for pair in pairs if pair.theirs in self._looked and self._looked[pair.theirs].tally.differs]
        if (tally.differs or pop3.differs or doubtful) and not self.outcome.is_unreachable:
            self.rules.settle()
            if tally.differs and (again := self._names()) is not None:
                tally = tally.both_times(again[0])
            self._each(doubtful, self._second)
            if pop3.differs:
                pop3 = pop3.both_times(self._pop3())
        self.outcome.tally.take(tally)
        for looked in self._looked.values():
            self.outcome.mailboxes += 1
            self.outcome.messages += looked.messages
            self.outcome.bodies += looked.bodies
            self.outcome.tally.take(looked.tally)
            self.outcome.tally.take(looked.lasting)
        self.outcome.tally.take(pop3)

    def _not_compared(self, mailbox: str, text: str, is_gone: bool = False) -> None:
        self.outcome.not_compared.append(NotCompared(mailbox, text, is_gone))

    def _names(self) -> tuple[Tally, list[Pair]] | None:
        try:
            theirs, ours = self._connected()
            before, now = names.account(theirs), names.account(ours)
        except Refused as refused:
            self._not_compared("", refused.text)
            return None
        except Disconnected as gone:
            self._not_compared("", gone.text, is_gone=True)
            return None
        tally = Tally()
        tally.add_all(names.compare(before, now))
        return tally, names.pairs(before, now)

    def _each(self, pairs: list[Pair], look: Callable[[Pair, Client, Client], None]) -> None:
        """Look at these mailboxes, over as many connections as it takes."""
        while pairs and not self.outcome.is_unreachable:
            done = 0
            try:
                theirs, ours = self._connected()
                for pair in pairs:
                    done += 1
                    self._patiently(pair, theirs, ours, look)
            except Disconnected as gone:
                self._hang_up()
                # Some servers hang up over one bad message: the other mailboxes can still be compared.
                self._not_compared(pairs[done - 1].name if done else "", gone.text, is_gone=not done)
            except Refused as refused:
                self._not_compared("", refused.text)
                return
            pairs = pairs[done:]

    def _patiently(
        self, pair: Pair, theirs: Client, ours: Client, look: Callable[[Pair, Client, Client], None]
    ) -> None:
        self.progress(pair.name, 0)
        for attempt in range(1, _TRIES + 1):
            try:
                look(pair, theirs, ours)
                return
            except Refused as refused:
                if attempt == _TRIES:
                    self._not_compared(pair.name, refused.text)

    def _first(self, pair: Pair, theirs: Client, ours: Client) -> None:
        looked = messages.look(pair, theirs, ours, self.rules, lambda number: self.progress(pair.name, number))
        self._looked[pair.theirs] = looked
        for uids in bodies.batches(looked.chosen(self.rules)):
            looked.lasting.add_all(bodies.compare(pair.name, theirs, ours, uids))
            looked.bodies += len(uids)
        looked.forget()

    def _second(self, pair: Pair, theirs: Client, ours: Client) -> None:
        again = messages.look(pair, theirs, ours, self.rules, lambda number: None)
        looked = self._looked[pair.theirs]
        looked.tally = looked.tally.both_times(again.tally)

    def _pop3(self) -> Tally:
        tally = Tally()
        if self.theirs.pop3 is None or self.ours.pop3 is None or self.outcome.is_unreachable:
            return tally
        self.progress("POP3", 0)
        try:
            his = self.theirs.drop(self.theirs.pop3, self.outcome.user)
            mine = self.ours.drop(self.ours.pop3, self.outcome.user)
        except Refused as refused:
            self._not_compared("", refused.text)
            return tally
        except Disconnected as gone:
            self._not_compared("", gone.text, is_gone=True)
            return tally
        tally.add_all(pop3_messages(his, mine))
        lacking = names.lacking(his.capabilities, mine.capabilities)
        tally.add_all(Difference("pop3-capability", name, "") for name in lacking)
        return tally


def pop3_messages(his: popper.Drop, mine: popper.Drop) -> list[Difference]:
    """What differs in POP3, by unique id: clients know messages by nothing else."""
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
