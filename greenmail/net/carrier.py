"""The login worker's part of a session that goes on in a process of the mail's owner (`auth.passage`).

One green thread uses a stream, so what waits for the other process's octets only gathers them and wakes that one.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import os
import pwd
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gevent
import gevent.socket
from gevent.event import Event
from gevent.queue import Queue

from greenmail.auth.api import User
from greenmail.auth.passage import HandOver, Passage
from greenmail.errors import Disconnected, Refused
from greenmail.net.register import RegisterClient
from greenmail.net.stream import RECEIVE, Stream
from greenmail.runtime import Wake, Wire

log = logging.getLogger(__name__)

AHEAD = 1 << 18  # octets of answers that wait for a client
_UNAVAILABLE = "your mail cannot be reached for the moment, please try again later"
_CODES = {"imap": "UNAVAILABLE", "pop3": "SYS/TEMP"}  # RFC 5530 3, RFC 3206 4
_GROUP_TIMEOUT = 5.0  # seconds for getpwuid(3), which may ask others
_LONG = 3600.0  # seconds; how long a session may be silent is the other process's business


class OwnersCarrier:
    """`auth.passage.Carrier`."""

    def __init__(self, register: RegisterClient, run_within: Callable[..., Any]) -> None:
        """`run_within`: `Pool.run_within`, for what the system has to be asked of a user."""
        self._register = register
        self._run_within = run_within
        self._own = os.geteuid(), os.getegid()

    def must_carry(self, user: User) -> bool:
        """Whether the mail belongs to another uid or gid than this process."""
        uid, gid = self._own
        return (user.uid is not None and user.uid != uid) or (user.gid is not None and user.gid != gid)

    def carry(self, wire: Wire, passage: Passage) -> HandOver:
        """Have the parent pass one end of a socket on. Raises Refused."""
        assert isinstance(wire, Stream), "every connection of a worker is one"
        passage = replace(passage, user=self._with_group(passage))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ends = {
            "peer": wire.peer, "peer_port": wire.peer_port, "local": wire.local, "local_port": wire.local_port,
            "tls_version": wire.tls_version, "tls_cipher": wire.tls_cipher,
        }  # fmt: skip
        try:
            denied = self._register.carry({"session": passage.encode(), "ends": ends}, theirs.fileno())
        finally:
            theirs.close()
        if denied:
            ours.close()
            raise _refused(passage, denied)
        return HandOver(lambda rest: Relay(wire, ours).run(rest))

    def _with_group(self, passage: Passage) -> User:
        """The user with the group of its uid where the user database says none: the parent asks nobody."""
        user = passage.user
        if user.uid is None or user.gid is not None:
            return user
        try:
            return replace(user, gid=self._run_within(_GROUP_TIMEOUT, _group_of, user.uid))
        except KeyError:
            raise _refused(passage, f"uid {user.uid} has no gid here") from None
        except TimeoutError as error:
            raise _refused(passage, f"gid of uid {user.uid}: {error}") from None


def _group_of(uid: int) -> int:
    return pwd.getpwuid(uid).pw_gid


def _refused(passage: Passage, reason: str) -> Refused:
    log.error("not-carried sid=%s user=%r reason=%r", passage.sid, passage.user.name, reason)
    return Refused(_UNAVAILABLE, _CODES[passage.protocol])


class Relay:
    """Octets from the client to the other process and back."""

    def __init__(self, stream: Stream, sock: socket.socket) -> None:
        self._stream = stream
        green: Any = gevent.socket
        self._sock: Any = green.socket(fileno=sock.detach())
        self._answers: deque[bytes] = deque()
        self._octets = 0
        self._over = False
        self._room: Any = Event()
        self._news: Any = Event()
        self._out: Any = Queue(1)
        self._sending = False

    def run(self, rest: bytes) -> None:
        """Until either ends. Raises Disconnected if the client is gone.

        One that has only closed its half still waits for the answers to what it has said: the other process is told of
        that end, too, and closes when it has answered.
        """
        self._stream.carried = True
        self._stream.session = None
        gone: Disconnected | None = None
        helpers = [gevent.spawn(self._help, work) for work in (self._gather, self._pass_on)]
        try:
            if rest:
                self._send(rest)
            # Nobody else runs between these looks and the wait: no news is missed.
            while self._write() or not self._over:
                if self._answers or self._over:
                    continue
                if self._sending or gone is not None:
                    self._news.wait()
                    self._news.clear()
                else:
                    gone = self._read()
            if gone is not None:
                raise gone
        finally:
            gevent.killall(helpers)
            self._sock.close()

    def _read(self) -> Disconnected | None:
        """What the client says next is on its way then; or that it has said its last."""
        try:
            if self._stream.rest(_LONG) is Wake.INPUT:
                self._send(self._stream.receive())
        except Disconnected as gone:
            if not self._stream.may_listen():
                raise
            with suppress(OSError):  # the other process has ended just now, which `_gather` is about to find
                self._sock.shutdown(socket.SHUT_WR)
            return gone
        return None

    def _send(self, data: bytes) -> None:
        self._sending = True
        self._out.put(data)

    def _write(self) -> bool:
        """What was gathered; whether it was anything."""
        if not self._answers:
            return False
        while self._answers:
            data = self._answers.popleft()
            self._octets -= len(data)
            self._stream.write(data)
        self._stream.flush()
        self._room.set()
        return True

    def _gather(self) -> None:
        while data := self._sock.recv(RECEIVE):
            self._answers.append(data)
            self._octets += len(data)
            self._wake()
            while self._octets > AHEAD:
                self._room.clear()
                self._room.wait()

    def _pass_on(self) -> None:
        for data in self._out:
            self._sock.sendall(data)
            self._sending = False
            self._wake()

    def _help(self, work: Callable[[], None]) -> None:
        """On a green thread of its own; its end is that of the session there."""
        try:
            work()
        except OSError as error:
            log.debug("relay rip=%s reason=%s", self._stream.peer, error)
        self._over = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._stream.interrupt()
