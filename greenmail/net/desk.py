"""A worker's answers to what the parent asks it (`asking`): who is there, what a session did, what it is to do.

To add a question: a generator of items in ANSWERS. It runs on a green thread of its own and may wait.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from greenmail.net import register, sessions
from greenmail.net.server import Connections
from greenmail.net.stream import Stream
from greenmail.net.work import Clock
from greenmail.transcript import Tap, Trace, Traces

log = logging.getLogger(__name__)

KICK_GRACE = 5.0  # seconds that a session has to come to its next idle point before its socket is closed
_PART = 48_000  # octets of a message: below `register.LARGEST`
_FAREWELL = {"imap": b"* BYE [UNAVAILABLE] Disconnected by the administrator.\r\n", "pop3": b""}  # RFC 5530 3


@dataclass(frozen=True, slots=True)
class Desk:
    """What the answers are made of."""

    connections: Connections
    traces: Traces
    clock: Clock
    say: Callable[[dict[str, Any]], None]

    def asked(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Answer, on a green thread of its own; `descriptors` are ours from now on."""
        gevent.spawn(self._answer, message, [os.dup(descriptor) for descriptor in descriptors])

    def _answer(self, message: Mapping[str, Any], descriptors: list[int]) -> None:
        items: list[Any] = []
        octets = 0
        try:
            for item in ANSWERS[message["what"]](self, message["with"], descriptors):
                size = len(register.encode({"": item}))
                if octets + size > _PART and items:
                    self.say({"op": "told", "n": message["n"], "items": items})
                    items, octets = [], 0
                items.append(item)
                octets += size
                self.clock.breathe()
        except Exception:
            log.exception("bug in the answer to the question %r", message.get("what"))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            self.say({"op": "told", "n": message["n"], "items": items, "end": True})

    def found(self, wanted: Mapping[str, Any]) -> list[Stream]:
        """The connections that a question is about."""
        return sessions.matching(self.connections.streams(), wanted.get("words", []))


def _who(desk: Desk, wanted: Mapping[str, Any], descriptors: list[int]) -> Iterator[Any]:
    now = time.time()
    for stream in desk.found(wanted):
        yield sessions.described(stream, now)


def _kick(desk: Desk, wanted: Mapping[str, Any], descriptors: list[int]) -> Iterator[Any]:
    now = time.time()
    for stream in desk.found(wanted):
        found = sessions.described(stream, now)
        log.warning(
            "kicked sid=%s user=%r protocol=%s rip=%s by=%s",
            found["id"], found["user"], stream.protocol, stream.peer, wanted.get("by", ""),
        )  # fmt: skip
        stream.dismiss(_FAREWELL.get(stream.protocol, b""), "disconnected by the administrator")
        gevent.spawn_later(KICK_GRACE, stream.cut)
        yield found


def _explain(desk: Desk, wanted: Mapping[str, Any], descriptors: list[int]) -> Iterator[Any]:
    for stream in desk.connections.streams():
        if stream.session is not None and stream.session.sid == wanted["session"]:
            yield sessions.explained(stream)


def _trace(desk: Desk, wanted: Mapping[str, Any], descriptors: list[int]) -> Iterator[Any]:
    """Begin or end to write down a user's sessions; those that are in a command join at their next one."""
    user = wanted["user"]
    old = desk.traces.users.pop(user, None)
    if old is not None:
        old.close()
    streams = sessions.matching(desk.connections.streams(), [])
    mine = [stream for stream in streams if stream.session is not None and _is_of(stream.session, user)]
    if wanted["on"]:
        trace = Trace(user, os.dup(descriptors[0]), wanted["until"], wanted["limit"])
        desk.traces.users[user] = trace
        # In IDLE nothing is half said; the engine notices the others at their next command.
        for stream in mine:
            if stream.protocol == "imap" and stream.session.transcript.running == "IDLE":
                stream.session.out.tap = Tap(trace, stream.session.sid)
    for stream in mine:
        yield stream.session.sid


def _is_of(session: Any, user: str) -> bool:
    return session.user is not None and session.user.name == user


ANSWERS: dict[str, Callable[[Desk, Mapping[str, Any], list[int]], Iterator[Any]]] = {
    "who": _who,
    "kick": _kick,
    "explain": _explain,
    "trace": _trace,
}
