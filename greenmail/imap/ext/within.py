"""WITHIN, RFC 5032: search keys OLDER and YOUNGER, by seconds before now.

search-key =/ ("OLDER" / "YOUNGER") SP nz-number
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import Rows
from greenmail.imap.grammar import nz_number
from greenmail.imap.search_key import Key, RowKey, SearchKey
from greenmail.imap.session import Session


def _target(session: Session, interval: int) -> int:
    """The second that lies `interval` before now; both keys include it. RFC 5032 2."""
    return int(session.services.runtime.now()) - interval


def _older(session: Session, interval: Any, rows: Rows) -> Iterable[bool]:
    target = _target(session, interval)
    return [when <= target for when in rows.dates]


def _younger(session: Session, interval: Any, rows: Rows) -> Iterable[bool]:
    target = _target(session, interval)
    return [when >= target for when in rows.dates]


def _key(name: str, test: Callable[[Session, Any, Rows], Iterable[bool]]) -> SearchKey:
    def parse(cur: Cursor, table: Mapping[str, SearchKey]) -> Key:
        cur.space()
        return RowKey(name, nz_number(cur), test, needs_date=True)

    return SearchKey(name, parse)


FEATURE: Feature = Feature(
    "within",
    capabilities=(Capability("WITHIN", always),),
    search_keys={key.name: key for key in (_key("OLDER", _older), _key("YOUNGER", _younger))},
)
