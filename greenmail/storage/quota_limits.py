"""A quota root as the protocols are told of it: what is used, and the most that may be. RFC 9208 3.2, 5."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """The most that the mailboxes of one quota root may use; None: not limited."""

    storage: int | None = None  # octets
    messages: int | None = None
    mailboxes: int | None = None
    annotations: int | None = None  # octets of names and values, RFC 5464


@dataclass(frozen=True, slots=True)
class Quota:
    """What the mailboxes of one quota root use, and the most that they may; None: not limited. RFC 9208 3.2."""

    root: str
    storage_used: int  # octets
    storage_limit: int | None
    messages_used: int
    messages_limit: int | None
    is_soft: bool = False  # nothing is refused when more is used
    mailboxes_used: int = 0  # not counted where it is not limited
    mailboxes_limit: int | None = None
    annotations_used: int = 0  # octets; likewise
    annotations_limit: int | None = None

    @property
    def is_exceeded(self) -> bool:
        """There is more mail than allowed."""
        pairs = (self.storage_used, self.storage_limit), (self.messages_used, self.messages_limit)
        return any(limit is not None and used > limit for used, limit in pairs)
