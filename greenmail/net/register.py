"""Who is logged in where, over all workers.

The parent keeps the register. Each process of the server has a socketpair to it, of type SOCK_SEQPACKET: a message is
one JSON object. A worker asks {"n": 7, "op": "login", "user": ..., "address": ..., "protocol": ...} and is answered
{"n": 7} or {"n": 7, "deny": "why"}; {"n": 7, "op": "logout"} takes the entry away and is not answered. The end of a
worker takes all of its entries away. {"n": 7, "tight": true}: the user has more than half of what he may have.

{"n": 8, "op": "poll", "user": ..., "delay": 60} is answered {"n": 8, "wait": 12.5}: the seconds for which the user has
to wait before he may look for mail by POP3 again; 0: he may, and that is remembered. {"n": 9, "op": "unpoll", "user":
...} forgets it, and is not answered.

If there is no answer in a second the login goes on: the register guards against excess, and must not become a way for
all mail to stop.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import itertools
import json
import logging
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import AsyncResult
from gevent.hub import Waiter

from greenmail import metrics

log = logging.getLogger(__name__)

TIMEOUT = 1.0
KEPT = 0.01  # seconds in which somebody who is back finds his seat
AGAIN = 0.05  # seconds after which one who was denied a seat asks again: those that were kept are given up by then
FRESH = 1.0  # seconds for which it counts that a user has few sessions
CARRY_TIMEOUT = 5.0  # a process may have to be forked
LARGEST = 1 << 16  # octets of a message
_POLLS = 10_000  # users remembered for LOGIN-DELAY before those who have waited long enough are forgotten


_Key = tuple[str, str, str]  # user, address, protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One session."""

    user: str
    address: str
    protocol: str
    since: float  # seconds since 1970


class Register:
    """The parent's side: plain data, no waiting."""

    def __init__(self, per_user: int) -> None:
        self.per_user = per_user
        self._entries: dict[int, dict[int, Entry]] = {}  # by pid of the worker, by its number
        self._counts: dict[str, int] = {}
        self._polls: dict[str, float] = {}  # when a user was last let in by POP3, by the monotonic clock
        self._most_polls = _POLLS

    def handle(self, pid: int, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a worker's message, if it gets one."""
        number = message["n"]
        if message["op"] == "logout":
            self._remove(self._entries.get(pid, {}).pop(number, None))
            return None
        if message["op"] == "poll":
            return {"n": number, "wait": self._poll(message["user"], message["delay"], time.monotonic())}
        if message["op"] == "unpoll":
            self._polls.pop(message["user"], None)
            return None
        entry = Entry(message["user"], message["address"], message["protocol"], time.time())
        if self._counts.get(entry.user, 0) >= self.per_user:
            return {"n": number, "deny": f"too many connections of this user, at most {self.per_user} are allowed"}
        self._entries.setdefault(pid, {})[number] = entry
        count = self._counts[entry.user] = self._counts.get(entry.user, 0) + 1
        return {"n": number, "tight": True} if 2 * count > self.per_user else {"n": number}

    def _poll(self, user: str, delay: float, now: float) -> float:
        """LOGIN-DELAY, RFC 2449 6.5: counted from the last login that was let in."""
        wait = self._polls.get(user, float("-inf")) + delay - now
        if wait > 0:
            return wait
        if len(self._polls) >= self._most_polls:
            self._polls = {name: last for name, last in self._polls.items() if last + delay > now}
            self._most_polls = max(_POLLS, 2 * len(self._polls))  # else each login of many users would look at them all
        self._polls[user] = now
        return 0.0

    def release(self, pid: int) -> None:
        """A worker ended: its sessions are gone."""
        for entry in self._entries.pop(pid, {}).values():
            self._remove(entry)

    def who(self) -> list[tuple[int, Entry]]:
        """Every session with the pid of its worker."""
        return [(pid, entry) for pid, entries in self._entries.items() for entry in entries.values()]

    def users(self) -> int:
        """How many users have sessions."""
        return len(self._counts)

    def _remove(self, entry: Entry | None) -> None:
        if entry is None:
            return
        left = self._counts[entry.user] - 1
        if left:
            self._counts[entry.user] = left
        else:
            del self._counts[entry.user]


def encode(message: dict[str, Any]) -> bytes:
    """A message as it goes over the socketpair."""
    return json.dumps(message).encode("ascii")


def decode(data: bytes) -> dict[str, Any]:
    """What `encode` gave."""
    message: dict[str, Any] = json.loads(data)
    return message


class Seats:
    """The worker's side: seats that were left, and are given up a moment later if nobody takes them.

    Clients come and go: who leaves is often back at once, and then the parent need not hear of it. But only while the
    user has few sessions, as the parent has said a short while ago; and nobody is denied for a seat that nobody has:
    see AGAIN.
    """

    __slots__ = ("_give_up", "_heard", "_left", "_order", "_timer", "_until")

    def __init__(self, give_up: Callable[[int], None]) -> None:
        self._give_up = give_up
        self._heard: dict[int, float] = {}  # seats that may wait, oldest first: when the parent said so
        self._left: dict[_Key, list[int]] = {}
        self._until: dict[int, float] = {}  # until when each of them is kept
        self._order: deque[tuple[float, _Key, int]] = deque()  # the same in order, with those that were taken since
        self._timer: Any = None

    def may_wait(self, number: int) -> None:
        """The parent has given this seat, and the user may have twice as many sessions."""
        now = self._heard[number] = time.monotonic()
        while now - self._heard[oldest := next(iter(self._heard))] > FRESH:
            del self._heard[oldest]

    def take(self, key: _Key) -> int | None:
        """A seat that somebody like this has just left."""
        numbers = self._left.get(key)
        if not numbers:
            return None
        number = numbers.pop()
        del self._until[number]
        if not numbers:
            del self._left[key]
        return number

    def leave(self, key: _Key, number: int) -> None:
        """Somebody goes."""
        now = time.monotonic()
        if now - self._heard.get(number, float("-inf")) > FRESH:
            self._heard.pop(number, None)
            self._give_up(number)
            return
        self._left.setdefault(key, []).append(number)
        until = self._until[number] = now + KEPT
        self._order.append((until, key, number))
        if self._timer is None:
            self._set_timer(KEPT)

    def _set_timer(self, seconds: float) -> None:
        self._timer = get_hub().loop.timer(seconds)
        self._timer.start(self._ring)

    def _ring(self) -> None:
        """Give up those that nobody has taken in time."""
        self._timer.close()
        self._timer = None
        now = time.monotonic()
        while self._order and self._order[0][0] <= now:
            until, key, number = self._order.popleft()
            if self._until.get(number) != until:  # taken, and perhaps left again
                continue
            del self._until[number]
            numbers = self._left[key]
            numbers.remove(number)
            if not numbers:
                del self._left[key]
            self._heard.pop(number, None)
            self._give_up(number)
        if self._order:
            self._set_timer(max(0.0, self._order[0][0] - now))


class RegisterClient:
    """The worker's side: `imap.session.Register`. Must be made after the fork.

    `sock` is a gevent socket; it is read elsewhere (`worker`), which hands answers to `answered`. A message is sent at
    once; only where the parent does not read do others wait in a queue, and with them one green thread.
    """

    def __init__(self, sock: Any, timeout: float = TIMEOUT) -> None:
        self._sock = sock
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._held: dict[_Key, list[int]] = {}
        self._seats = Seats(lambda number: self.say({"n": number, "op": "logout"}))
        self._late: deque[bytes] = deque()
        self._loop = get_hub().loop

    def login(self, user: str, address: str, protocol: str) -> str | None:
        """Enter a session; None, or why the user may not have another one."""
        key = (user, address, protocol)
        number = self._seats.take(key)
        if number is not None:
            self._held.setdefault(key, []).append(number)
            return None
        number = next(self._numbers)
        self._held.setdefault(key, []).append(number)
        question = {"n": number, "op": "login", "user": user, "address": address, "protocol": protocol}
        answer = self._ask(question)
        if answer is not None and "deny" in answer:
            gevent.sleep(AGAIN)
            answer = self._ask(question)
        if answer is None:
            # Should it be denied later, the session is not in the register and is not to be taken out of it.
            self._waiting[number] = lambda late: self._forget(key, number) if "deny" in late else None
            return None
        denied: str | None = answer.get("deny")
        if denied is not None:
            self._forget(key, number)
        elif "tight" not in answer:
            self._seats.may_wait(number)
        return denied

    def poll(self, user: str, delay: float) -> float:
        """Seconds until the user may look for mail by POP3 again; 0: now, and the next time `delay` seconds later."""
        number = next(self._numbers)
        answer = self._ask({"n": number, "op": "poll", "user": user, "delay": delay})
        if answer is None:
            self._waiting.pop(number, None)
            return 0.0
        return float(answer["wait"])

    def carry(self, wanted: dict[str, Any], descriptor: int) -> str:
        """Have the parent pass a session on to a process of the mail's owner; why it cannot, or nothing."""
        number = next(self._numbers)
        result: Any = AsyncResult()
        self._waiting[number] = result.set
        try:
            # Does not wait for room: another green thread may, and a socket takes one.
            passed = socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor])
            data = encode({"n": number, "op": "carry", **wanted})
            self._sock.sendmsg([data], [passed], socket.MSG_DONTWAIT)
            answer: dict[str, Any] = result.get(timeout=CARRY_TIMEOUT)
        except (OSError, gevent.Timeout) as error:
            return str(error) or type(error).__name__
        finally:
            self._waiting.pop(number, None)
        return str(answer.get("deny", ""))

    def unpoll(self, user: str) -> None:
        """The last `poll` does not count."""
        self.say({"n": next(self._numbers), "op": "unpoll", "user": user})

    def _ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """The parent's answer; None if it takes too long."""
        waiter, timer = Waiter(), self._loop.timer(self._timeout)
        self._waiting[question["n"]] = lambda message: self._loop.run_callback(waiter.switch, message)
        self.say(question)
        timer.start(waiter.switch, None)
        try:
            answer: dict[str, Any] | None = waiter.get()
        finally:
            timer.stop()
            timer.close()
        if answer is None:
            metrics.register_timeout()
            log.warning("register-timeout user=%r", question["user"])
        return answer

    def logout(self, user: str, address: str, protocol: str) -> None:
        """Take one session with these properties out of the register; does nothing if there is none."""
        key = (user, address, protocol)
        numbers = self._held.get(key)
        if numbers:
            number = numbers[0]
            self._forget(key, number)
            self._seats.leave(key, number)

    def answered(self, message: dict[str, Any]) -> None:
        """An answer of the parent has come."""
        waiting = self._waiting.pop(message["n"], None)
        if waiting is not None:
            waiting(message)

    def say(self, message: dict[str, Any]) -> None:
        """Tell the parent something; at once."""
        data = encode(message)
        if not self._late:
            try:
                self._sock.send(data, 0, 0.0)  # flags, and no time to wait
                return
            except BlockingIOError:
                gevent.spawn(self._send_late)
            except OSError as error:
                log.debug("register-gone reason=%s", error)  # the parent ended, and so will this worker
                return
        self._late.append(data)

    def _forget(self, key: tuple[str, str, str], number: int) -> None:
        numbers = self._held.get(key, [])
        if number in numbers:
            numbers.remove(number)
        if not numbers:
            self._held.pop(key, None)

    def _send_late(self) -> None:
        """One after another, as they came: what is on its way stays at the head of the queue."""
        while self._late:
            try:
                self._sock.send(self._late[0])
            except OSError as error:
                log.debug("register-gone reason=%s", error)
                self._late.clear()
                return
            self._late.popleft()
