"""`subscriptions`, both versions. `formats.md` 3.2. (Signatures; the bodies follow.)"""

from greenmail.storage.filesystem import Files
from greenmail.storage.folders import Layout
from greenmail.storage.locks import Waiting


class Subscriptions:
    """The subscribed names of one account, as IMAP names (Unicode, with prefix and separator)."""

    def __init__(self, files: Files, layout: Layout, waiting: Waiting, control: bytes = b"") -> None:
        """The file is in the root of `layout`, or in `control`."""

    def names(self) -> list[str]:
        """In the order of the file; from Courier's file if there is no other."""
        raise NotImplementedError

    def add(self, name: str) -> bool:
        """Subscribe; whether it was not subscribed before."""
        raise NotImplementedError

    def remove(self, name: str) -> bool:
        """Unsubscribe; whether it was subscribed."""
        raise NotImplementedError
