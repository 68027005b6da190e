"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE: RFC 9051 6.3.4 to 6.3.8. CREATE-SPECIAL-USE: RFC 6154 3.

With IMAP4rev2 enabled a new name becomes Net-Unicode (RFC 5198: normalization form C), and the client is told so by a
LIST answer with OLDNAME; RFC 9051 5.1. Names that other programs made keep their form, so an existing mailbox is looked
for under the name as given first. Without it, names are taken as they are.
"""

import logging
import re
import unicodedata
from dataclasses import dataclass

from greenmail.errors import Refused
from greenmail.imap import grammar, rights
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.commands.listing import render_renamed
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.objectid import objectid
from greenmail.imap.response import CANNOT, USEATTR, Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.storage.api import Account, is_inbox

log = logging.getLogger(__name__)

# RFC 5198 2 (controls of ASCII and of Latin-1), RFC 9755 3 (line and paragraph separator).
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


# What a mailbox can be made for. \\All and \\Flagged would show messages of other mailboxes, which nothing here does.
USES = {use.upper(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}


@dataclass(frozen=True, slots=True)
class Create:
    """The argument of CREATE."""

    name: str
    uses: tuple[str, ...] = ()  # upper case, as the client gave them: "\\SENT"


@dataclass(frozen=True, slots=True)
class Rename:
    """The argument of RENAME."""

    old: str
    new: str


def parse_create(cur: Cursor, uid: bool) -> Create:
    """create = "CREATE" SP mailbox [create-params] — RFC 9051 9, RFC 4466 2.2; create-param = "USE" ..., RFC 6154 6."""
    name = parse_mailbox(cur, uid)
    if not cur.take(b" "):
        return Create(name)
    cur.open()
    cur.expect(b"USE")
    cur.space()
    cur.open()
    uses: list[str] = []
    while cur.peek() != b")":
        if uses:
            cur.space()
        cur.expect(b"\\")
        uses.append("\\" + grammar.atom(cur).upper())
    cur.close()
    cur.close()
    return Create(name, tuple(dict.fromkeys(uses)))


def parse_mailbox(cur: Cursor, uid: bool) -> str:
    """delete = "DELETE" SP mailbox, and so subscribe and unsubscribe — RFC 9051 9."""
    cur.space()
    return grammar.mailbox(cur)


def parse_rename(cur: Cursor, uid: bool) -> Rename:
    """rename = "RENAME" SP mailbox SP mailbox — RFC 9051 6.3.6."""
    cur.space()
    old = grammar.mailbox(cur)
    cur.space()
    return Rename(old, grammar.mailbox(cur))


def run_create(session: Session, argument: Create) -> Ok:
    """Make a mailbox. A trailing separator only declares that there will be names below it: ignored, RFC 9051 6.3.4."""
    account, given = account_of(session), argument.name
    name = _new_name(session, given)
    made = rights.create(session, name, _special_use(account, argument.uses))
    log.info("create sid=%s user=%r mailbox=%r", session.sid, account.user, name)
    if name != _without_separator(account, given):
        session.out.write(render_renamed(session, name, _without_separator(account, given)))
    return Ok("CREATE completed", b"MAILBOXID (%b)" % objectid(made))  # RFC 8474 4.1


def _special_use(account: Account, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Special-use attributes in their one spelling. Raises Refused for an unknown one, and one that is taken."""
    unknown = [use for use in wanted if use not in USES]
    if unknown:
        raise Refused(f"no mailbox can be made for the special use {unknown[0]}", USEATTR)
    uses = tuple(USES[use] for use in wanted)
    # LIST tells each attribute of one mailbox only: a second one would have no effect. RFC 6154 3 allows to refuse.
    taken = {use for folder in account.folders() for use in folder.special_use} if uses else set()
    if not taken.isdisjoint(uses):
        raise Refused("another mailbox has this special use already", USEATTR)
    return uses


def run_delete(session: Session, given: str) -> Ok:
    """Remove a mailbox with its messages; names below it stay."""
    name = rights.delete(session, given)
    log.info("delete sid=%s user=%r mailbox=%r", session.sid, account_of(session).user, name)
    if name != given:
        session.out.write(render_renamed(session, name, given, ("\\NonExistent",)))
    return Ok("DELETE completed")


def run_rename(session: Session, argument: Rename) -> Ok:
    """Rename a mailbox with all names below it; of INBOX, move the messages. Subscriptions stay as they are."""
    account = account_of(session)
    new = _new_name(session, argument.new)
    old = rights.rename(session, argument.old, new)
    log.info("rename sid=%s user=%r mailbox=%r new=%r", session.sid, account.user, old, new)
    if (old, new) != (argument.old, _without_separator(account, argument.new)):
        session.out.write(render_renamed(session, new, argument.old))
    return Ok("RENAME completed")


def run_subscribe(session: Session, name: str) -> Ok:
    """Add a name to the subscriptions."""
    rights.subscribe(session, name)
    return Ok("SUBSCRIBE completed")


def run_unsubscribe(session: Session, name: str) -> Ok:
    """Take a name from the subscriptions; nothing happens if it is not there."""
    account = account_of(session)
    subscribed = set(account.subscriptions())
    first, separator, rest = name.partition(account.separator or "\0")
    spelled = "INBOX" + separator + rest if is_inbox(first) else name
    normal = unicodedata.normalize("NFC", spelled) if session.rev2 else spelled
    account.unsubscribe(next((one for one in (name, spelled, normal) if one in subscribed), name))
    return Ok("UNSUBSCRIBE completed")


def _without_separator(account: Account, name: str) -> str:
    return name.removesuffix(account.separator) if account.separator else name


def _new_name(session: Session, given: str) -> str:
    """The name that a mailbox gets. Raises Refused for one that no mailbox may have."""
    name = _without_separator(account_of(session), given)
    if _FORBIDDEN.search(name):
        raise Refused("control characters are not allowed in the name of a mailbox", CANNOT)
    return unicodedata.normalize("NFC", name) if session.rev2 else name


CREATE = Command("CREATE", AUTHENTICATED, parse_create, run_create)
DELETE = Command("DELETE", AUTHENTICATED, parse_mailbox, run_delete)
RENAME = Command("RENAME", AUTHENTICATED, parse_rename, run_rename)
SUBSCRIBE = Command("SUBSCRIBE", AUTHENTICATED, parse_mailbox, run_subscribe)
UNSUBSCRIBE = Command("UNSUBSCRIBE", AUTHENTICATED, parse_mailbox, run_unsubscribe)

FEATURE: Feature = Feature(
    "MAILBOXES",
    commands=(CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE),
    capabilities=(Capability("CREATE-SPECIAL-USE", after_login),),
)
