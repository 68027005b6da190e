"""BINARY, RFC 3516: FETCH BINARY is a part of RFC 9051 and lives there; here is APPEND of a literal8.

append-data =/ literal8

What is binary in the message becomes base64 before it is stored (`message.unbinary`). Until all of it has come it is
kept aside, in memory or in a file without a name.
"""

import contextlib
import tempfile

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.response import UNKNOWN_CTE
from greenmail.imap.session import Session
from greenmail.message.unbinary import LONE, Unfit, as_text
from greenmail.storage.api import Upload

_IN_MEMORY = 1 << 18  # octets of a message that are kept in memory
_PIECE = 65536  # octets given to the store at once


class BinaryUpload:
    """An `Upload` that may be given any octets; the store sees them when all are there."""

    def __init__(self, session: Session, upload: Upload) -> None:
        self._session = session
        self._upload = upload
        self._aside = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 # `abort` and `finish` close it

    def write(self, data: bytes) -> None:
        """The next octets. Raises StorageError."""
        try:
            self._aside.write(data)
        except OSError as error:
            raise _unavailable(error) from None

    def finish(self) -> None:
        """All of them have come. Raises Refused: RFC 3516 4.4 UNKNOWN-CTE; StorageError."""
        try:
            self._aside.seek(0)
            data = self._aside.read()
            self._aside.close()
        except OSError as error:
            raise _unavailable(error) from None
        try:
            text: bytes = self._session.blocking(as_text, data)
        except Unfit:
            raise Refused("the binary content of this message cannot be stored", UNKNOWN_CTE) from None
        for start in range(0, len(text), _PIECE):
            self._upload.write(text[start : start + _PIECE])
            self._session.breathe()

    def abort(self) -> None:
        """Nobody wants it."""
        with contextlib.suppress(OSError):  # octets that did not fit and nobody wants
            self._aside.close()


class TextCheck:
    """Looks at a literal8 in the middle of a message, which lies in its file already: is it lines of text?

    What goes before decides what becomes of binary octets, so a message with any has to begin with a literal8.
    """

    __slots__ = ("_is_wrong", "_tail")

    def __init__(self) -> None:
        self._is_wrong = False
        self._tail = b""  # a CR whose LF may come

    def feed(self, data: bytes) -> None:
        """The next octets."""
        data = self._tail + data
        self._tail = b"\r" if data.endswith(b"\r") else b""
        self._is_wrong = self._is_wrong or LONE.search(data, 0, len(data) - len(self._tail)) is not None

    def end(self) -> None:
        """Raises Refused."""
        if self._is_wrong or self._tail:
            raise Refused("binary octets are taken only where a message begins with a literal8", UNKNOWN_CTE)


def _unavailable(error: OSError) -> StorageError:
    return StorageError(
        Reason.UNAVAILABLE, f"The server has no place for a binary message now: {error.strerror}. Try again later."
    )


FEATURE: Feature = Feature("binary", capabilities=(Capability("BINARY", always),))
