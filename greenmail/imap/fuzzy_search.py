"""FUZZY in a search while it runs, and the scores of what it found. RFC 6203 3, 4.

Texts are matched fuzzily: TEXT and BODY by the full-text index, header fields by what is cached of them; the active
comparator has no part in it. All other keys mean within FUZZY what they mean without, as RFC 6203 5 allows, and so does
NOT, which would leave out too much.
"""

from collections.abc import Sequence

from greenmail.errors import BadSyntax, StorageError
from greenmail.imap.digest import open_batches, ready
from greenmail.imap.header_record import CACHED_FIELDS, TOO_LONG, header_of
from greenmail.imap.message_set import selected
from greenmail.imap.search_key import AndKey, FuzzyKey, HeaderKey, Key, NotKey, OrKey, TextKey
from greenmail.imap.session import Session
from greenmail.message.collation import widened
from greenmail.message.decode import decode_words
from greenmail.message.fuzzy import Wanted, fitness, wanted
from greenmail.message.headers import values
from greenmail.storage.api import CacheKind, Content
from greenmail.storage.text_index import FullText, TextNeedle

_BLOCK = 256
_HEADERS = frozenset({CacheKind.HEADERS})
_OTHER = 1.0  # how well keys fit that are no texts


class Fuzzy:
    """The FUZZY keys of one command."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fits: dict[int, list[float]] = {}

    @property
    def _full_text(self) -> FullText:
        full_text = self._session.services.full_text
        if full_text is None:
            raise BadSyntax("fuzzy search is not offered here")
        return full_text

    def begin(self) -> None:
        """A FUZZY key is among the keys. Raises BadSyntax where that is not offered."""
        account = self._session.account
        if account is None or not self._full_text.serves(account):
            raise BadSyntax("fuzzy search is not offered here")

    def find(self, key: HeaderKey | TextKey, text: str, uids: list[int]) -> list[int]:
        """Those of `uids` that fit. `text`: that of the key, decoded."""
        fits = self._in_texts(TextNeedle(text, key.header), uids) if isinstance(key, TextKey) else {}
        if isinstance(key, HeaderKey):
            fits = self._in_fields(key, wanted(widened(text)), uids)
        for uid, fit in fits.items():
            self._fits.setdefault(uid, []).append(fit)
        return [uid for uid in uids if uid in fits]

    def _in_texts(self, needle: TextNeedle, uids: list[int]) -> dict[int, float]:
        session, mailbox = self._session, selected(self._session).mailbox
        fits: dict[int, float] = {}
        left: Sequence[int] = uids
        index = self._full_text.of(mailbox)
        if index is not None:
            fits, left = session.blocking(index.fuzzy, needle, uids)
            if index.is_incomplete:
                self._full_text.fill(mailbox, is_incomplete=True)
        for batch in open_batches(session, mailbox, left, lambda error: None):
            found = session.blocking(self._full_text.fuzzy, [content for _, content in batch], needle)
            fits.update({uid: fit for (uid, _), fit in zip(batch, found, strict=True) if fit})
        return fits

    def _in_fields(self, key: HeaderKey, one: Wanted, uids: list[int]) -> dict[int, float]:
        fits: dict[int, float] = {}
        for start in range(0, len(uids), _BLOCK):
            block = uids[start : start + _BLOCK]
            for uid, header in self._headers(key.field, block):
                texts = [(widened(decode_words(value)), 1.0) for value in values(header, {key.field})[key.field]]
                fit = fitness(one, texts)
                if fit:
                    fits[uid] = fit
            self._session.breathe()
        return fits

    def _headers(self, field: bytes, block: list[int]) -> list[tuple[int, bytes]]:
        """For each message a header that has all fields of that name."""
        session, mailbox = self._session, selected(self._session).mailbox
        found: list[tuple[int, bytes]] = []
        files = block
        if field in CACHED_FIELDS:
            records = ready(session, mailbox, block, _HEADERS, lambda error: None)[CacheKind.HEADERS]
            pairs = list(zip(block, records, strict=True))
            found = [(uid, header_of(record)) for uid, record in pairs if record is not None and record != TOO_LONG]
            files = [uid for uid, record in pairs if record == TOO_LONG]
        for batch in open_batches(session, mailbox, files, lambda error: None):
            found += zip((uid for uid, _ in batch), session.blocking(_read, [one for _, one in batch]), strict=True)
        return found

    def scores(self, uids: Sequence[int]) -> list[int]:
        """The relevancy of each, from 1 to 100; the best has 100."""
        fits = [sum(found) / len(found) if (found := self._fits.get(uid)) else _OTHER for uid in uids]
        best = max(fits, default=1.0)
        return [max(round(fit / best * 100), 1) for fit in fits]


def _read(contents: Sequence[Content]) -> list[bytes]:
    """Runs in the pool: the headers; nothing of a message that cannot be read."""
    found: list[bytes] = []
    for content in contents:
        try:
            found.append(content.header())
        except StorageError:
            found.append(b"")
    return found


def fuzzily(key: Key) -> Key:
    """`key` as the argument of FUZZY: each text in it is matched fuzzily."""
    match key:
        case AndKey(keys):
            return AndKey(tuple(map(fuzzily, keys)))
        case OrKey(keys):
            return OrKey(tuple(map(fuzzily, keys)))
        case FuzzyKey() | NotKey():
            return key if isinstance(key, FuzzyKey) else FuzzyKey(key)
        case _:
            return FuzzyKey(key)
