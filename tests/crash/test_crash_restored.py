"""A file restored under the base name of an expunged message survives, whenever the expunging server died."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.faults import KINDS, Faults
from crash.image import scratch
from crash.points import Stage, base_image, fresh, is_outdated, is_same_state, set_stage
from crash.restored import MOMENTS, REMOVING, Lost, Restoration, messages_of
from crash.scene import Operation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with scratch() as path:
        yield path


@pytest.fixture(scope="module")
def stage_of(place: Path) -> Callable[[Operation], tuple[Stage, dict[int, Lost]]]:
    stages: dict[str, tuple[Stage, dict[int, Lost]]] = {}

    def stage(operation: Operation) -> tuple[Stage, dict[int, Lost]]:
        if operation.name not in stages:
            base = base_image(place, operation)
            stages[operation.name] = set_stage(operation, base, place), messages_of(base)
        return stages[operation.name]

    return stage


_SLOW = ("stale", "timeout", "ENOSPC", "EDQUOT", "EIO", "EACCES", "EMFILE", "ENOENT")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.long) if k in _SLOW else k for k in KINDS])
@pytest.mark.parametrize("operation", REMOVING, ids=lambda operation: operation.name)
def test_a_restored_file_is_a_new_message(
    operation: Operation,
    kind: str,
    place: Path,
    stage_of: Callable[[Operation], tuple[Stage, dict[int, Lost]]],
    record_property: Callable[[str, object], None],
) -> None:
    stage, messages = stage_of(operation)
    failed: list[str] = []
    restored = points = 0
    for moment in MOMENTS:
        at, exists = 0, True
        while exists:
            at += 1
            if is_same_state(stage, kind, at):
                continue
            faults = Faults(kind, at)
            trial = Restoration(stage, messages, faults, fresh(stage.image, place), moment)
            try:
                exists = trial.run()
                if is_outdated(stage, faults, place):
                    at = 0
                    continue
            except Exception as error:
                failed.append(f"{operation.name} {kind} at {at} {faults.struck}, {moment}: {error!r}"[:500])
            if exists and faults.struck:
                points += 1
                restored += len(trial.gone)
    record_property("points", points)
    record_property("restored files", restored)
    assert not failed, f"{len(failed)} of {points}:\n" + "\n".join(failed)
    assert restored or kind == "torn" or not points
