"""CPU seconds of a whole process tree, children that ended included.

A control group counts to the nanosecond and forgets nobody; where none can be made, `/proc/PID/schedstat` is summed
over the living, which misses what a short-lived child used.
"""

import contextlib
import itertools
import os
from pathlib import Path

V1 = Path("/sys/fs/cgroup/cpuacct")
V2 = Path("/sys/fs/cgroup")
_numbers = itertools.count(1)


class Meter:
    """Counts the CPU of whatever is started by `command`."""

    def __init__(self, name: str, niceness: int = 0) -> None:
        self.niceness = niceness
        self.group: Path | None = None
        self.pid = 0
        base = V1 if V1.is_dir() else V2
        try:
            group = base / f"greenmail-bench-{os.getpid()}-{name}-{next(_numbers)}"
            group.mkdir(exist_ok=True)
            self.group = group
        except OSError:
            print("no control group can be made: CPU is summed over living processes only")

    def enter(self) -> None:
        """Put the calling process into the group: to be run in the child before exec."""
        prefer(self.niceness)
        if self.group is not None:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def seconds(self) -> float:
        """CPU used so far."""
        if self.group is None:
            return sum(_schedstat(pid) for pid in _tree(self.pid)) / 1e9
        usage = self.group / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        line = (self.group / "cpu.stat").read_text().split()
        return int(line[line.index("usage_usec") + 1]) / 1e6

    def processes(self) -> list[int]:
        """The living processes."""
        if self.group is None:
            return _tree(self.pid)
        return [int(pid) for pid in (self.group / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        """Remove the group; its processes have ended."""
        if self.group is not None:
            try:
                self.group.rmdir()
            except OSError:
                print(f"left behind: {self.group}")


def prefer(niceness: int) -> None:
    """Have this process go before others, as far as that is allowed."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        # Where Linux groups processes by session, niceness counts among those of a group; this is the group's.
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def pss(pids: list[int]) -> int:
    """Proportional set size of these processes together, in octets."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def _schedstat(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        return 0


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _tree(int(child))
    return found
