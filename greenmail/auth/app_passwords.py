"""Passwords for one program or device each, beside or in the place of a user's own.

    file = *line
    line = user ":" name ":" password ":" protocols ":" created [":" expires] LF

    bob@example.org:phone:{SSHA256}cGFz...:imap:2026-11-23:2027-11-30

`protocols` are divided by commas, and none is all; `created` and `expires` are days of UTC, and on the last it is still
good. They are made here and not chosen: 20 letters and digits at random cannot be guessed, so a plain salted hash keeps
them, and looking at all that a user has takes microseconds.

When each was used last is the time of a file in a directory of its own: a login writes to no file of passwords.
"""

import base64
import contextlib
import datetime
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from greenmail.auth import passwd_edit, schemes, scram_keys
from greenmail.auth.api import Attempt
from greenmail.auth.database import Blocking, Database, Entry, Unavailable
from greenmail.auth.passwd_file import PasswdFile, Table
from greenmail.errors import Refused

log = logging.getLogger(__name__)

PROTOCOLS = ("imap", "pop3", "smtp")
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without i, l, o, 0 and 1
_GROUPS, _GROUP = 5, 4
_NOTE_AGAIN = 60.0  # seconds within which a second use is not noted


@dataclass(frozen=True, slots=True)
class AppPassword:
    """One of them."""

    user: str
    name: str
    stored: str = field(repr=False)
    protocols: frozenset[str] = frozenset()  # none: all
    created: str = ""
    expires: str = ""  # the last day, YYYY-MM-DD; empty: never

    def refusal(self, protocol: str, today: str) -> str:
        """Why it is not good here and now; empty: it is."""
        if self.expires and self.expires < today:
            return f"it was good until {self.expires}"
        return f"it is not for {protocol}" if self.protocols and protocol not in self.protocols else ""

    def line(self) -> bytes:
        """The line without its end. Raises Refused if a field cannot be written in one."""
        protocols = ",".join(sorted(self.protocols))
        fields = [self.user, self.name, self.stored, protocols, self.created, *([self.expires] if self.expires else [])]
        if not self.name or self.user.startswith("#"):
            raise Refused("an app password has a name, and a user's name does not begin with #")
        for value in fields:
            if ":" in value or not value.isprintable():
                raise Refused(f"{value!r} cannot be written to a file of passwords: it has a colon or a line end in it")
        return ":".join(fields).encode("utf-8", "surrogateescape")


def is_day(text: str) -> bool:
    """YYYY-MM-DD."""
    with contextlib.suppress(ValueError):
        return datetime.date.fromisoformat(text).isoformat() == text
    return False


def parse_line(line: str) -> AppPassword | str:
    """An app password, or what is wrong with the line."""
    parts = line.split(":")
    if len(parts) not in (5, 6) or not parts[0] or not parts[1] or not parts[2]:
        return "has not the form user:name:password:protocols:created:expires"
    user, name, stored, protocols, created = parts[:5]
    expires = parts[5] if len(parts) == 6 else ""
    words = frozenset(word for word in protocols.split(",") if word)
    if not words <= frozenset(PROTOCOLS):
        return f"user={user!r} name={name!r} is for something else than {' and '.join(PROTOCOLS)}"
    if expires and not is_day(expires):  # it must not last for ever because of a slip
        return f"user={user!r} name={name!r} ends on a day that is not written YYYY-MM-DD"
    return AppPassword(user, name, stored, words, created, expires)


def parse(octets: bytes) -> Table:
    """All of a file, by user: an entry's `extra` has the lines by their names. Total: any octets give a table.

    Nobody of them can use SCRAM or CRAM-MD5: the server has to say a salt before it knows which password is meant.
    """
    lines: dict[str, dict[str, str]] = {}
    problems = []
    for number, raw in enumerate(octets.split(b"\n"), start=1):
        line = raw.decode("utf-8", "surrogateescape").removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        found = parse_line(line)
        if isinstance(found, str):
            problems.append(f"line={number} {found}")
        elif found.name in lines.setdefault(found.user, {}):
            problems.append(
                f"line={number} user={found.user!r} name={found.name!r} is there twice, the first one counts"
            )
        else:
            lines[found.user][found.name] = line
    entries = {user: Entry(user, extra=of_user) for user, of_user in lines.items()}
    lacking = dict.fromkeys(scram_keys.NOTHING.lacking, (len(entries), next(iter(entries), "")))
    return Table(entries, tuple(problems), scram=scram_keys.Summary(lacking=lacking) if entries else scram_keys.EMPTY)


def _match(lines: Mapping[str, str], password: bytes) -> AppPassword | None:
    """Runs in the pool. The first that this password is right for."""
    for line in lines.values():
        found = parse_line(line)
        if isinstance(found, AppPassword) and schemes.verify(found.stored, password, False).right:
            return found
    return None


class AppPasswords:
    """Those of the file, and when they were used; one a worker."""

    def __init__(self, path: str, used: "Uses | None", blocking: Blocking, now: Callable[[], float]) -> None:
        """Without `used` nothing is noted: a try from the command line is none."""
        self._file = PasswdFile(path, read=parse)
        self._used = used
        self._blocking = blocking
        self._now = now

    @property
    def database(self) -> Database:
        """For the question who can use SCRAM."""
        return self._file

    def knows(self, user: str, attempt: Attempt) -> bool:
        """Whether the password is one of this user's, for this protocol and today. The log says which.

        Costs a user without any as much as one who has some: one look in the pool.
        """
        found = self._file.recall(user) or self._file.find(user, self._blocking)
        if isinstance(found, Unavailable):
            log.error("app-password reason=%r", found.text)
            return False
        lines = found.extra if isinstance(found, Entry) else {}
        right: AppPassword | None = self._blocking(_match, lines, attempt.password.reveal())
        if right is None:
            return False
        refusal = right.refusal(attempt.protocol, today(self._now()))
        if refusal:
            log.warning("app-password refused user=%r name=%r rip=%s reason=%r",
                        user, right.name, attempt.address, refusal)  # fmt: skip
            return False
        log.info("app-password user=%r name=%r protocol=%s rip=%s", user, right.name, attempt.protocol, attempt.address)
        if self._used is not None:
            self._used.note(right, attempt, self._blocking, self._now())
        return True


def today(now: float) -> str:
    """The day of UTC."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).date().isoformat()


class Uses:
    """When app passwords were used last: the times of files, which say by what protocol and from where."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._noted: dict[str, float] = {}
        self._told = False

    def _path(self, one: AppPassword) -> str:
        name = f"{one.user}\0{one.name}\0{one.stored}".encode("utf-8", "surrogateescape")
        return os.path.join(self._directory, hashlib.sha256(name).hexdigest()[:32])

    def note(self, one: AppPassword, attempt: Attempt, blocking: Blocking, now: float) -> None:
        """That it is used now; a directory that cannot be written to keeps nobody out."""
        path = self._path(one)
        if now - self._noted.get(path, float("-inf")) < _NOTE_AGAIN:
            return
        if len(self._noted) >= 10_000:
            self._noted.clear()
        self._noted[path] = now
        problem = blocking(_write, path, f"{attempt.protocol} {attempt.address}\n")
        if problem and not self._told:
            self._told = True
            log.warning("app-password-use path=%r cannot be written: %s", self._directory, problem)

    def last(self, one: AppPassword) -> tuple[float, str] | None:
        """When, and by what protocol and from where; None: never, as far as is known."""
        try:
            with open(os.open(self._path(one), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                return os.fstat(file.fileno()).st_mtime, file.read(200).decode("ascii", "replace").strip()
        except OSError:
            return None


def _write(path: str, text: str) -> str:
    """Runs in the pool; what went wrong."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(text.encode("ascii", "replace"))
    except OSError as error:
        return error.strerror or "error"
    return ""


# --- for the command line ---


def generate() -> str:
    """A new password: 99 bits."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))


def hashed(password: str) -> str:
    """As it is stored."""
    salt = os.urandom(16)
    digest = hashlib.sha256(password.encode("ascii") + salt).digest()
    return "{SSHA256}" + base64.b64encode(digest + salt).decode("ascii")


def all_in(path: str) -> list[AppPassword]:
    """Those of a file, in its order; what is no app password is left out. Raises OSError, not if it is not there."""
    try:
        with open(path, "rb") as file:
            table = parse(file.read())
    except FileNotFoundError:
        return []
    found = (parse_line(line) for entry in table.entries.values() for line in entry.extra.values())
    return [one for one in found if isinstance(one, AppPassword)]


def add(path: str, one: AppPassword, group: int = -1) -> None:
    """Append it; a file that is not there is made, for `group` to read. Raises Refused if the name is taken."""
    line = one.line()

    def change(lines: list[bytes]) -> list[bytes]:
        if any(_is(there, one.user, one.name) for there in lines):
            raise Refused(f"{one.user} has an app password {one.name} already")
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        return [*lines, line + b"\n"]

    passwd_edit.edit(path, change, group, create=True)


def revoke(path: str, user: str, name: str | None) -> int:
    """Remove this user's of that name, or all of them; how many there were. Raises OSError, not if there is no file."""
    before = 0

    def change(lines: list[bytes]) -> list[bytes]:
        nonlocal before
        left = [line for line in lines if not _is(line, user, name)]
        before = len(lines) - len(left)
        return left

    if os.path.exists(path):
        passwd_edit.edit(path, change)
    return before


def _is(line: bytes, user: str, name: str | None) -> bool:
    parts = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape").split(":")
    return not line.startswith(b"#") and parts[0] == user and (name is None or parts[1:2] == [name])
