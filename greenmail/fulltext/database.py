"""The SQLite file of one account's index.

    mailbox(number, guid, inode, uidvalidity, path)   a mailbox; by what it is known is `Indexed`
    covered(mailbox, first, uids)                     UIDs that are indexed, 32 bits each, ascending, up to 4096 a row
    message(id, text)                                 what is indexed of a message, deflated
    long(id)                                          messages with more text than is indexed
    trigram                                           FTS5: which three characters are in the text of which id

    id = number << 32 | uid

FTS5 keeps no text and no places (`detail=none`), only which messages have three characters in a row: that is an eighth
of an index with places. A text is looked for by all of its trigrams, and what that finds is looked at in `message`.
To take a message out of FTS5 its text is needed, which is there, too.

Everything is written in transactions, with a write-ahead log that is synced only when it goes into the file: after a
kill at any moment the file has all of a transaction or nothing; so it has after a power cut, but for the last ones.
"""

import contextlib
import sqlite3
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import quote

from greenmail.fulltext.place import Place
from greenmail.fulltext.text import packed, plain, whole
from greenmail.storage.text_index import Indexed
from greenmail.storage.text_place import TextPlace

VERSION = 2  # of the tables, and of `message.collation.widened`
BUSY = 5.0  # seconds to wait for another connection's lock; in the pool
_ROW = 4096  # UIDs in a row of `covered`
_PIECE = 8192  # UIDs compared at once: the interpreter lets no other thread run meanwhile
_PAGES = 256  # given back at once
_GRAMS = 24  # trigrams of a text that are asked for; more would hardly leave out more
_SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE mailbox(number INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT NOT NULL, inode INTEGER NOT NULL,
    uidvalidity INTEGER NOT NULL, path BLOB NOT NULL, UNIQUE(guid, inode, uidvalidity));
CREATE TABLE covered(mailbox INTEGER NOT NULL, first INTEGER NOT NULL, uids BLOB NOT NULL,
    PRIMARY KEY(mailbox, first)) WITHOUT ROWID;
CREATE TABLE message(id INTEGER PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE long(id INTEGER PRIMARY KEY);
CREATE VIRTUAL TABLE trigram
    USING fts5(text, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1');
PRAGMA user_version = {VERSION};
COMMIT;
"""

# What damage looks like, beside sqlite3.Error: values of another kind than were written.
DAMAGE = (zlib.error, ValueError, TypeError, OverflowError)


NOWHERE = TextPlace(b"", list)


class Database:
    """An open file. Whoever uses it does that in one thread at a time, in the pool."""

    def __init__(self, place: Place, number: int) -> None:
        """Raises OSError, sqlite3.Error; ValueError if it is of another version or none at all."""
        self._place = place
        self._number = number
        path = place.path_of(number)
        self._identity = place.identity(number)
        uri = "file:" + quote(path) + "?mode=rw"
        self.connection = sqlite3.connect(uri, timeout=BUSY, isolation_level=None, check_same_thread=False, uri=True)
        is_good = False
        try:
            self._settle()
            is_good = True
        finally:
            if not is_good:
                self.connection.close()

    def _settle(self) -> None:
        self.check()
        run = self.connection.execute
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA cell_size_check = ON")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA temp_store = MEMORY")
        if run("PRAGMA user_version").fetchone()[0] != VERSION:
            raise ValueError("an index of another version")

    def check(self) -> None:
        """Raises OSError if the path leads to another file by now, or to none."""
        if self._place.identity(self._number) != self._identity:
            raise FileNotFoundError("the index was replaced")

    def close(self) -> None:
        """Give back the file."""
        self.connection.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def number_of(self, key: Indexed) -> int | None:
        """The number of a mailbox."""
        sql = "SELECT number FROM mailbox WHERE guid = ? AND inode = ? AND uidvalidity = ?"
        row = self.connection.execute(sql, (key.guid, key.inode, key.uidvalidity)).fetchone()
        return int(row[0]) if row is not None else None

    def covered(self, number: int) -> "array[int]":
        """The UIDs of a mailbox that are indexed, ascending."""
        found: array[int] = array("I")
        rows = self.connection.execute("SELECT uids FROM covered WHERE mailbox = ? ORDER BY first", (number,))
        is_ascending = True
        for (uids,) in rows:
            last = found[-1] if found else 0
            found.frombytes(uids)
            is_ascending = is_ascending and (not uids or found[-len(uids) // 4] > last)
        return found if is_ascending else array("I", sorted(set(found)))

    def candidates(self, number: int, text: str) -> list[int]:
        """The UIDs of messages that have all trigrams of `text`, which has three characters at least; ascending."""
        sql = "SELECT rowid FROM trigram WHERE trigram MATCH ? AND rowid BETWEEN ? AND ?"
        rows = self.connection.execute(sql, (query(text), number << 32, (number << 32) + 0xFFFFFFFF))
        return [row[0] & 0xFFFFFFFF for row in rows]

    def too_long(self, number: int) -> list[int]:
        """The UIDs of messages that whoever searches opens."""
        sql = "SELECT id FROM long WHERE id BETWEEN ? AND ?"
        return [
            row[0] & 0xFFFFFFFF for row in self.connection.execute(sql, (number << 32, (number << 32) + 0xFFFFFFFF))
        ]

    def text(self, number: int, uid: int) -> bytes | None:
        """What is indexed of a message, deflated."""
        row = self.connection.execute("SELECT text FROM message WHERE id = ?", (number << 32 | uid,)).fetchone()
        return row[0] if row is not None else None

    def mailboxes(self) -> list[tuple[int, Indexed]]:
        """Every mailbox with its number; the place is not theirs to know."""
        rows = self.connection.execute("SELECT number, guid, inode, uidvalidity, path FROM mailbox")
        return [(number, Indexed(NOWHERE, *rest)) for number, *rest in rows]

    # Writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What is written within is one transaction: all of it or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def enter(self, key: Indexed) -> int:
        """The number of a mailbox, which may be new here, or have another path than before."""
        number = self.number_of(key)
        if number is not None:
            sql = "UPDATE mailbox SET path = ? WHERE number = ? AND path <> ?"
            self.connection.execute(sql, (key.path, number, key.path))
            return number
        sql = "INSERT INTO mailbox(guid, inode, uidvalidity, path) VALUES(?, ?, ?, ?)"
        return self.connection.execute(sql, (key.guid, key.inode, key.uidvalidity, key.path)).lastrowid or 0

    def add(self, number: int, texts: Sequence[tuple[int, str | None]]) -> None:
        """Take up messages, ascending, none of which is covered; with no text: one that is too long."""
        run = self.connection.execute
        for uid, text in texts:
            if text is None:
                run("INSERT INTO long(id) VALUES(?)", (number << 32 | uid,))
                continue
            run("INSERT INTO message(id, text) VALUES(?, ?)", (number << 32 | uid, packed(text)))
            run("INSERT INTO trigram(rowid, text) VALUES(?, ?)", (number << 32 | uid, plain(text)))
        self._cover(number, array("I", [uid for uid, _ in texts]))

    def _cover(self, number: int, uids: "array[int]") -> None:
        """Write down what is covered now, if possible at the end of the last row."""
        sql = "SELECT first, uids FROM covered WHERE mailbox = ? ORDER BY first DESC LIMIT 1"
        last = self.connection.execute(sql, (number,)).fetchone()
        if last is not None and len(last[1]) < 4 * _ROW:
            before = array("I", last[1])
            if not before or before[-1] < uids[0]:
                sql = "UPDATE covered SET uids = ? WHERE mailbox = ? AND first = ?"
                self.connection.execute(sql, ((before + uids).tobytes(), number, last[0]))
                return
        self._cover_anew(number, uids)

    def _cover_anew(self, number: int, uids: "array[int]") -> None:
        for start in range(0, len(uids), _ROW):
            some = uids[start : start + _ROW]
            sql = "SELECT uids FROM covered WHERE mailbox = ? AND first = ?"
            row = self.connection.execute(sql, (number, some[0])).fetchone()
            if row is not None:
                some = array("I", sorted({*some, *array("I", row[0])}))
            sql = "INSERT OR REPLACE INTO covered(mailbox, first, uids) VALUES(?, ?, ?)"
            self.connection.execute(sql, (number, some[0], some.tobytes()))

    def remove(self, number: int, uids: Collection[int]) -> None:
        """Forget messages."""
        run = self.connection.execute
        for uid in uids:
            octets = self.text(number, uid)
            if octets is not None:
                run(
                    "INSERT INTO trigram(trigram, rowid, text) VALUES('delete', ?, ?)",
                    (number << 32 | uid, plain(whole(octets))),
                )
                run("DELETE FROM message WHERE id = ?", (number << 32 | uid,))
            run("DELETE FROM long WHERE id = ?", (number << 32 | uid,))
        gone = set(uids)
        sql = "SELECT first, uids FROM covered WHERE mailbox = ? AND first <= ?"
        for first, octets in run(sql, (number, max(gone))).fetchall():
            row = array("I", octets)
            left = array("I", [uid for uid in row if uid not in gone]) if row[-1] >= min(gone) else row
            if len(left) < len(row):
                run("DELETE FROM covered WHERE mailbox = ? AND first = ?", (number, first))
                self._cover_anew(number, left)

    def leave(self, number: int) -> None:
        """Forget a mailbox, of which no message is covered any more."""
        self.connection.execute("DELETE FROM covered WHERE mailbox = ?", (number,))
        self.connection.execute("DELETE FROM mailbox WHERE number = ?", (number,))

    def shrink(self) -> None:
        """Give back some of the room that nothing is in; outside of a transaction."""
        self.connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()


def make(place: Place) -> int:
    """A new, empty index in the place of what is there, under its lock; the number. Raises OSError, sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(place.begin(), isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
    return place.finish()


def query(text: str) -> str:
    """What FTS5 is asked for: the trigrams of a text, evenly chosen if they are many."""
    grams = list(dict.fromkeys(text[place : place + 3] for place in range(len(text) - 2)))
    step = max(1, -(-len(grams) // _GRAMS))
    return " AND ".join('"{}"'.format(gram.replace('"', '""')) for gram in grams[::step])


def uncovered(uids: Sequence[int], covered: Sequence[int]) -> list[int]:
    """Those of `uids` that are not in `covered`; both ascend."""
    found: list[int] = []
    for start in range(0, len(uids), _PIECE):
        piece = uids[start : start + _PIECE]
        known = set(covered[bisect_left(covered, piece[0]) : bisect_right(covered, piece[-1])])
        found += [uid for uid in piece if uid not in known] if len(known) < len(piece) or known != set(piece) else []
    return found
