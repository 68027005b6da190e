"""Where the full-text index of an account belongs; `text_index` has what it is for."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextPlace:
    """Where an account has its index, and what it is about."""

    directory: bytes  # of the index; made when it is first filled
    mailboxes: Callable[[], list[tuple[str, bytes]]]  # names and directories of all; may take long, for the pool
