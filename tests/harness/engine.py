"""The IMAP engine with everything below it, in memory: stores, users, connections."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harness import corpus
from harness.green import Scheduler
from harness.wire import MemoryWire

from greenmail.auth import digests, scram, scram_keys
from greenmail.auth.anonymous import ANONYMOUS
from greenmail.auth.api import Attempt, Clear, Denial, Denied, Keys, Secret, Token, User
from greenmail.auth.logins import Patience
from greenmail.auth.passage import Passage
from greenmail.fulltext.service import FullTextService, Means
from greenmail.imap.execute import Serving
from greenmail.imap.session import Limits, Services, Session
from greenmail.storage.api import Account, FlagAction, FlagChange
from greenmail.storage.memory import MemoryStore
from greenmail.storage.quota_rules import QuotaRules

USER, PASSWORD = "alice", "secret"
KEEPER = "keeper"  # who has all rights where the mail is not USER's


class Everywhere(FullTextService):
    """Full-text search as if every account had an index, whatever store it is in."""

    def serves(self, account: Account) -> bool:
        return True


class Users:
    """Names and passwords, as an Authenticator; it remembers what it was asked."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self.passwords = passwords
        self.attempts: list[Attempt] = []
        self.tokens: dict[str, Token] = {}
        self.takes_tokens = False
        self.anonymous_user = ""

    def token(self, token: Secret, address: str) -> Token:
        return self.tokens.get(token.reveal().decode("ascii"), Token(text="no such token", scope="mail"))

    def able(self) -> frozenset[str]:
        return frozenset((*scram.HASHES, digests.CRAM_MD5))

    def clear(self, login: str, address: str) -> Clear | None:
        password = self.passwords.get(login)
        return Clear(Secret(b"?")) if password is None else Clear(Secret(password.encode()), f"{{PLAIN}}{password}")

    def keys(self, mechanism: str, login: str, authorize_as: str, address: str) -> Keys | None:
        password = self.passwords.get(login)
        salt = scram_keys.salt_for(b"harness", login)
        if password is None:
            return scram_keys.derived(salt, mechanism, salt)
        return scram_keys.keys_of(f"{{PLAIN}}{password}", mechanism, salt)

    def check(self, attempt: Attempt) -> User | Denied:
        self.attempts.append(attempt)
        if attempt.proof is not None:
            is_anonymous = attempt.proof.vouched == ANONYMOUS
            return (
                User(attempt.login, is_anonymous=is_anonymous)
                if attempt.proof.right
                else Denied(Denial.MISMATCH, attempt.login, "no proof")
            )
        expected = self.passwords.get(attempt.login)
        if expected is None:
            return Denied(Denial.UNKNOWN, attempt.login, "unknown user")
        if attempt.password.reveal() != expected.encode():
            return Denied(Denial.MISMATCH, attempt.login, "password mismatch")
        return User(attempt.login)


@dataclass
class Seats:
    """Who is logged in: a Register for one process."""

    most: int = 50
    entries: list[tuple[str, str, str]] = field(default_factory=list)
    wait: float = 0.0  # what `poll` answers
    polls: list[tuple[str, float]] = field(default_factory=list)

    def login(self, user: str, address: str, protocol: str) -> str | None:
        if sum(entry[0] == user for entry in self.entries) >= self.most:
            return "Too many connections of this user."
        self.entries.append((user, address, protocol))
        return None

    def logout(self, user: str, address: str, protocol: str) -> None:
        self.entries.remove((user, address, protocol))

    def poll(self, user: str, delay: float) -> float:
        self.polls.append((user, delay))
        return self.wait

    def unpoll(self, user: str) -> None:
        self.polls.remove(next(poll for poll in reversed(self.polls) if poll[0] == user))


class Neighbours:
    """Who can log in, as `imap.session.Others`; USER alone has mail, which the sessions open."""

    def __init__(self, users: Users, open_account: Callable[[str], Account | None]) -> None:
        self._users = users
        self._open_account = open_account

    def find(self, name: str) -> User | None:
        return User(name) if name in self._users.passwords else None

    def account(self, user: User) -> Account | None:
        return self._open_account(user.name)


class Backend:
    """A store for tests: `open_account` is for sessions, `outside` shows the same mail as another process sees it."""

    def __init__(
        self,
        open_account: Callable[[], Account],
        outside: Account,
        limit: Callable[[QuotaRules], None] | None = None,
        give: Callable[[str], None] | None = None,
    ) -> None:
        self.open_account = open_account
        self.outside = outside
        self.limit = limit  # give the account a quota, before anybody logs in
        self.give = give  # make the mail that of another user, before anybody logs in


def memory_backend(scheduler: Scheduler, directory: Path | None = None) -> Backend:
    store = MemoryStore(now=scheduler.clock.now)
    account = store.open_account(USER)

    def limit(rules: QuotaRules) -> None:
        account.quota_rules = rules

    def give(owner: str) -> None:
        shown = copy(account)
        shown.owner = owner
        account.user = account.owner = KEEPER
        made.open_account = lambda: shown

    made = Backend(lambda: store.open_account(USER), account, limit, give)
    return made


class Engine:
    """Connections to one account, run by `scheduler`."""

    def __init__(self, scheduler: Scheduler, backend: Backend, **settings: Any) -> None:
        self.scheduler = scheduler
        self.backend = backend
        self.users = Users({USER: PASSWORD})
        self.seats = Seats()
        self.services = configured(
            Services(
                runtime=scheduler.runtime(),
                authenticator=self.users,
                open_account=lambda user: backend.open_account(),
                register=self.seats,
                server_id={"name": "GreenMail"},
                time_zone="UTC",
                others=Neighbours(self.users, lambda name: backend.open_account() if name == USER else None),
            ),
            settings,
        )
        self.sessions: list[Session] = []
        self._generated = 0

    def connect(self, secure: bool = True, **options: Any) -> MemoryWire:
        """A new connection; its greeting comes with the next `run`."""
        wire = MemoryWire(self.scheduler, secure, **options)
        session = Session(wire, self.services, f"s{len(self.sessions) + 1}")
        self.sessions.append(session)
        self.scheduler.spawn(serving(session, wire))
        return wire

    def talk(self, wire: MemoryWire, data: bytes) -> bytes:
        """Send, run everybody until nobody can go on, and give what came back."""
        wire.feed(data)
        self.scheduler.run()
        return wire.take()

    def login(self, secure: bool = True) -> MemoryWire:
        """A connection that is logged in, with nothing unread."""
        wire = self.connect(secure)
        answer = self.talk(wire, f"login LOGIN {USER} {PASSWORD}\r\n".encode())
        assert b"login OK" in answer, answer
        return wire

    def select(self, mailbox: str = "INBOX") -> MemoryWire:
        """A connection that has selected `mailbox`, with nothing unread."""
        wire = self.login()
        answer = self.talk(wire, f"select SELECT {mailbox}\r\n".encode())
        assert b"select OK" in answer, answer
        return wire

    def fill(self, mailbox: str, number: int) -> list[int]:
        """Put generated messages into a mailbox, which is made if it is missing."""
        ensure(self.backend.outside, mailbox)
        numbers = range(self._generated + 1, self._generated + number + 1)
        self._generated += number
        return deliver(self.backend.outside, mailbox, [(corpus.message(k), corpus.date(k)) for k in numbers])


def serving(session: Session, wire: MemoryWire, passage: Passage | None = None) -> Callable[[], None]:
    """The life of one connection: the shell's part is to call a session that sleeps, and to close it at the end."""

    def life() -> None:
        serving = Serving(session, passage)
        while (dormant := serving.go_on()) is not None:
            wire.sleep(dormant)
        if not wire.refuses_writes:
            wire.flush()
        wire.closed = True

    return life


def ensure(account: Account, mailbox: str) -> None:
    if mailbox not in [folder.name for folder in account.folders() if folder.selectable]:
        account.create(mailbox)


def deliver(
    account: Account, name: str, messages: list[tuple[bytes, int]], flags: frozenset[str] = frozenset()
) -> list[int]:
    """Put messages, given as octets and date, into a mailbox; their UIDs."""
    if not messages:
        return []
    mailbox = account.open(name)
    uploads = []
    for data, date in messages:
        upload = mailbox.upload()
        upload.write(data)
        upload.flags, upload.date = flags, date
        uploads.append(upload)
    uids = mailbox.save(uploads)
    mailbox.close()
    return uids


def change_flags(account: Account, name: str, uids: list[int], action: str, flags: frozenset[str]) -> None:
    mailbox = account.open(name)
    mailbox.store(uids, FlagChange(FlagAction(action.upper()), flags))
    mailbox.close()


def remove(account: Account, name: str, uids: list[int]) -> None:
    mailbox = account.open(name)
    mailbox.store(uids, FlagChange(FlagAction.ADD, frozenset({"\\Deleted"})))
    mailbox.expunge(uids)
    mailbox.close()


def configured(services: Services, settings: dict[str, Any]) -> Services:
    """`services` with settings by their names, those of `Limits` and `Patience` too."""
    others = dict(settings)
    if others.pop("full_text_search", False):
        others["full_text"] = Everywhere(Means(services.runtime, services.runtime.blocking, lambda work: None))

    def taken(table: type[Limits | Patience]) -> dict[str, Any]:
        return {item.name: others.pop(item.name) for item in fields(table) if item.name in others}

    patience = replace(services.limits.patience, **taken(Patience))
    return replace(services, limits=replace(services.limits, patience=patience, **taken(Limits)), **others)
