"""Killed before any system call of a repair, or of an undo: the undo log puts everything back."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor.spool import base, body, build, picture, write

from greenmail.doctor import undo
from greenmail.doctor.audit import Run, audit
from greenmail.doctor.repair import repair
from greenmail.doctor.restore import Means, restore
from greenmail.doctor.target import Target
from greenmail.storage.filesystem import Call
from greenmail.storage.locks import Waiting

SECOND = base("", 2)
UNIQUE = SECOND.split(",", 1)[0]
READS = {"open", "close", "pread", "stat", "lstat", "fstat", "listdir", "scandir"}


def plant(root: Path) -> dict[str, tuple[object, ...]]:
    """A wrong size, twins, a damaged UID list, a nameless letter and an old quota sum."""
    build(root)
    os.rename(root / f"cur/{SECOND}:2,S", root / f"cur/{UNIQUE},S=1,W=2:2,S")
    data = (root / "dovecot-uidlist").read_text().replace(SECOND, f"{UNIQUE},S=1,W=2").replace("4 :", "4 x:")
    write(root / "dovecot-uidlist", data)
    write(root / f"new/{base('', 3)}", body("", 33))
    write(root / "cur/1700000100.mx:2,z", b"Subject: x\n\nx\n")
    return tidy(picture(root))


def tidy(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without what a killed process leaves: half of a new file, and what its locks are made of."""
    left = (".tmp", ".lock", ".undo", ".doctor")
    return {
        name: entry
        for name, entry in found.items()
        if not name.endswith(left) and not name.startswith("tmp/greenmail.")
    }


def mend(run: Run, target: Target, path: str) -> None:
    log = undo.UndoLog(path, run.call)
    repair(run, target, log, audit(run, target).findings)
    log.close()


def take_back(run: Run, path: str) -> list[str]:
    descriptor, records = undo.read(path)
    try:
        return restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records).left
    finally:
        os.close(descriptor)


class Counted:
    """Ends this process before the change number `fatal`; reading is not counted."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.count = 0

    def __call__(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name not in READS:
            self.count += 1
            if self.count == self.fatal:
                os._exit(9)
        return function(*args)


def killed(fatal: int, work: Callable[[Call], object]) -> bool:
    """Do `work` in a process that ends before its change number `fatal`; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        try:
            work(Counted(fatal))
            os._exit(0)
        except BaseException:
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize("portion", range(3))
def test_a_repair_killed_before_any_change_is_taken_back(
    tmp_path: Path, run: Run, target: Target, portion: int
) -> None:
    points = 0
    for fatal in range(1 + portion, 1000, 3):
        root = tmp_path / str(fatal) / "Maildir"
        root.parent.mkdir()
        before = plant(root)
        here = replace(target, settings=replace(target.settings, mail_path=str(root)))
        log = str(root.parent / "undo")
        came = killed(fatal, lambda call, here=here, log=log: mend(replace(run, call=call), here, log))
        if not came:
            break
        points += 1
        if os.path.exists(log) and os.path.getsize(log):
            assert take_back(run, log) == [], f"killed before change {fatal}"
        assert tidy(picture(root)) == before, f"killed before change {fatal}"
    assert points > 20


def test_an_undo_killed_before_any_change_can_be_done_again(tmp_path: Path, run: Run, target: Target) -> None:
    points = 0
    for fatal in range(1, 1000, 2):
        root = tmp_path / str(fatal) / "Maildir"
        root.parent.mkdir()
        before = plant(root)
        here = replace(target, settings=replace(target.settings, mail_path=str(root)))
        log = str(root.parent / "undo")
        mend(run, here, log)
        came = killed(fatal, lambda call, log=log: take_back(replace(run, call=call), log))
        points += came
        assert take_back(run, log) == [], f"killed before change {fatal}"
        assert tidy(picture(root)) == before, f"killed before change {fatal}"
        if not came:
            break
    assert points > 8
