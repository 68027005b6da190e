"""SELECT and EXAMINE, RFC 9051 6.3.2 and 6.3.3, RFC 3501 6.3.1; CLOSE and UNSELECT, RFC 9051 6.4.1 and 6.4.2."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenmail.imap.cursor import Cursor
from greenmail.imap.session import Session


@dataclass(frozen=True, slots=True)
class SelectParam:
    """One select-param, RFC 4466 2.1: how its value is parsed, and what it does.

    `parse` reads what follows the name (a leading SP included) and gives the value. `apply(session, value)` runs when
    `session.view` is the new mailbox and nothing of it was written yet; `after(session, value)` runs when all of
    SELECT's untagged responses are written. HIGHESTMODSEQ or NOMODSEQ is written by SELECT itself, always.
    """

    name: str
    parse: Callable[[Cursor], Any]
    apply: Callable[[Session, Any], None] | None = None
    after: Callable[[Session, Any], None] | None = None
