"""An access control list as `dovecot-acl` holds it, without any file: `formats.md` 3.5, RFC 4314.

    dovecot-acl = *((entry / "#" comment / "") LF)
    entry       = identifier SP rights             ; in double quotes if it has a space: "user=John Doe" lr
    identifier  = ["-"] (who / who "=" name)       ; "-": rights that are taken away
    who         = "anyone" / "anonymous" / "authenticated" / "group=" / "owner" / "user=" / "group-override="
    rights      = *letter [":" name *(("," / SP) name)]

    owner akxeilprwts
    user=bob lrs
    -user=bob s
    "group=our friends" lr :read

Who may what: of the entries that match somebody those of the most special kind hold (`Kind`, in its order), alone: who
is named gets what his entry says, and nothing of what anyone gets. Entries of several groups are added up. What is
taken away goes by the same rule, for itself, and is taken away at the end. The owner begins with all rights, and what
is said of anyone, of the authenticated and of groups does not concern him.

Dovecot understands nothing of a file with one line that it does not understand, and lets nobody in. Here the owner then
has all rights, and nobody else any. A change leaves every other line as it is, to the byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import ALL_RIGHTS, LETTERS, AclAction, AclEntry, Rights

KEPT: Rights = frozenset("la")  # what an owner cannot lose by SETACL

_ORDER = "akxeilprwts"  # in which Dovecot writes letters
_NAMES = {
    "lookup": "l", "read": "r", "write": "w", "write-seen": "s", "write-deleted": "t", "insert": "i", "post": "p",
    "expunge": "e", "create": "k", "delete": "x", "admin": "a",
}  # fmt: skip


class Kind(IntEnum):
    """What an identifier stands for; a later one goes before an earlier one."""

    ANYONE = 0
    AUTHENTICATED = 1
    GROUP = 2
    OWNER = 3
    USER = 4
    GROUP_OVERRIDE = 5


_FIXED = {
    "anyone": Kind.ANYONE,
    "anonymous": Kind.ANYONE,  # Dovecot takes it for the same
    "authenticated": Kind.AUTHENTICATED,
    "owner": Kind.OWNER,
}
_PREFIXES = (("user=", Kind.USER), ("group=", Kind.GROUP), ("group-override=", Kind.GROUP_OVERRIDE))
_ON_DISK = {
    Kind.ANYONE: "anyone",
    Kind.AUTHENTICATED: "authenticated",
    Kind.GROUP: "group=",
    Kind.OWNER: "owner",
    Kind.USER: "user=",
    Kind.GROUP_OVERRIDE: "group-override=",
}
# As Dovecot shows them to clients, and understands them.
_IN_IMAP = _ON_DISK | {Kind.GROUP: "$", Kind.USER: "", Kind.GROUP_OVERRIDE: "!$"}


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """Whom an entry is about."""

    kind: Kind
    name: str = ""  # of the user or the group
    negative: bool = False

    def in_imap(self) -> str:
        return ("-" if self.negative else "") + _IN_IMAP[self.kind] + self.name

    def on_disk(self) -> str:
        return ("-" if self.negative else "") + _ON_DISK[self.kind] + self.name


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at whose mail."""

    user: str
    owner: str  # empty: it is nobody's
    groups: frozenset[str] = frozenset()

    @property
    def is_owner(self) -> bool:
        return self.user == self.owner != ""

    def matches(self, identifier: Identifier) -> bool:
        """Whether an entry is about this one who looks; everybody here is authenticated."""
        match identifier.kind:
            case Kind.ANYONE | Kind.AUTHENTICATED:
                return not self.is_owner
            case Kind.GROUP:
                return not self.is_owner and identifier.name in self.groups
            case Kind.GROUP_OVERRIDE:
                return identifier.name in self.groups
            case Kind.OWNER:
                return self.is_owner
            case Kind.USER:
                return identifier.name == self.user


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file. Comments and empty lines have no identifier."""

    raw: bytes  # with its line end, if it has one
    identifier: Identifier | None = None
    rights: Rights = frozenset()
    named: tuple[str, ...] = ()  # rights that only others know


@lru_cache(maxsize=1000)
def _same(rights: Rights) -> Rights:
    """One object for equal sets: ten thousand sessions that wait for mail have the same few."""
    return rights


class Acl:
    """The lines of one file, or of none. Never changed: `changed` and `removed` give a new one."""

    __slots__ = ("_asked", "lines", "wrong")

    def __init__(self, lines: Iterable[Line] = (), wrong: str = "") -> None:
        self.lines = tuple(lines)
        self.wrong = wrong  # what cannot be understood in it, for the log
        self._asked: tuple[Viewer, Rights] | None = None  # the last answer

    @property
    def data(self) -> bytes:
        return b"".join(line.raw for line in self.lines)

    def applies_to(self, viewer: Viewer) -> bool:
        """Whether anything in it is about this one who looks; else what holds in general does."""
        return bool(self.wrong) or any(viewer.matches(identifier) for identifier in self._entries())

    def my_rights(self, viewer: Viewer) -> Rights:
        """What this one may do."""
        if self._asked is None or self._asked[0] is not viewer:
            self._asked = (viewer, _same(self._found(viewer)))
        return self._asked[1]

    def _found(self, viewer: Viewer) -> Rights:
        if self.wrong:
            return ALL_RIGHTS if viewer.is_owner else frozenset()
        given = ALL_RIGHTS if viewer.is_owner else frozenset()
        taken: Rights = frozenset()
        last: Kind | None = None
        for who, (adds, takes) in self._said().items():
            if not viewer.matches(who):
                continue
            more = who.kind is last  # of groups alone there can be several
            given = given if adds is None else adds | (given if more else frozenset())
            taken = taken if takes is None else takes | (taken if more else frozenset())
            last = who.kind
        return given - taken

    def _said(self) -> dict[Identifier, tuple[Rights | None, Rights | None]]:
        """What is said of each, sorted: what he gets and what is taken from him, or None if that is not said.

        As in Dovecot, two lines about the same one say both, if only that it is nothing.
        """
        found: dict[Identifier, tuple[Rights | None, Rights | None]] = {}
        for line in self.lines:
            if line.identifier is None:
                continue
            who = Identifier(line.identifier.kind, line.identifier.name)
            adds, takes = found.get(who, (None, None))
            if who in found:
                adds, takes = adds or frozenset(), takes or frozenset()
            if line.identifier.negative:
                takes = line.rights | (takes or frozenset())
            else:
                adds = line.rights | (adds or frozenset())
            found[who] = (adds, takes)
        return dict(sorted(found.items()))

    def _entries(self) -> dict[Identifier, Rights]:
        """Each identifier once, sorted; lines of the same one are added up."""
        found: dict[Identifier, Rights] = {}
        for line in self.lines:
            if line.identifier is not None:
                found[line.identifier] = found.get(line.identifier, frozenset()) | line.rights
        return dict(sorted(found.items()))

    def entries(self, owner: str) -> list[AclEntry]:
        """As GETACL shows them. The owner goes by his name, and is there even if the file does not say so."""
        entries = self._entries()
        if owner and not self._says(entries, owner):
            entries[Identifier(Kind.OWNER)] = ALL_RIGHTS
        named = any(who.kind is Kind.USER and who.name == owner for who in entries)
        shown = []
        for who, rights in sorted(entries.items()):
            if who.kind is Kind.OWNER and owner and not named:
                who = Identifier(Kind.USER, owner, who.negative)
            shown.append(AclEntry(who.in_imap(), rights))
        return shown

    def _says(self, entries: Iterable[Identifier], owner: str) -> bool:
        """Whether the owner's rights are said."""
        return any(not who.negative and _is_owner(who, owner) for who in entries)

    def _meant(self, text: str, owner: str) -> Identifier:
        """Whom a client means: by the owner's name also the entry `owner`, which `entries` shows by that name."""
        wanted = identifier_in_imap(text)
        entries = self._entries()
        is_owners_name = owner and wanted.kind is Kind.USER and wanted.name == owner
        if is_owners_name and not any(who.kind is Kind.USER and who.name == owner for who in entries):
            as_owner = Identifier(Kind.OWNER, "", wanted.negative)
            return as_owner if any(who.kind is Kind.OWNER for who in entries) else wanted
        return wanted

    def changed(self, text: str, action: AclAction, rights: Rights, owner: str) -> "Acl":
        """After SETACL; `text` is the identifier as IMAP has it. Raises CANNOT."""
        self._understood()
        who = self._meant(text, owner)
        entries = self._entries()
        now = entries.get(who, frozenset())
        if _is_owner(who, owner) and not who.negative and not self._says(entries, owner):
            now = ALL_RIGHTS  # so `entries` showed it
        new = {AclAction.REPLACE: rights, AclAction.ADD: now | rights, AclAction.REMOVE: now - rights}[action]
        if _is_owner(who, owner):
            new = new - KEPT if who.negative else new | KEPT
        if action is not AclAction.REPLACE and not new and who not in entries:
            return self
        return self._with(who, new)

    def removed(self, text: str, owner: str) -> "Acl":
        """After DELETEACL. Raises CANNOT."""
        self._understood()
        who = self._meant(text, owner)
        return Acl(line for line in self.lines if line.identifier != who)

    def _understood(self) -> None:
        if self.wrong:
            raise StorageError(
                Reason.CANNOT, "The access control list has lines that are not understood: the administrator can help."
            )

    def _with(self, who: Identifier, rights: Rights) -> "Acl":
        """One entry of `who`, in the place of the first that there was, or where it belongs by its order."""
        mine = [place for place, line in enumerate(self.lines) if line.identifier == who]
        named = tuple(dict.fromkeys(name for place in mine for name in self.lines[place].named))
        before = [place + 1 for place, line in enumerate(self.lines) if line.identifier and line.identifier < who]
        behind = [place for place, line in enumerate(self.lines) if line.identifier and line.identifier > who]
        place = [*mine[:1], *before[-1:], *behind[:1], len(self.lines)][0]
        lines = [line for number, line in enumerate(self.lines) if number not in mine]
        if place and lines[place - 1 : place] and not lines[place - 1].raw.endswith(b"\n"):
            last = lines[place - 1]
            lines[place - 1] = Line(last.raw + b"\n", last.identifier, last.rights, last.named)
        return Acl([*lines[:place], entry(who, rights, named), *lines[place:]])


def _is_owner(who: Identifier, owner: str) -> bool:
    return bool(owner) and (who.kind is Kind.OWNER or (who.kind is Kind.USER and who.name == owner))


def parse(data: bytes) -> Acl:
    """The lines of a file. What is wrong with the first wrong one is in `wrong`."""
    lines, wrong = [], ""
    for number, raw in enumerate(data.split(b"\n"), 1):
        ended = raw + b"\n"
        try:
            lines.append(_line(raw, ended))
        except ValueError as error:
            lines.append(Line(ended))
            wrong = wrong or f"line {number}: {error}"
    # Behind the last LF there is nothing, or a line that was not ended.
    last = lines.pop()
    if last.raw != b"\n":
        lines.append(Line(last.raw[:-1], last.identifier, last.rights, last.named))
    return Acl(lines, wrong)


def _line(raw: bytes, ended: bytes) -> Line:
    """Raises ValueError."""
    raw = raw.removesuffix(b"\r")  # an editor elsewhere; Dovecot does the same
    if not raw or raw.startswith(b"#"):
        return Line(ended)
    text = raw.decode("utf-8", "surrogateescape")
    if text.startswith('"'):
        who, text = _unquoted(text)
    else:
        who, _, text = text.partition(" ")
    rights, named = _rights(text)
    return Line(ended, _identifier(who), rights, named)


def _unquoted(text: str) -> tuple[str, str]:
    """A quoted identifier, and what follows it and a space."""
    found, place = [], 1
    while place < len(text) and text[place] != '"':
        place += text[place] == "\\"
        found.append(text[place : place + 1])
        place += 1
    if text[place : place + 1] != '"' or text[place + 1 : place + 2] not in ("", " "):
        raise ValueError("an identifier begins with a quote and does not end with one")
    return "".join(found), text[place + 2 :]


def _identifier(text: str) -> Identifier:
    negative = text.startswith("-")
    text = text.removeprefix("-")
    if text in _FIXED:
        return Identifier(_FIXED[text], "", negative)
    for prefix, kind in _PREFIXES:
        if text.startswith(prefix):
            return Identifier(kind, text.removeprefix(prefix), negative)
    raise ValueError(f"unknown identifier {text!r}")


def _rights(text: str) -> tuple[Rights, tuple[str, ...]]:
    """`[letters] [":" names]`: what is known, and the names of what is not."""
    letters, colon, names = text.strip(" \t").partition(":")
    letters = letters.rstrip(" \t")
    unknown = [letter for letter in letters if letter not in LETTERS]
    if unknown:
        raise ValueError(f"unknown right {unknown[0]!r}")
    words = names.replace(",", " ").replace("\t", " ").split(" ") if colon else []
    known = {_NAMES[word] for word in words if word in _NAMES}
    return frozenset(letters) | known, tuple(word for word in words if word and word not in _NAMES)


def entry(who: Identifier, rights: Rights, named: tuple[str, ...] = ()) -> Line:
    """A line as Dovecot writes it."""
    text = who.on_disk()
    if " " in text or text.startswith('"'):
        text = '"' + "".join("\\" + one if one in "\"\\'" else one for one in text) + '"'
    words = [text, "".join(letter for letter in _ORDER if letter in rights)]
    if named:
        words.append(":" + " ".join(named))
    return Line(" ".join(words).encode("utf-8", "surrogateescape") + b"\n", who, rights, named)


def identifier_in_imap(text: str) -> Identifier:
    """Whom a client means. Raises CANNOT for what can be nobody."""
    negative = text.startswith("-")
    name = text.removeprefix("-")
    # A line end would begin another entry; NUL ends the line for Dovecot.
    if not name or any(ord(one) < 0x20 or ord(one) == 0x7F for one in name):
        raise StorageError(Reason.CANNOT, "This is not an identifier that anybody can have.")
    if name in ("anyone", "authenticated", "owner"):
        return Identifier(_FIXED[name], "", negative)
    for kind in (Kind.GROUP_OVERRIDE, Kind.GROUP):
        if name.startswith(_IN_IMAP[kind]):
            return Identifier(kind, name.removeprefix(_IN_IMAP[kind]), negative)
    return Identifier(Kind.USER, name, negative)


def grantable(text: str, owner: str) -> tuple[Rights, tuple[Rights, ...]]:
    """LISTRIGHTS: what an identifier always has, and what it can have beside, each for itself. Raises CANNOT."""
    who = identifier_in_imap(text)
    kept = KEPT if _is_owner(who, owner) and not who.negative else frozenset()
    never = KEPT if _is_owner(who, owner) and who.negative else frozenset()
    return kept, tuple(frozenset(letter) for letter in LETTERS if letter not in kept | never)
