"""An IMAP client that believes what it is told, to the letter, and complains about what it may not be told.

Its model is a list: what it knows of each message, by sequence number. RFC 9051 5.2, 7.4, 7.5.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.green import Scheduler
from harness.wire import MemoryWire

_EXPUNGE = re.compile(r"\* (\d+) EXPUNGE$")
_EXISTS = re.compile(r"\* (\d+) EXISTS$")
_RECENT = re.compile(r"\* (\d+) RECENT$")
_FETCH = re.compile(r"\* (\d+) FETCH \((.*)\)$")
_FLAGS = re.compile(r"FLAGS \(([^)]*)\)")
_UID = re.compile(r"UID (\d+)")
_OTHER = re.compile(r"\* (OK|SEARCH|ESEARCH|FLAGS|STATUS|LIST)( |$)|\+ ")
# RFC 9051 7.5.1: in the answer to these there is no EXPUNGE. Their UID forms may have it.
_NO_EXPUNGE = ("FETCH", "STORE", "SEARCH", "SORT")


@dataclass
class Known:
    """What the client knows of one message; None: nothing."""

    uid: int | None = None
    flags: frozenset[str] | None = None  # without \\Recent
    recent: bool | None = None


@dataclass
class Step:
    """One command. `believe(messages)` is what the client makes of its model when the server begins with it."""

    text: str
    believe: Callable[[list[Known]], None] | None = None


@dataclass
class StrictClient:
    """One connection with a mailbox selected; `run` is a task of the scheduler."""

    name: str
    wire: MemoryWire
    scheduler: Scheduler
    messages: list[Known] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)  # everything read, for the report
    unread: str = ""
    number: int = 0

    def do(self, *steps: Step) -> list[str]:
        """Send the commands in one packet and read their answers; the tagged ones."""
        tagged: list[tuple[str, Step]] = []
        packet = ""
        for step in steps:
            self.number += 1
            tag = f"{self.name}{self.number}"
            tagged.append((tag, step))
            packet += f"{tag} {step.text}\r\n"
        self.answers.append(f"C: {packet!r}")
        self.wire.feed(packet.encode())
        return [self._read_answer(tag, step) for tag, step in tagged]

    def idle(self, pauses: int) -> str:
        """IDLE, for that many turns of the others."""
        self.number += 1
        tag = f"{self.name}{self.number}"
        self.answers.append(f"C: {tag} IDLE")
        self.wire.feed(f"{tag} IDLE\r\n".encode())
        while not (line := self._line()).startswith("+ "):
            self._take(line, "IDLE")
        for _ in range(pauses):
            self.scheduler.pause()
        self.wire.feed(b"DONE\r\n")
        return self._read_answer(tag, Step("IDLE"))

    def _read_answer(self, tag: str, step: Step) -> str:
        if step.believe is not None:
            step.believe(self.messages)
        while not (line := self._line()).startswith(f"{tag} "):
            self._take(line, step.text)
        return line

    def _line(self) -> str:
        while "\r\n" not in self.unread:
            self.scheduler.wait(lambda: self.wire.has_output)
            self.unread += self.wire.take().decode()
        line, _, self.unread = self.unread.partition("\r\n")
        self.answers.append(f"S: {line}")
        return line

    def _take(self, line: str, command: str) -> None:
        """Believe an untagged response, or complain."""
        if found := _EXPUNGE.match(line):
            assert not command.startswith(_NO_EXPUNGE), f"{line!r} in the answer to {command!r}"
            assert 1 <= int(found[1]) <= len(self.messages), f"{line!r} of {len(self.messages)} messages"
            del self.messages[int(found[1]) - 1]
        elif found := _EXISTS.match(line):
            assert int(found[1]) >= len(self.messages), f"{line!r}, but there were {len(self.messages)}"
            self.messages += [Known() for _ in range(int(found[1]) - len(self.messages))]
        elif found := _FETCH.match(line):
            assert 1 <= int(found[1]) <= len(self.messages), f"{line!r} of {len(self.messages)} messages"
            self._learn(self.messages[int(found[1]) - 1], found[2], line)
        else:
            assert _RECENT.match(line) or _OTHER.match(line), f"what is {line!r}?"

    def _learn(self, message: Known, items: str, line: str) -> None:
        if found := _UID.search(items):
            assert message.uid in (None, int(found[1])), f"{line!r}, but this was UID {message.uid}"
            message.uid = int(found[1])
            uids = [item.uid for item in self.messages if item.uid is not None]
            assert uids == sorted(set(uids)), f"UIDs do not ascend behind {line!r}: {uids}"
        if found := _FLAGS.search(items):
            flags = frozenset(found[1].split())
            message.flags, message.recent = flags - {"\\Recent"}, "\\Recent" in flags


def silent_change(numbers: range, action: str, flags: frozenset[str]) -> Callable[[list[Known]], None]:
    """What a client believes after STORE .SILENT of these sequence numbers."""

    def believe(messages: list[Known]) -> None:
        for number in numbers:
            if number <= len(messages) and (old := messages[number - 1].flags) is not None:
                new = {"+": old | flags, "-": old - flags, "": flags}[action]
                messages[number - 1].flags = new

    return believe
