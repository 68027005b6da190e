"""`dovecot-uidlist`: which UID each message has, read and written beside Dovecot. `formats.md` 2.4 to 2.6.

`uidlist_format` has the grammar. The file changes in two ways only, both under `dovecot-uidlist.lock`: lines are
appended (written behind the end in one go, then fdatasync), or a new file is renamed over the old one
(`Files.replace_file`). Whoever reads without the lock ignores what follows the last LF; whoever has the lock and finds
such a rest knows that its writer is dead, keeps what can be read of it and rewrites the file before anything else is
appended. UIDs of which we do not know whether somebody saw them are never given out again: `next_uid` only rises.
"""

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, ownership, refusing
from greenmail.storage.uidlist_file import Refreshed, Seen, append, read_ends
from greenmail.storage.uidlist_format import (
    LARGEST_UID,
    VERSION,
    check_bases,
    find,
    format_fields,
    has_fields,
    new_guid,
    parse,
    parse_appended,
    parse_fields,
    parse_header,
    tidied,
)
from greenmail.storage.uidlist_records import Records, lines_of

log = logging.getLogger(__name__)

_REWRITE_AT = 0.75  # share of the lines whose messages live
_LONG = 4096  # records that rest at once
_SEARCHES = 32  # for single names in a file that rests, before it is read as a whole: what that costs


class Uidlist:
    """One mailbox's UID list as last read. "Locked": the caller holds `dovecot-uidlist.lock` (locks.MailboxLock).

    Methods raise StorageError. Lines of messages that are gone stay until the next rewrite. When it rests (`rest`) its
    records are on disk alone: a few names are searched in the file, which is not taken apart for them.
    """

    __slots__ = (
        "_absent",
        "_files",
        "_floor",
        "_highest",
        "_last_line",
        "_lines",
        "_offset",
        "_others",
        "_path",
        "_records",
        "_searches",
        "_seen",
        "_trusted",
        "_version",
        "guid",
        "must_rewrite",
        "next_uid",
        "uidvalidity",
    )

    def __init__(self, files: Files, path: bytes) -> None:
        """`path` of the file, which need not exist; nothing is read."""
        self._files = files
        self._path = path
        self._seen: Seen | None = None
        self._offset = 0  # behind the last line read
        self._last_line = b""
        self._lines = 0
        self._version = 0
        self._others: tuple[bytes, ...] = ()
        self._floor = (0, 1)  # UIDVALIDITY, and the lowest next UID allowed with it
        self._records: Records | None = Records()  # None while it rests
        self._highest = 0  # of the UIDs of records, while it rests
        self._searches = 0  # since it rests
        self._trusted: tuple[Any, ...] = ()  # print, UIDVALIDITY and GUID of the file, if somebody knows it
        self._absent: set[bytes] = set()  # base names that were searched, and are not there
        self.uidvalidity = 0  # 0: not known, the file is missing or its header is broken; `start` must be called
        self.guid = b""  # 32 hex digits, or empty if not known
        self.next_uid = 1  # never goes down unless uidvalidity changes
        self.must_rewrite = False  # damage, an old version, or a change in memory: `assign` rewrites, or call `rewrite`

    @property
    def uids(self) -> Records:
        """Base name -> UID; replaced as a whole by REREAD and by some changes; do not change. Raises StorageError."""
        if self._records is None:
            self.wake()
        assert self._records is not None, "it was read"
        return self._records

    @uids.setter
    def uids(self, records: Records) -> None:
        self._records = records
        self._absent.clear()

    def uid_of(self, base: bytes) -> int | None:
        """The UID of a base name, None if there is none."""
        return self.uids_of((base,))[0] if self._records is None else self._records.get(base)

    def uids_of(self, bases: Sequence[bytes]) -> list[int | None]:
        """`uid_of` each. A list that rests is read once for all of them: work for the pool."""
        asked = [base for base in bases if base not in self._absent]
        if not asked:
            return [None] * len(bases)
        data = self._resting() if self._records is None and self._searches + len(asked) <= _SEARCHES else None
        if data is None:
            return list(map(self.uids.get, bases))
        self._searches += len(asked)
        found = {base: find(data, base) for base in asked}
        self._absent.update(base for base in asked if found[base] is None)
        return [found.get(base) for base in bases]

    def _resting(self) -> bytes | None:
        """What is known of the file, read again; None if that is not there any more."""
        seen = self._seen
        with refusing("cannot read the UID list"):
            return seen.read(self._files, self._path, self._offset, self._last_line) if seen is not None else None

    @property
    def has_records(self) -> bool:
        """Whether there is any, also where they are on disk alone."""
        return bool(self._highest if self._records is None else self._records)

    @property
    def rests(self) -> bool:
        """Whether the records are on disk alone."""
        return self._records is None

    def wake(self) -> None:
        """Have the records in memory again. No other thread may change the list meanwhile. Raises IN_USE."""
        data = self._resting()
        if data is None:
            self._seen = None  # the next refresh reads whatever is there
            raise StorageError(Reason.IN_USE, "another program has replaced the UID list, try again")
        self._records = parse(data).uids

    def refresh(self, locked: bool) -> Refreshed:
        """Read what is new. Without the lock an unfinished last line is left for later. Some 3 µs if unchanged.

        MISSING with `uidvalidity` set: the file went away under us; `rewrite` puts back what is known.
        """
        with refusing("cannot read the UID list"):
            for _ in range(2):  # who finds nothing looks once more, as in `Files.surely`
                try:
                    return self._look(locked)
                except FileNotFoundError:
                    continue
            self._seen = None
            self.must_rewrite = True
            return Refreshed.MISSING

    def trust(self, known: Sequence[int], uidvalidity: int, guid: bytes) -> None:
        """Before the first refresh: the file that had this `print` was taken up by somebody, and was not damaged.

        If it is that file still, and long, it is not taken apart again, but rests.
        """
        if self._seen is None:
            self._trusted = (*known, uidvalidity, guid)

    def _take_trusted(self, descriptor: int, found: Seen) -> bool:
        """Whether it is the file of `trust`."""
        if self._trusted[:3] != (found.inode, found.size, found.mtime_ns):
            return False
        ends = read_ends(self._files, descriptor)
        header = parse_header(ends.first)
        records = parse_appended(ends.last, 0)
        is_same = (header.version, header.uidvalidity, header.guid) == (VERSION, *self._trusted[3:])
        if not (is_same and records and ends.lines > _LONG):
            return False
        self.uidvalidity, self.guid = header.uidvalidity, header.guid
        self._others, self._version = header.others, VERSION
        self._seen, self._offset, self._last_line, self._lines = found, found.size, ends.last, ends.lines - 1
        self._begin_rest(records[0][0])
        self._raise_next(max(header.next_uid, self._highest + 1))
        return True

    def is_unchanged(self, locked: bool) -> bool:
        """Whether `refresh` would say UNCHANGED, for one stat; False also if that cannot be told."""
        try:
            return self._is_as_seen(self._files.stat(self._path), locked)
        except OSError:
            return False

    def _is_as_seen(self, found: os.stat_result, locked: bool) -> bool:
        seen = self._seen
        return (
            seen is not None
            and (seen.mtime_ns, seen.size, seen.inode) == (found.st_mtime_ns, found.st_size, found.st_ino)
            and seen.device == found.st_dev
            and not (locked and self._offset < found.st_size)
        )

    def _look(self, locked: bool) -> Refreshed:
        if self._is_as_seen(self._files.stat(self._path), locked):
            return Refreshed.UNCHANGED
        descriptor = self._files.open(self._path, os.O_RDONLY)
        try:
            return self._take_up(descriptor, locked)
        finally:
            self._files.close_quietly(descriptor)

    def _take_up(self, descriptor: int, locked: bool) -> Refreshed:
        seen, found = self._seen, Seen.of(self._files.fstat(descriptor))
        may_have_grown = seen is not None and seen.same_file(found) and seen.size <= found.size
        lines = self._lines
        if seen and may_have_grown and self._read_on(descriptor, seen, found):
            return Refreshed.APPENDED if self._lines > lines else Refreshed.UNCHANGED
        if seen is None and self._take_trusted(descriptor, found):
            return Refreshed.UNCHANGED
        self._read_all(self._files.read_from(descriptor, 0), found, locked)
        return Refreshed.REREAD

    def _read_on(self, descriptor: int, seen: Seen, found: Seen) -> bool:
        """Take up lines that were appended; False if it cannot be told that this is all that happened.

        An inode number may be used again for another file: so the last line known must stand where it stood.
        """
        if self.must_rewrite or self._version != VERSION:
            return False
        start = self._offset - len(self._last_line)
        data = self._files.read_from(descriptor, start)
        if not data.startswith(self._last_line) or start + len(data) < found.size:
            return False
        data = data[len(self._last_line) :]
        end = data.rfind(b"\n") + 1
        if end < len(data) or (end == 0 and found.mtime_ns != seen.mtime_ns):
            return False
        records = parse_appended(data, self._highest if self._records is None else self._records.highest)
        bases = [base for _, _, base in records or ()]
        if records is None or self._has_any(bases, descriptor):
            return False
        self._add(bases, [uid for uid, _, _ in records], {base: raw for _, raw, base in records if raw})
        self._took(found, data, len(records))
        self._raise_next(records[-1][0] + 1 if records else 1)
        return True

    def _has_any(self, bases: Collection[bytes], descriptor: int) -> bool:
        """Whether one of them is a record already; `descriptor` is open on the file."""
        if self._records is None:
            data = self._files.read_from(descriptor, 0)[: self._offset]
            if len(bases) <= _SEARCHES:
                return any(find(data, base) is not None for base in bases)
            self._records = parse(data).uids
        return any(base in self._records for base in bases)

    def _add(self, bases: Sequence[bytes], uids: Sequence[int], fields: Mapping[bytes, bytes]) -> None:
        """Records that stand behind all others in the file."""
        self._absent.clear()
        if self._records is not None:
            self._records.extend(bases, uids, fields)
        elif uids:
            self._highest = uids[-1]

    def _took(self, found: Seen, data: bytes, lines: int) -> None:
        """`data`, whole lines behind the offset, is known now."""
        self._seen = found
        self._offset += len(data)
        self._lines += lines
        if data:
            self._last_line = data[data.rfind(b"\n", 0, -1) + 1 :]

    def _read_all(self, data: bytes, found: Seen, locked: bool) -> None:
        whole = data if locked else data[: data.rfind(b"\n") + 1]
        parsed = parse(whole)
        header = parsed.header
        self.uids, self._others = parsed.uids, header.others
        self._version = header.version
        self.uidvalidity = header.uidvalidity or self._floor[0]
        self.guid = header.guid or self.guid
        self.must_rewrite = bool(parsed.damage) or header.version != VERSION or not header.guid
        self._seen, self._offset, self._last_line, self._lines = found, 0, b"", 0
        self._took(found, whole, parsed.lines)
        self.next_uid = 1
        self._raise_next(max(header.next_uid, parsed.highest + 1))
        for text in parsed.damage[:10]:
            log.warning("uidlist-damaged path=%r what=%r", self._path, text)

    def _raise_next(self, next_uid: int) -> None:
        """Never below what was known for this UIDVALIDITY."""
        floor = self._floor[1] if self._floor[0] == self.uidvalidity else 1
        self.next_uid = max(self.next_uid, next_uid, floor)
        if self.uidvalidity:
            self._floor = (self.uidvalidity, self.next_uid)

    def remember(self, uidvalidity: int, next_uid: int) -> None:
        """What another record (snapshot, `greenmail-data`) knows; raises `next_uid`, if the UIDVALIDITY is the same.

        If the header turns out to be broken, this UIDVALIDITY is taken.
        """
        if not uidvalidity:
            return
        if uidvalidity == self._floor[0]:
            next_uid = max(next_uid, self._floor[1])
        elif self.uidvalidity and uidvalidity != self.uidvalidity:
            return
        self._floor = (uidvalidity, next_uid)
        if uidvalidity == self.uidvalidity:
            self._raise_next(next_uid)

    def print(self) -> list[int] | None:
        """Inode, size and mtime of the file as it was last read or written; None if it was not."""
        seen = self._seen
        return [seen.inode, seen.size, seen.mtime_ns] if seen else None

    def start(self, uidvalidity: int, guid: bytes = b"") -> None:
        """Locked: give the mailbox its UIDVALIDITY and write the file; records that are known stay."""
        self.uidvalidity = uidvalidity
        self.guid = guid or self.guid or new_guid()
        self._raise_next(self.uids.highest + 1)
        self.rewrite()

    def load(self, uidvalidity: int, next_uid: int, records: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Take these records (UID, raw fields, base name) instead of what is known; write them with `rewrite`."""
        found = sorted(records)
        check_bases([base for _, _, base in found])
        self.uids = Records.of(map(tidied, found))
        self.uidvalidity, self.next_uid, self.must_rewrite = uidvalidity, 1, True
        self._raise_next(max(next_uid, self.uids.highest + 1))

    def assign(self, bases: Sequence[bytes], fields: Mapping[bytes, bytes] | None = None) -> list[int]:
        """Locked and fresh: number messages in the given order, durably (append, or rewrite if need be).

        A base name that had a UID loses it. `fields`: base name -> raw fields. Raises LIMIT if UIDs run out.
        """
        fields = {base: format_fields(parse_fields(raw)) for base, raw in (fields or {}).items() if raw}
        self._merge_foreign()
        if not self.uidvalidity or len(set(bases)) != len(bases):
            raise ValueError("assign needs a UIDVALIDITY, and every name once")
        check_bases(bases)
        first = self._claim(len(bases))
        uids = list(range(first, first + len(bases)))
        if not bases:
            return uids
        is_known = self.has_records and any(self.uids_of(bases))
        if self.must_rewrite or is_known or not self._append(b"".join(lines_of(bases, first, fields)), len(bases)):
            self._assign_by_rewrite(bases, uids, fields)
        else:
            self._add(bases, uids, fields)
        return uids

    def found(self, bases: Sequence[bytes]) -> int:
        """Locked: `assign` where there is no record yet; the first UID. Many rest as soon as they are written.

        `bases` are all different, and fit for a line.
        """
        self._merge_foreign()
        if self.has_records:
            return self.assign(bases)[0]
        first = self._claim(len(bases))
        self._write(lines_of(bases, first, {}), len(bases))
        if len(bases) > _LONG:
            self._begin_rest(first + len(bases) - 1)
        else:
            self.uids = Records.taking(dict(zip(bases, range(first, first + len(bases)), strict=True)), {})
        return first

    def _claim(self, count: int) -> int:
        """The first of so many UIDs, which nobody has; raises LIMIT. Whatever happens now, they may have been seen."""
        first = self.next_uid
        if first + count - 1 > LARGEST_UID:
            raise StorageError(Reason.LIMIT, "this mailbox has no UIDs left; the administrator must renumber it")
        if count:
            self._raise_next(first + count)
        return first

    def _assign_by_rewrite(self, bases: Sequence[bytes], uids: list[int], fields: Mapping[bytes, bytes]) -> None:
        before, self.uids = self.uids, self.uids.copy()
        for base in bases if before else ():
            self.uids.remove(base)
        self.uids.extend(bases, uids, fields)
        try:
            self.rewrite()
        except StorageError:
            self.uids = before
            raise

    def _append(self, data: bytes, lines: int) -> bool:
        """Write behind the end; False if the file is not as we know it or not ours to append to."""
        seen, self.must_rewrite = self._seen, True
        if seen is None or self._offset != seen.size:
            return False
        with refusing("cannot write the UID list"):
            made = append(self._files, self._path, seen, data)
        if made is None:  # perhaps somebody wrote without the lock: merged by a rewrite, which reads it first
            return False
        self._took(made, data, lines)
        self.must_rewrite = False
        return True

    def should_rewrite(self, live: int) -> bool:
        """Whether a rewrite is due, when `live` of the messages exist: damage, or at most 75 % of the lines live."""
        return self.must_rewrite or (self._lines > 0 and live <= self._lines * _REWRITE_AT)

    def rewrite(self, live: Collection[bytes] | None = None) -> None:
        """Locked and fresh: write the file anew, only with records whose base name is in `live` (a set) if given.

        Before leaving out a record make sure that its file is really gone, `formats.md` 7.3.
        """
        if not self.uidvalidity:
            raise ValueError("rewrite needs a UIDVALIDITY")
        self._merge_foreign()
        records = self.uids if live is None else self.uids.only(live)
        self._write(records.lines(), len(records))
        self.uids = records

    def _write(self, lines: Iterable[bytes], count: int) -> None:
        """A new file of so many records; `lines`: whole lines of them, in pieces."""
        self.guid = self.guid or new_guid()
        head = b"3 V%d N%d G%b" % (self.uidvalidity, self.next_uid, self.guid)
        pieces = [b" ".join([head, *self._others]) + b"\n", *lines]
        with refusing("cannot write the UID list"):
            owner = ownership(self._files.stat(os.path.dirname(self._path)))
            made = self._files.replace_file(self._path, pieces, owner)
        self._version, self.must_rewrite = VERSION, False
        self._offset, self._last_line, self._lines = 0, b"", 0
        self._took(Seen.of(made), pieces[-1], count)
        self._offset = made.st_size

    def _merge_foreign(self) -> None:
        """Records that somebody wrote since the refresh, against the rules, are not lost by our rewrite."""
        with refusing("cannot read the UID list"):
            try:
                if self._seen is None or Seen.of(self._files.stat(self._path)) == self._seen:
                    return
                parsed = parse(self._files.read_file(self._path))
            except FileNotFoundError:
                return
        log.warning("uidlist-foreign-write path=%r", self._path)
        if parsed.header.uidvalidity != self.uidvalidity:
            return
        taken = set(self.uids.values())
        self.uids = self.uids.with_others(
            record for record in parsed.uids.records() if record[2] not in self.uids and record[0] not in taken
        )
        self._raise_next(max(parsed.header.next_uid, parsed.highest + 1))

    def field(self, uid: int, key: bytes) -> bytes | None:
        """The value of one field (`key` is one letter) of a record; b"" is a value, None is no such field."""
        raw = self.uids.raw(uid)
        return parse_fields(raw).get(key) if raw else None

    def fields(self, uids: Iterable[int], key: bytes) -> dict[int, bytes]:
        """`field` of each of `uids` that has it."""
        raws = self.uids.raw_with(uids, key)
        return {uid: value for uid, raw in raws if (value := parse_fields(raw).get(key)) is not None}

    def may_have(self, *keys: bytes) -> bool:
        """Whether `fields` may find something under one of these keys, with all UIDs. A list that rests goes on so."""
        if self._records is not None:
            return self._records.may_have(keys)
        data = self._resting()
        return data is None or has_fields(data, keys)

    def set_field(self, uid: int, key: bytes, value: bytes) -> None:
        """Locked: remember a field; on disk with the next `rewrite`. Others keep their places."""
        fields = parse_fields(self.uids.raw(uid))
        fields[key] = value
        self.uids.set_raw(uid, format_fields(fields))
        self.must_rewrite = True

    def rest(self) -> None:
        """Give back the memory of the records. Not if something is to be written, nor if the file needs mending."""
        highest = self._highest if self._records is None else self._records.highest
        if not (self.must_rewrite or self._seen is None or self._offset != self._seen.size):
            self._begin_rest(highest)

    def _begin_rest(self, highest: int) -> None:
        self._searches = 0
        self._absent.clear()
        self._highest, self._records = highest, None

    def memory(self) -> int:
        """Octets that the records take up."""
        return 0 if self._records is None else self._records.memory()

    def lines(self) -> int:
        """Of records in the file."""
        return self._lines

    def restore(self, uids: Mapping[bytes, int]) -> None:
        """Locked: take in records (base name -> UID, neither known here) that the file lost; written with `rewrite`."""
        check_bases(list(uids))
        self.uids = self.uids.with_others((uid, b"", base) for base, uid in uids.items())
        self._raise_next(max(uids.values(), default=0) + 1)
        self.must_rewrite = True
