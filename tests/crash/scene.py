"""The account on which the crash tests play, and what is done in it; `picture` has what is there afterwards."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenmail.errors import StorageError
from greenmail.runtime import Runtime, direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Call, Files, plain_call
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.metadata import PRIVATE_DIRECTORY, MetadataFile
from greenmail.storage.mounted import MountedMailbox
from greenmail.storage.private_seen import PrivateSeen
from greenmail.storage.seen_file import SeenFile

ADD, REMOVE = FlagAction.ADD, FlagAction.REMOVE
_SYNCS = ("fsync", "fdatasync")


class Clock:
    """The real time, plus what was slept: sleeping costs nothing."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead
        self.slept = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds
        self.slept += seconds


def unsynced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """A `Call` for who only looks at the result: nothing is flushed."""
    return None if name in _SYNCS else plain_call(name, function, *args)


@dataclass
class World:
    """One process of the server: a store, an account, and the mailboxes that are open."""

    account: MaildirAccount
    store: MaildirStore
    clock: Clock
    inbox: MaildirMailbox  # None as long as nothing is open
    other: MaildirMailbox | None = None
    root: Path = Path()
    others: Files = field(default_factory=Files)  # what other programs do, for a first operation

    def close(self) -> None:
        for mailbox in (self.inbox, self.other):
            if mailbox is not None:
                mailbox.close()
        self.store.mailboxes.close()


def settings_of(root: Path, variant: str = "") -> MaildirSettings:
    """`variant` control: CONTROL= elsewhere, as some Dovecot sites have it; deep: the home is missing, too.

    fs, fs-control: mailboxes in directories one below the other.
    """
    control = str(root / "control") if variant.endswith("control") else ""
    maildir = root / "deep" / "Maildir" if variant == "deep" else root / "Maildir"
    layout = "fs" if variant.startswith("fs") else "maildir++"
    return MaildirSettings(mail_path=str(maildir), control_path=control, layout=layout, lock_timeout=60.0)


def new_store(call: Call, clock: Clock) -> MaildirStore:
    plain = direct()
    runtime = Runtime(plain.blocking, plain.lock, clock.sleep, plain.breathe, clock.now)
    return MaildirStore(runtime, files=Files(call))


def open_account(root: Path, call: Call, clock: Clock, variant: str = "") -> tuple[MaildirStore, MaildirAccount]:
    store = new_store(call, clock)
    return store, store.open_account("alice", settings_of(root, variant))


def open_world(root: Path, call: Call = plain_call, clock: Clock | None = None, variant: str = "") -> World:
    clock = clock or Clock()
    store, account = open_account(root, call, clock, variant)
    inbox = account.open("INBOX")
    assert isinstance(inbox, MaildirMailbox)
    other = account.open("Other") if any(folder.name == "Other" for folder in account.folders()) else None
    assert other is None or isinstance(other, MaildirMailbox)
    return World(account, store, clock, inbox, other, root, Files(call))


def body(text: str) -> bytes:
    return b"Subject: %b\r\n\r\n%b\r\n" % (text.encode(), text.encode() * 20)


def put(mailbox: Any, *texts: str, flags: Sequence[str] = (), date: int | None = 1_000_000_000) -> list[int]:
    uploads = []
    for text in texts:
        upload = mailbox.upload()
        uploads.append(upload)
        octets = body(text)
        upload.write(octets[:50])
        upload.write(octets[50:])
        upload.flags, upload.date = frozenset(flags), date
    try:
        return list(mailbox.save(uploads))
    except BaseException:
        for upload in uploads:  # as the session does it
            upload.abort()
        raise


def deliver(root: Path, text: str) -> None:
    """What Postfix does."""
    name = f"1700000000.V1I{abs(hash(text)) % 10**6:x}M{len(text)}.mx"
    path = root / "Maildir" / "new" / name
    path.write_bytes(body(text).replace(b"\r\n", b"\n"))
    os.utime(path, (1_000_000_000, 1_000_000_000))


def build(root: Path, variant: str = "", parents: bool = True) -> None:
    """INBOX with five messages, two of them \\Deleted, one still in `new/`; more mailboxes; subscriptions."""
    store, account = open_account(root, unsynced, Clock(), variant)
    more = ("Other", "Parent", "Parent/Child") if parents else ("Other",)
    (root / "Reader").mkdir()
    for name in more:
        account.create(name)
    account.subscribe("Other")
    inbox = account.open("INBOX")
    put(inbox, "one", "two", flags=("kw", "\\Seen"))
    put(inbox, "three", "four", flags=("\\Deleted",))
    put(inbox, "five")
    for name in more:
        mailbox = account.open(name)
        put(mailbox, f"in {name}", flags=("different",))
        mailbox.close()
    inbox.look()
    inbox.close()
    store.mailboxes.close()


# What is done. Each gives what the client is told.


@dataclass(frozen=True)
class Operation:
    """`prepare` is not counted; `run` is. An operation with `is_cold` opens everything itself."""

    name: str
    run: Callable[[World], Any]
    prepare: Callable[[Path, World], None] = lambda root, world: None
    is_cold: bool = False
    is_first: bool = False  # there is no account yet; `run` makes it
    takes_back: bool = True  # after an error there is nothing of it
    keeps: bool = True  # no message that was there goes
    variant: str = ""
    tells: tuple[str, ...] = ()  # mailboxes that `is_first` opens: their UIDVALIDITY may be known
    is_long: bool = False  # much as another one: for whoever has the time

    @property
    def needs_parents(self) -> bool:
        """Whether it wants more mailboxes than INBOX and Other."""
        return self.name.startswith(("rename", "delete", "subscribe")) and not self.renames_inbox

    @property
    def renames_inbox(self) -> bool:
        """Its messages go, and INBOX stays."""
        return self.name.startswith("rename-inbox")


def _store(flags: set[str], action: FlagAction = ADD) -> Callable[[World], Any]:
    return lambda world: world.inbox.store([1, 2, 5], FlagChange(action, frozenset(flags)))


def _needed(mailbox: MaildirMailbox | None) -> MaildirMailbox:
    assert mailbox is not None
    return mailbox


def fold(world: World) -> None:
    box = world.inbox.box
    with box.locked():
        assert box.index_files is not None
        box.index_files.fold(box.index)


def _uidlist(world: World) -> None:
    box = world.inbox.box
    with box.locked():
        box.uidlist.rewrite()


def _overflow(root: Path, world: World) -> None:
    """All 26 letters are taken."""
    for number in range(0, 26, 5):
        world.inbox.store([5], FlagChange(ADD, frozenset(f"k{number + n}" for n in range(5))))


def _lose_index(root: Path, world: World) -> None:
    for path in (root / "Maildir").glob("greenmail.*"):
        if path.name != "greenmail.lock":
            path.unlink()


def _damage_uidlist(root: Path, world: World) -> None:
    with (root / "Maildir" / "dovecot-uidlist").open("ab") as file:
        file.write(b"99 :half a li")


def _new_mail(root: Path, world: World) -> None:
    deliver(root, "delivered a")
    deliver(root, "delivered b")


def _claim(world: World) -> None:
    world.inbox.look()
    world.inbox.claim_recent()


def _open_cold(world: World) -> Any:
    mailbox = world.account.open("INBOX")
    return len(mailbox.table)


def _rename_control(world: World) -> Any:
    return world.account.rename("Parent", "Renamed")


def _create(world: World) -> Any:
    return world.account.create("Made", ("\\Archive",))


def _first(work: Callable[[MaildirAccount], Any], variant: str = "") -> Callable[[World], Any]:
    """In an account whose home is there, and nothing else."""
    return lambda world: work(world.store.open_account("alice", settings_of(world.root, variant)))


def _made_by_others(world: World) -> Any:
    """Who made the Maildir synced nothing; from now on clients are told what is in it."""
    maildir = os.fsencode(world.root / "Maildir")
    for path in (maildir, maildir + b"/tmp", maildir + b"/new", maildir + b"/cur"):
        world.others.mkdir(path, 0o700)
    return _first(lambda account: put(account.open("INBOX"), "new"))(world)


# What another user has seen of INBOX, which is shared with him, is his own.


def seen_file(root: Path, mailbox: Any, files: Files, clock: Clock) -> SeenFile:
    data = bytes(root / "Reader" / "greenmail-data")
    return SeenFile(files, data, mailbox.mailbox_id, Waiting(clock.sleep, clock.now, 60.0))


def _mark(world: World, change: FlagChange) -> Any:
    runtime = world.store.shared.runtime
    own = PrivateSeen(world.inbox, seen_file(world.root, world.inbox, world.others, world.clock), runtime)
    return MountedMailbox("Public/INBOX", world.inbox, own, lambda: None).store([1, 2, 5], change)


def read_by_another(world: World) -> Any:
    return _mark(world, FlagChange(ADD, frozenset({"\\Seen"})))


def _unread_by_another(world: World) -> Any:
    return _mark(world, FlagChange(REMOVE, frozenset({"\\Seen"})))


def _read_before(root: Path, world: World) -> None:
    seen_file(root, world.inbox, Files(unsynced), world.clock).change(world.inbox.uidvalidity, [2, 4], [], [1])


def _read_where_others_made(world: World) -> Any:
    """Who made the directories synced nothing, and was killed perhaps."""
    for path in ("greenmail-data", "greenmail-data/seen"):
        world.others.mkdir(bytes(world.root / "Reader" / path), 0o700)
    return read_by_another(world)


# Annotations: of a mailbox, of the server, and a reader's own of INBOX.


def _annotate(name: str) -> Callable[[World], Any]:
    values = {"/private/comment": b"changed", "/shared/comment": b"new\r\n" * 20}
    return lambda world: world.account.set_metadata(name, values, 10)


def _annotated_before(root: Path, world: World) -> None:
    world.account.set_metadata("INBOX", {"/private/comment": b"old", "/private/more": b"1"}, 10)


def annotation_file(root: Path, mailbox: Any, files: Files, clock: Clock) -> MetadataFile:
    name = PRIVATE_DIRECTORY + b"/" + mailbox.mailbox_id.encode()
    return MetadataFile(files, bytes(root / "Reader" / "greenmail-data"), name, Waiting(clock.sleep, clock.now, 60.0))


def _annotate_as_reader(world: World) -> Any:
    values = {"/private/comment": b"a reader's", "/shared/comment": b"of all"}
    file = annotation_file(world.root, world.inbox, world.others, world.clock)
    return file.change_with(values, 10, lambda others: world.account.set_metadata("INBOX", others, 10))


def annotate_all(world: World) -> None:
    """No lock of any of these files is left."""
    for name in ("INBOX", "Other", ""):
        world.account.set_metadata(name, {"/shared/comment": b"afterwards"}, 10)
    _annotate_as_reader(world)


def _authorize(root: Path, world: World) -> None:
    """The user has keys for URLs."""
    for number in range(3):
        world.account.url_keys.make(f"{number:032x}")


def _annotate_where_others_made(world: World) -> Any:
    """As `_read_where_others_made`."""
    for path in ("Reader/greenmail-data", "Reader/greenmail-data/private-metadata"):
        world.others.mkdir(bytes(world.root / path), 0o700)
    return _annotate_as_reader(world)


def _replace(world: World) -> Any:
    """What REPLACE does, in this order: RFC 8508 3.4."""
    new = put(world.inbox, "new", flags=("\\Draft",))
    try:
        return new, world.inbox.expunge([2], flagged=False)
    except StorageError:
        world.inbox.expunge(new, flagged=False)
        raise


def _lose_data(root: Path, world: World) -> None:
    """Only what says how far UIDs went is in it, and the uidlist says the same."""
    shutil.rmtree(root / "Maildir" / "greenmail-data")


def _choose_where_others_made(world: World) -> Any:
    """What a mailbox is for, as an annotation; whoever made `greenmail-data` synced nothing."""
    world.others.mkdir(os.fsencode(world.root / "Maildir" / "greenmail-data"), 0o700)
    return world.account.set_special_use("Other", ["\\Archive"])


# What `make check` tries of each kind; all the others wait for `make test`.
DAILY = frozenset({"append", "store", "move", "expunge"})


def _in_directories(variant: str, is_long: bool) -> list[Operation]:
    """What differs where mailboxes are in directories one below the other."""
    return [
        Operation(f"append-{variant}", lambda world: put(_needed(world.other), "new"), variant=variant, is_long=True),
        Operation(f"create-{variant}", _create, variant=variant, is_long=is_long),
        Operation(
            f"create-below-{variant}",
            lambda world: world.account.create("Other/New/Made"),
            variant=variant,
            is_long=True,
        ),
        Operation(
            f"rename-{variant}",
            lambda world: world.account.rename("Parent", "Renamed"),
            variant=variant,
            takes_back=False,
            is_long=is_long,
        ),
        Operation(
            f"delete-{variant}",
            lambda world: world.account.delete("Parent/Child"),
            keeps=False,
            variant=variant,
            takes_back=False,
            is_long=is_long,
        ),
        Operation(
            f"delete-parent-{variant}",
            lambda world: world.account.delete("Parent"),
            keeps=False,
            variant=variant,
            takes_back=False,
            is_long=True,
        ),
        Operation(
            f"subscribe-{variant}", lambda world: world.account.subscribe("Parent"), variant=variant, is_long=True
        ),
    ]


OPERATIONS = [
    Operation("append", lambda world: put(world.inbox, "new", date=1_100_000_000)),
    Operation("append-flags", lambda world: put(world.inbox, "new", flags=("\\Seen", "kw"))),
    Operation("append-keyword", lambda world: put(world.inbox, "new", flags=("\\Flagged", "fresh"))),
    Operation("append-overflow", lambda world: put(world.inbox, "new", flags=("beyond",)), prepare=_overflow),
    Operation("multiappend", lambda world: put(world.inbox, "new a", "new b", "new c", flags=("\\Seen", "fresh"))),
    Operation("multiappend-plain", lambda world: put(world.inbox, "new a", "new b")),
    Operation("store", _store({"\\Flagged"}), takes_back=False),
    Operation("store-remove", _store({"\\Seen", "kw"}, REMOVE), takes_back=False),
    Operation("store-keyword", _store({"fresh"}), takes_back=False),
    Operation("store-overflow", _store({"beyond"}), prepare=_overflow, takes_back=False),
    Operation("copy", lambda world: world.inbox.copy([1, 2, 5], _needed(world.other))),
    Operation("copy-here", lambda world: world.inbox.copy([1, 5], world.inbox)),
    Operation("move", lambda world: world.inbox.move([1, 2, 5], _needed(world.other)), takes_back=False, keeps=False),
    Operation("expunge", lambda world: world.inbox.expunge(None), takes_back=False, keeps=False),
    Operation("uid-expunge", lambda world: world.inbox.expunge([3]), takes_back=False, keeps=False),
    Operation("replace", _replace, takes_back=False, keeps=False),
    Operation("create", _create),
    Operation("create-control", _create, variant="control"),
    Operation("rename", lambda world: world.account.rename("Parent", "Renamed"), takes_back=False),
    Operation("rename-control", _rename_control, variant="control", takes_back=False),
    Operation("rename-inbox", lambda world: world.account.rename("INBOX", "Old"), takes_back=False, keeps=False),
    Operation("delete", lambda world: world.account.delete("Parent/Child"), keeps=False, takes_back=False),
    Operation(
        "delete-control",
        lambda world: world.account.delete("Parent/Child"),
        keeps=False,
        variant="control",
        takes_back=False,
    ),
    Operation("subscribe", lambda world: world.account.subscribe("Parent")),
    Operation("unsubscribe", lambda world: world.account.unsubscribe("Other")),
    Operation("new-mail", _claim, prepare=_new_mail, takes_back=False),
    Operation("open", _open_cold, is_cold=True, takes_back=False),
    Operation("open-new-mail", _open_cold, prepare=_new_mail, is_cold=True, takes_back=False),
    Operation("open-without-index", _open_cold, prepare=_lose_index, is_cold=True, takes_back=False),
    Operation("open-damaged-uidlist", _open_cold, prepare=_damage_uidlist, is_cold=True, takes_back=False),
    Operation(
        "first-append",
        _first(lambda account: put(account.open("INBOX"), "new")),
        is_first=True,
        takes_back=False,
        tells=("INBOX",),
    ),
    Operation(
        "first-append-deep",
        _first(lambda account: put(account.open("INBOX"), "new"), "deep"),
        is_first=True,
        takes_back=False,
        variant="deep",
        tells=("INBOX",),
    ),
    Operation(
        "first-create",
        _first(lambda account: account.create("Made")),
        is_first=True,
        takes_back=False,
        tells=("Made",),
    ),
    Operation("first-subscribe", _first(lambda account: account.subscribe("INBOX")), is_first=True, takes_back=False),
    Operation("seen", read_by_another, prepare=_read_before, takes_back=False),
    Operation("seen-first", read_by_another, takes_back=False),
    Operation("unseen", _unread_by_another, prepare=_read_before, takes_back=False, is_long=True),
    Operation("metadata", _annotate("INBOX"), prepare=_annotated_before),
    Operation(
        "rename-inbox-annotated",
        lambda world: world.account.rename("INBOX", "Old"),
        prepare=_annotated_before,
        takes_back=False,
        keeps=False,
        is_long=True,
    ),
    Operation("metadata-first", _annotate("Other"), is_long=True),
    Operation("metadata-first-control", _annotate("Other"), variant="control", is_long=True),
    Operation("metadata-server", _annotate(""), is_long=True),
    Operation("metadata-reader", _annotate_as_reader, takes_back=False),
    Operation("url-keys", lambda world: world.account.url_keys.clear(), prepare=_authorize, is_long=True),
    *_in_directories("fs", False),
    *_in_directories("fs-control", True),
    Operation("fold", fold),
    Operation("uidlist-rewrite", _uidlist),
]
# A system call of another program that fails is not ours; what it did not sync is.
BESIDE_OTHERS = [
    Operation("append-made-by-others", _made_by_others, is_first=True, takes_back=False, tells=("INBOX",)),
    Operation("seen-made-by-others", _read_where_others_made),
    Operation("metadata-made-by-others", _annotate_where_others_made),
    Operation("special-use-made-by-others", _choose_where_others_made, prepare=_lose_data),
]


# What is there
