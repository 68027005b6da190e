"""What is asked of web services; `net.web` does it, in a pool, and with a limit of time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A GET, or a POST if there is a body."""

    url: str
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said."""

    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why it said nothing, for the log."""

    text: str


class Web(Protocol):
    """Blocks; to be called in a pool."""

    def __call__(self, request: Request) -> Answer | NoAnswer:
        """The answer, whatever its status. Redirections are not followed: who is asked stands in the settings."""
