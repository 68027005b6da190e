"""The ends of connections: why one was lost, and how to end one that somebody else waits for."""

import logging
import os
import socket
import ssl
from typing import Any

log = logging.getLogger(__name__)


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
