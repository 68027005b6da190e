"""A file that comes back under the base name of an expunged message: restored from a backup, or moved back.

Its base name may stand in the uidlist still, beside the UID of the message that is gone. Whoever was told that this UID
is gone must not see it again, `formats.md` 2.6 and 7.3; and the file is a message that nobody asked to remove.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from crash.faults import Faults, Stopped, closing_descriptors
from crash.image import DirectoryNode, FileNode
from crash.picture import Contents, look_at
from crash.points import Stage, plain_unsynced, start, unsynced_faults
from crash.scene import ADD, Clock, Operation, World, fold, open_world, put

from greenmail.errors import StorageError
from greenmail.storage.api import FlagChange


def _foreign_expunge(root: Path, _: object) -> None:
    (name,) = [path for path in (root / "Maildir" / "cur").iterdir() if _base(path.name.encode()) in _third(root)]
    name.unlink()


def _third(root: Path) -> bytes:
    lines = (root / "Maildir" / "dovecot-uidlist").read_bytes().splitlines()
    return next(line for line in lines if line.startswith(b"3 :"))


# What removes messages, and what rewrites that they are gone.
REMOVING = [
    Operation("expunge", lambda world: world.inbox.expunge(None)),
    Operation("uid-expunge", lambda world: world.inbox.expunge([3])),
    Operation("move", lambda world: world.inbox.move([1, 2, 5], world.other)),  # type: ignore[arg-type]  # it is open
    Operation("see-expunge", lambda world: world.inbox.look(), prepare=_foreign_expunge),
    Operation("fold", fold, prepare=lambda root, world: world.inbox.expunge([3])),
]
# When the file comes back: before anybody looked at what the crash left, or when it was looked at.
MOMENTS = ("at once", "after a look")


@dataclass(frozen=True)
class Lost:
    """A message as it was."""

    base: bytes
    file: FileNode
    text: str


def _base(name: bytes) -> bytes:
    return name.partition(b":")[0]


def messages_of(image: DirectoryNode) -> dict[int, Lost]:
    """The messages of INBOX, by UID."""
    maildir = image.entries[b"Maildir"]
    assert isinstance(maildir, DirectoryNode)
    uidlist = maildir.entries[b"dovecot-uidlist"]
    assert isinstance(uidlist, FileNode)
    files: dict[bytes, FileNode] = {}
    for part in (b"new", b"cur"):
        directory = maildir.entries[part]
        assert isinstance(directory, DirectoryNode)
        files |= {_base(name): node for name, node in directory.entries.items() if isinstance(node, FileNode)}
    found = {}
    for uid, base in re.findall(rb"^(\d+) [^:]*:(.+)$", uidlist.data, re.MULTILINE):
        text = files[base].data[9:].partition(b"\n")[0].decode()
        found[int(uid)] = Lost(base, files[base], text)
    return found


def put_back(root: Path, uid: int, lost: Lost) -> None:
    """Under the name that it had in new/, in cur/, or with the flags with which it went."""
    name = (b"new/" + lost.base, b"cur/" + lost.base + b":2,", b"cur/" + lost.base + b":2,ST")[uid % 3]
    path = os.fsencode(root / "Maildir") + b"/" + name
    assert not os.path.lexists(path)
    with open(path, "xb") as file:
        file.write(lost.file.data)
    os.utime(path, ns=(lost.file.mtime_ns, lost.file.mtime_ns))


@dataclass
class Restoration:
    """The operation is struck, what is gone comes back, and somebody looks."""

    stage: Stage
    messages: dict[int, Lost]
    faults: Faults
    root: Path
    moment: str
    gone: dict[int, Lost] = field(default_factory=dict)
    told: int = 0  # UIDNEXT that was known when it came back; 0: nobody was told that anything is gone

    def run(self) -> bool:
        """Whether there was such a call. Raises AssertionError if something is wrong afterwards."""
        answered = False
        with closing_descriptors():
            world = start(self.stage.operation, self.root, unsynced_faults(self.faults))
            self.faults.armed = True
            try:
                self.stage.operation.run(world)
                answered = True
            except (StorageError, Stopped):
                pass
            self.faults.armed = False
            if self.faults.count < self.faults.at:
                return False
            if not self.faults.is_dead:
                self._judge_living(world, answered)
        clock = Clock(world.clock.ahead)
        if self.faults.is_dead:
            if self.moment == "after a look":
                self.told = _inbox(self.root, clock).uidnext
            self._put_back()
        self._judge_fresh(clock)
        return True

    def _judge_living(self, world: World, answered: bool) -> None:
        """After an error the same mailbox goes on, and finds what comes back."""
        if self.moment == "after a look":
            world.inbox.look()
        if answered or self.moment == "after a look":
            self.told = world.inbox.uidnext
        self._put_back()
        world.inbox.look()
        index = world.inbox.box.index
        self._judge({uid: _base(name) for uid, name in zip(index.table.uids, index.names, strict=True)})

    def _put_back(self) -> None:
        paths = [path for part in ("new", "cur") for path in (self.root / "Maildir" / part).iterdir()]
        there = {_base(path.name.encode()) for path in paths}
        self.gone = {uid: lost for uid, lost in self.messages.items() if lost.base not in there}
        for uid, lost in self.gone.items():
            put_back(self.root, uid, lost)

    def _judge_fresh(self, clock: Clock) -> None:
        """A new server, one without index files, and commands that change other messages."""
        first = _inbox(self.root, clock)
        self._judge_texts(first)
        for path in (self.root / "Maildir").glob("greenmail.*"):
            if path.name != "greenmail.lock":
                path.unlink()
        assert _inbox(self.root, clock).messages.keys() == first.messages.keys(), "without the index it has another UID"
        world = open_world(self.root, plain_unsynced, clock)
        uid = put(world.inbox, "afterwards")[0]
        world.inbox.store([uid], FlagChange(ADD, frozenset({"\\Deleted"})))
        assert world.inbox.expunge([uid]) == [uid]
        world.close()
        self._judge_texts(_inbox(self.root, clock))

    def _judge_texts(self, inbox: Contents) -> None:
        bases = {lost.text: lost.base for lost in self.gone.values()}
        self._judge({uid: bases.get(message.text, b"") for uid, message in inbox.messages.items()})

    def _judge(self, bases: dict[int, bytes]) -> None:
        for uid, lost in self.gone.items():
            uids = [number for number, base in bases.items() if base == lost.base]
            assert len(uids) == 1, f"restored once, there as {uids}"
            assert not self.told or uids[0] >= self.told, f"{uid} was gone, the file is {uids[0]}, next was {self.told}"


def _inbox(root: Path, clock: Clock) -> Contents:
    return look_at(root, clock).mailboxes["INBOX"]
