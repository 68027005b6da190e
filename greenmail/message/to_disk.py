"""The octets of a message on their way to the disk, and what is counted of them: the way back of `content`."""

import re

from greenmail.message.compressed import MAGIC
from greenmail.message.content import bare_line_feeds

_CRLF_AFTER_OTHER = re.compile(rb"(?<!\r)\r\n")


class ToDisk:
    """Message octets on their way to the disk: CRLF becomes LF, lone CR and lone LF stay. `formats.md` 1.4.

    CR CR LF stays whole: it is CR and a line end, and as CR LF on disk it would come back without the first CR.
    `disk_size` and `crlf_size` count what was given out: they are the name's `,S=` and `,W=`; `head` is its beginning.
    """

    __slots__ = ("_after_cr", "_held", "_out_after_cr", "crlf_size", "disk_size", "head")

    def __init__(self) -> None:
        self.disk_size = 0
        self.crlf_size = 0
        self.head = b""
        self._held = b""  # a CR at the end of the last piece: what follows it decides
        self._after_cr = False  # the octet before `_held`, or before the next piece, is a CR
        self._out_after_cr = False

    def feed(self, data: bytes) -> bytes:
        """What of the octets so far can be written now."""
        if not data:
            return b""
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r"):
            self._held = b"\r"
            data = data[:-1]
        if not data:
            return b""
        lead = b""
        last_cr = data.endswith(b"\r")
        if self._after_cr and data.startswith(b"\r\n"):
            lead, data = b"\r\n", data[2:]
        self._after_cr = last_cr
        whole = b"\r\r\n" in data
        data = _CRLF_AFTER_OTHER.sub(b"\n", data) if whole else data.replace(b"\r\n", b"\n")
        return self._counted(lead + data)

    def end(self) -> bytes:
        """The rest, after the last octet was fed."""
        held, self._held = self._held, b""
        return self._counted(held)

    def _counted(self, out: bytes) -> bytes:
        if out:
            if self.disk_size < MAGIC:
                self.head += out[: MAGIC - self.disk_size]
            self.disk_size += len(out)
            self.crlf_size += len(out) + bare_line_feeds(out, self._out_after_cr)
            self._out_after_cr = out.endswith(b"\r")
        return out
