"""Dovecot's passwd-file, read unchanged.

    file  = *line
    line  = user ":" password [":" uid [":" gid [":" gecos [":" home [":" shell [":" extra]]]]]] LF
    extra = field *(" " field)          field = name ["=" value]

Empty lines and lines that begin with "#" or ":" are no users. Everything behind the seventh ":" is `extra`, colons too
(IPv6 networks have them). A user who is there twice counts as the first, as in Dovecot. A broken line costs that one
user, with its number in the log, never the file.

Extra fields that mean something here: `nologin`, `allow_nets=net,...`, `proxy` (that user's mail is elsewhere:
refused), and `userdb_home`, `userdb_uid`, `userdb_gid`, which override the columns. All of `userdb_*` is handed on
without the prefix in `User.extra`: quota rules, `mail`, and what later versions make of it.

The file is looked at on every login (one stat) and read again when one of its times, its size or inode is another. It
may be edited in place or, better, replaced by rename.
"""

import errno
import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from greenmail.auth import fields as fields_of
from greenmail.auth import scram_keys
from greenmail.auth.database import Entry, Listed, StandIn, Unavailable, Unlisted
from greenmail.auth.names import expand
from greenmail.errors import Refused

log = logging.getLogger(__name__)

# A file that was written to less than this before we read it may change once more without a visible change of its time:
# kernels count in ticks of up to 10 ms, some file systems in whole seconds.
_SETTLED_NS = 2_000_000_000
_MOST_FILES = 1000  # open tables, if the path has the domain in it
# What a path made of a client's name gives if there is nothing: also a name too long for a file, or below a file.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class Table:
    """What a file said when it was read."""

    entries: Mapping[str, Entry]
    problems: tuple[str, ...] = ()  # for the log, each with the line's number
    names: tuple[str, ...] = ()  # the keys of `entries`, to pick one by number
    scram: scram_keys.Summary = scram_keys.NOTHING

    def stand_in(self, name: str, key: bytes) -> str:
        """A stored password to check for a user who does not exist, so that it takes as long as for one who does.

        It is some user's own, always the same one for the same name: a file with schemes of different cost shows
        unknown names spread over those costs as known ones are. Empty if there are no users.
        """
        if not self.names:
            return ""
        number = int.from_bytes(hmac.digest(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)[:8])
        return self.entries[self.names[number % len(self.names)]].stored


def parse(octets: bytes) -> Table:
    """The users in a passwd-file. Total: any octets give a table."""
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    for number, raw in enumerate(octets.split(b"\n"), start=1):
        line = raw.decode("utf-8", "surrogateescape").removesuffix("\r")
        if not line or line[0] in "#:":
            continue
        entry = _entry(line)
        if isinstance(entry, str):
            problems.append(f"line={number} {entry}")
        elif entry.name in entries:
            problems.append(f"line={number} user={entry.name!r} is there twice, the first one counts")
        else:
            entries[entry.name] = entry
    able = ((entry.name, entry.stored) for entry in entries.values() if not entry.no_login)
    return Table(entries, tuple(problems), tuple(entries), scram_keys.summary(able))


def _entry(line: str) -> Entry | str:
    """A user, or what is wrong with the line."""
    name, colon, rest = line.partition(":")
    if not colon:
        return "has no : in it, so no password"
    columns = rest.split(":", 6) + [""] * 6
    stored, uid, gid, _gecos, home, _shell, extra = columns[:7]
    fields = dict(_field(part) for part in extra.split(" ") if part)
    own = {key.removeprefix("userdb_"): value for key, value in fields.items() if key.startswith("userdb_")}
    try:
        numbers = fields_of.uid(own.get("uid", uid)), fields_of.gid(own.get("gid", gid))
    except (KeyError, ValueError):
        return f"user={name!r} has a uid or gid that is neither a number nor known here"
    refused = {"nologin": "nologin is set", "proxy": "proxy is set: this user's mail is on another server"}
    refused["proxy_maybe"] = refused["proxy"]
    nets = fields.get("allow_nets")
    return Entry(
        name,
        stored,
        *numbers,
        own.get("home", home),
        next((reason for key, reason in refused.items() if key in fields), ""),
        not fields.keys().isdisjoint(("proxy", "proxy_maybe")),
        None if nets is None else tuple(net for net in nets.split(",") if net),
        own,
    )


def _field(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    return key, value if equals else "yes"


@dataclass(frozen=True, slots=True)
class _Stamp:
    mtime_ns: int
    ctime_ns: int  # what copies the modification time of another file cannot set this one
    size: int
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> "_Stamp":
        return cls(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file as it was read; made in the pool."""

    stamp: _Stamp
    settled: bool
    digest: bytes  # of the content
    table: Table


def parse_names(octets: bytes) -> Table:
    """Names of users, one a line; of a line of a passwd-file the name counts alone."""
    text = octets.decode("utf-8", "surrogateescape")
    found = (line.partition(":")[0].strip() for line in text.split("\n"))
    return Table({name: Entry(name, "") for name in found if name and name[0] != "#"})


Parse = Callable[[bytes], Table]


def _load(path: str, now_ns: int, known: dict[str, _Loaded], read: Parse) -> _Loaded | OSError:
    """Read and parse; runs in the pool, and failures are values because they cross it.

    The result is entered into `known` here and not by the caller: of a hundred logins that found the file changed and
    wait in the pool, only the first parses it.
    """
    before = known.get(path)
    try:
        with open(path, "rb") as file:
            stamp = _Stamp.of(os.fstat(file.fileno()))  # before reading: what changes from here on is seen next time
            if before is not None and before.settled and before.stamp == stamp:
                return before
            octets = file.read()
    except OSError as error:
        return error
    digest = hashlib.sha256(octets).digest()
    table = before.table if before is not None and before.digest == digest else read(octets)
    loaded = known[path] = _Loaded(stamp, now_ns - stamp.mtime_ns > _SETTLED_NS, digest, table)
    return loaded


class PasswdFile:
    """The file of a `passwd-file` path, or the files if there is %d, %u or %n in it. Satisfies `Database`."""

    is_remote = False
    verify = None

    def __init__(self, path: str, now_ns: Callable[[], int] = time.time_ns, read: Parse = parse) -> None:
        self._path = path
        self._read = read
        self._now_ns = now_ns
        self._files: dict[str, _Loaded] = {}
        self._told: dict[str, Table] = {}  # what the log has said of each file
        self._unreadable: set[str] = set()
        self._key = os.urandom(16)

    def recall(self, name: str) -> Entry | StandIn | None:
        """The user's entry if the file is in memory and unchanged; at once, one stat."""
        table = self._at_once(self._path_for(name))
        return None if table is None else table.entries.get(name) or StandIn()

    def find(self, name: str, blocking: Callable[..., Any]) -> Entry | StandIn | Unavailable:
        """The user's entry, after reading the file through `blocking` if need be.

        Whether that is needed does not depend on whether there is such a user: one more wait for the pool would tell.
        """
        path = self._path_for(name)
        table = self._at_once(path) or self._table(path, blocking)
        if isinstance(table, Unavailable):
            return table
        return table.entries.get(name) or StandIn(table.stand_in(name, self._key))

    def names(self, beside: str, blocking: Callable[..., Any]) -> list[str]:
        """Everybody in the file in which `beside` is, or would be."""
        path = self._path_for(beside)
        table = self._at_once(path) or self._table(path, blocking)
        return [] if isinstance(table, Unavailable) else list(table.entries)

    def everybody(self, blocking: Callable[..., Any]) -> Listed:
        """Everybody in the file."""
        if "%" in self._path:
            return Unlisted(f"passwd-file {self._path} is one file a domain, or a user")
        table = self._at_once(self._path) or self._table(self._path, blocking)
        return table if isinstance(table, Unavailable) else list(table.entries)

    def scram(self, blocking: Callable[..., Any]) -> scram_keys.Summary:
        """What everybody in the file can do for SCRAM; nothing if there may be other files, with other users.

        Costs one stat unless the file is another one than at the last look. One that was written a moment ago and may
        be written again without a visible change is taken as it was read: a client is not kept waiting for this.
        """
        if "%" in self._path:
            return scram_keys.NOTHING
        table = self._at_once(self._path, settled=False) or self._table(self._path, blocking)
        return scram_keys.NOTHING if isinstance(table, Unavailable) else table.scram

    def _at_once(self, path: str, settled: bool = True) -> Table | None:
        """What the file says, if that is known without reading it."""
        if not path:
            return Table({})
        try:
            stamp = _Stamp.of(os.stat(path))
        except OSError as error:
            return Table({}) if self._is_absent(error) else None
        known = self._files.get(path)
        if known is None or known.stamp != stamp:
            return None
        return known.table if known.settled or not settled else None

    def _is_absent(self, error: OSError) -> bool:
        """A domain, or a user, without a file; a file that is to be there always is another matter."""
        return error.errno in _NO_FILE and "%" in self._path

    def _path_for(self, name: str) -> str:
        if "%" not in self._path:
            return self._path
        try:
            return expand(self._path, name)
        except Refused:  # no domain: then there is no file for this user
            return ""

    def _table(self, path: str, blocking: Callable[..., Any]) -> Table | Unavailable:
        if len(self._files) >= _MOST_FILES:
            self._files.clear()
            self._told.clear()
        loaded: _Loaded | OSError = blocking(_load, path, self._now_ns(), self._files, self._read)
        if isinstance(loaded, OSError):
            self._files.pop(path, None)
            self._told.pop(path, None)
            return self._failed(path, loaded)
        self._unreadable.discard(path)
        if self._told.get(path) is not loaded.table:
            self._told[path] = loaded.table
            for problem in loaded.table.problems:
                log.warning("passwd-file path=%r %s", path, problem)
            table = loaded.table
            log.info(
                "passwd-file path=%r users=%d scram=%s",
                path, len(table.entries), ",".join(sorted(table.scram.mechanisms)) or "none",
            )  # fmt: skip
        return loaded.table

    def _failed(self, path: str, error: OSError) -> Table | Unavailable:
        if self._is_absent(error):
            return Table({})
        if path not in self._unreadable:
            self._unreadable.add(path)
            log.error("passwd-file path=%r cannot be read by uid=%d: %s", path, os.geteuid(), error.strerror)
        return Unavailable(f"{path}: {error.strerror}")


def deny_file(path: str) -> PasswdFile:
    """A list of users, whose entries have nothing but a name."""
    return PasswdFile(path, read=parse_names)
