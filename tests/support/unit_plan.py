"""What the lines of a systemd unit come to: `translate` makes a `Plan` of them, which `unit_sandbox` carries out.

A line that it does not know is an error.
"""

import functools
import json
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

from support.unit_file import Line

_ERRNOS = {"EPERM": 1, "EACCES": 13, "ENOSYS": 38}
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""


_CAPABILITIES = _NAMES.split()  # linux/capability.h, in order


# systemd.exec(5), ProtectKernelTunables=
_TUNABLES = ("/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger", "/sys")


# What a unit says that has nothing to do with what a process of it may: who reads it.
NO_SANDBOX = {
    "Description": "for people", "Requires": "order of units", "After": "order of units", "Wants": "order of units",
    "WantedBy": "order of units", "Type": "`Service`: waits for READY=1", "NotifyAccess": "`Service`: by whom",
    "ExecStartPre": "`Service`: run first", "ExecStart": "`Service`: run", "ExecReload": "`Service`: run to reload",
    "Restart": "what comes after an end", "RestartSec": "what comes after an end",
    "RestartPreventExitStatus": "what comes after an end", "TimeoutStopSec": "`Service`: how long an end may take",
    "WatchdogSec": "what comes after no sign of life",
    "KillMode": "`Service`: whom SIGTERM is for",
    "RemoveIPC": "System V IPC of a user is removed when no unit of his runs: nothing that a process would see",
}  # fmt: skip


@dataclass
class Plan:
    """All that the lines of a unit come to. Paths are those of the machine."""

    user: str = "root"
    group: str = ""
    all_read_only: bool = False
    writable: list[str] = field(default_factory=list)
    read_only: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    own_tmp: bool = False
    own_devices: bool = False
    own_host_name: bool = False
    run_directory: str = ""
    run_mode: int = 0o755
    # For the launcher
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    bounding: list[int] | None = None
    dropped: set[int] = field(default_factory=set)
    no_new_privileges: bool = False
    umask: int = 0o022
    limits: dict[str, int] = field(default_factory=dict)
    families: list[int] | None = None
    no_executable_writing: bool = False
    no_realtime: bool = False
    no_namespaces: bool = False
    lock_personality: bool = False
    native_calls: bool = False
    own_keyring: bool = False
    denied_calls: list[str] = field(default_factory=list)
    calls: list[str] | None = None
    call_errno: int = 0

    def for_launcher(self, sockets: list[int], environment: dict[str, str]) -> str:
        """JSON for `unit_launcher`."""
        told = {**asdict(self), "dropped": [], "sockets": sockets, "environment": environment}
        if self.dropped and self.bounding is None:
            told["bounding"] = [number for number in range(len(_CAPABILITIES)) if number not in self.dropped]
        elif self.bounding is not None:
            told["bounding"] = [number for number in self.bounding if number not in self.dropped]
        return json.dumps(told)


@functools.cache
def group_of_calls(name: str) -> frozenset[str]:
    """The system calls of one of systemd's groups, those of the groups in it included."""
    done = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, timeout=60, check=True
    )
    members = [row.strip() for row in done.stdout.splitlines()[1:] if row.strip() and not row.strip().startswith("#")]
    inner = [group_of_calls(each) if each.startswith("@") else frozenset({each}) for each in members]
    return frozenset().union(*inner)


def _calls(words: Iterable[str]) -> set[str]:
    return {call for word in words for call in (group_of_calls(word) if word.startswith("@") else {word})}


def _syscall_filter(plan: Plan, line: Line) -> None:
    """A list of what is allowed, from which lines with "~" take something away again. systemd.exec(5)."""
    takes = line.value.startswith("~")
    named = _calls(line.value.lstrip("~").split())
    assert plan.calls is not None or not takes, "a list that begins with ~ says what is forbidden: not known here"
    present = set(plan.calls) if plan.calls is not None else set(group_of_calls("@default"))
    plan.calls = sorted(present - named if takes else present | named)


def _bounding(plan: Plan, line: Line) -> None:
    assert not line.value.startswith("~"), "a list of what is taken away: not known here"
    named = [_CAPABILITIES.index(word.removeprefix("CAP_")) for word in line.value.split()]
    plan.bounding = sorted({*(plan.bounding or []), *named}) if named else []


def _families(plan: Plan, line: Line) -> None:
    assert not line.value.startswith("~"), "a list of what is taken away: not known here"
    plan.families = [*(plan.families or []), *(int(getattr(socket, word)) for word in line.value.split())]


def _strict(plan: Plan, line: Line) -> None:
    assert line.value == "strict", "another value than strict: not known here"
    plan.all_read_only = True


def _homes(plan: Plan, line: Line) -> None:
    if line.value == "read-only":
        plan.read_only += ["/home", "/root", "/run/user"]
    elif line.is_on:
        plan.hidden += ["/home", "/root", "/run/user"]


def _devices(plan: Plan, line: Line) -> None:
    plan.own_devices = line.is_on
    plan.denied_calls += sorted(group_of_calls("@raw-io"))
    _drop(plan, "MKNOD", "SYS_RAWIO")


def _device_policy(plan: Plan, line: Line) -> None:
    """`closed` is a control group's own way to leave those devices that bwrap's --dev has."""
    assert line.value == "closed", "another value than closed: not known here"
    plan.own_devices = True


def _drop(plan: Plan, *names: str) -> None:
    plan.dropped |= {_CAPABILITIES.index(name) for name in names}


def _denies(*groups: str, drop: tuple[str, ...] = (), hide: tuple[str, ...] = ()) -> Callable[[Plan, Line], None]:
    """A Protect...= line that forbids calls and capabilities, and hides paths."""

    def translated(plan: Plan, line: Line) -> None:
        if line.is_on:
            plan.denied_calls += sorted(_calls(groups))
            plan.hidden += hide
            _drop(plan, *drop)

    return translated


def _tunables(plan: Plan, line: Line) -> None:
    if line.is_on:
        plan.read_only += _TUNABLES
        plan.hidden += ["/proc/kallsyms", "/proc/kcore"]


def _host_name(plan: Plan, line: Line) -> None:
    plan.own_host_name = line.is_on
    _denies("sethostname", "setdomainname")(plan, line)


def _flag(name: str) -> Callable[[Plan, Line], None]:
    return lambda plan, line: setattr(plan, name, line.is_on)


def _text(name: str) -> Callable[[Plan, Line], None]:
    return lambda plan, line: setattr(plan, name, line.value)


def _octal(name: str) -> Callable[[Plan, Line], None]:
    return lambda plan, line: setattr(plan, name, int(line.value, 8))


def _limit(name: str) -> Callable[[Plan, Line], None]:
    return lambda plan, line: plan.limits.__setitem__(name, int(line.value))


def _as_it_is(plan: Plan, line: Line) -> None:
    """What bwrap does anyway, or what its value leaves as it is."""
    assert (line.name, line.value) in (("PrivateMounts", "yes"), ("RuntimeDirectoryPreserve", "no")), line


def _native(plan: Plan, line: Line) -> None:
    assert line.value == "native", line
    plan.native_calls = True


def _keyring(plan: Plan, line: Line) -> None:
    assert line.value == "private", line
    plan.own_keyring = True


TRANSLATED: dict[str, Callable[[Plan, Line], None]] = {
    "User": _text("user"),
    "Group": _text("group"),
    "LimitNOFILE": _limit("RLIMIT_NOFILE"),
    "TasksMax": _limit("RLIMIT_NPROC"),  # of the user's, who has nothing else here
    "RuntimeDirectory": _text("run_directory"),
    "RuntimeDirectoryMode": _octal("run_mode"),
    "RuntimeDirectoryPreserve": _as_it_is,
    "CapabilityBoundingSet": _bounding,
    "NoNewPrivileges": _flag("no_new_privileges"),
    "UMask": _octal("umask"),
    "ProtectSystem": _strict,
    "ReadWritePaths": lambda plan, line: plan.writable.extend(line.value.split()),
    "ProtectHome": _homes,
    "PrivateTmp": _flag("own_tmp"),
    "PrivateMounts": _as_it_is,
    "MemoryDenyWriteExecute": _flag("no_executable_writing"),
    "PrivateDevices": _devices,
    "ProtectClock": _denies("@clock", drop=("SYS_TIME", "WAKE_ALARM")),
    "ProtectControlGroups": lambda plan, line: plan.read_only.extend(["/sys/fs/cgroup"] if line.is_on else []),
    "ProtectHostname": _host_name,
    "ProtectKernelLogs": _denies("syslog", drop=("SYSLOG",), hide=("/proc/kmsg", "/dev/kmsg")),
    "ProtectKernelModules": _denies("@module", drop=("SYS_MODULE",), hide=("/usr/lib/modules",)),
    "ProtectKernelTunables": _tunables,
    "RestrictAddressFamilies": _families,
    "RestrictNamespaces": _flag("no_namespaces"),
    "RestrictRealtime": _flag("no_realtime"),
    "LockPersonality": _flag("lock_personality"),
    "DevicePolicy": _device_policy,
    "KeyringMode": _keyring,
    "SystemCallArchitectures": _native,
    "SystemCallFilter": _syscall_filter,
    "SystemCallErrorNumber": lambda plan, line: setattr(plan, "call_errno", _ERRNOS[line.value]),
}


def translate(lines: Iterable[Line]) -> Plan:
    """A plan of all lines. One that is not known is an AssertionError."""
    plan = Plan()
    for line in lines:
        if line.name in NO_SANDBOX:
            continue
        assert line.section == "Service", f"no sandbox: {line}"
        assert line.name in TRANSLATED, f"what does {line.name}={line.value} mean? Translate it in {__file__}"
        TRANSLATED[line.name](plan, line)
    return plan
