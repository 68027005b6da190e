"""One trial: an operation that is struck at one of its system calls, and what is there afterwards."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.faults import BUG, KINDS, LOST, NAMING, READS, WRITES, Faults, Stopped, closing_descriptors
from crash.image import DirectoryNode, lay_out, names, take
from crash.judge import Case, judge, leftovers
from crash.known import is_known
from crash.picture import Picture, look_at
from crash.scene import (
    ADD,
    Clock,
    Operation,
    World,
    annotate_all,
    build,
    new_store,
    open_account,
    open_world,
    put,
    read_by_another,
)

from greenmail.errors import StorageError
from greenmail.storage.api import FlagChange
from greenmail.storage.filesystem import Call, Files, plain_call

STOPS = ("before", "after", "torn")
WAIT = 0.25  # seconds of waiting for locks and clock ticks that the next commands may need altogether


@dataclass
class Stage:
    """The account before an operation, as an image, and what is known of it."""

    operation: Operation
    image: DirectoryNode
    before: Picture
    complete: Picture
    calls: list[str] = field(default_factory=list)
    is_aged: bool = False  # `is_outdated` was true


def fresh(image: DirectoryNode, scratch: Path) -> Path:
    """The image, laid out anew."""
    root = scratch / "trial"
    shutil.rmtree(root, ignore_errors=True)
    lay_out(image, bytes(root))
    return root


def start(operation: Operation, root: Path, call: Call) -> World:
    """A process that is about to carry out the operation."""
    clock = Clock()
    if operation.is_first:
        store, nothing = new_store(call, clock), None
        return World(nothing, store, clock, nothing, root=root, others=Files(call))  # type: ignore[arg-type]  # not yet
    if not operation.is_cold:
        return open_world(root, call, clock, operation.variant)
    store, account = open_account(root, call, clock, operation.variant)
    return World(account, store, clock, None, root=root, others=Files(call))  # type: ignore[arg-type]  # a cold operation opens INBOX itself


def base_image(scratch: Path, operation: Operation) -> DirectoryNode:
    """An account that is large enough for the operation."""
    root = scratch / "base"
    root.mkdir()
    if not operation.is_first:
        build(root, operation.variant, operation.needs_parents)
    image = take(bytes(root))
    shutil.rmtree(root)
    return image


def set_stage(operation: Operation, base: DirectoryNode, scratch: Path) -> Stage:
    """Prepare the operation, and see what it does when nothing goes wrong."""
    root = fresh(base, scratch)
    if operation.is_first:
        return _first_stage(operation, base, root)
    world = open_world(root, variant=operation.variant)
    operation.prepare(root, world)
    world.close()
    if operation.name == "open-without-index":
        operation.prepare(root, world)
    image = take(bytes(root))
    before = _without_delivered(look_at(root, variant=operation.variant))
    root = fresh(image, scratch)
    faults = Faults()
    with closing_descriptors():
        world = start(operation, root, faults)
        faults.armed = True
        operation.run(world)
        faults.armed = False
        complete = look_at(root, variant=operation.variant)
    return Stage(operation, image, before, complete, faults.calls)


def is_outdated(stage: Stage, faults: Faults, scratch: Path) -> bool:
    """Whether the calls of a trial were others than those of the stage, which then gets them: begin again.

    It happens once: directories that are no longer young are listed less often.
    """
    if stage.is_aged or faults.calls[: faults.at] == stage.calls[: faults.at]:
        return False
    stage.is_aged = True
    faults = Faults()
    with closing_descriptors():
        world = start(stage.operation, fresh(stage.image, scratch), unsynced_faults(faults))
        faults.armed = True
        stage.operation.run(world)
    stage.calls[:] = faults.calls
    return True


def _without_delivered(picture: Picture) -> Picture:
    """What was delivered has no UID yet that anybody was told."""
    for mine in picture.mailboxes.values():
        new = [uid for uid, message in mine.messages.items() if message.text.startswith("delivered")]
        for uid in new:
            del mine.messages[uid]
        mine.uidnext = min([mine.uidnext, *new])
    return picture


def _first_stage(operation: Operation, base: DirectoryNode, root: Path) -> Stage:
    faults = Faults()
    with closing_descriptors():
        faults.armed = True
        operation.run(start(operation, root, faults))
    return Stage(operation, base, Picture(), look_at(root, variant=operation.variant), faults.calls)


@dataclass
class Trial:
    """One operation, struck."""

    stage: Stage
    kind: str
    at: int
    root: Path
    faults: Faults = field(init=False)
    answered: bool = False
    error: BaseException | None = None
    told: tuple[int, int] = (0, 0)  # UIDNEXT and HIGHESTMODSEQ that INBOX had last

    def run(self) -> bool:
        """Whether there was such a call. Raises AssertionError if something is wrong afterwards."""
        operation = self.stage.operation
        self.faults = Faults(self.kind, self.at)
        with closing_descriptors():
            world = start(operation, self.root, unsynced_faults(self.faults))
            self.faults.armed = True
            try:
                operation.run(world)
                self.answered = True
            except (StorageError, Stopped) as error:
                self.error = error
            except TypeError as error:
                assert self.kind == BUG
                self.error = error
            self.faults.armed = False
            if self.faults.count < self.at:
                return False
            if not self.faults.is_dead:
                self._judge_living(world)
            elif world.inbox is not None:
                self.told = (world.inbox.uidnext, world.inbox.modseq)
        self._judge_fresh(world.clock)
        return True

    def _case(self) -> Case:
        stage = self.stage
        is_refused = not self.faults.is_dead and self.kind != BUG  # which is as bad as a crash, and no worse
        return Case(stage.operation, stage.before, stage.complete, self.answered, is_refused)

    def _judge_living(self, world: World) -> None:
        """After an error the same objects go on, and say what a server that starts now says."""
        if world.inbox is None:
            return
        for mailbox in (world.inbox, world.other):
            if mailbox is None or mailbox.box.is_gone:
                continue
            mailbox.look()
            self._compare(world, mailbox)
        uid = put(world.inbox, "afterwards")[0]
        world.inbox.store([uid], FlagChange(ADD, frozenset({"\\Flagged", "kw"})))
        self._compare(world, world.inbox)
        world.inbox.store([uid], FlagChange(ADD, frozenset({"\\Deleted"})))
        assert uid in world.inbox.expunge([uid])
        self._compare(world, world.inbox)
        self.told = (world.inbox.uidnext, world.inbox.modseq)

    def _compare(self, world: World, mailbox: Any) -> None:
        mine = {uid: mailbox.table.flags_of(row) for row, uid in enumerate(mailbox.table.uids)}
        store, account = open_account(self.root, plain_unsynced, world.clock, self.stage.operation.variant)
        other = account.open(mailbox.name)
        theirs = {uid: other.table.flags_of(row) for row, uid in enumerate(other.table.uids)}
        assert mine == theirs, f"{mailbox.name}: {mine} in the living object, {theirs} in a new one"
        assert other.uidnext >= mailbox.uidnext, (
            f"UIDNEXT {mailbox.uidnext} was told, a new server says {other.uidnext}"
        )
        assert other.modseq >= mailbox.modseq, "HIGHESTMODSEQ is lower in a new server"
        other.close()
        store.mailboxes.close()

    def _judge_fresh(self, clock: Clock) -> None:
        variant = self.stage.operation.variant
        clock = Clock(clock.ahead)
        after = look_at(self.root, clock, variant)
        for contents in after.mailboxes.values():  # what `_judge_living` may have left
            contents.messages = {uid: one for uid, one in contents.messages.items() if one.text != "afterwards"}
        judge(self._case(), after)
        inbox = after.mailboxes["INBOX"]
        if self.told[0] and not self.stage.operation.renames_inbox:
            assert inbox.uidnext >= (self.told[0] if self.answered or not self.faults.is_dead else 0)
            assert inbox.modseq >= self.told[1]
        self._judge_without_index(after)
        self._judge_next_commands(clock)
        stay, _ = leftovers(list(names(take(bytes(self.root)))))
        assert not stay, f"left for ever: {stay}"

    def _judge_next_commands(self, clock: Clock) -> None:
        """No lock stands in the way."""
        variant, clock.slept = self.stage.operation.variant, 0.0
        world = open_world(self.root, plain_unsynced, clock, variant)
        for mailbox in (world.inbox, world.other):
            if mailbox is not None:
                uid = put(mailbox, "afterwards")[0]
                mailbox.store([uid], FlagChange(ADD, frozenset({"\\Deleted"})))
                assert mailbox.expunge([uid]) == [uid]
        world.account.subscribe("INBOX")
        world.account.unsubscribe("INBOX")
        if self.stage.operation.name.startswith("create"):
            world.account.create("Later", ("\\Junk",))
        if "seen" in self.stage.operation.name:
            read_by_another(world)
        if "metadata" in self.stage.operation.name:
            annotate_all(world)
        world.close()
        assert clock.slept <= WAIT, f"the next commands waited {clock.slept} s"

    def _judge_without_index(self, after: Picture) -> None:
        """The index is a cache: without it everything is the same."""
        for path in self.root.rglob("greenmail.*"):
            if path.is_file() and path.name.startswith(("greenmail.index", "greenmail.log", "greenmail.cache")):
                path.unlink()
        found = look_at(self.root, variant=self.stage.operation.variant).same()
        for messages in found.values():
            for uid in [uid for uid, one in messages.items() if one.text == "afterwards"]:
                del messages[uid]
        assert found == after.same(), "without the index files something else is found"


def unsynced_faults(faults: Faults) -> Call:
    """Counted and struck, but what is synced need not reach a disk here."""

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        return faults(name, _nothing if name in ("fsync", "fdatasync") else function, *args)

    return call


def plain_unsynced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    return None if name in ("fsync", "fdatasync") else plain_call(name, function, *args)


def _nothing(*_: object) -> None:
    return None


def is_same_state(stage: Stage, kind: str, at: int) -> bool:
    """Whether stopping here leaves what stopping at an earlier point left.

    Nothing but these calls changes the disk (the comparison with strace shows it): so "after" n is "before" n + 1, and
    "before" a call that follows one that reads is "before" that one. "torn" and "short" are for writes, lost
    answers for what changes names.
    """
    if kind == "after":
        return at < len(stage.calls)
    if kind in ("torn", "short"):
        return at <= len(stage.calls) and stage.calls[at - 1] not in WRITES
    if kind in LOST:
        return at <= len(stage.calls) and stage.calls[at - 1] not in NAMING
    if kind == "before" and 1 < at <= len(stage.calls):
        return stage.calls[at - 2] in READS
    return False


@dataclass
class Totals:
    """Of one operation and kind."""

    points: int = 0
    run: int = 0
    failed: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)


def all_points(stage: Stage, kind: str, scratch: Path) -> Totals:
    """Strike at the first call, at the second, and so on until there is none."""
    assert kind in (*KINDS, BUG)
    totals = Totals()
    at = 0
    while True:
        at += 1
        if is_same_state(stage, kind, at):
            totals.points += kind in ("before", "after")
            continue
        trial = Trial(stage, kind, at, fresh(stage.image, scratch))
        try:
            exists = trial.run()
            if is_outdated(stage, trial.faults, scratch):
                totals, at = Totals(), 0
                continue
        except Exception as error:
            exists = True
            what = f"{stage.operation.name} {kind} at {at} {trial.faults.struck}: {type(error).__name__} {error}"[:600]
            (totals.known if is_known(what) else totals.failed).append(what)
        if not exists:
            return totals
        if trial.faults.struck:
            totals.points += 1
            totals.run += 1
            totals.struck[trial.faults.struck] += 1
