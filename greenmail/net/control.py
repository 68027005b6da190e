"""The control socket: how the verbs of `greenmail` talk to a running server. docs/control-socket.md.

A Unix socket, `control` in `run-path`, mode 0600, answered by the parent in its loop. A request is one JSON object in
a line, and so is its answer; `requests` has what can be asked for. Who connects must be root or the user that started
the server: the kernel tells (SO_PEERCRED). Nobody is waited for: what a client does not read is kept up to a bound,
and one that stays behind or says nonsense without end is dropped.
"""

import fcntl
import json
import logging
import os
import selectors
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenmail.errors import Refused
from greenmail.net.tls import CannotStart

log = logging.getLogger(__name__)

VERSION = 1
NAME = "control"
_LOCK = "control.lock"
LONGEST = 65536  # octets of a request
MOST_CLIENTS = 32
MOST_UNSENT = 64 << 20  # octets of answers that a client has not read
IDLE = 600.0  # seconds without a request after which a client is dropped
STUCK = 15.0  # seconds in which a client must read something of what waits for it

_CREDENTIALS = struct.Struct("3i")


@dataclass(slots=True, eq=False)
class Client:
    """Somebody who is connected."""

    sock: socket.socket
    uid: int
    pid: int
    heard: float
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)
    progress: float = 0.0  # when it last read, or had nothing to read
    waiting: int = 0  # requests that are not answered yet

    @property
    def name(self) -> str:
        """For the log."""
        return f"uid:{self.uid}"


class Reply:
    """The answer to one request, now or later."""

    def __init__(self, control: "Control", client: Client, number: object) -> None:
        self._control = control
        self._client = client
        self._number = number
        self.by = client.name
        client.waiting += 1

    def give(self, result: Any) -> None:
        """It is done."""
        self._send({"ok": True, "result": result})

    def fail(self, code: str, text: str) -> None:
        """It is not done; `code` is one of few words."""
        self._send({"ok": False, "error": {"code": code, "text": text}})

    def _send(self, answer: dict[str, Any]) -> None:
        self._client.waiting -= 1
        self._control.send(self._client, {"v": VERSION, "id": self._number, **answer})


Handle = Callable[[str, Mapping[str, Any], Reply], None]  # (what is asked for, with what, the answer)


class Control:
    """The socket, and everybody who is connected."""

    def __init__(self, run: Path, selector: selectors.BaseSelector, handle: Handle) -> None:
        """Raises OSError; BlockingIOError if another server answers at this place."""
        self._selector = selector
        self._handle = handle
        self._clients: dict[int, Client] = {}
        self._is_paused = False
        self._run = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(_LOCK, flags, 0o600, dir_fd=self._run)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._bind()
        except OSError:
            self.close()
            raise
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _bind(self) -> None:
        try:
            if stat.S_ISSOCK(os.stat(NAME, dir_fd=self._run, follow_symlinks=False).st_mode):
                os.unlink(NAME, dir_fd=self._run)  # of a server that was killed: nobody holds the lock
        except FileNotFoundError:
            pass  # as it should be
        umask = os.umask(0o177)  # never open to others, not for a moment
        try:
            self._listener.bind(f"/proc/self/fd/{self._run}/{NAME}")  # a path may have 107 octets, this one has
        finally:
            os.umask(umask)
        self._listener.setblocking(False)
        self._listener.listen(MOST_CLIENTS)

    def close(self) -> None:
        """Close what belongs to this process; in a child, too."""
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()
        self._listener.close()
        for descriptor in (self._lock, self._run):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._run = -1

    def end(self) -> None:
        """The server ends: the socket goes away."""
        try:
            os.unlink(NAME, dir_fd=self._run)
        except OSError as error:
            log.debug("control-not-removed reason=%s", error)
        self.close()

    # --- the loop ---

    def tend(self, now: float) -> None:
        """Drop who stays behind; accept again."""
        if self._is_paused:
            self._is_paused = False
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for client in list(self._clients.values()):
            if client.outbox and now - client.progress > STUCK:
                self._drop(client, "does not read")
            elif not client.outbox and not client.waiting and now - client.heard > IDLE:
                self._drop(client, "idle for too long")

    def _accept(self, mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:  # gone again
            return
        except OSError as error:  # no descriptors: it would be offered again at once, and again
            log.warning("control-not-accepted reason=%r", error.strerror)
            self._selector.unregister(self._listener)
            self._is_paused = True
            return
        sock.setblocking(False)
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        if uid not in (0, os.geteuid()):
            log.warning("control-refused uid=%d pid=%d", uid, pid)
            sock.close()
            return
        if len(self._clients) >= MOST_CLIENTS:
            log.warning("control-limit clients=%d", len(self._clients))
            sock.close()
            return
        client = Client(sock, uid, pid, time.monotonic())
        self._clients[sock.fileno()] = client
        self._selector.register(sock, selectors.EVENT_READ, lambda mask: self._serve(client, mask))

    def _serve(self, client: Client, mask: int) -> None:
        if client.sock.fileno() < 0:  # dropped since the loop was told of it
            return
        if mask & selectors.EVENT_WRITE:
            self._flush(client)
        if mask & selectors.EVENT_READ and client.sock.fileno() >= 0:
            self._read(client)

    def _read(self, client: Client) -> None:
        try:
            data = client.sock.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(client, str(error))
            return
        if not data:
            self._drop(client, "closed")
            return
        client.heard = time.monotonic()
        client.inbox += data
        while client.sock.fileno() >= 0 and (end := client.inbox.find(b"\n")) >= 0:
            line = bytes(client.inbox[:end])
            del client.inbox[: end + 1]
            if len(line) > LONGEST:
                break
            self._request(client, line)
        if len(client.inbox) > LONGEST:
            self._answer_error(client, None, "too-long", f"a request has at most {LONGEST} octets")
            self._drop(client, "request too long")

    def _request(self, client: Client, line: bytes) -> None:
        if not line.strip():
            return
        number: object = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")
            number = request.get("id")
            if not isinstance(number, str | int | None):
                number = None
                raise ValueError("id is a number or a text")
            if request.get("v") != VERSION:
                raise ValueError(f"this server speaks version {VERSION} (v)")
            name, wanted = request.get("do"), request.get("with", {})
            if not isinstance(name, str) or not isinstance(wanted, dict):
                raise ValueError("do is a text, with is an object")
        except (ValueError, RecursionError) as error:
            self._answer_error(client, number, "bad-request", str(error))
            return
        reply = Reply(self, client, number)
        try:
            self._handle(name, wanted, reply)
        except Refused as refused:
            reply.fail("refused", refused.text)
        except (CannotStart, OSError) as error:
            reply.fail("failed", str(error))
        except Exception:
            log.exception("bug in a request request=%r", name[:40])
            reply.fail("bug", "internal error; the server's log has it")

    def _answer_error(self, client: Client, number: object, code: str, text: str) -> None:
        self.send(client, {"v": VERSION, "id": number, "ok": False, "error": {"code": code, "text": text}})

    def send(self, client: Client, answer: Mapping[str, Any]) -> None:
        """Write an answer, or keep it until the client reads; nothing if it is gone."""
        if client.sock.fileno() < 0:
            return
        if not client.outbox:
            client.progress = time.monotonic()
        client.outbox += json.dumps(answer).encode("ascii") + b"\n"
        if len(client.outbox) > MOST_UNSENT:
            self._drop(client, "does not read")
            return
        self._flush(client)

    def _flush(self, client: Client) -> None:
        try:
            while client.outbox:
                sent = client.sock.send(memoryview(client.outbox)[: 1 << 18].tobytes())
                client.progress = time.monotonic()
                del client.outbox[:sent]
        except BlockingIOError:
            pass  # the rest when it reads
        except OSError as error:
            self._drop(client, str(error))
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outbox else 0)
        key = self._selector.get_key(client.sock)
        if key.events != events:
            self._selector.modify(client.sock, events, key.data)

    def _drop(self, client: Client, why: str) -> None:
        if client.sock.fileno() < 0:  # by another way already
            return
        log.debug("control-dropped uid=%d pid=%d reason=%r", client.uid, client.pid, why)
        self._selector.unregister(client.sock)
        self._clients.pop(client.sock.fileno(), None)
        client.sock.close()
