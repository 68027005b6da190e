"""The ends of connections: why one was lost, and how to end one that somebody else waits for."""

import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_PIECE = 1 << 16


def why(error: OSError) -> str:
    """An exception as a few words for the log."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error.strerror or "TLS error").lower().replace("_", " ")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset by peer"
    return error.strerror or type(error).__name__


def cut(sock: Any, peer: str) -> None:
    """End the connection now: whoever reads or writes finds that the client is gone. TLS has no say in this."""
    try:
        with socket.socket(fileno=os.dup(sock.fileno())) as plain:
            plain.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        log.debug("cut peer=%s reason=%s", peer, error)


def end_tls(sock: Any) -> None:
    """Say close_notify, without waiting for the client's."""
    try:
        sock.unwrap()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return
    except ValueError:  # no TLS any more
        return


def linger(sock: Any, wait: Callable[[], bool]) -> None:
    """Read what the client still sends: closing with unread input would reset what we sent last.

    `wait`: until something is there; False if the time is over. From the descriptor, because nothing may come through
    TLS any more after its end was said.
    """
    for _ in range(8):
        if not wait() or not os.read(sock.fileno(), _PIECE):
            return
