"""A strict client that enables extensions, loses its connection, and resynchronizes: RFC 7162 3.2 and 6, RFC 9586.

Its model is the list of `StrictClient`; it keeps HIGHESTMODSEQ by the rules of RFC 7162 6 and by nothing else.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations

from harness.engine import PASSWORD, USER, Engine
from harness.strict_client import Known, Step, StrictClient

_VANISHED = re.compile(r"\* VANISHED( \(EARLIER\))? ([\d:,]+)$")
_UIDFETCH = re.compile(r"\* (\d+) UIDFETCH \((.*)\)$")
_NUMBERED = re.compile(r"\* \d+ (FETCH|UIDFETCH) \((.*)\)$")
_HIGHEST = re.compile(r"\S+ OK \[HIGHESTMODSEQ (\d+)\]")
_VALIDITY = re.compile(r"\* OK \[UIDVALIDITY (\d+)\]")
_STATUS = re.compile(r"\* STATUS other \((.*)\)$")
_ESEARCH = re.compile(r'\* ESEARCH \(TAG "(\w+)"\)( UID)?(?: ALL ([\d:,]+))?(.*)$')
_STEP = re.compile(r" (ADDTO|REMOVEFROM) \(([^)]*)\)")
_LIMITED = re.compile(r"\S+ (?:OK|NO) \[MESSAGELIMIT \d+ (\d+)\]")
_NO_UPDATE = re.compile(r'\* NO \[NOUPDATE "(\w+)"\]')
_PAGE = re.compile(r"RETURN \(PARTIAL (-?\d+):(-?\d+)\) ALL$")
_PARTIAL = re.compile(r"PARTIAL \(\S+ ([\d:,]+|NIL)\)")
_COPYUID = re.compile(r"\S+ OK \[COPYUID \d+ [\d:,]+ (\d+)(?::(\d+))?\]")
REST = "(no command)"
_MODSEQ = re.compile(r"MODSEQ \((\d+)\)")
# RFC 9051 7.5.1, RFC 7162 3.2.10.2: no expunge is told in these.
_NO_EXPUNGE = re.compile(r"(FETCH|STORE|SEARCH|SORT|UID SEARCH (RETURN \(\w+\) )?\d)")


def numbers_of(text: str) -> list[int]:
    """The numbers of a set without "*"."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


def may_lag(command: str) -> bool:
    """Whether an expunge may be left for a later command."""
    return _NO_EXPUNGE.match(command) is not None


def _same(one: int | Known, other: int | Known) -> bool:
    """Messages of which nothing is known look alike."""
    return one is other or (isinstance(one, int) and one == other)


@dataclass
class Results:
    """The results of a search with UPDATE, as the client keeps them: UIDs, or messages for numbers. RFC 5267 4.3."""

    keys: str
    uid: bool
    is_sorted: bool
    items: list[int | Known] = field(default_factory=list)

    def step(self, word: str, position: int, items: list[int | Known]) -> None:
        """ADDTO or REMOVEFROM; without positions the order is that of the mailbox."""
        if self.is_sorted:
            assert 1 <= position <= len(self.items) + (word == "ADDTO"), f"position {position} of {self.items}"
        if word == "ADDTO":
            assert not any(_same(one, other) for one in items for other in self.items), f"{items}: {self.items}"
            place = position - 1 if position else len(self.items)
            self.items[place:place] = items
        elif position:
            there = self.items[position - 1 : position - 1 + len(items)]
            assert all(map(_same, there, items)), f"at {position} there is {there}, not {items}"
            del self.items[position - 1 : position - 1 + len(items)]
        else:
            for one in items:
                del self.items[next(place for place, other in enumerate(self.items) if _same(one, other))]


@dataclass
class ModelClient(StrictClient):
    """`enabled`: IMAP4rev2, CONDSTORE, QRESYNC, UIDONLY. `check(command)` is called when nothing is unread."""

    engine: Engine | None = None
    enabled: frozenset[str] = frozenset()
    check: Callable[[str], None] | None = None
    modseq: int = 0  # HIGHESTMODSEQ
    uidvalidity: int = 0
    cache: dict[int, Known] = field(default_factory=dict)  # what is known from before, while SELECT (QRESYNC) runs
    resynchronized: int = 0
    notified: str = ""  # NOTIFY was used: SELECTED or SELECTED-DELAYED
    contexts: dict[str, "Results"] = field(default_factory=dict)  # RFC 5267, by tag
    other: dict[str, int] | None = None  # what STATUS said of the mailbox "other"
    limit: int = 0  # MESSAGELIMIT; 0: none
    limited: int = 0  # how often it was met
    pages: int = 0  # pages of results that were compared
    below: int = 0  # messages with lower UIDs were not processed by the last command: RFC 9738 3.1
    _code: int | None = None
    _seen: int = 0
    _condstore: bool = False
    _at_page: tuple[str, list[Known]] | None = None  # a page that was told, and the model then
    _dropped: list[Known] = field(default_factory=list)  # what a REMOVEFROM of this answer was about
    _is_leaving: bool = False  # for another mailbox; what comes before its data is about the old one

    @property
    def uid_only(self) -> bool:
        return "UIDONLY" in self.enabled

    @property
    def vanishes(self) -> bool:
        return bool(self.enabled & {"UIDONLY", "QRESYNC"})

    def absorb(self) -> None:
        """Believe what came while no command was in progress."""
        self.unread += self.wire.take().decode()
        while "\r\n" in self.unread:
            line, _, self.unread = self.unread.partition("\r\n")
            self.answers.append(f"S: {line}")
            self._take(line, REST)

    def idle(self, pauses: int) -> str:
        self.absorb()
        return super().idle(pauses)

    def do(self, *steps: Step) -> list[str]:
        self.absorb()
        answers = super().do(*steps)
        if self.check is not None and steps:
            self.check(steps[-1].text)
        return answers

    def connect(self, select: str = "SELECT INBOX") -> None:
        """A new connection, with everything enabled and the mailbox selected."""
        assert self.engine is not None
        self.wire = self.engine.connect()
        self.unread, self.messages, self._code, self._seen = "", [], None, 0
        self.notified, self.other = "", None
        self.contexts.clear()
        self._condstore = bool(self.enabled & {"CONDSTORE", "QRESYNC"})
        words = " ".join(sorted(self.enabled))
        super().do(Step(f"LOGIN {USER} {PASSWORD}"), *([Step(f"ENABLE {words}")] if words else []), Step(select))

    def learn_all(self) -> None:
        """Ask for what there is to know."""
        by_uid = self.uid_only or self.notified == "SELECTED"
        self.fetch_all("UID " if by_uid else "", "(UID FLAGS)")

    def fetch_all(self, prefix: str, items: str) -> None:
        """As many commands as MESSAGELIMIT asks for. RFC 9738 3.1."""
        self.do(Step(f"{prefix}FETCH 1:* {items}"))
        while self.below > 1:
            self.do(Step(f"UID FETCH 1:{self.below - 1} {items}"))

    def lose_connection(self, with_matches: bool, last_words: str = "") -> None:
        """Go away, the answer to `last_words` unread, and come back: with QRESYNC one SELECT makes the model right."""
        if last_words:
            self.answers.append(f"C: x {last_words}")
            self.wire.feed(f"x {last_words}\r\n".encode())
        self.wire.hang_up()
        self.wire.take()
        self.answers.append("C: (goes away)")
        known = {item.uid: item for item in self.messages if item.uid is not None and item.flags is not None}
        if "QRESYNC" not in self.enabled or not self.modseq or not known:
            self.connect()
            self.learn_all()
            return
        matches = ""
        if with_matches and not self.uid_only and all(item.uid is not None for item in self.messages):
            uids = [item.uid for item in self.messages][::2]
            matches = f" ({','.join(str(1 + 2 * n) for n in range(len(uids)))} {','.join(map(str, uids))})"
        self.cache = {uid: Known(uid, item.flags) for uid, item in known.items() if uid is not None}
        uids_known = ",".join(map(str, sorted(self.cache)))
        self.connect(f"SELECT INBOX (QRESYNC ({self.uidvalidity} {self.modseq} {uids_known}{matches}))")
        self.resynchronized += 1
        if self.check is not None:
            self.check("resynchronized")
        self.fetch_all("UID ", "(UID)")
        for item in self.messages:
            if item.uid in self.cache and item.flags is None:
                item.flags = self.cache[item.uid].flags
        self.cache = {}
        self.learn_all()

    def _read_answer(self, tag: str, step: Step) -> str:
        if "(UPDATE" in step.text:
            self.contexts[tag] = Results(step.text, step.text.startswith("UID "), "SORT" in step.text)
        self.below = 0
        leaves = step.believe is not None and step.text.startswith(("CLOSE", "UNSELECT", "SELECT"))
        # Until the server takes up the command it may still tell of the mailbox: RFC 5465 3.
        self._is_leaving = leaves and step.text.startswith("SELECT")
        line = super()._read_answer(tag, Step(step.text) if leaves else step)
        if (leaves and not step.text.startswith("SELECT")) or self._is_leaving:
            self._leave()
        self._copied(line, step.text)
        self._met_limit(line)
        self._dropped.clear()
        page, self._at_page = self._at_page, None
        if page is not None:
            self._page(page[0], step.text, page[1])
        if f"{tag} NO" in line:
            self.contexts.pop(tag, None)
        if step.text.startswith("NOTIFY SET"):
            assert " OK " in line, line
            self.notified = "SELECTED-DELAYED" if "selected-delayed" in step.text else "SELECTED"
        if found := _HIGHEST.match(line):
            self._code = int(found[1])
        if self._code is not None:  # RFC 7162 6: it counts, even if higher mod-sequences were seen
            self.modseq = self._code
        else:
            self.modseq = max(self.modseq, self._seen)
        self._code, self._seen = None, 0
        return line

    def _met_limit(self, line: str) -> bool:
        """Whether a line says that not all messages were processed."""
        found = _LIMITED.match(line)
        if found is None:
            return False
        assert self.limit, line
        self.below = int(found[1])
        self.limited += 1
        return True

    def _page(self, line: str, command: str, before: list[Known]) -> None:
        """A page of all messages is that of the model. RFC 9394 3.1.

        What others have expunged by then, and this command tells, may be left out. `before`: the model at the answer.
        """
        wanted, found = _PAGE.search(command), _PARTIAL.search(line)
        if wanted is None or (self.limit and len(before) > self.limit):
            return
        assert found is not None, line
        told = [] if found[1] == "NIL" else numbers_of(found[1])
        last, first = sorted((abs(int(number)) for number in wanted.groups()), reverse=True)
        step = -1 if wanted[1].startswith("-") else 1
        gone = [item for item in before if not any(item is other for other in self.messages)]
        for count in range(len(gone) + 1):
            for missing in combinations(gone, count):
                there = [item.uid for item in before if not any(item is other for other in missing)]
                page = there[::step][first - 1 : last][::step]
                if len(page) == len(told) and all(map(self._may_be, page, told)):
                    self.pages += 1
                    return
        raise AssertionError(f"{line!r} in the answer to {command!r}: {before}, then {self.messages}")

    def _may_be(self, known: int | None, uid: int) -> bool:
        """Without numbers nobody knows where messages stand of which nothing is known."""
        return known in (None, uid) or (self.uid_only and any(item.uid is None for item in self.messages))

    def _copied(self, line: str, command: str) -> None:
        """What this client put into the other mailbox is not told it. COPYUID of MOVE is untagged, RFC 6851 4.3."""
        if (found := _COPYUID.match(line)) and self.other is not None and command.endswith(" other"):
            first, last = int(found[1]), int(found[2] or found[1])
            if first == self.other["UIDNEXT"]:  # else somebody else came between, and there will be a STATUS
                self.other |= {"UIDNEXT": last + 1, "MESSAGES": self.other["MESSAGES"] + last + 1 - first}

    def _leave(self) -> None:
        self._is_leaving = False
        self.messages.clear()
        self.contexts.clear()

    def _take(self, line: str, command: str) -> None:
        if self._is_leaving and line.startswith(("* OK [CLOSED]", "* FLAGS ")):  # RFC 7162 3.2.11
            self._leave()
        before = list(self.messages)
        if command == REST:
            assert self.notified, f"{line!r} and nobody asked for it"
            told = " EXPUNGE" in line or "VANISHED" in line
            assert not told or self.notified == "SELECTED", f"{line!r} while no command is in progress"
        self._believe(line, command)
        gone = [item for item in before if not any(item is other for other in self.messages)]
        for results in self.contexts.values():
            kept = [one for item in gone for one in results.items if one is item or (results.uid and one == item.uid)]
            assert not kept, f"{line!r}, and it is among {results}"

    def _results(self, found: re.Match[str]) -> None:
        """RFC 5267 4.3.2: each step in its order."""
        results = self.contexts.get(found[1])
        if results is None:
            return
        assert results.uid == (found[2] is not None), found[0]
        if found[3]:
            results.items = self._named(results, found[3])
        for word, pairs in _STEP.findall(found[4]):
            words = pairs.split()
            for position, names in zip(words[::2], words[1::2], strict=True):
                items = self._named(results, names)
                results.step(word, int(position), items)
                if word == "REMOVEFROM":
                    self._dropped += [item for item in items if isinstance(item, Known)]

    def _named(self, results: Results, names: str) -> list[int | Known]:
        numbers = numbers_of(names)
        return list(numbers) if results.uid else [self.messages[number - 1] for number in numbers]

    def _believe(self, line: str, command: str) -> None:
        self._copied(line, command)
        if self._met_limit(line):
            return
        if found := _NO_UPDATE.match(line):
            del self.contexts[found[1]]
            return
        if found := _ESEARCH.match(line):
            if "PARTIAL" in line:
                self._at_page = line, list(self.messages)
            self._results(found)
            return
        if found := _STATUS.match(line):
            words = found[1].split()
            self.other = {**(self.other or {}), **dict(zip(words[::2], map(int, words[1::2]), strict=True))}
            return
        if found := _HIGHEST.match(line):
            self._code = int(found[1])
        if found := _VALIDITY.match(line):
            self.uidvalidity = int(found[1])
        if found := _VANISHED.match(line):
            self._vanished(numbers_of(found[2]), found[1] is not None, command, line)
            return
        if found := _NUMBERED.match(line):
            self._check_items(found[1] == "UIDFETCH", found[2], command, line)
        if found := _UIDFETCH.match(line):
            self._learn(self.messages[self._place(int(found[1]), line)], f"UID {found[1]} {found[2]}", line)
            return
        assert " EXPUNGE" not in line or not self.vanishes, f"{line!r} after ENABLE"
        assert not (self.uid_only and "[UNSEEN" in line), line
        if line.startswith("* ENABLED"):
            assert set(line.split()[2:]) == self.enabled, line
            return
        super()._take(line, command)

    def _vanished(self, uids: Iterable[int], earlier: bool, command: str, line: str) -> None:
        if earlier:
            assert command.startswith(("SELECT", "EXAMINE", "UID FETCH")), f"{line!r} in the answer to {command!r}"
            shown = {item.uid for item in self.messages}
            for uid in uids:
                assert uid not in shown, f"{line!r}, but {uid} is there"
                self.cache.pop(uid, None)
            return
        assert self.vanishes, line
        assert not may_lag(command), f"{line!r} in the answer to {command!r}"
        for uid in uids:
            del self.messages[self._place(uid, line)]

    def _place(self, uid: int, line: str) -> int:
        """Where the message is: known by this UID, or one of those between its neighbours of which nothing is known."""
        known = {item.uid: number for number, item in enumerate(self.messages) if item.uid is not None}
        if uid in known:
            return known[uid]
        unknown = [number for number, item in enumerate(self.messages) if item.uid is None]
        if self.uid_only and unknown:  # without numbers nobody knows where they stand: behind the others
            self.messages.append(self.messages.pop(unknown[0]))
            known = {item.uid: number for number, item in enumerate(self.messages) if item.uid is not None}
        place = max((number + 1 for other, number in known.items() if other < uid), default=0)
        if self.uid_only and unknown:
            self.messages.insert(place, self.messages.pop())
        assert place < len(self.messages) and self.messages[place].uid is None, f"{line!r}: {uid} was never shown"
        # One that a REMOVEFROM was about is the one that goes; next come those that nothing is waiting for.
        dropped = {id(one) for one in self._dropped}
        held = {id(one) for results in self.contexts.values() for one in results.items}
        if self.uid_only:
            return place
        behind = self.messages[place:]
        span = next((count for count, item in enumerate(behind) if item.uid is not None), len(behind))
        candidates = range(place, place + span)
        wanted = [number for number in candidates if id(self.messages[number]) in dropped]
        wanted += [number for number in candidates if id(self.messages[number]) not in held]
        return wanted[0] if wanted else place

    def _check_items(self, uid_only: bool, items: str, command: str, line: str) -> None:
        """RFC 9586 3; RFC 7162 3.2.4: what was not asked for comes with UID and MODSEQ."""
        assert uid_only == self.uid_only, line
        if found := _MODSEQ.search(items):
            self._seen = max(self._seen, int(found[1]))
        if self._condstore and "FETCH" not in command:
            assert found is not None and (uid_only or "UID " in items), f"{line!r} in the answer to {command!r}"

    def _learn(self, message: Known, items: str, line: str) -> None:
        super()._learn(message, items, line)
        if message.uid in self.cache and message.flags is not None:
            self.cache[message.uid].flags = message.flags
