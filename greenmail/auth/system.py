"""`type: system`: users of this machine, by getpwnam(3): home, uid and gid; and the hash of /etc/shadow, if so set.

    line of shadow(5)  = name ":" hash ":" changed ":" least ":" most ":" warn ":" inactive ":" expires ":" reserved

Days are counted from 1970. An account that has expired, or whose password was to be changed at the next login, may not
log in: here nobody can change it.
"""

import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass

from greenmail.auth import scram_keys
from greenmail.auth.database import Entry, Found, Listed, Question, StandIn, Unavailable, Verdict, Wrong

_DAY = 86400


@dataclass(frozen=True, slots=True)
class SystemUsers:
    """Satisfies `remembered.Backend`."""

    min_uid: int = 1000
    max_uid: int = 59999
    shadow: str = ""  # the file; empty: another database has the password
    now: Callable[[], float] = time.time

    label = "system"
    compares = False
    summary = scram_keys.NOTHING

    def look_up(self, name: str) -> Found:
        """The user; one whose uid is not between the limits is none."""
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError, UnicodeError):
            return StandIn()
        if not self.min_uid <= found.pw_uid <= self.max_uid:
            return StandIn()
        entry = Entry(name, "", found.pw_uid, found.pw_gid, found.pw_dir)
        return self._with_password(entry) if self.shadow else entry

    def everybody(self) -> Listed:
        """By getpwent(3): where users come over the network, that may be none (sssd: `enumerate`)."""
        return list(dict.fromkeys(one.pw_name for one in pwd.getpwall() if self.min_uid <= one.pw_uid <= self.max_uid))

    def verify(self, name: str, question: Question) -> Verdict:
        """What is stored is compared elsewhere."""
        return Wrong("users of the system are compared by pam, or by their hash")

    def _with_password(self, entry: Entry) -> Found:
        try:
            with open(self.shadow, "rb") as file:
                wanted = entry.name.encode("utf-8") + b":"
                line = next((line for line in file if line.startswith(wanted)), None)
        except OSError as error:
            return Unavailable(f"{self.shadow} cannot be read by uid {os.geteuid()}: {error.strerror}; use pam")
        if line is None:
            return StandIn()
        _name, stored, changed, _least, most, _warn, _inactive, expires, *_ = (
            *line.decode("utf-8", "surrogateescape").rstrip("\n").split(":"), *[""] * 8,
        )  # fmt: skip
        return Entry(
            entry.name, f"{{CRYPT}}{stored}" if stored else "", entry.uid, entry.gid, entry.home,
            _expired(int(self.now() // _DAY), changed, most, expires),
        )  # fmt: skip


def _expired(today: int, changed: str, most: str, expires: str) -> str:
    """Why the account may not be used, by the days of shadow(5)."""
    end, last, age = _days(expires), _days(changed), _days(most)
    if end is not None and today >= end:
        return "the account has expired"
    if last == 0:
        return "the password must be changed first"
    if last is not None and age is not None and today > last + age:
        return "the password has expired"
    return ""


def _days(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None
