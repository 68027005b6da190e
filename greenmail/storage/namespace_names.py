"""Namespaces, RFC 2342, by their names alone: which one a mailbox name lies in, and what it is called within.

    name      = prefix level *(separator level)      ; a mailbox of the namespace
              / prefix without its last separator    ; the root of it, which is a mailbox in some
    prefix    = "" / *CHAR separator
    of shared ones the prefix has %u, %n and %d in it, the parts of the owner's name: "shared/%u/"

A name lies in the namespace with the longest prefix that it begins with. INBOX, in any case, is always the user's own;
so is a first level INBOX of a prefix.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import Rights, is_inbox

INBOX = "INBOX"
_VARIABLE = re.compile(r"%([und])")


class Kind(Enum):
    """Whose mail is in a namespace, RFC 2342 4."""

    PRIVATE = "private"  # the user's own
    SHARED = "shared"  # other users'
    PUBLIC = "public"  # nobody's


class Listed(Enum):
    """Whether LIST tells the names of a namespace to a client that did not ask for its prefix."""

    YES = "yes"
    CHILDREN = "children"  # the prefix is a name only if there is something below it
    NO = "no"


class OwnSeen(Enum):
    """Where \\Seen is each reader's own."""

    YES = "yes"
    NO = "no"
    AUTO = "auto"  # in a mailbox with a `dovecot-shared` file, if it is not the user's own


@dataclass(frozen=True, slots=True)
class Space:
    """The settings of one namespace that concern names, and what may be done there."""

    kind: Kind
    prefix: str = ""
    separator: str = "/"
    is_inbox: bool = False  # the one that INBOX is in, and that keeps the subscriptions of those that keep none
    listed: Listed = Listed.YES
    hidden: bool = False  # not told by NAMESPACE
    subscriptions: bool = True  # has a file for them of its own
    alias_for: str | None = None  # the same mail as in the namespace with this prefix
    own_seen: OwnSeen = OwnSeen.AUTO
    read_only: bool = False
    default_rights: Rights = frozenset()  # what everybody may do in mailboxes that say nothing of that
    disk_separator: str = "."  # between the levels of a mailbox's name on disk: "/" with LAYOUT=fs

    @property
    def literal(self) -> str:
        """The prefix up to where the owner's name begins."""
        return self.prefix.partition("%")[0]


@dataclass(frozen=True, slots=True)
class Located:
    """Where a name lies."""

    space: Space
    prefix: str  # with the owner's name in it
    rest: str  # behind the prefix; empty: the root
    owner: str = ""  # of a shared namespace; empty there: the name is above all users


def locate(spaces: Sequence[Space], name: str, domain: str = "") -> Located | None:
    """The namespace of `name`; `domain` is that of the user, for shared prefixes with %n alone."""
    if is_inbox(name):
        space = next((space for space in spaces if space.is_inbox), None)
        return None if space is None else Located(space, space.prefix, INBOX)
    found: Located | None = None
    for space in spaces:
        here = _shared(space, name, domain) if space.kind is Kind.SHARED else _inside(space, name)
        if here is not None and (found is None or len(here.prefix) > len(found.prefix)):
            found = here
    return found


def begins_with(text: str, prefix: str, separator: str) -> bool:
    """Whether `text` begins with a prefix, whose first level may be INBOX in any case."""
    if text.startswith(prefix):
        return True
    first = text[:5]
    return (
        is_inbox(first)
        and text[5:6] == separator
        and prefix.startswith(INBOX)
        and (INBOX + text[5:])[: len(prefix)] == prefix
    )


def _inside(space: Space, name: str) -> Located | None:
    if begins_with(name, space.prefix, space.separator):
        # The prefix with its separator is no name: a level is missing.
        return Located(space, space.prefix, name[len(space.prefix) :] or (space.separator if space.prefix else ""))
    return Located(space, space.prefix, "") if name + space.separator == space.prefix else None


def _shared(space: Space, name: str, domain: str) -> Located | None:
    whole = name + space.separator
    if space.literal.startswith(whole):
        return Located(space, space.literal, "")
    match = _pattern(space).match(whole)
    if match is None:  # a name above all owners' names: nobody else's, and no mailbox
        return Located(space, space.literal, "") if name.startswith(space.literal) else None
    parts = match.groupdict()
    local, _, own_domain = parts["u"].partition("@") if "u" in parts else (parts["n"], "", parts.get("d", domain))
    owner = parts.get("u") or (f"{local}@{own_domain}" if own_domain else local)
    rest = name[match.end() :] or (space.separator if name == match[0] else "")
    return Located(space, match[0], rest, owner)


def _pattern(space: Space) -> re.Pattern[str]:
    level = f"[^{re.escape(space.separator)}]+"
    pieces = _VARIABLE.split(space.prefix)
    return re.compile(
        "".join(f"(?P<{piece}>{level})" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)),
        re.DOTALL,
    )


def prefix_for(space: Space, owner: str, domain: str = "") -> str | None:
    """The prefix of `owner`'s part of a shared namespace; None if his name cannot be written in it.

    `domain` is that of the user who looks: with %n alone only owners of the same domain have one.
    """
    local, _, own_domain = owner.partition("@")
    if "%u" not in space.prefix and "%d" not in space.prefix and own_domain != domain:
        return None
    values = {"u": owner, "n": local, "d": own_domain}
    wanted = _VARIABLE.findall(space.prefix)
    if any(not values[letter] or space.separator in values[letter] for letter in wanted):
        return None
    return _VARIABLE.sub(lambda match: values[match[1]], space.prefix)


@dataclass(frozen=True, slots=True)
class Translation:
    """Names of a namespace, and what the same mailboxes are called in the account that has them."""

    prefix: str
    separator: str
    inner_prefix: str
    inner_separator: str
    root_is_inbox: bool  # the root stands for INBOX within; else there is no such mailbox

    def inside(self, rest: str) -> str:
        """The inner name of what stands behind the prefix. Raises NOT_FOUND for what cannot be."""
        if not rest:
            if self.root_is_inbox:
                return INBOX
            raise not_found()
        if is_inbox(rest):
            return self.inside("")
        levels = rest.split(self.separator)
        if self.separator != self.inner_separator and any(self.inner_separator in level for level in levels):
            raise StorageError(Reason.CANNOT, f'No mailbox can have this name: it contains "{self.inner_separator}".')
        return self.inner_prefix + self.inner_separator.join(levels)

    def outside(self, name: str) -> str | None:
        """The name of an inner mailbox; None if it has none here."""
        if name == INBOX:
            return self.prefix.removesuffix(self.separator) if self.root_is_inbox and self.prefix else None
        if not name.startswith(self.inner_prefix):
            return None
        levels = name[len(self.inner_prefix) :].split(self.inner_separator)
        if self.separator != self.inner_separator and any(self.separator in level for level in levels):
            return None
        return self.prefix + self.separator.join(levels)


def not_found() -> StorageError:
    """Also for what the user may not know of."""
    return StorageError(Reason.NOT_FOUND, "There is no such mailbox.")


def ancestors(names: Iterable[str], separator: str) -> set[str]:
    """Every level above the names."""
    found: set[str] = set()
    for name in names:
        above = name.rpartition(separator)[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition(separator)[0]
    return found
