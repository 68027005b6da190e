"""Questions of the parent to its workers, and their answers, without waiting for anybody.

{"op": "ask", "n": 5, "what": "who", "with": {...}} goes to each of them. A worker answers with any number of
{"op": "told", "n": 5, "items": [...]}, the last of which has "end": true. Who has not ended by the deadline counts as
silent; what it said up to there is told, too.
"""

import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenmail.net import register

log = logging.getLogger(__name__)

SECONDS = 3.0  # that workers have for an answer


@dataclass(slots=True)
class Answers:
    """What came together."""

    items: list[Any] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)  # pids of those that did not answer in time


Done = Callable[[Answers], None]


@dataclass(slots=True)
class _Question:
    waiting: set[int]
    until: float
    done: Done
    answers: Answers = field(default_factory=Answers)


class Asking:
    """All questions that are not answered yet."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    def ask(
        self,
        children: Iterable[tuple[int, Any]],
        what: str,
        wanted: Mapping[str, Any],
        done: Done,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Ask `children`, pairs of pid and control socket; `done` is called when all have answered, or time is over."""
        number = next(self._numbers)
        question = _Question(set(), time.monotonic() + SECONDS, done)
        data = register.encode({"op": "ask", "n": number, "what": what, "with": dict(wanted)})
        for pid, control in children:
            try:
                socket.send_fds(control, [data], descriptors)
            except OSError as error:  # it ended, or it hangs and its queue is full
                log.debug("not-asked pid=%d reason=%s", pid, error)
                question.answers.silent.append(pid)
            else:
                question.waiting.add(pid)
        self._open[number] = question
        self._end_if_complete(number)

    def told(self, pid: int, message: Mapping[str, Any]) -> None:
        """A worker has answered."""
        number = message["n"]
        question = self._open.get(number)
        if question is None or pid not in question.waiting:
            return  # too late
        question.answers.items += message["items"]
        if message.get("end"):
            question.waiting.discard(pid)
            self._end_if_complete(number)

    def gone(self, pid: int) -> None:
        """A worker ended; its sessions have, too."""
        for number, question in list(self._open.items()):
            if pid in question.waiting:
                question.waiting.discard(pid)
                self._end_if_complete(number)

    def tend(self, now: float) -> None:
        """Answer what is overdue."""
        for number, question in list(self._open.items()):
            if now >= question.until:
                question.answers.silent += sorted(question.waiting)
                question.waiting.clear()
                self._end_if_complete(number)

    def due(self) -> list[float]:
        """When `tend` has something to do."""
        return [question.until for question in self._open.values()]

    def _end_if_complete(self, number: int) -> None:
        if not self._open[number].waiting:
            question = self._open.pop(number)
            try:
                question.done(question.answers)
            except Exception:  # whatever it is, the parent's loop goes on
                log.exception("bug in what is done with answers")
