"""Every system call of every operation: the process stops before it, after it, in the midst of it, or it fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.faults import BUG, KINDS
from crash.image import DirectoryNode, scratch
from crash.points import Stage, all_points, base_image, set_stage
from crash.scene import DAILY, OPERATIONS, Operation


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with scratch() as path:
        yield path


@pytest.fixture(scope="module")
def stage_of(place: Path) -> Callable[[Operation], Stage]:
    images: dict[tuple[str, bool, bool], DirectoryNode] = {}
    stages: dict[str, Stage] = {}

    def stage(operation: Operation) -> Stage:
        base = operation.variant, operation.needs_parents, operation.is_first
        if base not in images:
            images[base] = base_image(place, operation)
        if operation.name not in stages:
            stages[operation.name] = set_stage(operation, images[base], place)
        return stages[operation.name]

    return stage


_SLOW = ("stale", "timeout", "EDQUOT", "EIO", "EACCES", "EMFILE", "ENOENT")  # for whoever has the time
_QUICK = [("append", "stale"), ("move", "stale"), ("create", "stale"), ("expunge", BUG)]


def _every() -> Iterator[object]:
    for operation in OPERATIONS:
        for kind in (*KINDS, BUG) if operation.name in DAILY else KINDS:
            is_daily = operation.name in DAILY
            is_long = operation.is_long or kind in (*_SLOW, BUG) or (kind in ("short", "ENOSPC") and not is_daily)
            marks = [] if is_daily else [pytest.mark.slow]
            if is_long and (operation.name, kind) not in _QUICK:
                marks.append(pytest.mark.long)
            yield pytest.param(operation, kind, marks=marks, id=f"{operation.name}-{kind}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation, kind", list(_every()))
def test_every_system_call(
    operation: Operation,
    kind: str,
    place: Path,
    stage_of: Callable[[Operation], Stage],
    record_property: Callable[[str, object], None],
) -> None:
    totals = all_points(stage_of(operation), kind, place)
    record_property("points", totals.points)
    record_property("trials", totals.run)
    record_property("known faults", len(totals.known))
    assert not totals.failed, f"{len(totals.failed)} of {totals.run}:\n" + "\n".join(totals.failed)
