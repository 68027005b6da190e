"""A logged in session without connection and engine: what one command writes, for tables."""

from typing import Any

from greenmail.imap import registry
from greenmail.imap.cursor import Cursor
from greenmail.imap.session import Services, Session
from greenmail.runtime import direct
from greenmail.storage.api import Account
from greenmail.storage.memory import MemoryStore

NOBODY: Any = None


class Sheet:
    """The part of a Wire that commands write to."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def account_with(*names: str, separator: str = "/", **special_use: str) -> Account:
    """An account with these mailboxes beside INBOX; `Sent="\\\\Sent"` gives a special use."""
    account = MemoryStore(separator, special_use).open_account("alice")
    for name in names:
        account.create(name)
    return account


def session_for(account: Account, *enabled: str) -> Session:
    wire: Any = Sheet()
    session = Session(wire, Services(direct(), NOBODY, NOBODY, NOBODY), "s1")
    session.account = account
    session.enabled.update(enabled)
    return session


def say(session: Session, line: str | bytes) -> list[str]:
    """Run a command without tag; the lines it writes, and OK or NO. Raises what the command raises."""
    text = line if isinstance(line, bytes) else line.encode()
    name, space, rest = text.partition(b" ")
    command = registry.COMMANDS[name.decode().upper()]
    cur = Cursor(space + rest, utf8=session.utf8)
    argument = command.parse(cur, False)
    cur.end()
    sheet: Any = session.wire
    sheet.written = b""
    completion = command.run(session, argument)
    return [*sheet.written.decode().split("\r\n")[:-1], type(completion).__name__.upper()]
