"""METADATA and METADATA-SERVER, RFC 5464: annotations of mailboxes, and of the server under the empty name.

    metadata-resp = "METADATA" SP mailbox SP (entry-values / entry-list)
    entry-value   = entry SP value
    value         = nstring / literal8

Everybody has private annotations of his own on a mailbox that he may use, and all who may use it see the shared ones.
To change these the right `w` is needed, too, for else whoever may read a public mailbox could write there: RFC 5464 3.3
says what is needed at least. Of the server, /shared/comment, /shared/admin and shared filters (RFC 5466) are settings;
private ones may be set.

An entry that was asked for by its name and has no value is answered with NIL. ABNF and examples of RFC 5464 do not
agree on where options stand, and on several entries without parentheses: all is taken. There is no ENABLE METADATA,
so no METADATA comes unasked, RFC 5464 4.1; nor does the one that RFC 6154 5.4 shows, when a special use moves.

A private annotation on another user's mailbox is in the user's own account, and raises no mod-sequence in that mailbox
(RFC 7162 3.2): nobody else could see what changed, and its owner's index is not for readers to write.

What RFC 5464 4.1 recommends and is not done: annotations on names that are no mailboxes (\\Noselect), which have no
directory to keep them in.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.commands.mailboxes import USES
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.filters import check_values, configured
from greenmail.imap.response import CANNOT, LIMIT, NOPERM, USEATTR, Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session

log = logging.getLogger(__name__)

SPECIAL_USE = "/private/specialuse"  # RFC 6154 4

_SCOPES = ("/private", "/shared")
_INFINITE = 1 << 20  # levels: more than an entry can have
_DEPTHS = {"0": 0, "1": 1, "INFINITY": _INFINITE}
_FORBIDDEN = frozenset([*range(0x1A), *b"*%"])  # RFC 5464 3.2
_MAX_ENTRY = 255  # octets
_MAX_ASKED = 1000  # entries in one command
_SHOWN = 40  # characters of a word that is refused
_LOGGED = 200  # characters of the entries that were set

Pairs = list[tuple[str, bytes | None]]  # entries as they are shown, with their values


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """The argument of GETMETADATA."""

    name: str  # empty: of the server
    entries: tuple[str, ...]  # as the client spelled them
    depth: int = 0  # levels below each
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """The argument of SETMETADATA."""

    name: str
    values: Mapping[str, bytes | None]  # by entry in lower case


def parse_getmetadata(cur: Cursor, uid: bool) -> GetMetadata:
    """getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries — RFC 5464 5.

    Or with the options behind the mailbox, as in the examples of RFC 5464 4.2.
    """
    cur.space()
    options: dict[str, int] = {}
    if cur.peek() == b"(":
        options = getmetadata_options(cur)
        cur.space()
    name = grammar.mailbox(cur)
    cur.space()
    if not options and cur.peek() == b"(" and cur.peek(2)[1:] not in (b"/", b'"', b"{"):
        options = getmetadata_options(cur)
        cur.space()
    return GetMetadata(name, entries(cur), options.get("DEPTH", 0), options.get("MAXSIZE"))


def getmetadata_options(cur: Cursor) -> dict[str, int]:
    """getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")" — RFC 5464 5: MAXSIZE and DEPTH."""
    found: dict[str, int] = {}
    cur.open()
    while True:
        option = grammar.tagged_ext_label(cur)
        if option not in ("MAXSIZE", "DEPTH") or option in found:
            raise cur.wrong(f"unknown or repeated option {option}")
        cur.space()
        found[option] = grammar.number(cur) if option == "MAXSIZE" else depth(cur)
        if not cur.take(b" "):
            break
    cur.close()
    return found


def depth(cur: Cursor) -> int:
    """scope-opt = "DEPTH" SP ("0" / "1" / "infinity") — RFC 5464 5."""
    word = grammar.atom(cur).upper()
    if word not in _DEPTHS:
        raise cur.wrong("expected 0, 1 or infinity")
    return _DEPTHS[word]


def entries(cur: Cursor) -> tuple[str, ...]:
    """entries = entry / "(" entry *(SP entry) ")" — RFC 5464 5; and entry *(SP entry), as in RFC 5464 4.4.1."""
    is_list = cur.peek() == b"("
    if is_list:
        cur.open()
    found = [entry(cur)]
    while cur.take(b" "):
        found.append(entry(cur))
        if len(found) > _MAX_ASKED:
            raise cur.wrong("too many entries")
    if is_list:
        cur.close()
    return tuple(found)


def entry(cur: Cursor) -> str:
    """entry = astring — RFC 5464 3.2, 5. As the client spelled it."""
    octets = grammar.astring(cur)
    is_good = octets.isascii() and _FORBIDDEN.isdisjoint(octets) and b"//" not in octets and not octets.endswith(b"/")
    text = octets.decode("ascii") if is_good else ""
    if not f"{text.lower()}/".startswith(tuple(f"{scope}/" for scope in _SCOPES)):
        raise cur.wrong("expected the name of an entry, /private/... or /shared/...")
    return text


def parse_setmetadata(cur: Cursor, uid: bool) -> SetMetadata:
    """setmetadata = "SETMETADATA" SP mailbox SP entry-values — RFC 5464 5. Of an entry given twice the last counts."""
    cur.space()
    name = grammar.mailbox(cur)
    cur.space()
    cur.open()
    found: dict[str, bytes | None] = {}
    while True:
        key = entry(cur).lower()
        # RFC 5464 3.2: at least two components, and four in what belongs to vendors.
        if key.count("/") < (4 if key.split("/")[2:3] == ["vendor"] else 2):
            raise cur.wrong("the name of the entry is too short")
        cur.space()
        found[key] = grammar.literal8(cur) if cur.peek(2) == b"~{" else grammar.nstring(cur)
        if not cur.take(b" "):
            break
    cur.close()
    return SetMetadata(name, found)


def run_getmetadata(session: Session, argument: GetMetadata) -> Ok:
    """RFC 5464 4.2."""
    found = chosen(session, argument.name, argument.entries, argument.depth)
    too_long = []
    if argument.max_size is not None:
        too_long = [len(value) for _, value in found if value is not None and len(value) > argument.max_size]
        found = [(key, value) for key, value in found if value is None or len(value) <= argument.max_size]
    if found:
        session.out.write(metadata_response(session, argument.name, found))
    return Ok("GETMETADATA completed", b"METADATA LONGENTRIES %d" % max(too_long) if too_long else b"")


def chosen(session: Session, name: str, wanted: Iterable[str], levels: int) -> Pairs:
    """Each of the wanted entries and those below it; one without a value has None if nothing else is answered for it.

    Only entries that exist are told below others: RFC 5464 4.2.2.
    """
    stems = tuple(wanted)
    mailbox, found = rights.metadata(session, name)
    if not name:
        texts = {"/shared/comment": session.services.server_comment, "/shared/admin": session.services.server_admin}
        found.update((key, text.encode()) for key, text in texts.items() if text)
        found.update(configured(session))
    elif any(_is_below(SPECIAL_USE, stem.lower(), levels) for stem in stems):
        uses = special_use(session, mailbox)
        if uses:
            found[SPECIAL_USE] = uses
    pairs: dict[str, tuple[str, bytes | None]] = {}
    keys = sorted(found)
    for stem in stems:
        session.breathe()
        folded = stem.lower()
        for key in keys:
            if _is_below(key, folded, levels):
                pairs.setdefault(key, (stem + key[len(folded) :], found[key]))
        if not levels:
            pairs.setdefault(folded, (stem, None))
    return list(pairs.values()) or [(stem, None) for stem in stems]


def _is_below(key: str, stem: str, levels: int) -> bool:
    return key == stem or (key.startswith(stem + "/") and key.count("/", len(stem)) <= levels)


def special_use(session: Session, name: str) -> bytes:
    """The value of /private/specialuse, as LIST tells it. RFC 6154 4."""
    uses = [folder.special_use for folder in account_of(session).folders() if folder.name == name]
    return " ".join(uses[0]).encode("ascii") if uses else b""


def metadata_response(session: Session, name: str, pairs: Pairs) -> bytes:
    """The untagged METADATA with values, RFC 5464 4.4.1."""
    values = b" ".join(
        b"%b %b" % (serialize.astring(key.encode("ascii"), session.utf8), _value(session, value))
        for key, value in pairs
    )
    return b"* METADATA %b (%b)\r\n" % (serialize.mailbox(name, session.utf8), values)


def _value(session: Session, value: bytes | None) -> bytes:
    if value is not None and b"\0" in value:
        return serialize.literal8(value)
    return serialize.nstring(value, session.utf8)


def run_setmetadata(session: Session, argument: SetMetadata) -> Ok:
    """RFC 5464 4.3: all entries are set, or none."""
    name, values, limits = argument.name, argument.values, session.limits
    _check(session, values)
    if not name:
        check_values(session, values)  # RFC 5466 3.2
    if not name and any(key.startswith("/shared/") for key in values):
        raise Refused("annotations of the server that all see are set by the administrator", NOPERM)
    if name and SPECIAL_USE in values:
        _set_special_use(session, name, values)
    else:
        try:
            rights.set_metadata(session, name, values, limits.max_metadata_entries)
        except StorageError as error:
            codes = {Reason.LIMIT: "METADATA TOOMANY", Reason.CANNOT: "METADATA NOPRIVATE"}
            if error.reason in codes:
                raise Refused(error.text, codes[error.reason]) from None
            raise
    user, some = account_of(session).user, " ".join(values)[:_LOGGED]
    log.info("setmetadata sid=%s user=%r mailbox=%r entries=%r", session.sid, user, name, some)
    return Ok("SETMETADATA completed")


def _check(session: Session, values: Mapping[str, bytes | None]) -> None:
    most = session.limits.max_metadata_size
    if any(len(value) > most for value in values.values() if value is not None):
        raise Refused(f"an annotation can have {most} octets at most", f"METADATA MAXSIZE {most}")
    if any(len(key) > _MAX_ENTRY for key in values):
        raise Refused(f"the name of an entry can have {_MAX_ENTRY} octets at most", LIMIT)


def _set_special_use(session: Session, name: str, values: Mapping[str, bytes | None]) -> None:
    """It is kept elsewhere than the others, so it cannot be set together with them as one change."""
    if len(values) > 1:
        raise Refused(f"{SPECIAL_USE} has to be set by a command of its own", CANNOT)
    words = (values[SPECIAL_USE] or b"").decode("ascii", "replace").upper().split()
    unknown = [word for word in words if word not in USES]
    if unknown:
        raise Refused(f"no mailbox can have the special use {unknown[0][:_SHOWN]}", USEATTR)
    rights.set_special_use(session, name, dict.fromkeys(USES[word] for word in words))


GETMETADATA = Command("GETMETADATA", AUTHENTICATED, parse_getmetadata, run_getmetadata)
SETMETADATA = Command("SETMETADATA", AUTHENTICATED, parse_setmetadata, run_setmetadata)

FEATURE: Feature = Feature(
    "metadata",
    commands=(GETMETADATA, SETMETADATA),
    capabilities=(Capability("METADATA", after_login), Capability("METADATA-SERVER", after_login)),
)
