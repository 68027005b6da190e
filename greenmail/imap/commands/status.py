"""STATUS, RFC 9051 6.3.11, RFC 3501 6.3.10: counters of a mailbox that is not, or also is, selected."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from greenmail.imap import grammar, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.session import Session
from greenmail.storage.api import Counters, Mailbox


@dataclass(frozen=True, slots=True)
class StatusAtt:
    """One status-att. `render(session, mailbox, counters)` gives the value alone, for example b"17"."""

    name: str
    render: Callable[[Session, Mailbox, Counters], bytes]
