"""How late the event loop is, and who kept it.

A native thread asks the loop for a sign of life every 50 ms; a loop with nothing to do less and less often, down to
four times a second. A question costs 0.3 ms of CPU on a machine that sleeps: so where the thread sees that the loop
waits for input, and that nobody in this process computes, it takes the answer for given, but for one a second. How long
the answer takes is how long the octets of any client had to wait: that goes to /metrics, `greenmail_hub_lag_seconds`.
When an answer is 50 ms late the thread looks at what the loop's thread is doing, and if the loop was kept for 100 ms or
more it tells, once the answer is there:

    hub-held seconds=0.312 cpu=0.260 by=greenlet sid=3a9 at=imap/commands/store.py:88:run_store suppressed=0 stack=...

`cpu` is what the loop's thread computed from the look to the answer: little of it means that it waited for the kernel
(a slow disk) or for the interpreter. `by=thread` names a thread of the pool: the loop itself waited for nothing, so
most likely that thread kept the interpreter to itself in one long step of C. When the loop's thread was ready to run
and the machine had no core for it for most of that time nobody is named: the figure in /metrics is enough. What keeps
the loop for more than 5 s is told before it ends, with `seconds` so far.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import math
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from gevent import get_hub

from greenmail import metrics

log = logging.getLogger(__name__)

PAUSE = 0.05  # seconds between an answer and the next question
LONGEST_PAUSE = 0.25  # where the loop has nothing to do
LONGEST_SILENCE = 0.9  # a loop that waits for input is asked when there was no answer for so long
BUSY = 0.05  # the part of a core from which on it has
LOOK = 0.05  # an answer is that late: look who it is
LATE = 0.01  # and the thread itself is late then
HELD = 0.1  # that late is worth a line
HANG = 5.0  # and that is worth one before it ends
SAME_PLACE = 60.0  # seconds between two lines about one place in the code
ANY_PLACE = 1.0  # and between any two lines
MOST_FRAMES = 12
_MOST_PLACES = 200

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_LOOP = os.path.join("gevent", "hub.py")
_POOL = os.path.join("net", "work.py")


@dataclass(frozen=True, slots=True)
class Holder:
    """What a thread was doing."""

    by: str  # "greenlet" or "thread"
    sid: str  # the session, if the stack tells
    at: str  # innermost place in our code: file:line:function
    stack: str  # innermost first


class Watchdog:
    """Watches the event loop of the thread that makes it."""

    def __init__(self) -> None:
        self._home = threading.get_ident()
        self._task = threading.get_native_id()
        self._clock = time.pthread_getcpuclockid(self._home)
        self._asked = -math.inf
        self._given = 0  # answers taken for given since the last
        self._lag = 0.0
        self._gate = threading.Lock()  # closed while an answer is awaited
        self._gate.acquire()
        self._is_ended = False
        self._end = threading.Lock()  # closed until then; an Event does much more in Python to wait
        self._end.acquire()
        self._told: dict[str, tuple[float, int]] = {}  # by function: when, and lines left out since
        self._last = -ANY_PLACE
        self._async = get_hub().loop.async_(ref=False)
        self._async.start(self._answer)
        self._thread = threading.Thread(target=self._run, name="hub-lag", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching. On the loop's thread."""
        self._is_ended = True
        self._end.release()
        self._async.stop()
        if self._gate.locked():
            self._gate.release()
        self._thread.join()

    def _answer(self) -> None:
        """On the loop: here I am."""
        self._lag = time.monotonic() - self._asked
        given, self._given = self._given, 0  # the thread waits: it does not count now
        for lag in (*(0.0,) * given, self._lag):
            metrics.hub_lag(lag)
        if self._gate.locked():
            self._gate.release()

    def _run(self) -> None:
        pause, computed, all_computed, due = PAUSE, 0.0, 0.0, math.inf
        while not self._end.acquire(timeout=pause):
            before, computed = computed, time.clock_gettime(self._clock)
            all_before, all_computed = all_computed, time.process_time()
            now, busy = time.monotonic(), BUSY * pause
            # Who comes late himself had to wait for the interpreter, as the loop may have to.
            is_quiet = all_computed - all_before <= busy and now - due < LATE
            pause = PAUSE if computed - before > busy else min(2 * pause, LONGEST_PAUSE)
            due = now + pause
            if is_quiet and now - self._asked < LONGEST_SILENCE and waits_for_input(self._home):
                self._given += 1
                continue
            self._asked = now
            self._async.send()
            if not self._gate.acquire(timeout=LOOK):
                self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        holder = find_holder(sys._current_frames(), self._home)
        computed, starved = self._used()
        looked = time.monotonic()
        if not self._gate.acquire(timeout=HANG):
            self._tell(holder, time.monotonic() - self._asked, self._used()[0] - computed)
            self._gate.acquire()
            return
        cpu, kept_from_cpu = self._used()[0] - computed, self._used()[1] - starved
        if self._lag >= HELD and not self._is_ended and kept_from_cpu < (time.monotonic() - looked) / 2:
            self._tell(holder, self._lag, cpu)

    def _used(self) -> tuple[float, float]:
        """Seconds that the loop's thread has computed, and that it was ready to and had to wait for a core."""
        try:
            fields = Path(f"/proc/self/task/{self._task}/schedstat").read_bytes().split()
            return int(fields[0]) / 1e9, int(fields[1]) / 1e9
        except (OSError, IndexError, ValueError):  # no /proc, or a kernel without these figures
            return time.clock_gettime(self._clock), 0.0

    def _tell(self, holder: Holder | None, seconds: float, cpu: float) -> None:
        if holder is None:
            return
        file, _, function = holder.at.split(":", 2)
        place, now = f"{file}:{function}", time.monotonic()
        when, left_out = self._told.get(place, (-SAME_PLACE, 0))
        if now - when < SAME_PLACE or now - self._last < ANY_PLACE:
            self._told[place] = (when, left_out + 1)
            return
        if len(self._told) >= _MOST_PLACES:
            self._told.clear()
        self._told[place] = (now, 0)
        self._last = now
        log.warning(
            "hub-held seconds=%.3f cpu=%.3f by=%s sid=%s at=%s suppressed=%d stack=%r",
            seconds, cpu, holder.by, holder.sid, holder.at, left_out, holder.stack,
        )  # fmt: skip


def find_holder(frames: dict[int, FrameType], home: int) -> Holder | None:
    """Who keeps the loop of thread `home`: what runs there, or else a busy thread of the pool; None: nobody."""
    frame = frames.get(home)
    if frame is not None and not _is_loop(frame):
        return _holder("greenlet", frame)
    for thread, found in frames.items():
        if thread != home and any(_is_task(above) for above in _outwards(found)):
            return _holder("thread", found)
    return None


def waits_for_input(home: int) -> bool:
    """Whether the loop of thread `home` does nothing else."""
    frame = sys._current_frames().get(home)
    return frame is not None and _is_loop(frame)


def _is_loop(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_LOOP)


def _outwards(frame: FrameType | None) -> list[FrameType]:
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _is_task(frame: FrameType) -> bool:
    """Whether a pool's thread is in a task: `work._guarded`."""
    return frame.f_code.co_name == "_guarded" and frame.f_code.co_filename.endswith(_POOL)


def _holder(by: str, frame: FrameType) -> Holder:
    frames = _outwards(frame)
    ours = next((each for each in frames if each.f_code.co_filename.startswith(_PACKAGE)), frame)
    stack = " < ".join(map(_place, frames[:MOST_FRAMES]))
    return Holder(by, _sid(frames), _place(ours), stack)


def _place(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    short = name.removeprefix(_PACKAGE) if name.startswith(_PACKAGE) else "/".join(name.rsplit(os.sep, 2)[-2:])
    return f"{short}:{frame.f_lineno}:{frame.f_code.co_name}"


def _sid(frames: list[FrameType]) -> str:
    """The id of the session that these frames serve, by the name which the engines use for it."""
    for frame in frames:
        if "session" in frame.f_code.co_varnames:
            session: Any = frame.f_locals.get("session")
            sid = getattr(session, "sid", "")
            if isinstance(sid, str) and sid:
                return sid
    return "-"
