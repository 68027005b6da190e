"""Other users, as a namespace of their mail needs them: who there is, and where the home of each is.

With a passwd-file only who is in it has mail to show. Who may be asked at all is found by the directories, where the
path of the mail has the user's name in it (`/var/vmail/%d/%n/Maildir`), else by the passwd-file.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from greenmail.auth import database, names
from greenmail.auth.api import User
from greenmail.auth.database import Database, Entry, StandIn, Unavailable
from greenmail.auth.passwd_file import PasswdFile

log = logging.getLogger(__name__)

_VARIABLE = re.compile("%([und%])")


class Owners:
    """The users of this server."""

    def __init__(
        self,
        databases: Sequence[Database],
        ask: Callable[..., Any],
        work: Callable[..., Any],
        places: Sequence[Database] = (),
    ) -> None:
        """`ask` runs a function in the pool of the user databases, `work` in that for everything else."""
        self._databases = tuple(databases)
        self._places = tuple(places)
        self._ask = ask
        self._work = work

    def find(self, name: str) -> User | None:
        """The user of this name, if he is known; everybody is, where there is no user database that could tell."""
        if names.refusal(name):
            return None
        if not self._databases:
            return User(name)
        found = self._recalled(name) or database.find(self._databases, self._places, name, self._ask)
        if isinstance(found, Entry):
            found = database.placed(found, self._places, self._ask)
        if isinstance(found, Unavailable):
            log.warning("owner user=%r reason=%r", name, found.text)
        return User(name, found.home, found.uid, found.gid, found.extra) if isinstance(found, Entry) else None

    def _recalled(self, name: str) -> Entry | None:
        for one in self._databases:
            entry = one.recall(name)
            if not isinstance(entry, StandIn):
                return entry
        return None

    def everybody(self, template: str, reader: str) -> list[str]:
        """Users who may have mail at `template`, as the one who asks may know them."""
        if has_name(template):
            found: list[str] = self._work(by_directories, template, reader.partition("@")[2])
            return found
        return [name for one in self._databases if isinstance(one, PasswdFile) for name in one.names(reader, self._ask)]


def has_name(template: str) -> bool:
    """Whether the names of users stand in the paths, so that their directories tell them."""
    variables = _VARIABLE.findall(template)
    return template.startswith("/") and ("u" in variables or "n" in variables)


def by_directories(template: str, domain: str) -> list[str]:
    """The users whose directories there are. `domain`: of those in whose paths there is none, empty if they have none.

    No path is built from what is found: the names are, and `names.expand` checks them.
    """
    parts = template.strip("/").split("/")
    last = max(place for place, part in enumerate(parts) if set(_VARIABLE.findall(part)) & {"u", "n", "d"})
    found = set()
    for values in _walk("/", parts[: last + 1], {}):
        local = values.get("n", "")
        name = values.get("u") or (f"{local}@{values.get('d', domain)}" if values.get("d", domain) else local)
        if not names.refusal(name) and names.expand(template, name) == template_of(template, values):
            found.add(name)
    return sorted(found)


def template_of(template: str, values: dict[str, str]) -> str:
    """The path with these values, some of which may be parts of others."""
    user = values.get("u", "")
    local, _, domain = user.partition("@")
    every = {"%": "%", "u": user, "n": values.get("n", local), "d": values.get("d", domain)}
    return _VARIABLE.sub(lambda match: every[match[1]], template)


def _walk(above: str, parts: Sequence[str], known: dict[str, str]) -> Iterator[dict[str, str]]:
    """Values of the variables in `parts`, for every directory that fits them."""
    if not parts:
        yield known
        return
    pieces = _VARIABLE.split(parts[0])
    if not set(pieces[1::2]) & {"u", "n", "d"}:
        plain = parts[0].replace("%%", "%")
        yield from _walk(os.path.join(above, plain), parts[1:], known)
        return
    pattern = "".join(_piece(piece, place % 2 == 1, pieces[1:place:2]) for place, piece in enumerate(pieces))
    try:
        with os.scandir(above) as entries:
            directories = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        log.debug("owners path=%r error=%s", above, error)
        return
    for name in directories:
        match = re.fullmatch(pattern, name, re.DOTALL)
        if match is None or any(known.get(letter, value) != value for letter, value in match.groupdict().items()):
            continue
        yield from _walk(os.path.join(above, name), parts[1:], known | match.groupdict())


def _piece(piece: str, is_variable: bool, before: Sequence[str]) -> str:
    if not is_variable:
        return re.escape(piece)
    if piece == "%":
        return "%"
    return f"(?P={piece})" if piece in before else f"(?P<{piece}>[^/]+?)"
