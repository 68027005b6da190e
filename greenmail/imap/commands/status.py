"""STATUS, RFC 9051 6.3.11, RFC 3501 6.3.10: counters of a mailbox that is not, or also is, selected."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from greenmail.errors import BadSyntax
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.session import Session
from greenmail.storage.api import Counters, Mailbox

_SHOWN = 40  # characters of an item that nobody knows


@dataclass(frozen=True, slots=True)
class StatusAtt:
    """One status-att. `render(session, mailbox, counters)` gives the value alone, for example b"17"."""

    name: str
    render: Callable[[Session, Mailbox, Counters], bytes]


@dataclass(frozen=True, slots=True)
class Status:
    """The argument of STATUS."""

    mailbox: str
    atts: tuple[str, ...]


def status_att_list(cur: Cursor) -> tuple[str, ...]:
    """ "(" status-att *(SP status-att) ")" — RFC 9051 9. Names in upper case, each once, in the client's order."""
    cur.open()
    names = [status_att(cur)]
    while cur.take(b" "):
        names.append(status_att(cur))
    cur.close()
    return tuple(dict.fromkeys(names))


def status_att(cur: Cursor) -> str:
    """status-att = "MESSAGES" / "UIDNEXT" / ... — RFC 9051 9; what features add is known at run time."""
    return grammar.atom(cur).upper()


def parse_status(cur: Cursor, uid: bool) -> Status:
    """status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")" — RFC 9051 6.3.11."""
    cur.space()
    name = grammar.mailbox(cur)
    cur.space()
    return Status(name, status_att_list(cur))


def run_status(session: Session, argument: Status) -> Ok:
    """Tell the counters of a mailbox without selecting it, and without taking its \\Recent messages."""
    session.out.write(status_response(session, argument.mailbox, chosen_atts(argument.atts)))
    return Ok("STATUS completed")


def chosen_atts(names: tuple[str, ...]) -> tuple[StatusAtt, ...]:
    """The items of these names. Raises BadSyntax for one that no feature has."""
    # At run time: the registry imports this module.
    import greenmail.imap.registry as registry

    unknown = [name for name in names if name not in registry.STATUS_ATTS]
    if unknown:
        raise BadSyntax(f"unknown STATUS item {unknown[0][:_SHOWN]}")
    return tuple(registry.STATUS_ATTS[name] for name in names)


def status_response(session: Session, name: str, atts: tuple[StatusAtt, ...]) -> bytes:
    """ "* STATUS" SP mailbox SP "(" [status-att-list] ")" CRLF, with the name as given. Raises StorageError."""
    mailbox, _, _ = rights.open_mailbox(session, name, "r")
    try:
        counters = mailbox.counters()
        values = [b"%b %b" % (att.name.encode("ascii"), att.render(session, mailbox, counters)) for att in atts]
    finally:
        mailbox.close()
    return b"* STATUS %b (%b)\r\n" % (serialize.mailbox(name, session.utf8), b" ".join(values))


def _count(name: str, count: Callable[[Counters], int]) -> StatusAtt:
    return StatusAtt(name, lambda session, mailbox, counters: b"%d" % count(counters))


_ATTS: Mapping[str, StatusAtt] = {
    att.name: att
    for att in (
        _count("MESSAGES", lambda counters: counters.messages),
        _count("RECENT", lambda counters: counters.recent),  # RFC 3501 6.3.10; gone from RFC 9051, Appendix E
        _count("UIDNEXT", lambda counters: counters.uidnext),
        _count("UIDVALIDITY", lambda counters: counters.uidvalidity),
        _count("UNSEEN", lambda counters: counters.unseen),
        _count("DELETED", lambda counters: counters.deleted),
        _count("SIZE", lambda counters: counters.size),  # RFC 8438 in IMAP4rev1
    )
}

STATUS = Command("STATUS", AUTHENTICATED, parse_status, run_status)

FEATURE: Feature = Feature(
    "STATUS",
    commands=(STATUS,),
    capabilities=(Capability("STATUS=SIZE", after_login),),
    status_atts=_ATTS,
)
