"""What a session tells unasked beyond the news of its selected mailbox: the core's end of NOTIFY, RFC 5465.

The core knows no events. It asks here what of the selected mailbox is to be told, says when messages have come, and
lets the client be told of other things while no command is in progress.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from greenmail.runtime import Watch


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is told of the selected mailbox unasked, RFC 5465 6.1."""

    messages: bool = True  # that there are new ones, and that some were expunged
    flags: bool = True
    expunges_at_rest: bool = False  # also while no command is in progress


EVERYTHING = Wanted()  # until NOTIFY is used for the first time: RFC 5465 3.1


class Listening(Protocol):
    """A session's NOTIFY SET or NOTIFY NONE."""

    wanted: Wanted

    def rest(self, seconds: float) -> bool:
        """Tell what happens until the client sends something; False if it did not for so many seconds."""

    def watch(self) -> Watch:
        """What IDLE waits on; it stays this object's."""

    def tell(self) -> None:
        """Tell what happened elsewhere than in the selected mailbox."""

    def tells_of(self, uid: int) -> bool:
        """Whether `arrived` sends a FETCH of this message."""

    def arrived(self, uids: Sequence[int], more: Mapping[int, tuple[Any, ...]]) -> None:
        """The client has just been told of these messages in the selected mailbox; of some, more data items are due."""

    def did(self, command: str, argument: Any, code: bytes) -> None:
        """This client has done that itself: it need not be told."""

    def close(self) -> None:
        """Nothing is listened for any more."""
