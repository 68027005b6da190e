"""Access control lists as values: what `api` says of them, RFC 4314."""

from dataclasses import dataclass
from enum import Enum

Rights = frozenset[str]  # letters of RFC 4314 2.1; the obsolete c and d are never in it

LETTERS = "lrwstipekxa"  # every right that there is, in the order in which they are listed
ALL_RIGHTS: Rights = frozenset(LETTERS)


@dataclass(frozen=True, slots=True)
class AclEntry:
    """One pair of an access control list, RFC 4314 2."""

    identifier: str
    # As IMAP names it: "anyone", "authenticated", "owner", a user's name, "$group", "!$group" (which goes before what
    # is said of users); "-" before any of them: rights that are taken away.
    rights: Rights


class AclAction(Enum):
    """What SETACL does with the rights of an identifier, RFC 4314 3.1."""

    REPLACE = ""
    ADD = "+"
    REMOVE = "-"
