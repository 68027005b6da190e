"""What a test leaves open. Mailboxes of a process that was declared dead hold what they would not, were it dead."""

import gc
import os
import tempfile

ENOUGH = 7  # so many are little harm; more are worth a search for cycles


class LetGo:
    """Calling it closes the files and directories with a name in the directory for such that were opened since then."""

    def __init__(self) -> None:
        self._below = f"{tempfile.gettempdir()}/"
        self._before = self._opened()

    def _opened(self) -> dict[int, tuple[int, int]]:
        """Device and inode by descriptor."""
        found = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(f"/proc/self/fd/{name}")
                if path.startswith(self._below) and not path.startswith(f"{self._below}#"):
                    status = os.fstat(int(name))
                    found[int(name)] = status.st_dev, status.st_ino
            except OSError:
                pass  # that of the listing itself
        return found

    def __call__(self) -> None:
        if len(self._opened()) <= len(self._before) + ENOUGH:
            return
        gc.collect()  # what closes its descriptor itself does it now
        for number, file in self._opened().items():
            if self._before.get(number) != file:
                os.close(number)
