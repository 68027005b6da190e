"""The power is cut after any system call: what was answered OK is there in every state that the disk may be in."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crash.faults import closing_descriptors
from crash.image import DirectoryNode, scratch
from crash.judge import Case, judge_power
from crash.known import is_known
from crash.picture import look_at
from crash.points import Stage, base_image, fresh, set_stage, start
from crash.power import Recorder, lay_out_with_inodes, states
from crash.scene import BESIDE_OTHERS, DAILY, OPERATIONS, Clock, Operation

_REBOOT = 60.0  # seconds

_ALL = [*OPERATIONS, *BESIDE_OTHERS]


def _marks(operation: Operation) -> list[pytest.MarkDecorator]:
    if operation.is_long or operation.name == "create-fs":
        return [pytest.mark.long]
    return [] if operation.name in DAILY else [pytest.mark.slow]


_SOME = [pytest.param(one, marks=_marks(one)) for one in _ALL]
StageOf = Callable[[Operation], Stage]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with scratch() as path:
        yield path


@pytest.fixture(scope="module")
def stage_of(place: Path) -> StageOf:
    images: dict[tuple[str, bool, bool], DirectoryNode] = {}

    def stage(operation: Operation) -> Stage:
        base = operation.variant, operation.needs_parents, operation.is_first
        if base not in images:
            images[base] = base_image(place, operation)
        return set_stage(operation, images[base], place)

    return stage


def record(stage: Stage, place: Path, ignored: str = "") -> tuple[Recorder, Case]:
    """Carry out the operation, and write down what it did."""
    operation = stage.operation
    root = fresh(stage.image, place)
    recorder = Recorder(stage.image, bytes(root), ignored)
    with closing_descriptors():
        world = start(operation, root, recorder)
        recorder.begin()
        operation.run(world)
        recorder.answer()
        complete = look_at(root, variant=operation.variant)
    return recorder, Case(operation, stage.before, complete, True)


@dataclass
class Outcome:
    states: int = 0
    losses: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


def both(found: Iterator[tuple[int, DirectoryNode]]) -> Iterator[tuple[int, DirectoryNode]]:
    """Each state, and the same without the index files: these are caches, and must not be what holds it together."""
    for answered, image in found:
        yield answered, image
        yield answered, without_index(image)


def without_index(node: DirectoryNode) -> DirectoryNode:
    """The tree without the files that may be removed at any time."""
    entries = {
        name: without_index(entry) if isinstance(entry, DirectoryNode) else entry
        for name, entry in node.entries.items()
        if name not in (b"greenmail.index", b"greenmail.log", b"greenmail.cache")
    }
    return DirectoryNode(entries, node.mtime_ns, node.mode)


def reopen_all(
    recorder: Recorder, case: Case, place: Path, from_answer: bool, stop_at: int = 20, bare: bool = False
) -> Outcome:
    """Lay out each state and start a server on it."""
    outcome = Outcome()
    root = place / "state"
    for answered, image in both(states(recorder, from_answer)) if bare else states(recorder, from_answer):
        outcome.states += 1
        shutil.rmtree(root, ignore_errors=True)
        lay_out_with_inodes(image, bytes(root))
        mine = Case(case.operation, case.before, case.complete, answered > 0)
        try:
            with closing_descriptors():
                judge_power(mine, look_at(root, Clock(_REBOOT), case.operation.variant))
        except Exception as error:
            when = "after the answer" if answered else "before the answer"
            what = f"{case.operation.name} {when}: {type(error).__name__} {error}"[:500]
            (outcome.known if is_known(what) else outcome.losses).append(what)
            if len(outcome.losses) >= stop_at:
                break
    return outcome


@pytest.mark.parametrize("operation", _SOME, ids=lambda operation: operation.name)
def test_what_was_answered_survives_a_power_cut(
    operation: Operation, place: Path, stage_of: StageOf, record_property: Callable[[str, object], None]
) -> None:
    recorder, case = record(stage_of(operation), place)
    outcome = reopen_all(recorder, case, place, from_answer=True)
    record_property("power cuts", outcome.states)
    record_property("losses", len(outcome.losses))
    record_property("known losses", len(outcome.known))
    assert not outcome.losses, "\n".join(outcome.losses)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("operation", _ALL, ids=lambda operation: operation.name)
def test_a_power_cut_at_any_moment(
    operation: Operation, place: Path, stage_of: StageOf, record_property: Callable[[str, object], None]
) -> None:
    recorder, case = record(stage_of(operation), place)
    outcome = reopen_all(recorder, case, place, from_answer=False, bare=True)
    record_property("power cuts", outcome.states)
    record_property("losses", len(outcome.losses))
    record_property("known losses", len(outcome.known))
    assert not outcome.losses, "\n".join(outcome.losses)


_PROMISED = ("append", "append-keyword", "append-overflow", "multiappend", "copy", "move", "create", "create-control")
_PROMISED += (
    "first-append",
    "first-append-deep",
    "append-made-by-others",
    "first-create",
    "rename",
    "delete",
    "subscribe",
    "store-keyword",
    "uidlist-rewrite",
    "seen-made-by-others",
    "metadata-made-by-others",
    "special-use-made-by-others",
    "metadata-first-control",
    "delete-fs",
)

# Syncs without which these tests see no loss, and why the store makes them all the same.
_HARMLESS = {
    "folders.create directory": "the first look at the new mailbox, before the answer, syncs the same directory again",
    "folders._furnish directory": "tmp, new and cur that are missing are made again; `maildirfolder` is for others",
    "uidvalidity._note file": "a hint where to begin to look for the counter",
    "uidvalidity._note directory": "the same",
    "uidvalidity.next_uidvalidity directory": "the value is durable in the uidlist; it matters for the next mailbox",
    "uidlist.rewrite directory": "found by the operations that make a uidlist; an old one is as good as a new one",
}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_without_any_one_sync_something_is_lost(
    place: Path, stage_of: StageOf, record_property: Callable[[str, object], None]
) -> None:
    missed: dict[str, list[str]] = {}
    caught: set[str] = set()
    for operation in _ALL:
        if operation.name not in _PROMISED:
            continue
        stage = stage_of(operation)
        recorder, _ = record(stage, place)
        for site in dict.fromkeys(sync.site for sync in recorder.syncs):
            if site in caught:
                continue
            without, case = record(stage, place, site)
            if reopen_all(without, case, place, from_answer=True, stop_at=1, bare=True).losses:
                caught.add(site)
            else:
                missed.setdefault(site, []).append(operation.name)
    record_property("syncs that were left out", len(caught | missed.keys()))
    assert {site: names for site, names in missed.items() if site not in caught and site not in _HARMLESS} == {}
    assert len(caught) >= 10, caught
