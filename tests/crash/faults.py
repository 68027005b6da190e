"""A `Files` whose n-th system call ends the process, or fails.

The end of a process is an exception that no code of ours may catch. Once it was raised every further call raises it
again and does nothing, so that no `finally` tidies up what a killed process would have left.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

ERRNOS = {name: getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EMFILE", "ENOENT")}
WRITES = ("write", "pwrite")
READS = frozenset({"stat", "lstat", "fstat", "pread", "listdir", "scandir", "flock"})

# before: stops without the call; after: stops having made it; torn: stops in the midst of a write;
# short: a write takes half, and the next one finds no space; an errno: the call fails with it.
# stale, timeout: the answer of a file server got lost: the call is carried out, and then fails with ESTALE, ETIMEDOUT.
LOST = {"stale": errno.ESTALE, "timeout": errno.ETIMEDOUT}
KINDS = ("before", "after", "torn", "short", *LOST, *ERRNOS)
BUG = "bug"  # in the place of the call a TypeError flies, as it does where a compiled module believes in a wrong type
NAMING = ("open", "rename", "link", "unlink", "mkdir", "rmdir")  # what may have changed names


class Stopped(BaseException):
    """The process is dead from here on."""


class Faults:
    """The `Call` of a `Files`: counts while `armed`, and strikes at call number `at` in the way of `kind`."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind, self.at = kind, at
        self.armed = False
        self.is_dead = False
        self.count = 0
        self.struck = ""  # the call that was struck
        self._no_space = False
        self.calls: list[str] = []

    def __call__(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if self.is_dead:
            raise Stopped
        if not self.armed or name == "glance":  # a look at times, which comes with every command and changes nothing
            return function(*args)
        self.count += 1
        self.calls.append(name)
        if self._no_space and name in WRITES:
            self._no_space = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.count != self.at:
            return function(*args)
        self.struck = name
        return self._strike(name, function, args)

    def _strike(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if self.kind in LOST:
            return self._lose_answer(name, function, args)
        if self.kind == BUG:
            if name == "close" or _is_of_lock(name, args):
                return function(*args)
            raise TypeError("of something else")
        code = ERRNOS.get(self.kind)
        if code is not None:
            if name == "close":  # the descriptor is gone, whatever close says
                function(*args)
            raise OSError(code, os.strerror(code))
        if self.kind in ("torn", "short"):
            if name not in WRITES or len(args[1]) < 2:
                self.struck = ""
                return function(*args)
            half = bytes(args[1])[: len(args[1]) // 2]
            done = function(args[0], half, *args[2:])
            if self.kind == "short":
                self._no_space = True
                return done
        elif self.kind == "after":
            function(*args)
        self.is_dead = True
        raise Stopped

    def _lose_answer(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        made = function(*args)
        if name not in NAMING or (name == "open" and not args[1] & os.O_CREAT):
            self.struck = ""
            return made
        if name == "open":
            os.close(made)
        raise OSError(LOST[self.kind], os.strerror(LOST[self.kind]))


def _is_of_lock(name: str, args: tuple[Any, ...]) -> bool:
    """Modules that take and release locks are not compiled."""
    return name in ("flock", "pwrite", "link") or (isinstance(args[0], bytes) and args[0].endswith(b".lock"))


def _descriptors() -> set[int]:
    # The list has the descriptor with which it was read, too: that is none any more.
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


@contextlib.contextmanager
def closing_descriptors() -> Iterator[None]:
    """As the kernel does for a process that ended: close what was opened inside and still is open."""
    before = _descriptors()
    try:
        yield
    finally:
        for descriptor in _descriptors() - before:
            with contextlib.suppress(OSError):
                os.close(descriptor)
