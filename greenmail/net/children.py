"""What happens in a process right after the fork, before anything else."""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from greenmail.config import Config
from greenmail.net.tls import EX_CONFIG, CannotStart

_PR_SET_NAME = 15
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the children run as."""

    uid: int
    gid: int

    @property
    def changes(self) -> bool:
        """Whether this is somebody else than this process."""
        return (self.uid, self.gid) != (os.geteuid(), os.getegid())


def present() -> Identity:
    """Whom this process runs as."""
    return Identity(os.geteuid(), os.getegid())


def identity(config: Config) -> Identity:
    """By `user` and `group`. Raises CannotStart if this process may not become that."""
    uid, gid = config.owner()
    wanted = Identity(uid, gid)
    if wanted.changes and os.geteuid() != 0:
        key = "user" if uid != os.geteuid() else "group"
        text = f"{key}: cannot become {getattr(config, key)!r}: GreenMail was not started by root"
        raise CannotStart(text, EX_CONFIG)
    return wanted


def owners_identity(config: Config, uid: object, gid: object) -> tuple[Identity | None, str]:
    """Of a process for mail of that uid, and else why there is none. Nobody is trusted about either number."""
    if not isinstance(uid, int) or isinstance(uid, bool) or not config.owner_lowest_uid <= uid < 0xFFFFFFFF:
        return None, f"uid {uid!r} is below owner-lowest-uid, or none"
    if not isinstance(gid, int) or isinstance(gid, bool) or not 0 < gid < 0xFFFFFFFF:
        return None, f"gid {gid!r} is no group that mail can have"
    return Identity(uid, gid), ""


def settle(name: str, wanted: Identity, parent: int, foreign: Iterable[Any]) -> None:
    """Become a child of the server: close what belongs to others, drop privileges, and end when the parent does."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the parent decides
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    for thing in foreign:
        thing.close()
    # Modes are explicit everywhere: a umask would take bits from them that the mail's owner wants (formats.md 2.8).
    os.umask(0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if wanted.changes:
        os.setgroups([wanted.gid])
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, f"greenmail-{name}".encode()[:15], 0, 0, 0)
    # After the change of user, which clears it; and then look, because the parent may be gone already.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
