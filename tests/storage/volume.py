"""A file system with a clock of its own: times in steps of any size, by a server whose clock is before or behind ours.

What changes is done on the real disk, and then the times of what it changed are set to those of that clock. So
everything that looks at the disk sees them, whether it goes through `Files` or not.
"""

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenmail.runtime import Runtime, direct

_CALL = 20_000  # ns that a system call takes
_NAMED = {"rename": (0, 1), "link": (1,), "unlink": (0,), "mkdir": (0,), "rmdir": (0,)}


class Volume:
    """`call` is for `Files`, `runtime` for stores; `delivered`, `renamed` and `removed` is what others do."""

    def __init__(self, path: Path, step_ns: int, offset: float, keeps_open_names: bool = False) -> None:
        self.path = path
        self.now_ns = 1_750_000_000_123_456_789
        self._step = step_ns
        self._offset = int(offset * 1e9)
        self._keeps_open_names = keeps_open_names
        self._numbers = itertools.count(1)
        self.count = 0
        self.stale_at = 0  # the call with this number says ESTALE
        self.struck = ""
        self.hidden: set[str] = set()  # names that listings miss, as they do while somebody renames them

    def runtime(self) -> Runtime:
        return replace(direct(), now=lambda: self.now_ns / 1e9, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def stamp(self, *paths: bytes | str | Path | int) -> None:
        """These were changed now."""
        server = self.now_ns + self._offset
        server -= server % self._step
        for path in paths:
            if isinstance(path, int) or os.path.exists(path):
                os.utime(path, ns=(server, server))

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        self.now_ns += _CALL
        if self.count == self.stale_at:
            self.struck = name
            if name == "close":
                function(*args)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        if name in _NAMED:
            return self._change(name, function, args)
        if name in ("fsync", "fdatasync"):  # nobody cuts the power here
            return None
        if name == "listdir":
            return [entry for entry in function(*args) if os.fsdecode(entry) not in self.hidden]
        made = name == "open" and args[1] & os.O_CREAT and not os.path.exists(args[0])
        result = function(*args)
        if made:
            self.stamp(os.path.dirname(args[0]), args[0])
        elif name in ("write", "pwrite", "ftruncate"):
            self.stamp(args[0])
        return result

    def _change(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        lost = args[-1] if name in ("rename", "unlink") else b""
        kept = os.path.join(os.path.dirname(lost), b".nfs%08d" % next(self._numbers))
        if self._keeps_open_names and os.path.basename(lost).startswith(b"greenmail.") and os.path.exists(lost):
            os.link(lost, kept)  # somebody has it open: the client renames what it should remove
        function(*args)
        self.stamp(*{os.path.dirname(args[place].rstrip(b"/")) for place in _NAMED[name]})

    # What others do, without a lock

    def deliver(self, name: str, where: str = "new") -> None:
        waiting = self.path / "tmp" / "x"
        waiting.write_bytes(b"Subject: hi\n\n" + name.encode() + b"\n")
        os.rename(waiting, self.path / where / name)
        self.stamp(self.path / where)

    def rename(self, old: str, new: str) -> None:
        os.rename(self.path / "cur" / old, self.path / "cur" / new)
        self.stamp(self.path / "cur")

    def remove(self, name: str) -> None:
        os.unlink(self.path / "cur" / name)
        self.stamp(self.path / "cur")
