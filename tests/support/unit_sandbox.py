"""Runs the commands of a systemd unit in the sandbox that its lines describe, without systemd.

`unit_plan.translate` makes of every line a `Plan`: mounts, which bwrap makes, and the rest, which `unit_launcher` does
in the new process as systemd does it (user, capabilities, limits, umask, filters of system calls). A line that it does
not know is an error. The machine that is so protected is a directory: its /etc, /home, /root, /run, /tmp and /var; only
/usr is that of the real one, and is never writable.
"""

import contextlib
import ctypes.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.unit_file import Line, value, values
from support.unit_plan import Plan, translate

REPOSITORY = Path(__file__).parent.parent.parent
_LAUNCHER = Path(__file__).with_name("unit_launcher.py")
_PACKAGES = sysconfig.get_path("purelib")
_IS_SYSTEMS = Path(sys.base_prefix).is_relative_to("/usr")


# Not that of the virtual environment, which may lie where only root comes to, as in /root.
PYTHON = f"{sys.base_prefix if _IS_SYSTEMS else '/opt/python'}/bin/python3.{sys.version_info.minor}"
_TOP = (
    "etc",
    "home",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "dev",
    "var",
    "opt/checkout/greenmail",
    "opt/packages",
    "opt/python",
)


def why_not() -> str:
    """Why no sandbox can be made here; empty: it can."""
    if os.geteuid() != 0:
        return "needs root, to become the unit's user"
    for name, package in (("bwrap", "bubblewrap"), ("systemd-analyze", "systemd")):
        if shutil.which(name) is None:
            return f"{name} is not installed (Debian: {package})"
    if ctypes.util.find_library("seccomp") is None:
        return "libseccomp is not installed (Debian: libseccomp2)"
    tried = subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"], capture_output=True, text=True, check=False)
    return f"bwrap cannot make a sandbox here: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """A directory that a sandbox shows as the root of a machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.chmod(0o755)
        for name in _TOP:
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("tmp", "var/tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name).chmod(0o1777)
        (root / "root").chmod(0o700)
        (root / "opt/launcher.py").touch()
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        for name in ("ld.so.cache", "nsswitch.conf", "localtime"):
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), root / "etc" / name)
        (root / "etc/passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n"
        )
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")

    def account(self, name: str, uid: int, home: str) -> None:
        """One more user, with a group of that name and number."""
        with (self.root / "etc/passwd").open("a") as users, (self.root / "etc/group").open("a") as groups:
            users.write(f"{name}:x:{uid}:{uid}::{home}:/bin/false\n")
            groups.write(f"{name}:x:{uid}:\n")

    def number(self, file: str, name: str) -> int:
        """The uid of a user, by /etc/passwd, or the gid of a group."""
        rows = (row.split(":") for row in (self.root / "etc" / file).read_text().splitlines())
        return next(int(row[2]) for row in rows if row[0] == name)

    def real(self, path: str) -> str:
        """A path of the machine without symbolic links, still as one of the machine."""
        return "/" + os.path.relpath(os.path.realpath(self.root / path.lstrip("/")), os.path.realpath(self.root))


def _mounts(plan: Plan, machine: Machine) -> list[str]:
    """bwrap's arguments: later ones lie over earlier ones."""
    root = machine.root
    everything = "--ro-bind" if plan.all_read_only else "--bind"
    mounts = [
        everything,
        str(root),
        "/",
        "--ro-bind",
        "/usr",
        "/usr",
        "--bind",
        "/proc",
        "/proc",
        "--bind",
        "/sys",
        "/sys",
    ]
    mounts += ["--ro-bind", str(REPOSITORY / "greenmail"), "/opt/checkout/greenmail"]
    mounts += ["--ro-bind", str(_LAUNCHER), "/opt/launcher.py", "--ro-bind", _PACKAGES, "/opt/packages"]
    mounts += [] if _IS_SYSTEMS else ["--ro-bind", sys.base_prefix, "/opt/python"]
    mounts += ["--dev", "/dev"] if plan.own_devices else ["--dev-bind", "/dev", "/dev"]
    for path in [*plan.writable, *([f"/run/{plan.run_directory}"] if plan.run_directory else [])]:
        place = machine.real(path.lstrip("-"))
        if (root / place.lstrip("/")).exists():
            mounts += ["--bind", str(root / place.lstrip("/")), place]
        else:
            assert path.startswith("-"), f"systemd would not start this: there is no {path}"
    for path in plan.read_only:
        source = path if path.startswith(("/proc", "/sys")) else str(root / path.lstrip("/"))
        mounts += ["--ro-bind-try", source, path]
    if plan.own_tmp:
        for path in ("/tmp", "/var/tmp"):
            mounts += ["--perms", "1777", "--tmpfs", path]
    for path in plan.hidden:
        mounts += _hidden(path, root)
    return [*mounts, *(["--unshare-uts"] if plan.own_host_name else [])]


def _hidden(path: str, root: Path) -> list[str]:
    """Nobody may open it, as systemd's /run/systemd/inaccessible."""
    is_real = path.startswith(("/proc", "/sys", "/usr"))
    found = Path(path) if is_real else root / path.lstrip("/")
    if not found.exists():
        return []
    if found.is_dir():
        return ["--perms", "000", "--tmpfs", path]
    return ["--ro-bind", "/dev/null", path]


def prepared(plan: Plan, machine: Machine) -> None:
    """What is made before the first process: the user's numbers, and his directory below /run."""
    plan.uid = machine.number("passwd", plan.user)
    plan.gid = machine.number("group", plan.group or plan.user)
    plan.groups = [plan.gid]
    if plan.run_directory:
        made = machine.root / "run" / plan.run_directory
        made.mkdir(exist_ok=True)
        made.chmod(plan.run_mode)
        os.chown(made, plan.uid, plan.gid)


def command(
    plan: Plan,
    machine: Machine,
    words: list[str],
    sockets: Iterable[int] = (),
    notify: str = "",
    told: int | None = None,
) -> list[str]:
    """A command line that runs `words` in the sandbox, with these listening sockets; bwrap writes to `told` of it."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "USER": plan.user, "LANG": "C.UTF-8",
        "RUNTIME_DIRECTORY": f"/run/{plan.run_directory}", "PYTHONPATH": "/opt/checkout:/opt/packages",
        "LD_LIBRARY_PATH": "/opt/python/lib", **({"NOTIFY_SOCKET": notify} if notify else {}),
    }  # fmt: skip
    inside = [PYTHON, "-I", "/opt/launcher.py", plan.for_launcher(list(sockets), environment), *_program(words)]
    about = ["--info-fd", str(told)] if told is not None else []
    return ["bwrap", *_mounts(plan, machine), "--die-with-parent", "--clearenv", "--chdir", "/", *about, "--", *inside]


def _program(words: list[str]) -> list[str]:
    """Where pip has put `greenmail` there is another path on each machine: here it is this Python's module."""
    return [PYTHON, "-m", "greenmail", *words[1:]] if words[0].endswith("/greenmail") else words


def run(plan: Plan, machine: Machine, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run something else than the service in its sandbox, to its end."""
    return subprocess.run(command(plan, machine, words), capture_output=True, text=True, timeout=60, check=False)


@dataclass
class Service:
    """A running service; `notes` is what it has told systemd."""

    lines: list[Line]
    plan: Plan
    machine: Machine
    process: subprocess.Popen[bytes]
    pid: int
    journal: Path
    notify: socket.socket
    notes: list[str] = field(default_factory=list)

    def logged(self) -> str:
        return self.journal.read_text(errors="replace")

    def wait_for(self, note: str, seconds: float = 60) -> None:
        """Until it has said this to systemd, once more than before; only its main process may (NotifyAccess=main)."""
        deadline = time.monotonic() + seconds
        while True:
            self.notify.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data, control, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                raise AssertionError(f"no {note}, but {self.notes}: {self.logged()[-4000:]}") from None
            (sender,) = struct.unpack_from("i", control[0][2])
            assert sender == self.pid, f"pid {sender} is not the main process: {data!r}"
            self.notes += data.decode().splitlines()
            if note in data.decode().splitlines():
                return

    def reload(self) -> None:
        """systemctl reload: ExecReload=, in the sandbox, too."""
        words = value(self.lines, "Service", "ExecReload").replace("$MAINPID", str(self.pid)).split()
        done = run(self.plan, self.machine, words)
        assert done.returncode == 0, done.stderr
        self.wait_for("RELOADING=1")
        self.wait_for("READY=1")

    def stop(self) -> int:
        """systemctl stop: SIGTERM for the main process, and no more time than the unit gives it; the exit status."""
        assert value(self.lines, "Service", "KillMode") == "mixed"
        os.kill(self.pid, signal.SIGTERM)
        self.wait_for("STOPPING=1")
        return self.process.wait(float(value(self.lines, "Service", "TimeoutStopSec").removesuffix("s")))


@contextlib.contextmanager
def service(lines: list[Line], machine: Machine, sockets: Iterable[socket.socket]) -> Iterator[Service]:
    """systemctl start, of a unit of Type=notify with these sockets; killed at the end if it still runs."""
    assert value(lines, "Service", "Type") == "notify"
    assert value(lines, "Service", "NotifyAccess") == "main"
    plan = translate(lines)
    prepared(plan, machine)
    for line in values(lines, "Service", "ExecStartPre"):
        done = run(plan, machine, line.split())
        assert done.returncode == 0, done.stdout + done.stderr
    (machine.root / "run/systemd").mkdir(exist_ok=True)
    place = machine.root / "run/systemd/notify"
    journal = machine.root.with_name("journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, journal.open("wb") as sink:
        notify.bind(str(place))
        place.chmod(0o777)
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        reader, writer = os.pipe()
        numbers = [sock.fileno() for sock in sockets]
        words = value(lines, "Service", "ExecStart").split()
        process = subprocess.Popen(
            command(plan, machine, words, numbers, "/run/systemd/notify", writer),
            stdout=sink, stderr=sink, pass_fds=[*numbers, writer], start_new_session=True,
        )  # fmt: skip
        os.close(writer)
        with open(reader, encoding="utf-8") as told:
            pid = int(json.load(told)["child-pid"])
        try:
            made = Service(lines, plan, machine, process, pid, journal, notify)
            made.wait_for("READY=1")
            yield made
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            place.unlink()
