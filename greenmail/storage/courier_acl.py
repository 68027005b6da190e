"""Courier's `courierimapacl`, which counts where there is no `dovecot-acl`: `formats.md` 6.1.

    courierimapacl = *(identifier SP letters LF)
    identifier     = ["-"] ("owner" / "anyone" / "anonymous" / "administrators" / "user=" name / "group=" name)
    letters        = *("a" / "c" / "e" / "i" / "l" / "r" / "s" / "t" / "w" / "x")      ; c: create, Dovecot's k

Courier adds up whatever is said of somebody, where Dovecot takes the most special of it (`acl`). So each entry gets
what anyone has, and what is taken from a user also loses what is taken from any group. Nobody gets more than he had:
what a user has by a group of his, and an entry of his own does not give, is lost, and can be given again.

Nobody is anonymous here. Administrators are a group of that name.
"""

from greenmail.storage.acl import Acl, Identifier, Kind, entry
from greenmail.storage.api import LETTERS, Rights

_FIXED = {
    "owner": Identifier(Kind.OWNER),
    "anyone": Identifier(Kind.ANYONE),
    "administrators": Identifier(Kind.GROUP, "administrators"),
}
_PREFIXES = (("user=", Kind.USER), ("group=", Kind.GROUP))
_LETTERS = {letter: frozenset(letter) for letter in LETTERS} | {"c": frozenset("k"), "d": frozenset("et")}


def parse_courier(data: bytes) -> Acl:
    """The list as Dovecot would have it. What is wrong with the first wrong line is in `wrong`."""
    found: dict[Identifier, Rights] = {}
    for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        text = raw.strip(" \t\r")
        who, space, letters = text.rpartition(" ")
        if not text or who.lstrip("-") == "anonymous":
            continue
        identifier = _identifier(who)
        unknown = [letter for letter in letters if letter not in _LETTERS]
        if not space or identifier is None or unknown:
            return Acl(wrong=f"line {number}: {text!r} is not an entry")
        rights = frozenset().union(*(_LETTERS[letter] for letter in letters))
        found[identifier] = found.get(identifier, frozenset()) | rights
    return Acl(entry(who, rights) for who, rights in sorted(_as_dovecot(found).items()))


def _identifier(text: str) -> Identifier | None:
    negative = text.startswith("-")
    text = text.removeprefix("-")
    if text in _FIXED:
        found = _FIXED[text]
        return Identifier(found.kind, found.name, negative)
    for prefix, kind in _PREFIXES:
        if text.startswith(prefix):
            return Identifier(kind, text.removeprefix(prefix), negative)
    return None


def _as_dovecot(found: dict[Identifier, Rights]) -> dict[Identifier, Rights]:
    """What anyone has or lacks, and what groups lack, is in the entries that go before it."""
    anyone = {negative: found.get(Identifier(Kind.ANYONE, "", negative), frozenset()) for negative in (False, True)}
    lacks = frozenset[str]().union(*(found[who] for who in found if who.negative and who.kind is Kind.GROUP))
    more = {Kind.GROUP: frozenset[str](), Kind.USER: lacks}
    return {
        who: rights | anyone[who.negative] | (more[who.kind] if who.negative else frozenset())
        if who.kind in more
        else rights
        for who, rights in found.items()
    }
