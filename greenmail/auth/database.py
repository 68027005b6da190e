"""What a user database is, and what it says of a user.

Some give out what is stored of a password, and it is compared here. Others are shown the password and say yes or no
(`Database.verify`): PAM, an LDAP server that is asked by a bind, an HTTP service. Of these some cannot even say whether
there is such a user before they have seen his password (`Entry.is_certain`).

    passwd-file, sql          stored (ldap and http, too, if they are set so)
    ldap, http                verify
    pam                       verify, and never certain
    static, system            neither: they tell where the mail is of users whose passwords are elsewhere
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from greenmail.auth import scram_keys
from greenmail.auth.api import Secret

Blocking = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What a database that compares passwords itself is asked."""

    password: Secret
    address: str
    protocol: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class StandIn:
    """No such user; `stored` is a password to check all the same, so that it takes as long. May be empty."""

    stored: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """It cannot be found out now; `text` is for the log."""

    text: str
    of_one: bool = False  # what is said of this user cannot be used, while the database itself answers


@dataclass(frozen=True, slots=True)
class Wrong:
    """The password is not right; `text` is for the log.

    With `goes_on` the database does not know whether there is such a user at all: the next one is asked.
    """

    text: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What a database says of one user."""

    name: str
    stored: str = field(default="", repr=False)  # password with its {SCHEME}
    uid: int | None = None
    gid: int | None = None
    home: str = ""
    no_login: str = ""  # why this user may not log in; empty: may
    is_elsewhere: bool = False  # the mail is on another server
    allow_nets: tuple[str, ...] | None = None  # None: from everywhere
    extra: Mapping[str, str] = field(default_factory=dict)
    is_certain: bool = True  # there is such a user
    proof: str = field(default="", compare=False, repr=False)  # of one verify that was right, for the cache

    @property
    def compared(self) -> str:
        """What a password that was right was right for: another one makes what is remembered of it worthless."""
        return self.stored or self.proof


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A database cannot tell who all its users are; `text` says why."""

    text: str
    are_placed: bool = False  # of its users those count for whom another database tells where their mail is


Found = Entry | StandIn | Unavailable
Listed = list[str] | Unlisted | Unavailable
Verdict = Entry | Wrong | StandIn | Unavailable
Verify = Callable[[str, Question], Verdict]


class Database(Protocol):
    """Where users are. Called on green threads; what takes long goes through `blocking`, or a pool of its own."""

    is_remote: bool  # asks others than the local disk: what it says is remembered for a while

    @property
    def verify(self) -> Verify | None:
        """How it is shown a name and a password; None: it gives out what is stored, to be compared here."""

    def recall(self, name: str) -> Entry | StandIn | None:
        """The user, or that there is none, if that can be said at once."""

    def find(self, name: str, blocking: Blocking) -> Found:
        """The user, without knowing the password."""

    def everybody(self, blocking: Blocking) -> Listed:
        """The names of all users, for the command line; a server asks for nobody whom it was not told of."""

    def scram(self, blocking: Blocking) -> scram_keys.Summary:
        """What all users together can do for SCRAM; usually at once."""


def find(
    databases: Sequence[Database], places: Sequence[Database], name: str, blocking: Blocking
) -> Entry | StandIn | Unavailable:
    """The user in the first database that has him for certain, and where his mail is by `places`, if nowhere else.

    One that cannot be read may have something against him, so nobody after it is asked.
    """
    stand_in, candidate = "", None
    for database in databases:
        found = database.find(name, blocking)
        if isinstance(found, Unavailable):
            return found
        if isinstance(found, StandIn):
            stand_in = stand_in or found.stored
        elif found.is_certain:
            return placed(found, places, blocking)
        else:
            candidate = candidate or found
    # Where every name is a user's (`static`), so is one that no database has.
    whole = placed(candidate or Entry(name, is_certain=False), places, blocking)
    if isinstance(whole, Unavailable) or whole.is_certain:
        return whole
    return StandIn(stand_in)


def placed(entry: Entry, places: Sequence[Database], blocking: Blocking) -> Entry | Unavailable:
    """`entry`, and what it does not say of home, uid, gid and other fields by the first of `places` that does."""
    for place in places:
        found = place.find(entry.name, blocking)
        if isinstance(found, Unavailable):
            return found
        if isinstance(found, Entry):
            entry = replace(
                entry,
                uid=found.uid if entry.uid is None else entry.uid,
                gid=found.gid if entry.gid is None else entry.gid,
                home=entry.home or found.home,
                no_login=entry.no_login or ("" if entry.home else found.no_login),
                extra={**found.extra, **entry.extra},
                is_certain=entry.is_certain or found.is_certain,
            )
    return entry
