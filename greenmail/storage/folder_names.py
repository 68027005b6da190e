"""Mailbox names as text and as paths below the root. `formats.md` 4.1, 4.2, 4.5; `folders` and `nested` have the rest.

    Maildir++    root "/." level *("." level)             ; `folders`
    fs           root *("/" level) ["/" inner]            ; `nested`; Dovecot's LAYOUT=fs, and DIRNAME=

A level of the name is a level on disk, in the root's encoding. INBOX is the root in both.
"""

import logging
import re
from collections.abc import Iterable
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
_DEPTH_LIMIT = 100  # nested directories: trees are copied and removed by functions that call themselves
_CONTROL = re.compile(r"[\0-\x1f\x7f]")

# What lies in a mailbox directory, or in its control directory, beside the mailboxes that are below it.
_FILES = re.compile(
    rb"(dovecot-(uidlist|keywords|acl|acl-list|shared|uidvalidity)|dovecot\.(index|list\.index|mailbox\.log)"
    rb"|greenmail\.(lock|index|log|cache|subscriptions))(\..*)?|greenmail-data|greenmail-fulltext|courierimap.*|mailboxes\.lock",
    re.DOTALL,
)
# And in the root: the trash of `trash`, which may lie in a control root, among it.
_ROOT_FILES = re.compile(rb"(subscriptions|maildirsize)(\..*)?|\.\.greenmail\..*|\.\.DOVECOT-TRASH.*", re.DOTALL)
_PARTS = frozenset((b"cur", b"new", b"tmp"))


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
    is_nested: bool = False  # one directory below the other, instead of Maildir++
    inner: bytes = b""  # nested: the directory in a mailbox's directory that has cur, new and tmp (DIRNAME=)

    @property
    def disk_separator(self) -> bytes:
        """Between levels on disk, and in old files of subscriptions."""
        return b"/" if self.is_nested else b"."

    def is_reserved(self, entry: bytes, at_root: bool) -> bool:
        """Nested: whether this directory entry can be no mailbox, whatever it is."""
        parts = (self.inner,) if self.inner else _PARTS
        if entry in parts or _FILES.fullmatch(entry):
            return True
        return at_root and _ROOT_FILES.fullmatch(entry) is not None


def _impossible(what: str) -> StorageError:
    return StorageError(Reason.CANNOT, f"this mailbox name is not possible here: {what}")


def detect_encoding(files: Files, root: bytes) -> Encoding:
    """`guess_encoding` from the directories of a Maildir++ root."""
    with refusing("cannot list the mailboxes"):
        entries = files.scan(root)
    mailboxes = [entry for entry in entries if entry.name.startswith(b".")]
    return guess_encoding(root, [entry.name for entry in mailboxes if entry.is_directory or entry.is_symlink])


def guess_encoding(root: bytes, entries: Iterable[bytes]) -> Encoding:
    """Guess from names on disk; MUTF7 if nothing tells. Raises CANNOT if both occur.

    An octet above 0x7F, or a "&" that is not modified UTF-7, is UTF-8; a valid run "&...-" is modified UTF-7.
    """
    utf8, other, seven = b"", b"", b""
    for name in entries:
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
    if layout.is_nested and len(levels) > _DEPTH_LIMIT:
        raise _impossible(f"it has more than {_DEPTH_LIMIT} levels")
    if layout.name_escape:
        return
    if levels[0].startswith("~"):
        raise _impossible('it begins with "~"')
    if layout.is_nested:
        if any("/" in level or level in (".", "..") for level in levels):
            raise _impossible('it contains "/", or a level is "." or ".."')
    elif any("." in level or "/" in level for level in levels):
        raise _impossible('it contains "." or "/"')


def entry_of(layout: Layout, levels: list[str]) -> bytes:
    """The path below the root of a mailbox other than INBOX. Raises CANNOT for what the file system cannot hold."""
    coded = []
    for level in levels:
        text = _escape(layout, level) if layout.name_escape else level
        try:
            octets = mutf7.encode(text) if layout.encoding is Encoding.MUTF7 else text.encode("utf-8")
        except UnicodeEncodeError:
            raise _impossible("it contains half a character") from None
        coded.append(octets)
    if layout.is_nested:
        return _nested_entry(layout, coded)
    entry = b"." + b".".join(coded)
    if len(entry) > _LEVEL_LIMIT:
        raise _impossible("it is too long")
    return entry


def _nested_entry(layout: Layout, coded: list[bytes]) -> bytes:
    for position, level in enumerate(coded):
        if len(level) > _LEVEL_LIMIT:
            raise _impossible("it is too long")
        if layout.is_reserved(level, position == 0):
            raise _impossible("files of the mail store are called so")
    return b"/".join(coded)


def _escape(layout: Layout, level: str) -> str:
    escape = layout.name_escape
    special = {"/", layout.separator, escape} | (set() if layout.is_nested else {"."})
    coded = "".join(f"{escape}{ord(char):02x}" if char in special else char for char in level)
    if coded.startswith("~") or coded in (".", ".."):  # the dots are for nested ones: "." and ".." are directories
        return f"{escape}{ord(coded[0]):02x}{coded[1:]}"
    return coded


def _unescape(layout: Layout, level: str) -> str:
    escape = re.escape(layout.name_escape)
    return re.sub(escape + "([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), level)


def directory(layout: Layout, name: str) -> bytes:
    """The directory of a mailbox, whether it exists or not. Raises CANNOT for a name that can have none."""
    levels = levels_of(layout, name)
    if not levels:
        return layout.root
    inner = b"/" + layout.inner if layout.inner else b""
    return layout.root + b"/" + entry_of(layout, levels) + inner


def join(layout: Layout, levels: list[str]) -> str:
    """The name whose `levels_of` are these; INBOX for none."""
    return layout.prefix + layout.separator.join(levels) if levels else INBOX


def name_of(layout: Layout, entry: bytes) -> str | None:
    """The mailbox name of a path below the root (b".Sent", nested b"Sent"); None if it is none or cannot be opened.

    Only an entry that its own name leads back to is a mailbox: this leaves out `.a..b`, `.INBOX`, names in the other
    encoding, and what would be two mailboxes with one name.
    """
    if layout.is_nested:
        parts = entry.split(b"/")
    elif entry.startswith(b".") and len(entry) > 1:
        parts = entry[1:].split(b".")
    else:
        return None
    decoded = [decode_level(layout, level) for level in parts]
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
    if layout.is_nested:
        return entry_of(layout, [level] if is_first else ["x", level]).removeprefix(b"" if is_first else b"x/")
    return entry_of(layout, [level] if is_first else ["x", level]).removeprefix(b"." if is_first else b".x.")
