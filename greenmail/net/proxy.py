"""The PROXY protocol, versions 1 and 2: what a load balancer says of a client before the client's own first octet.

The specification is https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt. The octets are taken from the socket
here, so that not one behind the header is: a TLS handshake may follow. What they mean is read by the library
`proxy-protocol` (docs/decisions/0023-proxy-protocol.md).
"""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxyprotocol import ProxyProtocolChecksumError, ProxyProtocolIncompleteError, ProxyProtocolWantRead
from proxyprotocol.detect import ProxyProtocolDetect
from proxyprotocol.result import is_ipv4, is_ipv6, is_local, is_unknown

MAX_LINE = 107  # octets of a header of version 1 with its end of line, 2.1
_HEADERS = ProxyProtocolDetect()


class BadHeader(Exception):
    """What came is no header, or one that says nothing that can be used; the text is for the log."""


class Closed(Exception):
    """The connection ended before a header was complete; `began`: something had come."""

    def __init__(self, began: bool) -> None:
        super().__init__("connection closed before the PROXY header")
        self.began = began


@dataclass(frozen=True, slots=True)
class Origin:
    """The client's end of the connection and the one that it connected to, as the proxy saw them."""

    peer: str
    peer_port: int
    local: str
    local_port: int
    tls_version: str = ""  # of the client's connection to the proxy, if the proxy ends TLS: "TLSv1.3"
    tls_cipher: str = ""


def read(sock: Any, wait: Callable[[], None]) -> Origin | None:
    """Take the header from a non-blocking `sock`. None: the connection is the proxy's own (LOCAL, UNKNOWN).

    `wait` returns when something can be received, and raises when time is over. Raises BadHeader, Closed and OSError.
    """
    data = b""
    while True:
        try:
            return _origin(_HEADERS.unpack(data))
        except ProxyProtocolIncompleteError as incomplete:
            data += _more(sock, wait, incomplete.want_read, data)
        except ProxyProtocolChecksumError:
            raise BadHeader("wrong checksum") from None
        except (ValueError, struct.error) as error:
            raise BadHeader(str(error) or type(error).__name__) from None


def _more(sock: Any, wait: Callable[[], None], wanted: ProxyProtocolWantRead, data: bytes) -> bytes:
    """Octets of the header that have not come yet, at least one."""
    if wanted.want_bytes is not None:
        return _receive(sock, wait, wanted.want_bytes, bool(data))
    room = MAX_LINE - len(data)
    if room <= 0:
        raise BadHeader("a line that does not end")
    seen = _receive(sock, wait, room, bool(data), socket.MSG_PEEK)
    end = seen.find(b"\n") + 1
    return _receive(sock, wait, end or len(seen), True)


def _receive(sock: Any, wait: Callable[[], None], count: int, began: bool, flags: int = 0) -> bytes:
    while True:
        try:
            data: bytes = sock.recv(count, flags)
        except BlockingIOError:
            wait()
            continue
        if not data:
            raise Closed(began)
        return data


def _origin(found: Any) -> Origin | None:
    """2.1 and 2.2: of UNKNOWN and LOCAL nothing is used but that the header was one."""
    if is_local(found) or is_unknown(found):
        return None
    if not (is_ipv4(found) or is_ipv6(found)):
        raise BadHeader("the client has no IP address")
    if found.protocol not in (None, socket.SOCK_STREAM):
        raise BadHeader("the client's connection is no stream")
    ends = str(found.source[0]), found.source[1], str(found.dest[0]), found.dest[1]
    tls = found.tlv.ssl
    return Origin(*ends, _word(tls.version) or "TLS", _word(tls.cipher)) if tls.has_ssl else Origin(*ends)


def _word(text: str | None) -> str:
    """A name as OpenSSL has them, or nothing: it goes into the log."""
    return text if text and text.isprintable() and " " not in text and len(text) <= 64 else ""
