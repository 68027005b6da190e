"""The rules of `architecture.md` about locks, asserted while the server runs; switched on by GREENMAIL_DEBUG=1.

* A green thread holds the locks of at most one mailbox, and does not ask for a second one while it holds them. (Only
  RENAME holds several: plain flocks, in the order of their paths, and nothing else meanwhile: `directory_lock`.)
* While it holds them it never breathes, so it never lets a client's I/O in on purpose.
* No file in `new/` or `cur/` is renamed or unlinked, none is linked there, and no control file replaced, unless
  somebody in this process holds the locks of that mailbox. (Work in the pool is done for a green thread that waits:
  "somebody" is all one can say.)

The order green lock, flock, dotlock is that of `Box.locked` and `MailboxLock`, which nobody can take otherwise.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from greenmail.runtime import Runtime
from greenmail.storage.filesystem import Call

_PARTS = (b"new", b"cur")
_CONTROL = (b"dovecot-uidlist", b"dovecot-keywords")


class LockRules:
    """What one worker's green threads hold."""

    def __init__(self, runtime: Runtime) -> None:
        self._current: Callable[[], object] = runtime.current
        self._holders: dict[object, tuple[bytes, ...]] = {}

    @contextlib.contextmanager
    def holding(self, *directories: bytes) -> Iterator[Callable[[], None]]:
        """Around asking for the locks of a mailbox in these directories; call what it gives when they are held."""
        me = self._current()
        self._nothing_held(me, b"lock of " + directories[0])

        def took() -> None:
            self._holders[me] = directories

        try:
            yield took
        finally:
            self._holders.pop(me, None)

    def _nothing_held(self, me: object, what: bytes) -> None:
        if me in self._holders:
            raise AssertionError(f"{what!r} while the lock of {self._holders[me]!r} is held")

    def runtime(self, runtime: Runtime) -> Runtime:
        """`runtime`, which tells when somebody breathes with a lock."""

        def breathe() -> None:
            self._nothing_held(self._current(), b"breathe")
            runtime.breathe()

        return replace(runtime, breathe=breathe)

    def call(self, call: Call) -> Call:
        """`call`, which tells when files change that nobody has locked."""

        def checked(name: str, function: Callable[..., Any], *args: Any) -> Any:
            # From what is no mailbox any more into one: RENAME, which holds flocks of its own (`controls`).
            is_put_back = name == "rename" and b"/.." in os.path.dirname(args[0])
            if name in ("rename", "unlink") and not is_put_back:
                for path in args:
                    self._check(name, path)
            elif name == "link":
                self._check(name, args[1])
            return call(name, function, *args)

        return checked

    def _check(self, name: str, path: bytes) -> None:
        above, entry = os.path.split(path)
        if os.path.basename(above) in _PARTS:
            directory = os.path.dirname(above)
        elif name == "rename" and entry in _CONTROL:
            directory = above
        else:
            return
        if b"/.." in directory:  # being made or removed: no mailbox
            return
        if not any(directory in held for held in self._holders.values()):
            raise AssertionError(f"{name} of {path!r} without the lock of {directory!r}")
