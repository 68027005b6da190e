"""What strace sees below the Maildir is what the layer sees: no call goes past it, be it one that only looks."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.image import DirectoryNode, lay_out, scratch
from crash.points import base_image, set_stage
from crash.scene import OPERATIONS, Operation
from crash.strace_child import MARK

import greenmail

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]
# system call -> the layer's name for it
_CHANGING = {
    "write": "write",
    "writev": "write",
    "pwrite64": "pwrite",
    "ftruncate": "ftruncate",
    "truncate": "ftruncate",
    "fsync": "fsync",
    "fdatasync": "fdatasync",
    "sync_file_range": "fdatasync",
    "fchmod": "fchmod",
    "chmod": "fchmod",
    "fchmodat": "fchmod",
    "fchown": "fchown",
    "chown": "fchown",
    "fchownat": "fchown",
    "lchown": "fchown",
    "rename": "rename",
    "renameat": "rename",
    "renameat2": "rename",
    "link": "link",
    "linkat": "link",
    "symlink": "symlink",
    "symlinkat": "symlink",
    "unlink": "unlink",
    "unlinkat": "unlink",
    "rmdir": "rmdir",
    "mkdir": "mkdir",
    "mkdirat": "mkdir",
    "utimensat": "utime",
    "mknod": "mknod",
    "mknodat": "mknod",
    "fallocate": "fallocate",
    "copy_file_range": "write",
    "sendfile": "write",
    "splice": "write",
    "setxattr": "setxattr",
    "fsetxattr": "setxattr",
    "lsetxattr": "setxattr",
}
_LOOKING = {
    "newfstatat": "stat",
    "statx": "stat",
    "stat": "stat",
    "lstat": "stat",
    "fstat": "stat",
    "pread64": "pread",
    "read": "pread",
    "flock": "flock",
    "close": "close",
}
# Calls that need not go through the layer, and why.
_PAST = {
    "getdents64": "a directory that is listed is one call of the layer, and its open, stat and close are counted",
    "faccessat2": "whether a mailbox may be written to; where that cannot be said it is served read-only",
}
_STATS = ("stat", "lstat", "fstat", "glance")
_LISTS = ("listdir", "scandir")
_CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)$")


def _why_not() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"strace is not permitted: {tried.stderr.decode()[:100]}"


@dataclass(frozen=True)
class Traced:
    """All operations, seen from both sides."""

    directory: Path
    layer: dict[str, list[str]]
    trace: str


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    with scratch() as place:
        directory, output, trace = place / "accounts", place / "layer", place / "strace"
        directory.mkdir()
        images: dict[tuple[str, bool, bool], DirectoryNode] = {}
        for operation in OPERATIONS:
            base = operation.variant, operation.needs_parents, operation.is_first
            if base not in images:
                images[base] = base_image(place, operation)
            stage = set_stage(operation, images[base], place)
            lay_out(stage.image, bytes(directory / operation.name))
        script = str(Path(__file__).with_name("strace_child.py"))
        ours = Path(greenmail.__file__).parents[1]  # the modules of this run: those of the checkout, or compiled ones
        environment = os.environ | {"PYTHONPATH": f"{_TESTS}:{ours}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = ["strace", "-f", "-y", "-s", "4096", "-o", str(trace), "-e", "trace=%file,%desc"]
        command += [sys.executable, script, str(directory), str(output)]
        subprocess.run(command, env=environment, check=True, timeout=100)
        layer = json.loads(output.read_text(encoding="ascii"))
        yield Traced(directory, layer, trace.read_text(encoding="utf-8", errors="replace"))


def seen_by_strace(trace: str, root: str, name: str) -> Counter[str]:
    """Calls between the marks of an operation that name something below `root`; the layer's names."""
    found: Counter[str] = Counter()
    parts = re.split(rf'^.*"{re.escape(MARK)}/{re.escape(name)}".*$', trace, flags=re.MULTILINE)
    assert len(parts) == 3, f"{len(parts) - 1} marks"
    on_descriptor = re.compile(rf"\d+<{re.escape(root)}/")
    below = re.compile(rf'{re.escape(root)}[/">]')
    for line in parts[1].splitlines():
        match = _CALL.match(line)
        if match is None or below.search(match[2]) is None or match[1] in _PAST:
            continue
        call, rest = match[1], match[2]
        if call in ("open", "openat", "creat"):
            found["create" if "O_CREAT" in rest or "O_TRUNC" in rest else "open"] += 1
        elif call == "unlinkat" and "AT_REMOVEDIR" in rest:
            found["rmdir"] += 1
        elif _CHANGING.get(call) == "write":
            found["write"] += on_descriptor.match(rest) is not None  # else it is a log line about a path
        else:
            found[_CHANGING.get(call) or _LOOKING.get(call) or f"{call}, which nobody knows"] += 1
        # A file that was opened for writing could be mapped; ours never are.
        assert not (call == "mmap" and "PROT_WRITE" in rest and "MAP_SHARED" in rest), line
    return +found


def seen_by_layer(calls: list[str]) -> Counter[str]:
    """The same; what it calls one thing may be several for the kernel."""
    found: Counter[str] = Counter()
    for call in calls:
        name = call.removesuffix(" failed")
        if name in _LISTS:
            found.update(["open"] if name != call else ["open", "stat", "close"])
        else:
            found["stat" if name in _STATS else name] += 1
    return found


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_strace_sees_what_the_layer_sees(
    operation: Operation, traced: Traced, record_property: Callable[[str, object], None]
) -> None:
    seen = seen_by_strace(traced.trace, str(traced.directory / operation.name), operation.name)
    record_property("calls compared", sum(seen.values()))
    assert seen == seen_by_layer(traced.layer[operation.name])
    assert seen, "strace saw nothing"
