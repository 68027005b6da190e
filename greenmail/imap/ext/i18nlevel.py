"""I18NLEVEL=1 and I18NLEVEL=2, RFC 5255 4: the comparator of SEARCH, SORT and THREAD, and COMPARATOR to choose another.

comparator-cmd   = "COMPARATOR" *(SP comp-order-quoted)
comparator-data  = "COMPARATOR" SP comp-sel-quoted [SP "(" comp-id-quoted *(SP comp-id-quoted) ")"]

What comparators are is in `message.collation`; the default is i;unicode-casemap. I18NLEVEL=1 asks for that and nothing
else, so both levels are told: a client that knows only the first finds what it needs.
"""

import re

from greenmail.errors import Refused
from greenmail.imap import grammar, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import BADCOMPARATOR, Ok
from greenmail.imap.session import Session
from greenmail.message import collation
from greenmail.message.collation import Comparator

_MOST = 100  # arguments of one command
_LONGEST = 254  # characters of a collation's name: RFC 4790 3.1
# collation-order = ["+" / "-"] collation-wild — RFC 4790 3.2, 3.3; no two wildcards side by side.
_ORDER = re.compile(r"[+-]?(?:\*|[A-Za-z]\*?)(?:[A-Za-z0-9\-;=.]\*?)*+")
_DEFAULT = "default"


def parse_comparator(cur: Cursor, uid: bool) -> tuple[str, ...]:
    """comparator-cmd — RFC 5255 4.10."""
    found: list[str] = []
    while cur.take(b" "):
        start = cur.pos
        order = grammar.astring(cur).decode("latin-1")
        if _ORDER.fullmatch(order) is None or len(order.lstrip("+-")) > _LONGEST:
            cur.pos = start
            raise cur.wrong("expected the name of a comparator")
        found.append(order)
        if len(found) > _MOST:
            raise cur.wrong("too many comparators")
    return tuple(found)


def run_comparator(session: Session, orders: tuple[str, ...]) -> Ok:
    """RFC 5255 4.7: the first comparator that an argument means is the active one from now on."""
    meant = [one for order in orders for one in matching(order)]
    if orders and not meant:
        raise Refused("none of these comparators is known here", BADCOMPARATOR)
    if meant:
        session.comparator = meant[0]
    names = dict.fromkeys(one.name.encode("ascii") for one in meant)
    line = b"* COMPARATOR " + serialize.astring(session.comparator.selected.encode("ascii"))
    if len(names) > 1:
        line += b" " + serialize.parenthesized(list(map(serialize.astring, names)))
    session.out.write(line + b"\r\n")
    return Ok("COMPARATOR completed")


def matching(order: str) -> list[Comparator]:
    """The installed comparators that a collation-order means, the most useful first: RFC 4790 3.1 to 3.3."""
    is_falling = order.startswith("-")
    name = order.lstrip("+-").lower()
    if name == _DEFAULT:
        return [Comparator(collation.DEFAULT.name, is_falling)]
    wanted = re.compile(".*".join(map(re.escape, name.split("*"))))
    return [Comparator(one, is_falling) for one in collation.INSTALLED if wanted.fullmatch(one)]


COMPARATOR = Command("COMPARATOR", states=AUTHENTICATED, parse=parse_comparator, run=run_comparator)

FEATURE: Feature = Feature(
    "i18nlevel",
    commands=(COMPARATOR,),
    capabilities=(Capability("I18NLEVEL=1", always), Capability("I18NLEVEL=2", always)),
)
