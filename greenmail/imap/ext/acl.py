"""ACL, RFC 4314: who may do what with a mailbox. `storage.acl` finds the rights, `imap.rights` asks for them.

    acl-data        = "ACL" SP mailbox *(SP identifier SP rights)
    listrights-data = "LISTRIGHTS" SP mailbox SP identifier SP rights *(SP rights)
    myrights-data   = "MYRIGHTS" SP mailbox SP rights

Letters of RFC 2086 that mean several of today's: c stands for k and x, d for e and t (RFC 4314 2.1.1).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from greenmail.errors import BadSyntax
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.session import Session
from greenmail.storage.api import ALL_RIGHTS, LETTERS, AclAction, Rights

log = logging.getLogger(__name__)

_VIRTUAL = {"c": frozenset("kx"), "d": frozenset("et")}
_RESERVED = frozenset({"anyone", "authenticated", "owner"})
_GROUPS = ("$", "!$")


@dataclass(frozen=True, slots=True)
class SetAcl:
    """The argument of SETACL."""

    name: str
    identifier: str
    action: AclAction
    rights: Rights


@dataclass(frozen=True, slots=True)
class Entry:
    """The argument of DELETEACL and LISTRIGHTS."""

    name: str
    identifier: str


def parse_setacl(cur: Cursor, uid: bool) -> SetAcl:
    """setacl = "SETACL" SP mailbox SP identifier SP mod-rights — RFC 4314 7."""
    entry = parse_entry(cur, uid)
    cur.space()
    return SetAcl(entry.name, entry.identifier, *mod_rights(cur))


def parse_entry(cur: Cursor, uid: bool) -> Entry:
    """deleteacl = "DELETEACL" SP mailbox SP identifier; listrights likewise — RFC 4314 7."""
    name = parse_name(cur, uid)
    cur.space()
    return Entry(name, identifier(cur))


def parse_name(cur: Cursor, uid: bool) -> str:
    """getacl = "GETACL" SP mailbox; myrights likewise — RFC 4314 7."""
    cur.space()
    return grammar.mailbox(cur)


def identifier(cur: Cursor) -> str:
    """identifier = astring — RFC 4314 7; an empty one is BAD, RFC 4314 3."""
    found = grammar.astring_text(cur)
    if not found.removeprefix("-"):
        raise cur.wrong("expected an identifier")
    return found


def mod_rights(cur: Cursor) -> tuple[AclAction, Rights]:
    """mod-rights = astring ;; +rights to add, -rights to remove, rights to replace — RFC 4314 7."""
    text = grammar.astring_text(cur)
    action = AclAction(text[0]) if text[:1] in ("+", "-") else AclAction.REPLACE
    found: Rights = frozenset()
    for letter in text.removeprefix(action.value):
        if letter not in ALL_RIGHTS and letter not in _VIRTUAL:
            raise BadSyntax(f"there is no right {letter!a}")  # RFC 4314 3.1: never ignored in silence
        found |= _VIRTUAL.get(letter, frozenset(letter))
    return action, found


def run_setacl(session: Session, argument: SetAcl) -> Ok:
    """RFC 4314 3.1."""
    meant = _canonical(session, argument.name, argument.identifier)
    name = rights.set_acl(session, argument.name, meant, argument.action, argument.rights)
    _log(session, "setacl", name, meant, argument.action.value + letters(argument.rights))
    return Ok("SETACL completed")


def run_deleteacl(session: Session, argument: Entry) -> Ok:
    """RFC 4314 3.2."""
    meant = _canonical(session, argument.name, argument.identifier)
    name = rights.delete_acl(session, argument.name, meant)
    _log(session, "deleteacl", name, meant, "")
    return Ok("DELETEACL completed")


def _log(session: Session, event: str, name: str, identifier: str, change: str) -> None:
    user = rights.account_of(session).user
    log.info("%s sid=%s user=%r mailbox=%r identifier=%r rights=%r", event, session.sid, user, name, identifier, change)


def _canonical(session: Session, name: str, given: str) -> str:
    """A user goes by the name that logging in gives him, unless the list has him under the one that is given."""
    sign = "-" if given.startswith("-") else ""
    user = given.removeprefix("-")
    if user in _RESERVED or user.startswith(_GROUPS):
        return given
    if any(entry.identifier == given for entry in rights.acl(session, name)):
        return given
    return sign + session.services.normalize(user)


def run_getacl(session: Session, name: str) -> Ok:
    """RFC 4314 3.3, 3.6."""
    entries = rights.acl(session, name)
    pairs = b"".join(b" %b %b" % (_astring(session, one.identifier), _rendered(one.rights)) for one in entries)
    session.out.write(b"* ACL %b%b\r\n" % (serialize.mailbox(name, session.utf8), pairs))
    return Ok("GETACL completed")


def run_listrights(session: Session, argument: Entry) -> Ok:
    """RFC 4314 3.4, 3.7: the identifier as it was given. No right is tied to another one here."""
    always, possible = rights.list_rights(session, argument.name, argument.identifier)
    tied = [_quoted("".join(sorted(one, key=LETTERS.index))) for one in possible]
    every = frozenset().union(*possible)
    tied += [letter.encode() for letter, members in _VIRTUAL.items() if members & every]
    session.out.write(
        b"* LISTRIGHTS %b %b %b %b\r\n"
        % (
            serialize.mailbox(argument.name, session.utf8),
            _astring(session, argument.identifier),
            _rendered(always),
            b" ".join(tied),
        )
    )
    return Ok("LISTRIGHTS completed")


def run_myrights(session: Session, name: str) -> Ok:
    """RFC 4314 3.5, 3.8."""
    session.out.write(myrights(session, name, rights.my_rights(session, name)))
    return Ok("MYRIGHTS completed")


def myrights(session: Session, name: str, mine: Rights) -> bytes:
    """The untagged answer."""
    return b"* MYRIGHTS %b %b\r\n" % (serialize.mailbox(name, session.utf8), _rendered(mine))


def letters(given: Iterable[str]) -> str:
    """In one order, with the obsolete letters of which a member is there: RFC 4314 2.1.1."""
    found = frozenset(given)
    obsolete = [letter for letter, members in _VIRTUAL.items() if members & found]
    return "".join([letter for letter in LETTERS if letter in found] + obsolete)


def _rendered(given: Rights) -> bytes:
    return _quoted(letters(given))


def _quoted(text: str) -> bytes:
    return text.encode("ascii") or b'""'


def _astring(session: Session, text: str) -> bytes:
    return serialize.astring(text.encode("utf-8", "surrogateescape"), session.utf8)


SETACL = Command("SETACL", AUTHENTICATED, parse_setacl, run_setacl)
DELETEACL = Command("DELETEACL", AUTHENTICATED, parse_entry, run_deleteacl)
GETACL = Command("GETACL", AUTHENTICATED, parse_name, run_getacl)
LISTRIGHTS = Command("LISTRIGHTS", AUTHENTICATED, parse_entry, run_listrights)
MYRIGHTS = Command("MYRIGHTS", AUTHENTICATED, parse_name, run_myrights)

FEATURE: Feature = Feature(
    "acl",
    commands=(SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS),
    capabilities=(Capability("ACL", after_login), Capability("RIGHTS=texk", after_login)),
)
