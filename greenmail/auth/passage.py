"""A session that goes on in another process: that of the mail's owner, after the login in one that may do nothing.

No process that may override file permissions, and none that strangers talk to, opens a path below a user's home: where
mail belongs to many uids (`owner-processes`), a worker only checks the password. Then it has the parent pass one end of
a socket on to a process of the mail's uid, which opens the account and answers the login, and carries octets between
the two until one of them ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from greenmail.auth.api import User
from greenmail.errors import Disconnected
from greenmail.runtime import Wire


@dataclass(frozen=True, slots=True)
class Passage:
    """What the other process has to know of a session."""

    protocol: str  # "imap" or "pop3"
    sid: str
    user: User
    mechanism: str
    tag: str  # of the command that is to be answered; POP3 has none
    client: str  # as it has called itself by ID, for the log
    language: str  # that it has asked for before the login: RFC 5255 3.2, RFC 6856 3.2
    utf8: bool = False  # UTF8 of POP3, which it can say before the login only: RFC 6856 2.1

    def encode(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def decode(said: Mapping[str, Any]) -> "Passage":
        """What `encode` gave. Raises KeyError, TypeError and ValueError."""
        return Passage(**{**said, "user": User(**said["user"])})


class HandOver(Exception):
    """The session is over here. `go` carries it on, with the octets that were received and not used yet."""

    def __init__(self, go: Callable[[bytes], None]) -> None:
        super().__init__("the session goes on in another process")
        self.go = go


def pass_on(passing: HandOver, wire: Wire, take_rest: Callable[[], bytes]) -> str:
    """Carry the session on until it is over there or here; what the log says of its end."""
    try:
        wire.flush()
        passing.go(take_rest())
    except Disconnected as end:
        return end.text
    return "carried on"


class Carrier(Protocol):
    """How sessions go there."""

    def must_carry(self, user: User) -> bool:
        """Whether this user's mail is for another process."""

    def carry(self, wire: Wire, passage: Passage) -> HandOver:
        """What to raise. Raises Refused if no process can take the session now."""
