"""What systemd does in a new process before it becomes the service, for `unit_sandbox`: `python unit_launcher.py PLAN
COMMAND...`, inside of the mounts that bwrap has made. PLAN is JSON, see `unit_sandbox.Plan`.

Needs the standard library and libseccomp, and nothing of this project: the sandbox is for others.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NOT_EQUAL, _EQUAL, _GREATER, _MASKED = 1, 4, 6, 7
_BAD_ARCH = 2  # SCMP_FLTATR_ACT_BADARCH
_CAPBSET_DROP, _NO_NEW_PRIVS = 24, 38
_PROT_WRITE, _PROT_EXEC, _SHM_EXEC = 2, 4, 0o100000
_NAMESPACES = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW...
_FAMILIES = 64  # more than there are
_JOIN_SESSION_KEYRING, _KEYCTL = 1, 250  # x86-64's number, asked of libseccomp where it is another

libc = ctypes.CDLL(None, use_errno=True)


class Compared(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
seccomp.seccomp_init.restype = ctypes.c_void_p
seccomp.seccomp_init.argtypes = [ctypes.c_uint32]
seccomp.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
seccomp.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Compared),
]  # fmt: skip


class Filter:
    """One seccomp filter; the kernel takes the sternest answer of all that are loaded."""

    def __init__(self, otherwise: int) -> None:
        self._context = seccomp.seccomp_init(otherwise)
        self._otherwise = otherwise

    def add(self, action: int, name: str, *compared: tuple[int, int, int, int]) -> None:
        """A rule for a call, if this machine has it, whose arguments compare so (number, how, with what, what)."""
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number == -1 or action == self._otherwise:
            return
        rules = (Compared * len(compared))(*(Compared(*each) for each in compared))
        failed = seccomp.seccomp_rule_add_array(self._context, action, number, len(compared), rules)
        if failed and number >= 0:
            raise OSError(-failed, f"seccomp rule for {name}: {os.strerror(-failed)}")

    def load(self, bad_architecture: int) -> None:
        """From now on."""
        seccomp.seccomp_attr_set(self._context, _BAD_ARCH, bad_architecture)
        failed = seccomp.seccomp_load(self._context)
        if failed:
            raise OSError(-failed, f"seccomp: {os.strerror(-failed)}")


@contextmanager
def denying() -> Iterator[Filter]:
    """A filter that lets pass what it has no rule for."""
    made = Filter(_ALLOW)
    yield made
    made.load(_ALLOW)


def deny(names: Iterable[str], number: int) -> None:
    with denying() as rules:
        for name in names:
            rules.add(_ERRNO | number, name)


def only(names: Iterable[str], otherwise: int) -> None:
    """SystemCallFilter="""
    rules = Filter(_ERRNO | otherwise if otherwise else _KILL)
    for name in names:
        rules.add(_ALLOW, name)
    rules.load(_ALLOW)


def only_families(wanted: list[int]) -> None:
    """RestrictAddressFamilies="""
    with denying() as rules:
        for family in range(_FAMILIES):
            if family not in wanted:
                rules.add(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _EQUAL, family, 0))
        rules.add(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _GREATER, _FAMILIES - 1, 0))


def no_namespaces() -> None:
    """RestrictNamespaces=yes. What clone3 is asked for lies in memory, where no filter sees it: it is "not there"."""
    with denying() as rules:
        for flag in _NAMESPACES:
            for name in ("clone", "unshare"):
                rules.add(_ERRNO | errno.EPERM, name, (0, _MASKED, flag, flag))
        rules.add(_ERRNO | errno.EPERM, "setns")
        rules.add(_ERRNO | errno.ENOSYS, "clone3")


def no_executable_writing() -> None:
    """MemoryDenyWriteExecute=yes"""
    both = _PROT_WRITE | _PROT_EXEC
    with denying() as rules:
        rules.add(_ERRNO | errno.EPERM, "mmap", (2, _MASKED, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            rules.add(_ERRNO | errno.EPERM, name, (2, _MASKED, _PROT_EXEC, _PROT_EXEC))
        rules.add(_ERRNO | errno.EPERM, "shmat", (2, _MASKED, _SHM_EXEC, _SHM_EXEC))


def no_realtime() -> None:
    """RestrictRealtime=yes: SCHED_FIFO, SCHED_RR, SCHED_DEADLINE."""
    with denying() as rules:
        for policy in (1, 2, 6):
            rules.add(_ERRNO | errno.EPERM, "sched_setscheduler", (1, _EQUAL, policy, 0))
        rules.add(_ERRNO | errno.EPERM, "sched_setscheduler", (1, _GREATER, 6, 0))


def lock_personality() -> None:
    """LockPersonality=yes: the present one, and no other."""
    present = libc.personality(ctypes.c_ulong(0xFFFFFFFF))
    with denying() as rules:
        rules.add(_ERRNO | errno.EPERM, "personality", (0, _NOT_EQUAL, present, 0))


def bound(wanted: list[int]) -> None:
    """CapabilityBoundingSet="""
    with open("/proc/sys/kernel/cap_last_cap") as told:
        last = int(told.read())
    for capability in range(last + 1):
        if capability not in wanted and libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"capability {capability} cannot be dropped")


def pass_on(descriptors: list[int]) -> None:
    """These become 3, 4 and so on: sd_listen_fds(3)."""
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for number, descriptor in enumerate(aside, start=3):
        os.dup2(descriptor, number)
        os.close(descriptor)


def limit(number: int, value: int) -> None:
    """LimitNOFILE= and others, or as much of it as this process may: a container's root may not raise its own."""
    _, hard = resource.getrlimit(number)
    try:
        resource.setrlimit(number, (value, value))
    except ValueError:
        resource.setrlimit(number, (hard, hard))


def become(uid: int, gid: int, groups: list[int]) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def lose_capabilities(plan: dict[str, Any]) -> None:
    """Who becomes another user has none left; root's are bounded when it executes something: nothing to do."""
    if plan["bounding"] is not None:
        bound(plan["bounding"])
    become(plan["uid"], plan["gid"], plan["groups"])


def main() -> None:
    plan: dict[str, Any] = json.loads(sys.argv[1])
    if plan["own_keyring"]:
        number = seccomp.seccomp_syscall_resolve_name(b"keyctl")
        libc.syscall(number if number > 0 else _KEYCTL, _JOIN_SESSION_KEYRING, None)
    for name, value in plan["limits"].items():
        limit(getattr(resource, name), value)
    os.umask(plan["umask"])
    lose_capabilities(plan)
    if plan["no_new_privileges"] and libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if plan["families"] is not None:
        only_families(plan["families"])
    for name, do in (
        ("no_executable_writing", no_executable_writing),
        ("no_realtime", no_realtime),
        ("no_namespaces", no_namespaces),
        ("lock_personality", lock_personality),
    ):
        if plan[name]:
            do()
    deny(plan["denied_calls"], errno.EPERM)
    if plan["native_calls"]:
        rules = Filter(_ALLOW)
        rules.load(_KILL)
    environment = {**os.environ, **plan["environment"]}
    if plan["sockets"]:
        pass_on(plan["sockets"])
        environment.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(plan["sockets"])))
    if plan["calls"] is not None:
        only(plan["calls"], plan["call_errno"])
    os.execve(sys.argv[2], sys.argv[2:], environment)


if __name__ == "__main__":
    main()
