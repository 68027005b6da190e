"""The connections of a transcript: in memory, or over sockets to a running server (`--live`)."""

import select
import socket
from collections.abc import Callable

from harness import corpus
from harness.engine import (
    PASSWORD,
    USER,
    Backend,
    Engine,
    change_flags,
    deliver,
    ensure,
    remove,
)
from harness.green import Scheduler
from harness.transcript import Failure, date_time, value
from harness.wire import MemoryWire

from greenmail.imap import serialize
from greenmail.storage.api import AclAction
from greenmail.storage.memory_mailbox import MemoryMailbox
from greenmail.storage.quota_rules import QuotaRules, from_user

BackendMaker = Callable[[Scheduler], Backend]


class MemoryPeers:
    """Sessions of the engine on one account of one store."""

    def __init__(self, make_backend: BackendMaker) -> None:
        self.scheduler = Scheduler()
        self._make_backend = make_backend
        self._settings: dict[str, object] = {}
        self._engine: Engine | None = None
        self._wires: dict[int, MemoryWire] = {}
        self._unread: dict[int, bytes] = {}

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(self.scheduler, self._make_backend(self.scheduler), **self._settings)
        return self._engine

    def _wire(self, connection: int, secure: bool = True) -> MemoryWire:
        if connection not in self._wires:
            self._wires[connection] = self.engine.connect(secure)
            self._unread[connection] = b""
        return self._wires[connection]

    def send(self, connection: int, data: bytes) -> None:
        self._wire(connection).feed(data)
        self.scheduler.run()

    def hang_up(self, connection: int) -> None:
        self._wire(connection).hang_up()
        self.scheduler.run()

    def is_closed(self, connection: int) -> bool:
        self.scheduler.run()
        return self._wires[connection].closed

    def opened(self) -> list[int]:
        return list(self._wires)

    def unread(self, connection: int) -> bytes:
        wire = self._wire(connection)
        self.scheduler.run()
        self._unread[connection] += wire.take()
        return self._unread[connection]

    def read_line(self, connection: int) -> bytes | None:
        line, end, rest = self.unread(connection).partition(b"\r\n")
        if not end:
            return None
        self._unread[connection] = rest
        return line

    def scene(self, words: list[str], body: bytes) -> None:
        if words[0] == "config":
            if self._engine is not None:
                raise Failure("@config must come first")
            self._settings[words[1].replace("-", "_")] = value(" ".join(words[2:]))
            return
        scenes: dict[str, Callable[[list[str], bytes], None]] = {
            "plain": self._plain,
            "mailbox": self._mailbox,
            "append": self._append,
            "quota": self._quota,
            "owner": self._owner,
            "acl": self._acl,
            "no-save-dates": self._no_save_dates,
            "login": self._login,
            "select": self._select,
            "examine": self._select,
            "enable": self._enable,
            "read": self._read,
            "external": self._external,
            "advance": self._advance,
            "stores": _nothing,
            "no-live": _nothing,
        }
        if words[0] not in scenes:
            raise Failure(f"there is no scene @{words[0]}")
        scenes[words[0]](words, body)
        self.scheduler.run()

    def _plain(self, words: list[str], body: bytes) -> None:
        for word in words[1:]:
            self._wire(int(word), secure=False)

    def _mailbox(self, words: list[str], body: bytes) -> None:
        self.engine.fill(words[1], int(words[2]))

    def _append(self, words: list[str], body: bytes) -> None:
        ensure(self.engine.backend.outside, words[1])
        flags, date = arguments(words[2:])
        deliver(self.engine.backend.outside, words[1], [(body, date)], flags)

    def _quota(self, words: list[str], body: bytes) -> None:
        fields = dict(word.split("=", 1) for word in words[1:])
        rules, problems = from_user(fields, QuotaRules())
        if problems:
            raise Failure(problems[0])
        if self.engine.backend.limit is None:
            raise Failure("this store has no quota")
        self.engine.backend.limit(rules)

    def _owner(self, words: list[str], body: bytes) -> None:
        if self.engine.backend.give is None:
            raise Failure("this store has one owner")
        self.engine.backend.give("" if words[1] == "nobody" else words[1])

    def _acl(self, words: list[str], body: bytes) -> None:
        name, identifier, rights = (*words[1:], "")[:3]
        self.engine.backend.outside.set_acl(name, identifier, AclAction.REPLACE, frozenset(rights))

    def _no_save_dates(self, words: list[str], body: bytes) -> None:
        ensure(self.engine.backend.outside, words[1])
        mailbox = self.engine.backend.outside.open(words[1])
        assert isinstance(mailbox, MemoryMailbox), "a Maildir always keeps them"
        mailbox.keeps_save_dates = False

    def _login(self, words: list[str], body: bytes) -> None:
        for word in words[1:]:
            self._quietly(int(word), f"LOGIN {USER} {PASSWORD}")

    def _quietly(self, connection: int, command: str) -> None:
        """A command whose answers are not in the transcript."""
        self.send(connection, f"scene {command}\r\n".encode())
        while not (line := self.read_line(connection) or b"scene NO answer").startswith(b"scene "):
            pass
        if not line.startswith(b"scene OK"):
            raise Failure(f"{command}: {line!r}")

    def _logged_in(self, connection: int) -> None:
        if connection not in self._wires:
            self._quietly(connection, f"LOGIN {USER} {PASSWORD}")

    def _select(self, words: list[str], body: bytes) -> None:
        numbers = [int(word) for word in words[1:] if word.isdigit()]
        names = [word for word in words[1:] if not word.isdigit()] or ["INBOX"]
        for number in numbers:
            self._logged_in(number)
            self._quietly(number, f"{words[0].upper()} {names[0]}")

    def _enable(self, words: list[str], body: bytes) -> None:
        self._logged_in(int(words[1]))
        self._quietly(int(words[1]), f"ENABLE {' '.join(words[2:])}")

    def _read(self, words: list[str], body: bytes) -> None:
        mailbox = self.engine.backend.outside.open(words[1])
        mailbox.claim_recent()
        mailbox.close()

    def _advance(self, words: list[str], body: bytes) -> None:
        self.scheduler.clock.advance(float(words[1]))

    def _external(self, words: list[str], body: bytes) -> None:
        outside, (action, name, *rest) = self.engine.backend.outside, words[1:]
        if action == "deliver":
            self.engine.fill(name, int(rest[0]))
        elif action == "flag":
            change_flags(outside, name, [int(rest[0])], rest[1], arguments(rest[2:])[0])
        elif action == "expunge":
            remove(outside, name, [int(word) for word in rest])
        elif action == "rename":
            outside.rename(name, rest[0])
        else:
            {"create": outside.create, "delete": outside.delete, "subscribe": outside.subscribe}[action](name)
        for wire in self._wires.values():
            for watch in wire.watches:
                watch.notify()  # what inotify does


def _nothing(words: list[str], body: bytes) -> None:
    """A remark for the runner."""


def arguments(words: list[str]) -> tuple[frozenset[str], int]:
    """`(\\Seen \\Draft) "1-Jan-2024 12:00:00 +0000"`, both may be missing."""
    text = " ".join(words)
    flags, date = frozenset[str](), corpus.date(1)
    if text.startswith("("):
        inside, _, text = text[1:].partition(")")
        flags = frozenset(inside.split())
    if text.strip():
        date = date_time(text.strip().strip('"'))
    return flags, date


class LivePeers:
    """Connections to a server; the scene is set by IMAP commands. `user` may hold {n}, for a fresh user each time."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self._address = (host, port)
        self._user, self._password = user, password
        self._sockets: dict[int, socket.socket] = {}
        self._unread: dict[int, bytes] = {}
        self._generated = 0

    def _socket(self, connection: int) -> socket.socket:
        if connection not in self._sockets:
            self._sockets[connection] = socket.create_connection(self._address, timeout=10)
            self._unread[connection] = b""
        return self._sockets[connection]

    def send(self, connection: int, data: bytes) -> None:
        self._socket(connection).sendall(data)

    def hang_up(self, connection: int) -> None:
        self._socket(connection).close()

    def is_closed(self, connection: int) -> bool:
        return self._sockets[connection].recv(1) == b""

    def opened(self) -> list[int]:
        return [number for number, item in self._sockets.items() if item.fileno() >= 0 and number > 0]

    def unread(self, connection: int) -> bytes:
        """What is there within a moment: a server over a socket has no point at which it is known to be silent."""
        item = self._socket(connection)
        poll = select.poll()  # any descriptor, also one above 1,023
        poll.register(item, select.POLLIN)
        if poll.poll(50):
            self._unread[connection] += item.recv(1 << 20)
        return self._unread[connection]

    def read_line(self, connection: int) -> bytes | None:
        item = self._socket(connection)
        while b"\r\n" not in self._unread[connection]:
            try:
                data = item.recv(65536)
            except TimeoutError:
                return None
            if not data:
                return None
            self._unread[connection] += data
        line, _, self._unread[connection] = self._unread[connection].partition(b"\r\n")
        return line

    def close(self) -> None:
        for item in self._sockets.values():
            item.close()

    def _quietly(self, connection: int, command: bytes) -> None:
        self.send(connection, b"scene " + command + b"\r\n")
        while not (line := self.read_line(connection) or b"scene NO answer").startswith(b"scene "):
            pass
        if not line.startswith((b"scene OK", b"scene NO [ALREADYEXISTS]")):
            raise Failure(f"{command!r}: {line!r}")

    def _logged_in(self, connection: int) -> None:
        if connection not in self._sockets:
            self._socket(connection)
            self._quietly(connection, f"LOGIN {self._user} {self._password}".encode())

    def _put(self, mailbox: bytes, messages: list[tuple[str, bytes]]) -> None:
        """All in one APPEND, so that they have one mod-sequence as they have in memory."""
        if messages:
            parts = [b" %b{%d+}\r\n%b" % (f"{head} ".lstrip().encode(), len(data), data) for head, data in messages]
            self._quietly(0, b"APPEND " + mailbox + b"".join(parts))

    def scene(self, words: list[str], body: bytes) -> None:
        self._logged_in(0)
        name = serialize.mailbox(words[1], False) if len(words) > 1 else b""
        numbers = [int(word) for word in words[1:] if word.isdigit()]
        if words[0] in ("mailbox", "append") and name != b"INBOX":
            self._quietly(0, b"CREATE " + name)
        if words[0] == "mailbox":
            new = range(self._generated + 1, self._generated + int(words[2]) + 1)
            self._generated = new.stop - 1
            self._put(name, [(f'"{k % 28 or 28:02}-Jan-2024 12:00:00 +0000"', corpus.message(k)) for k in new])
        elif words[0] == "append":
            self._put(name, [(" ".join(words[2:]), body)])
        elif words[0] in ("login", "select", "examine"):
            names = [word for word in words[1:] if not word.isdigit()] or ["INBOX"]
            for number in numbers:
                self._logged_in(number)
                if words[0] != "login":
                    self._quietly(number, words[0].upper().encode() + b" " + serialize.mailbox(names[0], False))
        elif words[0] == "enable":
            self._logged_in(numbers[0])
            self._quietly(numbers[0], f"ENABLE {' '.join(words[2:])}".encode())
        elif words[0] == "read":
            self._quietly(0, b"SELECT " + name)
            self._quietly(0, b"UNSELECT")
