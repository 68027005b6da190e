"""Mailbox names as text and as directory entries of a Maildir++ root. `formats.md` 4.1, 4.2; `folders` has the rest."""

import logging
import re
from dataclasses import dataclass
from enum import Enum

from greenmail.errors import Reason, StorageError
from greenmail.storage import mutf7
from greenmail.storage.api import is_inbox
from greenmail.storage.filesystem import Files, refusing

log = logging.getLogger(__name__)

INBOX = "INBOX"
_LEVEL_LIMIT = 255  # octets on disk; so has the whole entry
_NAME_LIMIT = 4096  # octets of UTF-8
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


class Encoding(Enum):
    """How names are written on disk."""

    MUTF7 = "mutf7"
    UTF8 = "utf8"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an account's mailboxes are and how they are called."""

    root: bytes
    separator: str = "/"
    prefix: str = ""  # "INBOX." in Courier's style; ends in the separator
    encoding: Encoding = Encoding.MUTF7
    name_escape: str = ""  # one character, for example "\\": then names that have no other way can be written
    follow_symlinks: bool = False  # to directories outside of the root


def _impossible(what: str) -> StorageError:
    return StorageError(Reason.CANNOT, f"this mailbox name is not possible here: {what}")


def detect_encoding(files: Files, root: bytes) -> Encoding:
    """Guess from the directories of a root; MUTF7 if nothing tells. Raises CANNOT if both occur.

    An octet above 0x7F, or a "&" that is not modified UTF-7, is UTF-8; a valid run "&...-" is modified UTF-7.
    """
    utf8, other, seven = b"", b"", b""
    with refusing("cannot list the mailboxes"):
        entries = files.scan(root)
    for entry in entries:
        name = entry.name
        if not name.startswith(b".") or not (entry.is_directory or entry.is_symlink):
            continue
        if not name.isascii():
            utf8 = name
        elif b"&" in name:
            seven, other = (name, other) if _is_mutf7(name) else (seven, name)
    if utf8 and seven:
        log.error("mailbox-encoding root=%r utf8=%r mutf7=%r", root, utf8, seven)
        raise StorageError(Reason.CANNOT, "mailbox names are in two encodings; the administrator must choose one")
    return Encoding.UTF8 if utf8 or (other and not seven) else Encoding.MUTF7


def _is_mutf7(entry: bytes) -> bool:
    try:
        mutf7.decode(entry)
    except mutf7.Malformed:
        return False
    return True


def levels_of(layout: Layout, name: str) -> list[str]:
    """The levels of a name below the prefix; [] is INBOX itself. Raises CANNOT for what no mailbox can be called.

    INBOX is spelled in any case, also as the first of several levels: RFC 9051 5.1.
    """
    if is_inbox(name):
        return []
    prefix = layout.prefix
    given = name[: len(prefix)]
    if given != prefix and not (is_inbox(given[:-1]) and given[-1:] == layout.separator and is_inbox(prefix[:-1])):
        raise _impossible(f'it must begin with "{prefix}"')
    levels = name[len(prefix) :].split(layout.separator)
    if not prefix and is_inbox(levels[0]):
        levels[0] = INBOX
    if prefix and levels == [INBOX]:
        raise _impossible("it would be mistaken for INBOX")
    _check(layout, name, levels)
    return levels


def _check(layout: Layout, name: str, levels: list[str]) -> None:
    if not all(levels):
        raise _impossible("a level is empty")
    if _CONTROL.search(name):
        raise _impossible("it contains control characters")
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_LIMIT:
        raise _impossible("it is too long")
    if layout.name_escape:
        return
    if levels[0].startswith("~"):
        raise _impossible('it begins with "~"')
    if any("." in level or "/" in level for level in levels):
        raise _impossible('it contains "." or "/"')


def entry_of(layout: Layout, levels: list[str]) -> bytes:
    """The directory entry of a mailbox other than INBOX. Raises CANNOT for what the file system cannot hold."""
    coded = []
    for position, level in enumerate(levels):
        text = _escape(layout, level, position == 0) if layout.name_escape else level
        try:
            octets = mutf7.encode(text) if layout.encoding is Encoding.MUTF7 else text.encode("utf-8")
        except UnicodeEncodeError:
            raise _impossible("it contains half a character") from None
        coded.append(octets)
    entry = b"." + b".".join(coded)
    if len(entry) > _LEVEL_LIMIT:
        raise _impossible("it is too long")
    return entry


def _escape(layout: Layout, level: str, is_first: bool) -> str:
    special = {".", "/", layout.separator, layout.name_escape}
    coded = "".join(f"{layout.name_escape}{ord(char):02x}" if char in special else char for char in level)
    return f"{layout.name_escape}7e{coded[1:]}" if is_first and coded.startswith("~") else coded


def _unescape(layout: Layout, level: str) -> str:
    escape = re.escape(layout.name_escape)
    return re.sub(escape + "([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), level)


def directory(layout: Layout, name: str) -> bytes:
    """The directory of a mailbox, whether it exists or not. Raises CANNOT for a name that can have none."""
    levels = levels_of(layout, name)
    return layout.root + b"/" + entry_of(layout, levels) if levels else layout.root


def join(layout: Layout, levels: list[str]) -> str:
    """The name whose `levels_of` are these; INBOX for none."""
    return layout.prefix + layout.separator.join(levels) if levels else INBOX


def name_of(layout: Layout, entry: bytes) -> str | None:
    """The mailbox name of a directory entry of the root (b".Sent"), or None if it is none or cannot be opened.

    Only an entry that its own name leads back to is a mailbox: this leaves out `.a..b`, `.INBOX`, names in the other
    encoding, and what would be two mailboxes with one name.
    """
    if not entry.startswith(b".") or len(entry) < 2:
        return None
    decoded = [decode_level(layout, level) for level in entry[1:].split(b".")]
    levels = [level for level in decoded if level is not None]
    if len(levels) != len(decoded):
        return None
    name = join(layout, levels)
    try:
        found = levels_of(layout, name)
        return name if found and entry_of(layout, found) == entry else None
    except StorageError:
        return None


def decode_level(layout: Layout, level: bytes) -> str | None:
    """The text of one level as it stands on disk (or in `subscriptions`); None if it is not in the root's encoding."""
    try:
        text = mutf7.decode(level) if layout.encoding is Encoding.MUTF7 else level.decode("utf-8")
    except (mutf7.Malformed, UnicodeDecodeError):
        return None
    return _unescape(layout, text) if layout.name_escape else text


def encode_level(layout: Layout, level: str, is_first: bool) -> bytes:
    """How one level is written on disk and in `subscriptions`. Raises CANNOT."""
    return entry_of(layout, [level] if is_first else ["x", level]).removeprefix(b"." if is_first else b".x.")
