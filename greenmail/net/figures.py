"""What a worker tells the parent of itself every few seconds, for `greenmail status`, `top` and the status page."""

import os
import time
from typing import Any

from greenmail import log as logs
from greenmail import metrics
from greenmail.net.server import Connections
from greenmail.net.stream import Stream
from greenmail.net.work import Clock
from greenmail.storage.maildir_store import MaildirStore

MOST_USERS = 15
_LONGEST = 100  # characters of a user's name
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Octets of memory that this process has now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


class Figures:
    """Of one worker."""

    def __init__(self, connections: Connections, store: MaildirStore, clock: Clock, troubles: logs.Recent) -> None:
        self._connections = connections
        self._store = store
        self._clock = clock
        self._troubles = troubles
        self._users: dict[str, list[float]] = {}

    def closed(self, stream: Stream) -> None:
        """A connection ended: what its session did since the last sample counts."""
        self._add(stream)

    def sample(self) -> dict[str, Any]:
        """Everything, as of now; users, slowest first, since the last call."""
        sessions = {"imap": 0, "pop3": 0}
        idle = 0
        stirred = self._connections.stirred()  # now, as who sleeps is counted now
        for (protocol, is_idle), number in self._connections.sleepers.items():
            sessions[protocol] = sessions.get(protocol, 0) + number
            idle += number * is_idle
        for stream in stirred:
            self._clock.breathe()
            session = stream.session
            if session is not None and session.user is not None:
                is_idle = session.transcript.running == "IDLE"
                sessions[stream.protocol] = sessions.get(stream.protocol, 0) + 1
                idle += is_idle
                self._connections.count_as(stream, (stream.protocol, is_idle))
            self._add(stream)
        users, self._users = self._users, {}
        slowest = sorted(users.items(), key=lambda item: -item[1][2])[:MOST_USERS]
        octets = resident()
        metrics.resident_memory(octets)
        return {
            "at": time.monotonic(),
            "connections": len(self._connections),
            "sessions": sessions,
            "idle": idle,
            "memory": octets,
            "cpu": time.process_time(),
            "cache": self._store.mailboxes.usage(),
            "users": [[user, *values] for user, values in slowest],
            "troubles": self._troubles.take(),
            **metrics.summary(),
        }

    def _add(self, stream: Stream) -> None:
        session = stream.session
        if session is None:
            return
        commands, seconds, computed, longest = session.transcript.news()
        user = session.user.name if session.user is not None else session.transcript.user
        if not commands or not user:
            return
        values = self._users.setdefault(user[:_LONGEST], [0, 0.0, 0.0, 0.0])
        values[0] += commands
        values[1] += seconds
        values[2] += computed
        values[3] = max(values[3], longest)
