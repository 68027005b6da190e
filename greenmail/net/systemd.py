"""What passes between systemd and us: how far we are, sd_notify(3), that we are alive, sd_watchdog_enabled(3), and
sockets that it has bound, sd_listen_fds(3).
"""

import logging
import math
import os
import socket

log = logging.getLogger(__name__)


_FIRST = 3  # descriptor


def inherited() -> list[socket.socket]:
    """Listening sockets of the unit's .socket file, for this process and for no child of it; each is told once."""
    mine = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "0")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if not mine or not count.isdecimal():
        return []
    found = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found


class Watchdog:
    """Signs of life for `WatchdogSec=` of the unit; without it, none are wanted. Of this process and no child of it."""

    def __init__(self) -> None:
        mine = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = os.environ.pop("WATCHDOG_USEC", "")
        # Half of the time after which systemd ends us, as it asks for.
        self.every = int(wanted) / 2e6 if mine and wanted.isdecimal() and int(wanted) else math.inf
        self.next = math.inf  # until the first: before that nobody is to be woken for it
        self._is_first = self.every < math.inf

    def tend(self, now: float, is_well: bool) -> None:
        """Give one if it is time; who is not well lets it pass, and systemd start the service again."""
        if now < self.next and not self._is_first:
            return
        self._is_first = False
        self.next = now + self.every
        if is_well:
            notify("WATCHDOG=1")
        else:
            log.error("watchdog-withheld text=%r", "no worker answers, or none can read the disk")


def notify(state: str) -> None:
    """Send `state` ("READY=1", "RELOADING=1", "STOPPING=1") to who started us, if it wants to know."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd-not-told state=%s reason=%s", state, error.strerror)
