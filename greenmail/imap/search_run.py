"""Evaluation of search keys: what is cheap first, and files only for what is then left. RFC 9051 6.4.4.

A key is asked of all candidates at once and leaves some of them. Flags are asked once a set of flags, dates and sizes
of columns, header fields of cached records; a message is opened for BODY and TEXT, or for a field that is not cached,
and then all such keys of the command are answered by the one reading.

A message that somebody else has expunged matches nothing, not even NOT: nobody could do anything with it.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress

from greenmail import metrics
from greenmail.errors import Refused, StorageError
from greenmail.imap.columns import any_flag_sets, known_rows, live_rows
from greenmail.imap.digest import BATCH, NO_FACTS, open_batches, ready
from greenmail.imap.ext.filters import expanded
from greenmail.imap.fuzzy_search import Fuzzy
from greenmail.imap.header_column import ENCODED, LEAST, OPEN, Column, asked, column
from greenmail.imap.header_record import CACHED_FIELDS, TOO_LONG, values_of
from greenmail.imap.message_set import message_ranges, selected
from greenmail.imap.results import Results
from greenmail.imap.search_key import (
    AllKey,
    AndKey,
    FlagKey,
    FuzzyKey,
    HeaderKey,
    Key,
    NotKey,
    OrKey,
    Relation,
    RowKey,
    SentKey,
    SetKey,
    TextKey,
)
from greenmail.imap.session import Session
from greenmail.imap.slices import slices
from greenmail.imap.text_probe import NOTHING, Hits, Needle, TextProbe, probe_texts
from greenmail.imap.text_search import Sieve
from greenmail.message.collation import DEFAULT, OCTET, Comparator
from greenmail.message.decode import codec, decode_words, sent_date
from greenmail.message.headers import values
from greenmail.storage.api import CacheKind, Content

BLOCK = 4096  # messages asked at once where only columns are looked at
HEADER_BLOCK = 256  # ... and where header fields are
CHARSETS = "US-ASCII UTF-8 ISO-8859-1 ISO-8859-15 WINDOWS-1252 KOI8-R ISO-2022-JP SHIFT_JIS EUC-JP GB18030 BIG5 EUC-KR"

_HEADERS = frozenset({CacheKind.HEADERS})
_DATE = b"date"


class Search:
    """One SEARCH while it runs. Raises Refused if its strings cannot be understood."""

    def __init__(self, session: Session, key: Key, charset: str, comparator: Comparator | None = None) -> None:
        """`comparator`: the active one if it is None."""
        self.session = session
        self.comparator = comparator or session.comparator
        self.view = selected(session)
        self.mailbox = self.view.mailbox
        key, charset = expanded(session, key, charset)
        self.key, self.charset = key, charset  # with what filters stand for: RFC 5466 3.1
        leaves = list(walk(key))
        self.header_needles = [
            Needle(leaf, self.comparator.fold(_needle(leaf.text, charset)) if isinstance(leaf, HeaderKey) else "")
            for leaf in leaves
            if isinstance(leaf, HeaderKey | SentKey)
        ]
        sought = [(leaf, _needle(leaf.text, charset)) for leaf in leaves if isinstance(leaf, TextKey)]
        self.text_needles = [Needle(leaf, self.comparator.fold(text)) for leaf, text in sought]
        self.sieve = Sieve(session, sought)
        self.fuzzy = Fuzzy(session)
        self.texts = {
            leaf.key: _needle(leaf.key.text, charset)
            for leaf in leaves
            if isinstance(leaf, FuzzyKey) and isinstance(leaf.key, HeaderKey | TextKey)
        }
        if any(isinstance(leaf, FuzzyKey) for leaf in leaves):
            self.fuzzy.begin()
        self.header_hits: dict[int, Hits] = {}
        self.text_hits: dict[int, Hits] = {}
        self.lost: set[int] = set()
        for leaf in leaves:
            if isinstance(leaf, RowKey) and leaf.begin is not None:
                leaf.begin(session)

    def run(self, among: Sequence[int] | None = None) -> list[int]:
        """The UIDs found, ascending; of the view, or of `among`, which ascend and are in the view."""
        if among is not None and len(among) < len(self.view.uids):
            return self._found(among)
        results = Results(self.session, self.key, self.charset, self.comparator.selected)
        known = results.numbers()
        if known is not None:
            return known
        found = self._found(self.view.uids)
        if not self.lost:
            results.keep_numbers(found)
        return found

    def _found(self, among: Sequence[int]) -> list[int]:
        found = self._evaluate(self.key, self._live(among))
        return self._without(found, self.lost) if self.lost else found

    def _without(self, uids: list[int], others: Collection[int]) -> list[int]:
        """Those of `uids` that are not in `others`."""
        return self._in_blocks(uids, lambda block: [uid for uid in block if uid not in others])

    def _live(self, among: Sequence[int]) -> list[int]:
        """Those of the messages that are still in the mailbox."""
        found: list[int] = []
        for uids in slices(among):
            rows = live_rows(self.mailbox.table, uids)
            found += uids if isinstance(rows, range) else [uid for uid, row in zip(uids, rows, strict=True) if row >= 0]
            self.session.breathe()
        return found

    def _evaluate(self, key: Key, uids: list[int]) -> list[int]:
        """Those of `uids` that match; ascending, as `uids` are."""
        if not uids:
            return uids
        match key:
            case AllKey():
                return uids
            case AndKey(keys):
                for part in sorted(keys, key=_cost):
                    uids = self._evaluate(part, uids)
                    self.session.breathe()
                return uids
            case OrKey(keys):
                return self._any(keys, uids)
            case NotKey(FlagKey(flag)):
                return self._in_blocks(uids, lambda block: self._with_flag(flag, block, present=False))
            case NotKey(inner):
                matching = set(self._evaluate(inner, uids))
                return self._without(uids, matching)
            case SetKey(seqs, uid):
                # Lenient: a number beyond the last message matches nothing; RFC 9051 9 would rather have BAD.
                named = set(self.view.between(message_ranges(self.session, seqs, uid), uid))
                return self._in_blocks(uids, lambda block: [one for one in block if one in named])
            case FlagKey(flag):
                return self._in_blocks(uids, lambda block: self._with_flag(flag, block, present=True))
            case RowKey():
                return self._in_blocks(uids, lambda block: self._by_rows(key, block))
            case HeaderKey() | SentKey():
                self._probe_headers(uids)
                return _matching(key, uids, self.header_hits)
            case FuzzyKey(HeaderKey() | TextKey() as inner):
                return self.fuzzy.find(inner, self.texts[inner], uids)
            case FuzzyKey(inner):
                return self._evaluate(inner, uids)
            case TextKey():
                self._probe_texts(self.sieve.left(key, uids))
                return _matching(key, uids, self.text_hits)

    def _any(self, keys: Sequence[Key], uids: list[int]) -> list[int]:
        """OR: each key is asked only of what the cheaper ones have not found."""
        found: set[int] = set()
        rest = uids
        for key in sorted(keys, key=_cost):
            found.update(self._evaluate(key, rest))
            rest = self._without(rest, found)
            self.session.breathe()
        return self._in_blocks(uids, lambda block: [uid for uid in block if uid in found])

    def _in_blocks(self, uids: list[int], test: Callable[[list[int]], Iterable[int]]) -> list[int]:
        if len(uids) <= BLOCK:
            return list(test(uids))
        found: list[int] = []
        for start in range(0, len(uids), BLOCK):
            found.extend(test(uids[start : start + BLOCK]))
            self.session.breathe()
        return found

    def _with_flag(self, flag: str, uids: list[int], present: bool) -> Iterable[int]:
        """The question is asked once a set of flags, not once a message."""
        table = self.mailbox.table
        wanted = [has is present for has in any_flag_sets(table, flag)]
        rows = live_rows(table, uids)
        if isinstance(rows, range):
            return compress(uids, map(wanted.__getitem__, table.flags[rows.start : rows.stop]))
        return [uid for uid, row in zip(uids, rows, strict=True) if row >= 0 and wanted[table.flags[row]]]

    def _by_rows(self, key: RowKey, uids: list[int]) -> Iterable[int]:
        if key.needs_size or key.needs_date:
            self.mailbox.fill(uids, sizes=key.needs_size, dates=key.needs_date)
        rows = known_rows(self.mailbox, uids)
        if key.needs_size:
            self.lost.update(uid for uid, size in zip(rows.uids, rows.sizes, strict=True) if size < 0)
        if key.needs_date:
            self.lost.update(uid for uid, when in zip(rows.uids, rows.dates, strict=True) if when < 0)
        return compress(rows.uids, key.test(self.session, key.argument, rows))

    def _probe_headers(self, uids: list[int]) -> None:
        """Answer every header key of the command for `uids`, from records if those hold the fields."""
        needles = self.header_needles
        recorded = all(_field(needle.key) in CACHED_FIELDS for needle in needles)
        todo = [uid for uid in uids if uid not in self.header_hits]
        for start in range(0, len(todo), HEADER_BLOCK):
            block = todo[start : start + HEADER_BLOCK]
            files = self._from_records(block) if recorded else block
            for batch in open_batches(self.session, self.mailbox, files, lambda error: None):
                contents = [content for _, content in batch]
                made = self.session.blocking(probe_headers, contents, needles, self.comparator)
                self._take(self.header_hits, batch, made)
            self.lost.update(uid for uid in block if uid not in self.header_hits)
            self.session.breathe()

    def _from_records(self, block: list[int]) -> list[int]:
        """Answer from HEADERS records; the messages whose record is too long to be kept are left."""
        texts = [self._asked(needle) for needle in self.header_needles]
        known = self._column(block) if None not in texts and len(block) >= LEAST else None
        if known is not None:
            return self._from_column(block, known, [text or b"" for text in texts])
        records = ready(self.session, self.mailbox, block, _HEADERS, lambda error: None)[CacheKind.HEADERS]
        left = [uid for uid, record in zip(block, records, strict=True) if record == TOO_LONG]
        there = [pair for pair in zip(block, records, strict=True) if pair[1] is not None and pair[1] != TOO_LONG]
        hits = match_records([record or b"" for _, record in there], self.header_needles, self.comparator)
        self.header_hits.update(zip((uid for uid, _ in there), hits, strict=True))
        return left

    def _asked(self, needle: Needle) -> bytes | None:
        """As `header_column.asked`. A column is in lower case: it has no answers for i;octet."""
        return None if isinstance(needle.key, SentKey) or self.comparator.name == OCTET else asked(needle.text)

    def _column(self, block: list[int]) -> Column | None:
        """The records of these messages, kept from an earlier SEARCH or put together; None if some cannot be had."""
        answers = self.mailbox.answers
        shelf = answers.shelf(_HEADERS) if answers is not None else None
        made_of = (array("I", block).tobytes(),)
        octets = shelf.find(block[0], made_of, ()) if shelf is not None else None
        if octets is None:
            records = ready(self.session, self.mailbox, block, _HEADERS, lambda error: None)[CacheKind.HEADERS]
            there = [record for record in records if record is not None]
            if len(there) < len(block):
                return None
            octets = column(there)
            if shelf is not None:
                shelf.keep(block[0], made_of, (), octets)
        return Column(octets)

    def _from_column(self, block: list[int], known: Column, texts: Sequence[bytes]) -> list[int]:
        """As `_from_records`; `texts` is what is asked for by each needle."""
        found: dict[int, list[Key]] = {}
        for needle, text in zip(self.header_needles, texts, strict=True):
            for place in known.having(_field(needle.key), text) if text else ():
                found.setdefault(place, []).append(needle.key)
        self.header_hits.update(dict.fromkeys(block, NOTHING))
        self.header_hits.update((block[place], frozenset(keys)) for place, keys in found.items())
        left = [uid for uid, kind in zip(block, known.kinds, strict=True) if kind == OPEN]
        encoded = [uid for uid, kind in zip(block, known.kinds, strict=True) if kind == ENCODED]
        for uid, record in zip(encoded, self.mailbox.cached_many(encoded, CacheKind.HEADERS), strict=True):
            if record is None:
                left.append(uid)
            else:
                self.header_hits[uid] = match_record(record, self.header_needles, self.comparator)
        for uid in left:
            del self.header_hits[uid]
        return sorted(left)

    def _probe_texts(self, uids: list[int]) -> None:
        """Answer every BODY and TEXT key of the command for `uids`, reading each message once."""
        session, mailbox = self.session, self.mailbox
        todo = [uid for uid in uids if uid not in self.text_hits]
        metrics.opened(len(todo))
        probe = TextProbe(self.text_needles, self.comparator)
        for start in range(0, len(todo), BATCH):
            some = todo[start : start + BATCH]
            left = self._probe_usual(some, probe)
            session.processed(len(some) - len(left))
            session.breathe()
            for batch in open_batches(session, mailbox, left, lambda error: None):
                there = [uid for uid, _ in batch]
                parts = mailbox.cached_many(there, CacheKind.PARTS)
                found = session.blocking(probe_texts, [content for _, content in batch], parts, probe)
                self._take_texts(there, found)
        self.lost.update(uid for uid in todo if uid not in self.text_hits)

    def _probe_usual(self, uids: list[int], probe: TextProbe) -> list[int]:
        """Ask those that can be read without opening each; the others are left."""
        parts = self.mailbox.cached_many(uids, CacheKind.PARTS)
        found = self.mailbox.make_many(uids, True, NO_FACTS, lambda place, data: probe.of(data, parts[place]))
        self._take_texts(uids, found)
        return [uid for uid, made in zip(uids, found, strict=True) if made is None]

    def _take_texts(self, uids: Sequence[int], found: Sequence[tuple[Hits, bytes | None] | None]) -> None:
        """`found` by a `TextProbe`; None where it has nothing to say."""
        scanned: list[tuple[int, CacheKind, bytes]] = []
        for uid, made in zip(uids, found, strict=True):
            if made is not None:
                self.text_hits[uid] = made[0]
                if made[1] is not None:
                    scanned.append((uid, CacheKind.PARTS, made[1]))
        if scanned:
            self.mailbox.cache_many(scanned)

    def _take(self, hits: dict[int, Hits], batch: Sequence[tuple[int, object]], made: Sequence[Hits | None]) -> None:
        for (uid, _), found in zip(batch, made, strict=True):
            if found is not None:
                hits[uid] = found


def _matching(key: Key, uids: Sequence[int], hits: Mapping[int, Hits]) -> list[int]:
    """Those of `uids` that match `key`; most have matched nothing."""
    return [uid for uid in uids if (found := hits.get(uid)) and key in found]


def walk(key: Key) -> Iterator[Key]:
    """Every key within `key` that is no AND, OR or NOT."""
    waiting = [key]
    while waiting:
        one = waiting.pop()
        match one:
            case AndKey(keys) | OrKey(keys):
                waiting.extend(keys)
            case NotKey(inner):
                waiting.append(inner)
            case FuzzyKey(inner) if not isinstance(inner, HeaderKey | TextKey):
                waiting.append(inner)
                yield one
            case _:
                yield one


def match_records(
    records: Sequence[bytes], needles: Sequence[Needle], comparator: Comparator = DEFAULT
) -> Iterator[Hits]:
    """The keys that match each HEADERS record.

    Where nothing is encoded and a needle is not in the octets, it is not in any field either, and most are not.
    """
    octets = [needle.octets for needle in needles]
    wanted = [needle for needle in octets if needle is not None]
    if len(wanted) < len(octets):
        for record in records:
            yield match_record(record, needles, comparator)
        return
    for record in records:
        low = record.lower()
        if b"\r\n " in low or b"\r\n\t" in low:
            low = low.replace(b"\r\n", b"")
        for needle in wanted:
            if needle in low:
                break
        else:
            if b"=?" not in low and low.isascii():
                yield NOTHING
                continue
        yield match_record(record, needles, comparator)


def match_header(header: bytes, needles: Sequence[Needle], comparator: Comparator = DEFAULT) -> Hits:
    """The keys that match a header, or the part of it that a record holds."""
    return _match_fields(values(header, {_field(needle.key) for needle in needles}), needles, comparator)


def match_record(record: bytes, needles: Sequence[Needle], comparator: Comparator = DEFAULT) -> Hits:
    """`match_header` of a HEADERS record, which is not TOO_LONG."""
    return _match_fields(values_of(record, {_field(needle.key) for needle in needles}), needles, comparator)


def _match_fields(fields: Mapping[bytes, Sequence[bytes]], needles: Sequence[Needle], comparator: Comparator) -> Hits:
    """The keys that match these fields, by name."""
    texts: dict[bytes, list[str]] = {}
    found: list[Key] = []
    for needle in needles:
        name = _field(needle.key)
        if isinstance(needle.key, SentKey):
            if _is_sent(needle.key, next(iter(fields[name]), None)):
                found.append(needle.key)
            continue
        if name not in texts:
            texts[name] = [comparator.fold(decode_words(value)) for value in fields[name]]
        if any(needle.text in text for text in texts[name]):
            found.append(needle.key)
    return frozenset(found)


def probe_headers(contents: Sequence[Content], needles: Sequence[Needle], comparator: Comparator) -> list[Hits | None]:
    """Runs in the pool: the keys that each message's header matches; None if it cannot be read."""
    made: list[Hits | None] = []
    for content in contents:
        try:
            made.append(match_header(content.header(), needles, comparator))
        except StorageError:
            made.append(None)
    return made


def _is_sent(key: SentKey, value: bytes | None) -> bool:
    """Without a Date field that can be read there is no day to compare."""
    day = sent_date(value) if value is not None else None
    if day is None:
        return False
    if key.relation is Relation.ON:
        return day == key.day
    return day < key.day if key.relation is Relation.BEFORE else day >= key.day


def _field(key: Key) -> bytes:
    return key.field if isinstance(key, HeaderKey) else _DATE


def _cost(key: Key) -> int:
    """How much work a key is; only the order matters."""
    match key:
        case AndKey(keys) | OrKey(keys):
            return max(map(_cost, keys))
        case NotKey(inner):
            return _cost(inner)
        case AllKey() | SetKey() | FlagKey():
            return 0
        case RowKey():
            return 2 if key.needs_size or key.needs_date else 1
        case TextKey() | FuzzyKey():
            return 4
    return 3


def _needle(octets: bytes, charset: str) -> str:
    """A search string as text. Without CHARSET it is UTF-8, RFC 9051 6.4.4, of which US-ASCII is a part."""
    try:
        return octets.decode(check_charset(charset))
    except (UnicodeError, ValueError):
        raise Refused("the text to search for is not valid in its character set") from None


def check_charset(charset: str) -> str:
    """Python's name of the CHARSET, which is empty if none was given. Raises Refused with BADCHARSET, RFC 9051 7.1."""
    name = codec(charset.encode("ascii")) if charset else "utf_8"
    if name is None:
        raise Refused("this character set is not known here", f"BADCHARSET ({CHARSETS})")
    return name
