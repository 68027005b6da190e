"""A passwd-file: any octets give a table, a line costs itself and no other user, the file says the same."""

import logging
import os
from typing import Any

from fuzz.place import fresh

from greenmail.auth.database import Entry, StandIn, Unavailable, Unlisted
from greenmail.auth.names import expand
from greenmail.auth.passwd_file import PasswdFile, deny_file, parse, parse_names
from greenmail.errors import Refused

logging.disable(logging.CRITICAL)

GOOD = b"somebody-else:{PLAIN}secret\n"
SETTLED = 10_000_000_000  # nanoseconds from when on a file counts as old


def check(data: bytes) -> None:
    table = parse(data)
    assert tuple(table.entries) == table.names
    for name, entry in table.entries.items():
        assert entry.name == name and ":" not in name and "\n" not in name
        assert ":" not in entry.stored
    for problem in table.problems:
        assert problem.startswith("line=") and problem.isprintable(), problem
    joint = b"" if data.endswith(b"\n") else b"\n"
    longer = parse(data + joint + GOOD)
    assert {**longer.entries, **table.entries} == longer.entries, "a line more takes nobody away"
    assert "somebody-else" in longer.entries
    assert table.stand_in("nobody", b"key") == table.stand_in("nobody", b"key")
    assert (table.stand_in("nobody", b"key") != "") <= bool(table.entries)
    names = parse_names(data)
    assert all(name == name.strip() and entry.stored == "" for name, entry in names.entries.items())
    _on_disk(data)
    _expanded(data)


class Clock:
    """Nanoseconds, and a pool that counts how often it is asked."""

    def __init__(self) -> None:
        self.now = 0
        self.asked = 0

    def now_ns(self) -> int:
        return self.now

    def blocking(self, function: Any, *args: Any) -> Any:
        self.asked += 1
        return function(*args)


def _on_disk(data: bytes) -> None:
    here = fresh()
    path = os.fsdecode(here) + "/users"
    clock = Clock()
    database = PasswdFile(path, clock.now_ns)
    assert isinstance(database.find("nobody", clock.blocking), Unavailable)
    assert isinstance(database.everybody(clock.blocking), Unavailable)
    assert database.names("nobody", clock.blocking) == []
    with open(path, "wb") as file:
        file.write(data)
    clock.now = os.stat(path).st_mtime_ns + SETTLED
    table = parse(data)
    assert database.recall("nobody") is None
    for name in [*list(table.entries)[:5], "nobody@nowhere", "../../etc/passwd", "\0"]:
        found, at_once = database.find(name, clock.blocking), database.recall(name)
        if name in table.entries:
            assert isinstance(found, Entry) and found == at_once == table.entries[name]
        else:
            assert isinstance(found, StandIn) and isinstance(at_once, StandIn)
    assert clock.asked <= 4, "a file that is settled is read once"
    assert database.everybody(clock.blocking) == list(table.entries) == database.names("x", clock.blocking)
    assert database.scram(clock.blocking) == table.scram
    with open(path, "ab") as file:
        file.write(b"\n" + GOOD)
    assert isinstance(database.find("somebody-else", clock.blocking), Entry)
    denied = deny_file(path)
    assert denied.everybody(clock.blocking) == list(parse_names(data + b"\n" + GOOD).entries)
    _one_a_user(os.fsdecode(here), clock, data)


def _one_a_user(here: str, clock: Clock, data: bytes) -> None:
    """`%u` in the path: no name leads out of the directory, and nobody is found without a file."""
    many = PasswdFile(here + "/%u.users", clock.now_ns)
    by_domain = PasswdFile(here + "/%d", clock.now_ns)
    assert isinstance(many.everybody(clock.blocking), Unlisted) and not many.scram(clock.blocking).mechanisms
    for line in data.split(b"\n")[:5]:
        name = line.decode("utf-8", "surrogateescape").replace("\0", "")
        for database in (many, by_domain):
            found = database.find(name, clock.blocking)
            assert isinstance(found, StandIn | Unavailable) or database is by_domain, (name, found)
            database.recall(name)


def _expanded(data: bytes) -> None:
    try:
        path = expand("/mail/%u/", data.decode("utf-8", "surrogateescape"))
    except Refused:
        return
    assert "\0" not in path and path.count("/") == 3 and path not in ("/mail/./", "/mail/../", "/mail//")
