"""The Unix socket at which Postfix and Exim ask about SMTP AUTH: bound by the parent, served by every worker."""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import contextlib
import errno
import itertools
import logging
import os
import secrets
import socket
import stat
from collections.abc import Callable
from typing import Any

from gevent.lock import RLock
from gevent.pool import Pool
from gevent.server import StreamServer

from greenmail import metrics
from greenmail.auth import postfix_auth
from greenmail.auth.postfix_auth import MAX_LINE, AuthClient, BadLine, Services
from greenmail.config import Config
from greenmail.config_types import account_ids, group_id
from greenmail.net.engines import Means, patience
from greenmail.net.tls import CannotStart

log = logging.getLogger(__name__)

AT_ONCE = 100  # questions of one connection that are worked on; no more are read before one is answered
_RECEIVE = 1 << 14


def bind(config: Config, old: Config | None, bound: socket.socket | None) -> socket.socket | None:
    """The listening socket of `auth-socket`, or None if there is to be none. Raises CannotStart.

    `bound` is that of `old`, and is kept if the path is the same.
    """
    path = config.auth_socket
    if not path:
        return None
    if bound is not None and old is not None and old.auth_socket == path:
        return bound
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(path)
        before = os.umask(0o177)
        try:
            made.bind(path)
        finally:
            os.umask(before)
        _hand_over(config, path)
        made.listen(128)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise CannotStart(f"auth-socket {path}: {error.strerror or error}") from None
    except CannotStart:
        made.close()
        raise
    return made


def _hand_over(config: Config, path: str) -> None:
    """Owner and mode. The directory may be another program's, which could put a link to any file there meanwhile."""
    uid = account_ids(config.auth_socket_user)[0] if config.auth_socket_user else -1
    gid = group_id(config.auth_socket_group) if config.auth_socket_group else -1
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise CannotStart(f"auth-socket {path}: something else was put in the place of the socket")
        found = f"/proc/self/fd/{descriptor}"
        os.chown(found, uid, gid)
        os.chmod(found, int(config.auth_socket_mode, 8))
    finally:
        os.close(descriptor)


def remove(config: Config, bound: socket.socket) -> None:
    """Accept no more, here; nobody else should wait in vain."""
    bound.close()
    try:
        os.unlink(config.auth_socket)
    except OSError as error:
        log.debug("auth-socket path=%r not removed: %s", config.auth_socket, error)


def services(means: Means) -> Services:
    """What a worker's connections share, made from the configuration."""
    config = means.config
    return Services(
        means.runtime,
        means.authenticator,
        means.register,
        patience(config),
        means.guard,
        config.sasl_mechanisms,
        config.counts_as_secure,
        means.new_sid,
    )


def _make_room(path: str) -> None:
    """Remove what a server that has ended left behind, and nothing else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise CannotStart(f"auth-socket {path}: something else than a socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            os.unlink(path)
            return
    raise CannotStart(f"auth-socket {path}: another program listens there; stop it, or give another path")


class AuthSocket:
    """The worker's part."""

    def __init__(self, listener: socket.socket, services: Services, slot: int, most: int) -> None:
        """`most`: connections."""
        self._services = services
        self._most = most
        self._numbers = itertools.count(slot * 100_000 + 1)
        self._open = 0
        self._server = StreamServer(listener, self._serve)

    def start(self) -> None:
        """Accept connections."""
        self._server.start()

    def close(self) -> None:
        """Accept no more; those that are open end with this process."""
        self._server.close()

    def _serve(self, sock: Any, address: object) -> None:
        if self._open >= self._most:
            metrics.refused("smtp", "connections")
            log.warning("auth-socket limit connections=%d", self._open)
            return
        self._open += 1
        try:
            _goes_on(self._talk, sock)
        finally:
            self._open -= 1

    def _talk(self, sock: Any) -> None:
        writing = RLock()

        def write(data: bytes) -> None:
            with writing:
                sock.sendall(data)

        number = next(self._numbers) & 0xFFFFFFFF
        write(postfix_auth.greeting(self._services, os.getpid(), number, secrets.token_hex(16)))
        client = AuthClient(self._services, write)
        under_way: Any = Pool(AT_ONCE)
        rest = b""
        while data := sock.recv(_RECEIVE):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE:
                raise BadLine("a line that does not end")
            for line in lines:
                if line.startswith((b"AUTH\t", b"CONT\t")):
                    under_way.spawn(_take, client, line, sock)
                else:
                    client.take(line)
            self._services.runtime.breathe()  # one who never stops talking is never waited for


def _take(client: AuthClient, line: bytes, sock: Any) -> None:
    """A login takes its time; those after it need not wait."""
    if not _goes_on(client.take, line):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _goes_on(work: Callable[[Any], None], what: Any) -> bool:
    """Do it; False: the connection ends with that, and the log says why."""
    try:
        work(what)
        return True
    except BadLine as bad:
        log.warning("auth-socket closed reason=%r", str(bad))
    except OSError as error:
        log.debug("auth-socket gone reason=%s", error)
    except Exception:
        log.exception("bug in the answer to an auth client")
    return False
