"""`type: static`: the same for all users: a home made of the name, and a uid and gid, for users whom others know."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from greenmail.auth import scram_keys
from greenmail.auth.database import Blocking, Entry, Listed, Unlisted
from greenmail.auth.names import expand
from greenmail.errors import Refused


@dataclass(frozen=True, slots=True)
class Static:
    """Satisfies `database.Database`; knows every name."""

    home: str = ""  # %u, %n, %d
    mail: str = ""
    uid: int | None = None
    gid: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    is_everybody: bool = False  # whoever asks: every name is a user's

    is_remote = False
    verify = None

    def recall(self, name: str) -> Entry:
        """The user of that name, whoever it is."""
        try:
            home, no_login = expand(self.home, name), ""
        except Refused as error:
            home, no_login = "", error.text
        extra = {**self.extra, **({"mail": self.mail} if self.mail else {})}
        return Entry(name, "", self.uid, self.gid, home, no_login, extra=extra, is_certain=self.is_everybody)

    def find(self, name: str, blocking: Blocking) -> Entry:
        """Likewise."""
        return self.recall(name)

    def everybody(self, blocking: Blocking) -> Listed:
        """None in particular: it tells of those whom others know, or every name is a user's."""
        return Unlisted("static has allow-all-users, so every name is one") if self.is_everybody else []

    def scram(self, blocking: Blocking) -> scram_keys.Summary:
        """It has no passwords."""
        return scram_keys.EMPTY
