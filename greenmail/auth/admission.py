"""Whether somebody who has shown that he knows a password may come in, and as whom.

All of it is decided after the password, so that who does not know it learns nothing. A master user comes in as another
one: what holds for the login (`nologin`, `allow_nets`, the list of who is denied) is then asked of the master, and
where the mail is of the user.
"""

import ipaddress
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from greenmail.auth import database
from greenmail.auth.api import Attempt, Denial, Denied, User
from greenmail.auth.database import Blocking, Database, Entry, StandIn, Unavailable

log = logging.getLogger(__name__)

SHOWN = 256  # characters of what a client sent that the log gets to see


def _process_owner() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about users."""

    username_format: str = "%Lu"
    default_domain: str = ""
    allow_weak_schemes: bool = False
    owner: Callable[[], tuple[int, int]] = field(default=_process_owner)  # uid and gid that mail is written with
    master_separator: str = "*"  # in `user*master`
    lowest_uid: int | None = None  # mail of other uids, from this one on, is for other processes; None: is refused
    anonymous_user: str = ""  # as whom anybody may come in; empty: nobody may
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)  # of all workers, for invented salts


@dataclass(frozen=True, slots=True)
class Databases:
    """Whom to ask, and in which order."""

    users: Sequence[Database] = ()
    masters: Sequence[Database] = ()  # who may come in as others
    denied: Sequence[Database] = ()  # who may not come in at all
    places: Sequence[Database] = ()  # where the mail is of users whose passwords are elsewhere

    @property
    def with_passwords(self) -> tuple[Database, ...]:
        """Where passwords are."""
        return (*self.users, *self.masters)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants to come in, and as whom."""

    name: str  # whose password it is
    target: str  # whose mail
    databases: Sequence[Database]  # in which the password is
    is_master: bool = False
    is_anonymous: bool = False

    @property
    def shown(self) -> str:
        """For the log."""
        return f"{self.target} (master {self.name})" if self.is_master else self.name


class Admission:
    """The last step of a login."""

    def __init__(self, databases: Databases, rules: Rules, blocking: Blocking) -> None:
        self._databases = databases
        self._rules = rules
        self._blocking = blocking

    def admit(self, entry: Entry, claim: Claim, attempt: Attempt) -> User | Denied:
        """Whether somebody who knows the password may come in."""
        name = claim.shown
        if claim.target != claim.name and not claim.is_master:
            return Denied(Denial.MISMATCH, name, f"may not act as {attempt.authorize_as[:SHOWN]!r}")
        if not claim.is_master:
            whole = database.placed(entry, self._databases.places, self._blocking)
            if isinstance(whole, Unavailable):
                return Denied(Denial.UNAVAILABLE, name, whole.text)
            entry = whole
        if entry.no_login:
            return Denied(Denial.NO_LOGIN, name, entry.no_login)
        if entry.allow_nets is not None and not _within(attempt.address, entry):
            return Denied(Denial.NETWORK, name, f"{attempt.address} is not in allow_nets={','.join(entry.allow_nets)}")
        for one in sorted({claim.name, entry.name}):  # a database may know him by several
            denied = database.find(self._databases.denied, (), one, self._blocking)
            if isinstance(denied, Unavailable):
                return Denied(Denial.UNAVAILABLE, name, denied.text)
            if isinstance(denied, Entry):
                return Denied(Denial.NO_LOGIN, name, "is in deny-file")
        if claim.is_anonymous:
            return self._admit_anybody(entry)
        return self._admit_master(entry, claim) if claim.is_master else self._user(entry)

    def _admit_anybody(self, entry: Entry) -> User | Denied:
        """Strangers get no process that has more rights than this one."""
        found = self._user(entry)
        if isinstance(found, Denied) or not self._is_for_another_process(entry):
            return found if isinstance(found, Denied) else replace(found, is_anonymous=True)
        text = (
            f"the mail of anonymous-user belongs to {_owner(entry.uid, entry.gid)}; give it to this server's own user"
        )
        log.error("owner user=%r %s", entry.name, text)
        return Denied(Denial.UNAVAILABLE, entry.name, text)

    def _admit_master(self, master: Entry, claim: Claim) -> User | Denied:
        """The user as whom a master comes in: who must be there, but need not be allowed to log in himself."""
        target = database.find(self._databases.users, self._databases.places, claim.target, self._blocking)
        if isinstance(target, Unavailable):
            return Denied(Denial.UNAVAILABLE, claim.shown, target.text)
        if isinstance(target, StandIn):
            return Denied(Denial.UNKNOWN, claim.shown, "the password is the master's, but there is no such user")
        if target.is_elsewhere:
            return Denied(Denial.NO_LOGIN, claim.shown, target.no_login)
        found = self._user(target)
        return found if isinstance(found, Denied) else replace(found, master=master.name)

    def _user(self, entry: Entry) -> User | Denied:
        uid, gid = self._rules.owner()
        others = (entry.uid is not None and entry.uid != uid) or (entry.gid is not None and entry.gid != gid)
        if others and not self._is_for_another_process(entry):
            text = f"mail belongs to {_owner(entry.uid, entry.gid)}, this server runs as {_owner(uid, gid)}"
            log.error("owner user=%r %s", entry.name, text)
            return Denied(Denial.OWNER, entry.name, text)
        return User(entry.name, entry.home, entry.uid, entry.gid, entry.extra)

    def _is_for_another_process(self, entry: Entry) -> bool:
        lowest = self._rules.lowest_uid
        return lowest is not None and entry.uid is not None and entry.uid >= lowest and entry.gid != 0


def _owner(uid: int | None, gid: int | None) -> str:
    return f"{'any' if uid is None else uid}:{'any' if gid is None else gid}"


def _within(address: str, entry: Entry) -> bool:
    """Whether the client's address is in `allow_nets`. What cannot be read there allows nothing."""
    try:
        client = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(client, "ipv4_mapped", None)
    for net in entry.allow_nets or ():
        try:
            if (mapped or client) in ipaddress.ip_network(net, strict=False):
                return True
        except ValueError:
            log.warning("allow-nets user=%r has %r, which is not a network", entry.name, net)
    return False
