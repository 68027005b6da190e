"""The power is cut after any system call: what was answered OK is there in every state that the disk may be in."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crash.faults import closing_descriptors
from crash.image import DirectoryNode, scratch
from crash.points import Stage, base_image, fresh, set_stage, start
from crash.power import Recorder, Sync, lay_out_with_inodes, states
from crash.scene import OPERATIONS, Case, Clock, Operation, judge_power, look_at

_REBOOT = 60.0  # seconds

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


def record(stage: Stage, place: Path, ignored: frozenset[int] = frozenset()) -> tuple[Recorder, Case]:
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


def reopen_all(recorder: Recorder, case: Case, place: Path, from_answer: bool, stop_at: int = 20) -> Outcome:
    """Lay out each state and start a server on it."""
    outcome = Outcome()
    root = place / "state"
    for answered, image in states(recorder, from_answer):
        outcome.states += 1
        shutil.rmtree(root, ignore_errors=True)
        lay_out_with_inodes(image, bytes(root))
        mine = Case(case.operation, case.before, case.complete, answered > 0)
        try:
            with closing_descriptors():
                judge_power(mine, look_at(root, Clock(_REBOOT), case.operation.variant))
        except Exception as error:
            when = "after the answer" if answered else "before the answer"
            outcome.losses.append(f"{case.operation.name} {when}: {type(error).__name__} {error}"[:500])
            if len(outcome.losses) >= stop_at:
                break
    return outcome


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_was_answered_survives_a_power_cut(
    operation: Operation, place: Path, stage_of: StageOf, record_property: Callable[[str, object], None]
) -> None:
    recorder, case = record(stage_of(operation), place)
    outcome = reopen_all(recorder, case, place, from_answer=True)
    record_property("power cuts", outcome.states)
    record_property("losses", len(outcome.losses))
    assert not outcome.losses, "\n".join(outcome.losses)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_power_cut_at_any_moment(
    operation: Operation, place: Path, stage_of: StageOf, record_property: Callable[[str, object], None]
) -> None:
    recorder, case = record(stage_of(operation), place)
    outcome = reopen_all(recorder, case, place, from_answer=False)
    record_property("power cuts", outcome.states)
    record_property("losses", len(outcome.losses))
    assert not outcome.losses, "\n".join(outcome.losses)
