"""A POP3 server in memory for the tests of this directory: scheduler, store, users, connections."""

from typing import Any

from harness.engine import Seats, Users
from harness.green import Scheduler
from harness.wire import MemoryWire

from greenmail.message.content import to_crlf
from greenmail.pop3 import serve
from greenmail.pop3.session import Limits, Services, Session
from greenmail.storage.memory import MemoryStore

MAIL = [
    b"Subject: one\r\n\r\nfirst\r\n",
    b"Subject: two\r\n\r\n.\r\n..dots\r\n.x\r\nlast",
    b"Subject: three\r\nX: y\r\n\r\n1\r\n2\r\n3\r\n4\r\n",
]
LOGIN = b"USER alice\r\nPASS secret\r\n"


class Host:
    """One account, "alice" with password "secret", and any number of connections."""

    def __init__(self, mail: list[bytes] | None = None, **settings: Any) -> None:
        self.scheduler = Scheduler()
        self.users = Users({"alice": "secret", "jörg": "grün"})
        self.seats = Seats()
        self.account = MemoryStore(now=self.scheduler.clock.now).open_account("alice")
        self.inbox: Any = self.account.open("INBOX")
        self.inbox.uidvalidity = 1795343254
        self.inbox.add([(to_crlf(data), frozenset(), 0) for data in (MAIL if mail is None else mail)])
        limits = {key: settings.pop(key) for key in list(settings) if key in Limits.__dataclass_fields__}
        self.services = Services(
            runtime=self.scheduler.runtime(),
            authenticator=self.users,
            open_account=lambda user: self.account,
            register=self.seats,
            limits=Limits(**limits),
            **settings,
        )
        self.sessions: list[Session] = []

    def connect(self, secure: bool = True, **options: Any) -> MemoryWire:
        """A new connection, greeted."""
        wire = MemoryWire(self.scheduler, secure, **options)
        session = Session(wire, self.services, f"s{len(self.sessions) + 1}")
        self.sessions.append(session)

        def life() -> None:
            serve.run(session)
            wire.closed = True

        self.scheduler.spawn(life)
        self.scheduler.run()
        assert wire.take().startswith(b"+OK ")
        return wire

    def talk(self, wire: MemoryWire, data: bytes) -> bytes:
        wire.feed(data)
        self.scheduler.run()
        return wire.take()

    def login(self) -> MemoryWire:
        wire = self.connect()
        assert b"-ERR" not in self.talk(wire, LOGIN)
        return wire

    def uids(self) -> list[int]:
        return list(self.inbox.table.uids)

    def flags(self, uid: int) -> frozenset[str]:
        table = self.inbox.table
        return table.flags_of(table.row(uid))  # type: ignore[no-any-return] # of a store that tests reach into
