"""Green threads for tests: one at a time, switched only where the engine may wait, in an order chosen by the test."""

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from greenmail.runtime import Runtime


class Clock:
    """Time that stands still until a test lets it go on."""

    def __init__(self, start: float = 1_704_110_400.0) -> None:  # 1 January 2024 12:00 UTC
        self.time = start

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


class Scheduler:
    """`choose(n)` says which of n tasks that can go on is next. With `eager`, every `pause` asks it."""

    def __init__(self, choose: Callable[[int], int] = lambda number: 0, eager: bool = False) -> None:
        self.choose = choose
        self.eager = eager
        self.clock = Clock()
        self._waiting: dict[greenlet, Callable[[], bool]] = {}
        self._main = getcurrent()
        self.switches = 0
        self.epoch = 0  # grows when a client's command has been carried out: what inotify would tell of

    def spawn(self, function: Callable[[], None]) -> greenlet:
        """A task that begins at the next `run`."""
        task = greenlet(function, parent=self._main)
        self._waiting[task] = _now
        return task

    def kill(self, task: greenlet) -> None:
        """End a task where it waits."""
        if self._waiting.pop(task, None) is not None and not task.dead:
            task.throw()

    def wait(self, ready: Callable[[], bool]) -> None:
        """Let others run until `ready()`. Outside of any task, what is waited for must be true already."""
        current = getcurrent()
        if current is self._main:
            assert ready(), "nobody could ever make this true"
            return
        self._waiting[current] = ready
        self._main.switch()

    def pause(self) -> None:
        """A place where others may run."""
        if self.eager and getcurrent() is not self._main:
            self.wait(_now)

    def run(self) -> None:
        """Run tasks until each of them waits for something that is not there, or has ended."""
        assert getcurrent() is self._main, "run is for the test, not for a task"
        while True:
            able = [task for task, ready in self._waiting.items() if ready()]
            if not able:
                return
            task = able[self.choose(len(able)) if len(able) > 1 else 0]
            del self._waiting[task]
            self.switches += 1
            task.switch()

    def runtime(self) -> Runtime:
        """A runtime of which every waiting is a place to switch."""
        return Runtime(
            blocking=self._blocking,
            lock=lambda: GreenLock(self),
            sleep=self._sleep,
            breathe=self.pause,
            now=self.clock.now,
            current=getcurrent,
            elapsed=self.clock.now,
        )

    def _blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        self.pause()
        result = function(*args)
        self.pause()
        return result

    def _sleep(self, seconds: float) -> None:
        """The clock goes on at once: tests do not wait."""
        self.clock.advance(seconds)
        self.pause()


def _now() -> bool:
    return True


class GreenLock:
    """A lock between tasks; taking it is a place to switch, giving it back is none (as with gevent)."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.held = False

    def __enter__(self) -> "GreenLock":
        self._scheduler.pause()
        self._scheduler.wait(lambda: not self.held)
        self.held = True
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.held = False
