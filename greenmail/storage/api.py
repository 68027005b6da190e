"""What the protocols ask of a mail store, and the few types they share with it.

Vocabulary: an *account* is one user's store; a *mailbox* holds messages; its `Table` has one row a message. A
mailbox object is shared by all sessions of a worker that have that mailbox open; each session has its own view of it
(`imap.view`, `pop3.session`). Names are Unicode with the account's separator; `INBOX` is spelled so.

A method may let others run (it may wait for a lock or for the pool) unless its docstring says "at once": row numbers
are good only until the next call. Any may raise StorageError; reasons named in a docstring are the expected ones.
"""

import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, NamedTuple, Protocol

from greenmail.storage.answers import Answers
from greenmail.storage.maildrop_items import MaildropItem as MaildropItem
from greenmail.storage.maildrop_items import PlainItems as PlainItems
from greenmail.storage.quota_limits import Quota as Quota
from greenmail.storage.quota_limits import QuotaLimits as QuotaLimits
from greenmail.storage.rights import ALL_RIGHTS as ALL_RIGHTS
from greenmail.storage.rights import LETTERS as LETTERS
from greenmail.storage.rights import AclAction as AclAction
from greenmail.storage.rights import AclEntry as AclEntry
from greenmail.storage.rights import Rights as Rights
from greenmail.storage.url_keys import UrlKeys

ANSWERED = "\\Answered"
FLAGGED = "\\Flagged"
DELETED = "\\Deleted"
SEEN = "\\Seen"
DRAFT = "\\Draft"
SYSTEM_FLAGS = (ANSWERED, FLAGGED, DELETED, SEEN, DRAFT)  # RFC 9051 2.3.2, in the order we list them

Flags = frozenset[str]  # canonical spelling: SYSTEM_FLAGS as above, keywords as the mailbox first heard them
Facts = tuple[bool, bool]  # whether sizes are asked for, and dates


_FEW = 4


class Table:
    """The live messages of one mailbox: parallel columns, ascending UID. Only the store changes it.

    `flags` holds indexes into `flag_sets`, which are few: a question is asked once a set, not once a message.
    """

    __slots__ = ("_sets", "dates", "flag_sets", "flags", "modseqs", "sizes", "uids")

    def __init__(self) -> None:
        self.uids: array[int] = array("I")
        self.flags: array[int] = array("I")
        self.modseqs: array[int] = array("Q")
        self.sizes: array[int] = array("q")  # RFC822.SIZE in octets, with CRLF line ends; -1: not known yet
        self.dates: array[int] = array("q")  # INTERNALDATE in seconds since 1970; -1: not known yet
        self.flag_sets: list[Flags] = [frozenset()]
        self._sets: dict[Flags, int] = {frozenset(): 0}

    def __len__(self) -> int:
        return len(self.uids)

    def row(self, uid: int) -> int:
        """The row of `uid`, or -1."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else -1

    def rows(self, uids: Sequence[int]) -> Sequence[int]:
        """`row` of each; a range, and no look-up for each, where they are neighbours in the table, and not few."""
        first = self.row(uids[0]) if len(uids) > _FEW else -1
        last = first + len(uids)
        if first >= 0 and self.row(uids[-1]) == last - 1 and self.uids[first:last] == array("I", uids):
            return range(first, last)
        return [self.row(uid) for uid in uids]

    def intern(self, flags: Flags) -> int:
        """The index of `flags` in `flag_sets`, which grows if the set is new."""
        number = self._sets.get(flags)
        if number is None:
            number = self._sets[flags] = len(self.flag_sets)
            self.flag_sets.append(flags)
        return number

    def flags_of(self, row: int) -> Flags:
        return self.flag_sets[self.flags[row]]


def is_inbox(name: str) -> bool:
    """Whether `name` is INBOX in any case of ASCII, RFC 9051 5.1: not with the dotless i, whose capital is an I."""
    return name.isascii() and name.upper() == "INBOX"


class FlagAction(Enum):
    """What STORE does with the flags it names, RFC 9051 6.4.6."""

    REPLACE = "FLAGS"
    ADD = "+FLAGS"
    REMOVE = "-FLAGS"


class FlagChange(NamedTuple):
    """A change relative to the letters on disk at the moment it is carried out, RFC 9051 6.4.6."""

    action: FlagAction
    flags: Flags  # any spelling; \\Recent is not in it


class Stored(NamedTuple):
    """What `Mailbox.store` did."""

    changed: list[int]  # UIDs whose flags are different now, ascending
    modified: list[int]  # UIDs left alone because of `unchanged_since`, RFC 7162 3.1.3
    missing: list[int]  # UIDs that are not there any more
    ignored: Flags = frozenset()  # keywords that this mailbox could not take up


class Changes(NamedTuple):
    """What happened in a mailbox after some mod-sequence."""

    changed: list[int]  # UIDs of messages that are new or whose flags changed, ascending
    expunged: list[int] | None  # UIDs that went away, ascending; None: too long ago, compare all UIDs


class Row(NamedTuple):
    """The last known row of one message, also of one that was expunged lately."""

    uid: int
    flags: Flags
    modseq: int
    size: int  # -1: never known
    date: int  # -1: never known


@dataclass(frozen=True, slots=True)
class Counters:
    """STATUS, without opening a message: RFC 9051 6.3.11, RFC 7162 3.1.7."""

    messages: int
    recent: int
    unseen: int
    deleted: int
    measure: Callable[[], int]  # makes sizes known that are not, which may take long: see `size`
    uidnext: int
    uidvalidity: int
    modseq: int
    mailbox_id: str

    @property
    def size(self) -> int:
        """Octets of all messages; only who asks pays for reading files whose size is not known yet."""
        return self.measure()


class CacheKind(IntEnum):
    """What is kept of a message so that its file need not be read again. The bytes are their writer's business."""

    ENVELOPE = 1
    BODYSTRUCTURE = 2
    BODY = 3
    PARTS = 4
    HEADERS = 5
    PREVIEW = 7
    SORT = 9  # with keys of i;unicode-casemap; 6 was another folding
    SORT_ASCII = 10  # with those of i;ascii-casemap
    SORT_OCTET = 11  # with those of i;octet
    SENT = 12  # the sent date alone
    THREAD = 13  # what of SORT threads are made of


class Content(Protocol):
    """The octets of one message, as sent: every line end is CRLF, whatever the file has."""

    size: int  # octets

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Octets `start` up to but not including `end`, cut at the message's end. Costs the slice, not the message."""

    def header(self) -> bytes:
        """The header with the empty line that ends it; all of it if there is no such line. Reads no body."""

    def check(self) -> None:
        """Raises CORRUPT if the message cannot be read to its end, as far as that need not be read for it.

        For use after the first slice was read and before a length is promised to a client.
        """

    def close(self) -> None:
        """Give back the file. Nothing can be read afterwards."""


class Upload(Protocol):
    """A message on its way into a mailbox: already in its `tmp/`, not yet in the mailbox."""

    flags: Flags
    date: int | None  # INTERNALDATE in seconds since 1970; None: now

    def write(self, data: bytes) -> None:
        """The next octets; at most 64 KiB at once. Raises NO_SPACE, OVER_QUOTA."""

    def abort(self) -> None:
        """Remove it; does nothing if the message was saved or aborted before."""


class Held(Protocol):
    """The exclusive POP3 session, held until `release`. What one session notes, the next one recalls."""

    def release(self) -> None: ...

    def recall(self) -> bytes:
        """What was noted last; empty if nothing was, or if it was lost."""

    def note(self, data: bytes) -> None:
        """Keep `data`; may be lost."""


class Mailbox(Protocol):
    """An open mailbox. `table` is as fresh as the last `look`; every mutation looks first, under the lock.

    A mutation is on disk, as durable as `formats.md` 1.6 asks, when the method returns.
    """

    name: str
    mailbox_id: str  # 32 hex digits
    tracks_modseq: bool  # False: no mod-sequences are offered here (NOMODSEQ)

    @property
    def table(self) -> Table: ...

    @property
    def uidvalidity(self) -> int: ...

    @property
    def answers(self) -> Answers | None:
        """What was made of `table` and may be given again; None: nothing is kept."""

    @property
    def uidnext(self) -> int: ...

    @property
    def modseq(self) -> int:
        """The highest mod-sequence, RFC 7162 3.1.2.1."""

    @property
    def first_recent(self) -> int:
        """UIDs from here on are \\Recent to whoever claims them."""

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every keyword known here, in the order of first use."""

    @property
    def can_add_keywords(self) -> bool: ...

    @property
    def read_only(self) -> bool:
        """This process may not write here."""

    def look(self) -> os.stat_result | None:
        """Take up what anyone changed on disk. Some 5 µs if nothing did: then its directory, if any. Raises GONE."""

    def changes(self, since: int) -> Changes:
        """What happened after mod-sequence `since`, as far as `look` has seen it; at once."""

    def last_row(self, uid: int) -> Row | None:
        """The row of `uid`, or what is remembered of it if it was expunged lately; at once."""

    def claim_recent(self) -> int:
        """Take what is \\Recent, up to `uidnext`, and move `new/` to `cur/`; the first such UID. RFC 3501 2.3.2."""

    def counters(self) -> Counters:
        """As of the last `look`; from counters, not by counting."""

    def deleted_storage(self) -> int:
        """Octets on disk of the messages that are \\Deleted, as of the last `look`. RFC 9208 4.1.4."""

    def fill(self, uids: Sequence[int], sizes: bool = False, dates: bool = False) -> None:
        """Make `table.sizes` and `table.dates` known for `uids`; files are read or stat'ed in the pool where needed."""

    def content(self, uid: int) -> Content:
        """Raises EXPUNGED if the message is gone (made sure of, `formats.md` 1.9)."""

    def octets(self, uid: int) -> bytes | None:
        """`Content.read()` of a small message, at once; None where `content` has to be asked."""

    def make_many(self, uids: Sequence[int], whole: bool, facts: Facts, make: Callable[[int, bytes], Any]) -> list[Any]:
        """What `make` gives for the place of each in `uids` and its `Content.read()`, or else `Content.header()`; a
        header without a CR in its file has LF for each CRLF.

        In the pool; None where `content` has to be asked. `facts`: those that come with it become known.
        """

    def cached(self, uid: int, kind: CacheKind) -> bytes | None:
        """What `cache` was given for this message by anyone, or None."""

    def cached_many(self, uids: Sequence[int], kind: CacheKind) -> list[bytes | None]:
        """`cached` for each of `uids`, which ascend. At once, but for the first time, or after others kept much."""

    def cache(self, uid: int, kind: CacheKind, data: bytes) -> None:
        """Keep `data`; may be lost, never changed."""

    def cache_many(self, values: Sequence[tuple[int, CacheKind, bytes]]) -> None:
        """`cache` for many values at once."""

    def store(self, uids: Sequence[int], change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """Change flags, in batches; each batch is a change of its own."""

    def expunge(self, uids: Sequence[int] | None, flagged: bool = True) -> list[int]:
        """Remove messages that are \\Deleted on disk now, of `uids` only if given; the UIDs removed, ascending.

        Without `flagged` they need not be \\Deleted: REPLACE, RFC 8508 3.4.
        """

    def upload(self, freed: tuple[int, int] = (0, 0)) -> Upload:
        """Begin a message. `freed`: octets and messages of the same quota root that go in exchange for it."""

    def save(self, uploads: Sequence[Upload]) -> list[int]:
        """Make `uploads` messages, all or none, in this order; their UIDs. RFC 3502."""

    def copy(self, uids: Sequence[int], target: "Mailbox") -> list[tuple[int, int]]:
        """Copy flags, date and all, all or none; pairs of source and target UID, without messages that are gone."""

    def move(self, uids: Sequence[int], target: "Mailbox") -> list[tuple[int, int]]:
        """Copy, then remove what was copied; pairs of source and target UID. RFC 6851."""

    def touch(self) -> None:
        """The mailbox changed, though none of its messages: a higher mod-sequence. RFC 7162 3.2, of SETMETADATA."""

    def guids(self, uids: Sequence[int]) -> list[str]:
        """What names the content of each of `uids`, here and in every copy, for ever; empty for one that is gone."""

    def save_dates(self, uids: Sequence[int]) -> Sequence[int] | None:
        """When each of `uids` (ascending) came here, in seconds since 1970; -1: gone. None: nobody knows of any."""

    def maildrop(self) -> list[MaildropItem] | PlainItems:
        """Every message for POP3, in POP3 order: by `order`, those without it behind in UID order."""

    def lock_maildrop(self) -> Held:
        """The exclusive POP3 session, RFC 1939 3. Raises IN_USE."""

    def is_unchanged(self) -> bool:
        """Whether a look would find nothing for certain; False says nothing; at once."""

    def was_looked_at(self, age: float) -> bool:
        """Whether a look began in the last `age` seconds and took up all there was, so that none is needed; at once."""

    def unsure(self) -> float:
        """Seconds until a look may find what no event tells of (`maildir_scan`); infinity if none would; at once."""

    def watched(self) -> tuple[str, ...]:
        """Paths whose events mean "look": directories `new` and `cur`, and the journal."""

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have `notify` called (at once, it must not wait) when this process changes the mailbox; the canceller."""

    def resting(self, is_resting: bool) -> None:
        """The holder of a reference, subscribed, only waits for news (or no longer): `storage/parked.py`; at once."""

    def close(self) -> None:
        """Give back this reference to the shared object."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One line of LIST, without what the client's pattern adds."""

    name: str
    selectable: bool  # False: only there because something is below it
    has_children: bool
    special_use: tuple[str, ...] = ()  # "\\Sent", ...: RFC 6154


@dataclass(frozen=True, slots=True)
class Namespace:
    """RFC 2342 5: a prefix (ends in the separator, or is empty) and its separator."""

    prefix: str
    separator: str


class Scope(Protocol):
    """What LIST and LSUB look at, with one separator: an account, or a namespace that it does not list otherwise."""

    separator: str
    personal: Namespace
    more_personal: tuple[Namespace, ...]
    other_users: tuple[Namespace, ...]
    shared: tuple[Namespace, ...]

    def folders(self) -> list[Folder]:
        """See `Account`."""

    def subscriptions(self) -> list[str]:
        """See `Account`."""


class Account(Protocol):
    """One user's mail, and what others share with him. Shared by all sessions of that user in a worker.

    Who looks is `user`; whose mail it is says `owner`, for an account with several namespaces that of the personal one.
    The methods do what they are asked: whether the user may is asked with `my_rights`, `may_create` (`imap.rights`
    asks, for each command). Only `folders` leaves out of itself what the user may not see.
    """

    user: str
    owner: str  # empty: nobody's, as in a public namespace
    separator: str
    personal: Namespace  # the one that INBOX is in
    more_personal: tuple[Namespace, ...]
    other_users: tuple[Namespace, ...]
    shared: tuple[Namespace, ...]

    @property
    def url_keys(self) -> UrlKeys:
        """The keys of `user`."""

    def scope(self, text: str) -> Scope:
        """What names that begin with `text` are looked for in: this account, mostly; at once."""

    def folders(self) -> list[Folder]:
        """All mailboxes and the missing parents of mailboxes, sorted, INBOX first; of those with the right `l`."""

    def open(self, name: str, looks: bool = True) -> Mailbox:
        """A reference to the mailbox, looked at, unless it is only to be added to. Raises NOT_FOUND, CANNOT.

        Its `name` is the name's one spelling in this account: `my_rights` knows it.
        """

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        """Make a mailbox; a trailing separator is dropped. Its mailbox_id. Raises EXISTS, CANNOT."""

    def delete(self, name: str) -> None:
        """Raises NOT_FOUND, CANNOT (INBOX), HAS_CHILDREN (a name that is only a parent)."""

    def rename(self, old: str, new: str) -> None:
        """Rename with all children; INBOX: move its messages, RFC 9051 6.3.6. Raises NOT_FOUND, EXISTS, CANNOT."""

    def subscriptions(self) -> list[str]:
        """Subscribed names in the order of the file, whether they exist or not."""

    def subscribe(self, name: str) -> None:
        """Raises NOT_FOUND if there is no such mailbox."""

    def unsubscribe(self, name: str) -> None:
        """Does nothing if not subscribed."""

    def quota_roots(self, name: str, soft: bool = False) -> list[str]:
        """The quota roots that a mailbox of this name has or would have; `soft`: that only warn. RFC 9208 4.1.2."""

    def quota(self, root: str) -> Quota:
        """What is used and allowed now. Raises NOT_FOUND."""

    def set_quota(self, root: str, limits: QuotaLimits) -> None:
        """From now on just these limits count, whatever is configured. RFC 9208 4.1.3. Raises NOT_FOUND."""

    def my_rights(self, name: str, seen: os.stat_result | None = None) -> Rights:
        """What `user` may do with this mailbox, as the ACL is on disk now. Raises NOT_FOUND if there is none.

        Of an ACL that cannot be read the owner has all rights, and nobody else any. `seen`: what `look` gave just now.
        """

    def may_create(self, name: str) -> bool:
        """Whether `user` may make a mailbox of this name: `k` on the nearest one above it, RFC 4314 4 CREATE.

        Where there is none above it, the owner may. A trailing separator is ignored.
        """

    def acl(self, name: str) -> list[AclEntry]:
        """The access control list, RFC 4314 3.3. Raises NOT_FOUND."""

    def set_acl(self, name: str, identifier: str, action: AclAction, rights: Rights) -> None:
        """Change what an identifier ("-" before it or not) may do; on disk when it returns. RFC 4314 3.1.

        The owner keeps `l` and `a`, whatever is asked. Raises NOT_FOUND, CANNOT (an identifier that cannot be).
        """

    def delete_acl(self, name: str, identifier: str) -> None:
        """Remove the entry of an identifier, if there is one. RFC 4314 3.2. Raises NOT_FOUND, CANNOT."""

    def list_rights(self, name: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
        """What an identifier always has, and what it can be given: rights of one set go together. RFC 4314 3.4.

        Raises NOT_FOUND, CANNOT.
        """

    def metadata(self, name: str) -> dict[str, bytes]:
        """The annotations of a mailbox (of the server: empty name), by entry in lower case. RFC 5464 3.2."""

    def set_metadata(self, name: str, values: Mapping[str, bytes | None], most: int) -> None:
        """Set, or remove those that are None; all or none. RFC 5464 4.3. Raises NOT_FOUND, LIMIT (`most`), CANNOT."""

    def set_special_use(self, name: str, special_use: Iterable[str]) -> None:
        """A mailbox (empty name: none) is for just this, and no other for any of it. RFC 6154 5.4. Raises NOT_FOUND."""

    def watched(self) -> tuple[str, ...]:
        """Paths whose events mean that the list of mailboxes may have changed."""

    def close(self) -> None:
        """Give back this reference to the shared object."""
