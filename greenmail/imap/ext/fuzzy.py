"""SEARCH=FUZZY, RFC 6203: search that finds what was meant, and says how well it fits.

    search-key        =/ "FUZZY" SP search-key
    search-return-opt =/ "RELEVANCY"
    sort-key          =/ "RELEVANCY"        ; in `sort`
    search-return-data =/ "RELEVANCY" SP score-list

Offered only to users whose mail has a full-text index.
"""

from greenmail.imap.command import Capability, Feature
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import RELEVANCY, Found, ReturnOpt
from greenmail.imap.fuzzy_search import fuzzily
from greenmail.imap.search_key import Key, SearchKey, Table, nested_key
from greenmail.imap.session import Session


def parse_fuzzy(cur: Cursor, table: Table) -> Key:
    """ "FUZZY" SP search-key — RFC 6203 7."""
    return fuzzily(nested_key(cur, table))


def _render(found: Found, value: None) -> bytes:
    """score-list, in the order of the messages that are returned. RFC 6203 4."""
    return b"RELEVANCY (%b)" % b" ".join(b"%d" % score for score in found.scores or ())


def _nothing(cur: Cursor) -> None:
    return None


def _is_offered(session: Session) -> bool:
    full_text = session.services.full_text
    return full_text is not None and session.account is not None and full_text.serves(session.account)


FEATURE: Feature = Feature(
    "fuzzy",
    capabilities=(Capability("SEARCH=FUZZY", _is_offered),),
    search_keys={"FUZZY": SearchKey("FUZZY", parse_fuzzy)},
    search_return_opts={RELEVANCY: ReturnOpt(RELEVANCY, _nothing, _render)},
)
