"""Questions to an index: `storage.text_index.TextIndex`. For the pool; nothing here raises."""

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from greenmail.errors import StorageError
from greenmail.fulltext.database import DAMAGE, Database, uncovered
from greenmail.fulltext.place import Place
from greenmail.fulltext.text import packed, storable, text_of, unpacked
from greenmail.message.collation import widened
from greenmail.message.fuzzy import Wanted, fitness, halves, wanted
from greenmail.storage.api import Content
from greenmail.storage.text_index import Indexed, TextNeedle

log = logging.getLogger(__name__)

SHORTEST = 3  # characters of a text that can be looked for

# What an index can be that is not damaged: locked, a full disk, no permission, too many open files.
_PASSING = frozenset(
    (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_FULL,
     sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL)
)  # fmt: skip


def is_damage(error: Exception) -> bool:
    """Whether an index of which this came must be made anew."""
    if isinstance(error, OSError | StorageError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _PASSING


@dataclass(slots=True)
class Lookup:
    """The index of one mailbox. Each question opens the file, which costs half a millisecond, and closes it."""

    key: Indexed
    damaged: Callable[[bytes], object]  # told the directory when the file in it is of no use
    is_incomplete: bool = False

    def sift(self, needles: Sequence[TextNeedle], uids: Sequence[int]) -> list[Collection[int] | None]:
        """See `TextIndex`."""
        found: list[Collection[int] | None] = [None] * len(needles)
        wanted = [(at, storable(widened(needle.text)), needle.header) for at, needle in enumerate(needles)]
        wanted = [one for one in wanted if len(one[1]) >= SHORTEST]

        def question(database: Database, number: int) -> None:
            left = uncovered(uids, database.covered(number))
            self.is_incomplete = bool(left)
            left += database.too_long(number)
            known = set(uids).difference(left)
            answers = [(at, {*left, *_having(database, number, (text, header), known)}) for at, text, header in wanted]
            for at, answer in answers:
                found[at] = answer

        if wanted:
            self._ask(question)
        return found

    def fuzzy(self, needle: TextNeedle, uids: Sequence[int]) -> tuple[dict[int, float], Sequence[int]]:
        """See `TextIndex`."""
        one = wanted(storable(widened(needle.text)))
        fits: dict[int, float] = {}
        unknown: list[Sequence[int]] = [uids]

        def question(database: Database, number: int) -> None:
            left = uncovered(uids, database.covered(number))
            self.is_incomplete = bool(left)
            known = set(uids).difference(left)
            maybe = _fitting(database, number, one)
            for uid in sorted(known if maybe is None else known & maybe):
                octets = database.text(number, uid)
                found = fitness(one, _weighted(unpacked(octets), needle.header)) if octets is not None else 0.0
                if found:
                    fits[uid] = found
            unknown[:] = [left]

        self._ask(question)
        return (fits, unknown[0]) if unknown[0] is not uids else ({}, uids)

    def _ask(self, question: Callable[[Database, int], None]) -> None:
        """Have it answered, if there is an index, and the mailbox is in it."""
        try:
            with Place(self.key.place.directory) as place:
                current = place.current()
                if not current:
                    raise FileNotFoundError("there is no index")
                with Database(place, current) as database:
                    database.connection.execute("BEGIN")  # what is read is of one moment
                    number = database.number_of(self.key)
                    if number is None:
                        raise FileNotFoundError("the mailbox is not indexed")
                    question(database, number)
        except FileNotFoundError:
            self.is_incomplete = True
        except (OSError, sqlite3.Error, *DAMAGE) as error:
            log.warning("full-text directory=%r error=%r", self.key.place.directory, str(error))
            if is_damage(error):
                self.is_incomplete = True
                self.damaged(self.key.place.directory)


def _having(database: Database, number: int, wanted: tuple[str, bool], known: Collection[int]) -> Iterator[int]:
    """Those of `known` that have the text, in the header or not."""
    text, with_header = wanted
    for uid in database.candidates(number, text):
        if uid in known:
            header, body, _ = _sections(database, number, uid)
            if text in body or (with_header and text in header):
                yield uid


def _fitting(database: Database, number: int, one: Wanted) -> set[int] | None:
    """The messages in which every word may fit; None: any."""
    found: set[int] | None = None
    for word in one.words or (one.phrase,):
        if len(word) < SHORTEST:
            continue
        maybe = set(database.candidates(number, word))
        if len(word) >= 2 * SHORTEST:
            for half in halves(word):
                maybe.update(database.candidates(number, half))
        elif len(word) > SHORTEST:
            for at in range(len(word) - 2):
                maybe.update(database.candidates(number, word[at : at + 3]))
        found = maybe if found is None else found & maybe
    return found


def _weighted(sections: tuple[str, str, str], with_header: bool) -> list[tuple[str, float]]:
    """What is in the subject counts most."""
    header, body, shown = sections
    found = [(body, 0.7), (shown, 0.7)]
    if with_header:
        subject = " ".join(line[8:] for line in header.split("\n") if line.startswith("subject:"))
        found += [(subject, 1.0), (header, 0.6)]
    return found


def fuzzy(contents: Sequence[Content], needle: TextNeedle) -> list[float | None]:
    """See `FullText`."""
    one = wanted(storable(widened(needle.text)))
    found: list[float | None] = []
    for content in contents:
        try:
            text = text_of(content.read())
        except StorageError:
            found.append(None)
            continue
        found.append(0.0 if text is None else fitness(one, _weighted(unpacked(packed(text)), needle.header)))
    return found


def _sections(database: Database, number: int, uid: int) -> tuple[str, str, str]:
    octets = database.text(number, uid)
    if octets is None:
        raise ValueError("a message without its text")
    return unpacked(octets)
