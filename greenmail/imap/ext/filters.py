"""FILTERS, RFC 5466: searches with a name, kept as annotations of the server.

    search-key  =/ "FILTER" SP filter-name
    filter-name =  1*<any ATOM-CHAR except "/">

    SETMETADATA "" ("/private/filters/values/on-the-road" "OR SMALLER 5000 FROM \\"boss@example.com\\"")
    SEARCH UID 300:900 FILTER on-the-road SINCE "3-Dec-2002"

The value of /private/filters/values/<name> stands in the place of the key; that of /shared/filters/values/<name>, if
there is none. The shared ones are the same for all users, so they are the administrator's: the setting
`shared-filters`, as /shared/comment is a setting. RFC 5464 3.3 leaves it to the server who may change what.

Names are those of entries, which have no case (RFC 5464 3.2). A filter may name others, `_PASSES` deep; one that leads
back to itself, or further, is as good as missing. Its text is in UTF-8, and so is then the whole search.

The criteria are looked at when they are set, so that nobody keeps one that can never be used: RFC 5466 3.2.
"""

from collections.abc import Iterable, Mapping

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import rights
from greenmail.imap.chars import ATOM_CHAR, some_of
from greenmail.imap.command import Capability, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import Rows
from greenmail.imap.fuzzy_search import fuzzily
from greenmail.imap.response import CANNOT, UIDREQUIRED
from greenmail.imap.search_key import AndKey, FuzzyKey, Key, NotKey, OrKey, RowKey, SearchKey, Table, search_keys
from greenmail.imap.session import Session

FILTER = "FILTER"
UTF_8 = "UTF-8"

SHARED = "/shared/filters/values/"

_ENTRIES = ("/private/filters/values/", SHARED)  # the first that has a value counts
_NAME = some_of(ATOM_CHAR - frozenset(b"/"))
_PASSES = 10  # RFC 5466 3.1 wants three at least
_MOST = 100  # filters in one search, each as often as it is named
_CHARSETS = frozenset({"", "UTF-8", "US-ASCII"})


def _parse(cur: Cursor, table: Table) -> Key:
    """ "FILTER" SP filter-name — RFC 5466 4."""
    cur.space()
    return RowKey(FILTER, cur.match(_NAME, "the name of a filter").decode("ascii"), _never)


def _never(session: Session, argument: object, rows: Rows) -> list[bool]:
    """A filter is replaced by its criteria before anything is asked."""
    raise AssertionError(f"the filter {argument!r} was not expanded")


def check_charset_of_filters(charset: str, leaves: Iterable[Key]) -> None:
    """RFC 5466 3.1: FILTER implies UTF-8. Raises BadSyntax with BADCHARSET."""
    if charset.upper() not in _CHARSETS and any(_is_filter(leaf) for leaf in leaves):
        raise BadSyntax("FILTER needs the character set UTF-8", "BADCHARSET (UTF-8 US-ASCII)")


def expanded(session: Session, key: Key, charset: str) -> tuple[Key, str]:
    """The key with the criteria of filters in their places, and the CHARSET of it all. Raises Refused, StorageError."""
    expansion = _Expansion(session)
    found = expansion.of(key, (), 0)
    return (found, UTF_8) if expansion.count else (key, charset)


def _is_filter(key: Key) -> bool:
    return isinstance(key, RowKey) and key.name == FILTER


class _Expansion:
    """One search in which filters are replaced."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._annotations: Mapping[str, bytes] | None = None
        self.count = 0

    def of(self, key: Key, above: tuple[str, ...], depth: int) -> Key:
        """`above`: the filters within which it stands, `depth`: the keys, those of these filters included."""
        match key:
            case RowKey(name, argument) if name == FILTER:
                return self._filter(argument, above, depth)
            case AndKey(keys):
                return AndKey(tuple([self.of(one, above, depth + 1) for one in keys]))
            case OrKey(keys):
                return OrKey(tuple([self.of(one, above, depth + 1) for one in keys]))
            case NotKey(inner):
                return NotKey(self.of(inner, above, depth + 1))
            case FuzzyKey(inner):
                return fuzzily(self.of(inner, above, depth + 1)) if _is_filter(inner) else key
        return key

    def _filter(self, given: str, above: tuple[str, ...], depth: int) -> Key:
        name = given.lower()
        self.count += 1
        value = None if name in above or len(above) == _PASSES or self.count > _MOST else self._value(name)
        if value is None:
            raise Refused("there is no such filter, or it cannot be resolved", f"UNDEFINED-FILTER {given}")
        cur = Cursor(value, utf8=True, max_depth=self._session.limits.max_depth)
        cur.depth = depth  # all that is nested counts together
        try:
            key = criteria(cur)
        except BadSyntax as error:
            raise Refused(f"the filter {given} cannot be understood: {error.text}", CANNOT) from None
        if self._session.uid_only and cur.numbers:
            raise BadSyntax("the filter has message numbers, which cannot be used once UIDONLY is enabled", UIDREQUIRED)
        return self.of(key, (*above, name), depth)

    def _value(self, name: str) -> bytes | None:
        if self._annotations is None:
            _, own = rights.metadata(self._session, "")
            self._annotations = {**own, **configured(self._session)}
        values = [self._annotations.get(entry + name) for entry in _ENTRIES]
        return next((value for value in values if value is not None), None)


def configured(session: Session) -> dict[str, bytes]:
    """The shared filters, by entry."""
    return {SHARED + name: text.encode() for name, text in session.services.shared_filters.items()}


def wrong(text: str) -> str:
    """What is wrong with the criteria of a filter in the settings; empty: nothing."""
    try:
        criteria(Cursor(text.encode(), utf8=True))
    except BadSyntax as error:
        return error.text
    return ""


def criteria(cur: Cursor) -> Key:
    """search-criteria = search-key *(SP search-key), and nothing behind — RFC 5466 4. Strings are quoted or atoms."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    key = search_keys(cur, registry.SEARCH_KEYS)
    cur.end()
    return key


def check_values(session: Session, values: Mapping[str, bytes | None]) -> None:
    """Of annotations of the server that are about to be set: filters must be good. Raises Refused."""
    for entry, value in values.items():
        stem = next((stem for stem in _ENTRIES if entry.startswith(stem)), None)
        if stem is None or value is None:
            continue
        if _NAME.fullmatch(entry[len(stem) :].encode("ascii")) is None:
            raise Refused("a filter cannot have such a name", CANNOT)
        try:
            value.decode("utf-8")
            criteria(Cursor(value, utf8=True, max_depth=session.limits.max_depth))
        except (BadSyntax, UnicodeDecodeError) as error:
            text = error.text if isinstance(error, BadSyntax) else "it is not in UTF-8"
            raise Refused(f"this is no search: {text}", CANNOT) from None


FEATURE = Feature(
    "filters",
    capabilities=(Capability("FILTERS", after_login),),
    search_keys={FILTER: SearchKey(FILTER, _parse)},
)
