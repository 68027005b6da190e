"""Users as the command line needs them: one by name, or everybody, from all databases of the settings together.

The order is that of logins: who is in two databases is the user of the first. Where a database cannot say who all its
users are, there is no list, and it is said which one is to blame: a check of "all mail" that leaves some out is worse
than none. PAM alone is no reason: its users are those for whom another database says where their mail is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.auth import database
from greenmail.auth.admission import Databases
from greenmail.auth.database import Database, Entry, Unavailable, Unlisted
from greenmail.auth.names import refusal
from greenmail.errors import Refused

_Blocking = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class People:
    """The users of these databases."""

    databases: Databases
    blocking: _Blocking
    source: str  # the file of settings, for messages

    def find(self, name: str) -> Entry:
        """The user of this name, as logins spell it. Raises Refused."""
        if not self.databases.users and not self.databases.places:
            raise Refused(f"there is no user database in {self.source}")
        reason = refusal(name)
        if reason:
            raise Refused(f"there is no user {name}: the name {reason}")
        found = database.find(self.databases.users, self.databases.places, name, self.blocking)
        if isinstance(found, Unavailable):
            raise Refused(f"user {name} cannot be looked up: {found.text}")
        if not isinstance(found, Entry):
            raise Refused(f"there is no user {name} in the databases of {self.source}")
        return found

    def everybody(self) -> list[str]:
        """The names of all users, each once. Raises Refused."""
        if not self.databases.users and not self.databases.places:
            raise Refused(f"there is no user database in {self.source}")
        found, reasons = self._listed(self.databases.users)
        placed, endless = self._listed(self.databases.places)
        whole = [one for one in (*reasons, *endless) if not one.are_placed] or ([] if placed else reasons)
        if whole:
            raise Refused(f"there is no list of all users: {whole[0].text}; name users")
        if reasons:
            found += placed
        return list(dict.fromkeys(found))

    def _listed(self, databases: Sequence[Database]) -> tuple[list[str], list[Unlisted]]:
        names: list[str] = []
        reasons: list[Unlisted] = []
        for one in databases:
            listed = one.everybody(self.blocking)
            if isinstance(listed, Unavailable):
                raise Refused(f"there is no list of all users now: {listed.text}")
            if isinstance(listed, Unlisted):
                reasons.append(listed)
            else:
                names += listed
        return names, reasons
