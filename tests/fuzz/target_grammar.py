"""One command: it is parsed, or BadSyntax or Refused says why not. What was parsed can be written and parsed again."""

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar, serialize
from greenmail.imap.cursor import Cursor
from greenmail.imap.registry import COMMANDS
from greenmail.imap.sequence_set import sequence_set


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    utf8, text = bool(data[0] & 1), data[1:]
    _command(text, utf8)
    _set(text)
    _name(text, utf8)
    _string(text, utf8)


def _command(text: bytes, utf8: bool) -> None:
    """`[UID SP] name ...`, as `execute` reads it."""
    cur = Cursor(text, utf8=utf8)
    try:
        name = grammar.atom(cur).upper()
        uid = name == "UID"
        if uid:
            cur.space()
            name = grammar.atom(cur).upper()
        command = COMMANDS.get(name)
        if command is None or (uid and not command.uid):
            return
        command.parse(cur, uid)
        cur.end()
    except (BadSyntax, Refused) as why:
        assert why.text.isprintable() and "\n" not in why.text, why.text
    assert 0 <= cur.pos <= len(text)
    assert cur.depth <= cur.max_depth + 1


def _set(text: bytes) -> None:
    cur = Cursor(text)
    try:
        found = sequence_set(cur)
    except BadSyntax:
        return
    again = sequence_set(Cursor(text[: cur.pos]))
    assert again == found


def _name(text: bytes, utf8: bool) -> None:
    cur = Cursor(text, utf8=utf8)
    try:
        name = grammar.mailbox(cur)
    except (BadSyntax, Refused):
        return
    assert "\0" not in name
    written = serialize.mailbox(name, utf8)
    assert grammar.mailbox(Cursor(written, utf8=utf8)) == name, (name, written)


def _string(text: bytes, utf8: bool) -> None:
    octets = text.replace(b"\0", b"")
    assert grammar.string(Cursor(serialize.string(octets, utf8), utf8=utf8)) == octets
    assert grammar.astring(Cursor(serialize.astring(octets, utf8), utf8=utf8)) == octets
