"""A passwd-file: any octets give a table, and a line costs itself and no other user."""

from greenmail.auth.names import expand
from greenmail.auth.passwd_file import parse, parse_names
from greenmail.errors import Refused

GOOD = b"somebody-else:{PLAIN}secret\n"


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
    table.stand_in("nobody", b"key")
    parse_names(data)
    try:
        path = expand("/mail/%u/", data.decode("utf-8", "surrogateescape"))
    except Refused:
        return
    assert "\0" not in path and path.count("/") == 3 and path not in ("/mail/./", "/mail/../", "/mail//")
