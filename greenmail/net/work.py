"""`runtime.Runtime` on gevent: pools of native threads, green locks, and giving way to others.

Three clocks matter here. A hop to a pool costs 20 µs. A green thread keeps the event loop until it waits, and a send
that finds room in the kernel does not wait: so `breathe` measures how long the present green thread has run. And a
zero sleep lets other green threads run but no input in: so a pause is always a real one.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent
import gevent.threadpool  # a hub imports parts of it when it is first used, when a worker may not be able to any more
from gevent.event import Event
from gevent.hub import Waiter

from greenmail import metrics
from greenmail.net.lag import Watchdog
from greenmail.runtime import Runtime

log = logging.getLogger(__name__)

TURN = 0.002  # seconds that a green thread may run before `breathe` pauses it
PAUSE = 0.0001  # the shortest sleep that lets input in
SWITCH = (
    0.0005  # seconds after which a thread of the pool hands the interpreter to the event loop (Python's own: 0.005)
)


class Clock:
    """When the present green thread was resumed, and how long it has run before.

    One value for all green threads is enough: whoever runs has come out of a wait last, and every wait of the shell
    ends with `resumed`, which is given what `used` said before the wait.
    """

    __slots__ = ("_before", "_since")

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._before = 0.0

    def used(self) -> float:
        """Seconds that the caller has kept the event loop, and the threads of the pool, up to now."""
        return self._before + time.monotonic() - self._since

    def resumed(self, used: float = 0.0) -> None:
        """Say that the caller has just been switched to; `used`: what it had used before."""
        self._before = used
        self._since = time.monotonic()

    def breathe(self) -> None:
        """Let others run, input included, if the caller has run for 2 ms."""
        ran = time.monotonic() - self._since
        if ran >= TURN:
            used = self._before + ran
            gevent.sleep(PAUSE)
            self.resumed(used)

    def sleep(self, seconds: float) -> None:
        """Let others run for `seconds`; a zero would not let input in, so there is a shortest pause."""
        used = self.used()
        gevent.sleep(max(seconds, PAUSE))
        self.resumed(used)


class GreenLock:
    """Mutual exclusion between green threads of the event loop; first come, first served; not reentrant.

    Who leaves hands over to the one that waits longest. A lock that is only set free (gevent's semaphores) is taken
    again by whoever left it, as a STORE does batch after batch, before the one that waits comes to run.
    """

    __slots__ = ("_clock", "_held", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held = False
        self._waiting: deque[Any] = deque()

    def __enter__(self) -> "GreenLock":
        if not self._held:
            self._held = True
            return self
        turn: Any = Event()
        self._waiting.append(turn)
        used = self._clock.used()
        try:
            turn.wait()
        except BaseException:  # killed while it waited
            if turn.is_set():
                self._hand_over()
            else:
                self._waiting.remove(turn)
            raise
        self._clock.resumed(used)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._hand_over()

    def _hand_over(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._held = False


class _Task(NamedTuple):
    """Something for a thread to do, and who waits for it."""

    waiter: Any
    function: Callable[..., Any]
    args: tuple[Any, ...]
    asked: float


class _Outcome(NamedTuple):
    """What became of a task, and how many seconds it waited and computed."""

    result: Any
    error: BaseException | None
    waited: float
    computed: float


class _Thread:
    """A native thread of a pool: waits, in C, for what it is given. Raises RuntimeError where no more can be made."""

    __slots__ = ("_bell", "_task")

    def __init__(self, name: str, done: Callable[["_Thread", Any, _Outcome], None]) -> None:
        self._bell = threading.Lock()  # its own: of many who wait at one, each wakes the next, who finds nothing
        self._bell.acquire()
        self._task: _Task | None = None
        threading.Thread(target=self._live, args=(done,), name=name, daemon=True).start()

    def give(self, task: _Task | None) -> None:
        """Its next task; None: no more. Only to one that is new, or has finished."""
        self._task = task
        self._bell.release()

    def _live(self, done: Callable[["_Thread", Any, _Outcome], None]) -> None:
        while self._bell.acquire() and (task := self._task) is not None:
            self._task = None
            outcome = _guarded(task.function, task.args, task.asked)
            done(self, task.waiter, outcome)
            del task, outcome  # nothing is kept by a thread that waits


class Pool:
    """Native threads for long work: `size` tasks run, the others wait in order.

    A task is handed in by a green thread that waits for it, so there are never more of them than sessions. Logins,
    which anybody may try, are bounded before they come here, by `auth.gate`.

    Not gevent's pool, where a task costs half as much again: here is one bell for all results in the place of one for
    each, and threads wait for tasks in C. Which thread does what is decided on the loop alone.
    """

    def __init__(self, name: str, size: int, clock: Clock) -> None:
        self._name = name
        self._size = size
        self._clock = clock
        self._threads = 0
        self._home = threading.get_ident()
        self._asked = 0  # tasks that were handed in, and are still waited for
        self._under_way = 0  # tasks that were handed in, and are not finished
        self._free: list[_Thread] = []  # they wait; the last one did so last, and is the warmest
        self._tasks: deque[_Task] = deque()  # for which no thread is free
        self._done: deque[tuple[_Thread, Any, _Outcome]] = deque()
        self._is_closed = False
        self._bell = gevent.get_hub().loop.async_()  # rung by a thread that has finished a task

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of `function`, run on a thread of the pool; what it raises is raised here.

        Called on a thread of the pool it runs at once, there.
        """
        return self.run_within(None, function, *args)

    def run_within(self, seconds: float | None, function: Callable[..., Any], *args: Any) -> Any:
        """As `run`; raises TimeoutError if that takes longer, the wait for a thread included.

        The thread goes on: this is for questions, which change nothing.
        """
        if threading.get_ident() != self._home:
            return function(*args)
        self._count(1)
        used = self._clock.used()
        waiter = Waiter()
        try:
            self._hand_in(_Task(waiter, function, args, time.monotonic()))
            outcome: _Outcome = waiter.get() if seconds is None else _within(seconds, waiter)
            used += outcome.computed
        finally:
            self._count(-1)
            self._clock.resumed(used)
        metrics.pool_wait(self._name, outcome.waited)
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def _count(self, change: int) -> None:
        self._asked += change
        busy = min(self._asked, self._size)
        metrics.pool_tasks(self._name, self._asked - busy, busy)

    def _hand_in(self, task: _Task) -> None:
        """Have a thread do it: one that is free, a new one, or else the next that will be free."""
        if not self._free and self._threads < self._size:
            self._free.append(_Thread(self._name, self._finished))
            self._threads += 1
        if not self._under_way:
            self._bell.start(self._hand_out)  # as long as something is under way the loop does not end
        self._under_way += 1
        if self._free:
            self._free.pop().give(task)
        else:
            self._tasks.append(task)

    def _finished(self, thread: _Thread, waiter: Any, outcome: _Outcome) -> None:
        """On the thread, which waits for what it is given then."""
        self._done.append((thread, waiter, outcome))
        self._bell.send()

    def _hand_out(self) -> None:
        """On the loop: give what is done to who waits for it; nobody may, who was killed or had no more time."""
        while self._done:
            thread, waiter, outcome = self._done.popleft()
            if self._tasks:
                thread.give(self._tasks.popleft())
            elif self._is_closed:
                thread.give(None)
            else:
                self._free.append(thread)
            self._under_way -= 1
            if not self._under_way:
                self._bell.stop()
            waiter.switch(outcome)

    def close(self) -> None:
        """End the threads; what runs is left to finish."""
        self._is_closed = True
        while self._free:
            self._free.pop().give(None)


def _within(seconds: float, waiter: Any) -> _Outcome:
    limit = gevent.Timeout(seconds)
    try:
        with limit:
            outcome: _Outcome = waiter.get()
            return outcome
    except gevent.Timeout as over:
        if over is not limit:
            raise
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None


def _guarded(function: Callable[..., Any], args: tuple[Any, ...], asked: float) -> _Outcome:
    """On the pool's thread: the result or the exception as a value, which is for who waits."""
    waited = time.monotonic() - asked
    began = time.thread_time()
    try:
        return _Outcome(function(*args), None, waited, time.thread_time() - began)
    except BaseException as error:  # carried over to the caller, whatever it is, and raised there
        return _Outcome(None, error, waited, time.thread_time() - began)


class Work:
    """A worker's runtime: made once, after the fork."""

    def __init__(self, pool_size: int, password_threads: int = 1) -> None:
        # Each system call of the loop hands the interpreter over and has to get it back: some ten times a command.
        sys.setswitchinterval(SWITCH)
        self.clock = Clock()
        self.pool = Pool("work", pool_size, self.clock)
        self.passwords = Pool("password", password_threads, self.clock)
        self.runtime = Runtime(
            blocking=self.pool.run,
            lock=self.lock,
            sleep=self.clock.sleep,
            breathe=self.clock.breathe,
            now=time.time,
            current=gevent.getcurrent,
            used=self.clock.used,
        )
        metrics.pool_size(pool_size)
        self._watchdog = Watchdog()

    def lock(self) -> GreenLock:
        """A new green lock."""
        return GreenLock(self.clock)

    def close(self) -> None:
        """Stop measuring and end the pools' threads."""
        self._watchdog.close()
        self.pool.close()
        self.passwords.close()
