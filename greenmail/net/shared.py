"""What all connections of one listener share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenmail.net.work import Clock
from greenmail.runtime import Places, Watch

if TYPE_CHECKING:
    from greenmail.net.stream import Stream


@dataclass(frozen=True, slots=True)
class Shared:
    """By the configuration, its certificate and the worker."""

    protocol: str  # "imap" or "pop3"
    clock: Clock
    timeout_write: float
    timeout_handshake: float
    context: Callable[[], Any]  # the present SSLContext, or None
    trusts: Callable[[str], bool]  # whether an IP address counts as secure
    is_proxy: Callable[[str], bool]  # whether it may say by the PROXY protocol whom a connection is from
    is_banned: Callable[[str], bool]  # whether an IP address may not connect at all
    watch: Callable[["Stream", Any, Any], Watch]
    places: Callable[[], Places]
    farewell: bytes  # sent when the worker ends, at the next idle point; may be empty
    compressed: "set[Stream]"  # of the whole worker
    max_compressed: int
    quiet: float  # seconds without anything after which a session that can be taken up again sleeps (`sleep`)
    users: Callable[[Any, str], tuple[str, ...] | None]  # whom a TLS socket's certificate is for; None: it must go
