"""Binding addresses, in the parent: before the fork, with its privileges."""

import errno
import logging
import socket
from collections.abc import Iterable

from greenmail.config_tables import Listener
from greenmail.net.stream import KERNEL_UNSENT
from greenmail.net.tls import CannotStart

log = logging.getLogger(__name__)

BACKLOG = 1024
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python 3.11 has no name for it
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 300), (socket.TCP_KEEPINTVL, 60), (socket.TCP_KEEPCNT, 5))
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)

Place = tuple[str, str, int]  # listener's name (if the port is any free one), address, port as configured


def place(listener: Listener) -> Place:
    """What tells one listening socket from another; a listener may get another name at a reload."""
    return ("" if listener.port else listener.name, listener.address, listener.port)


def bind_all(
    listeners: Iterable[Listener], timeout_write: float, bound: dict[Place, socket.socket]
) -> dict[Place, socket.socket]:
    """A listening socket for each of `listeners`; those in `bound` are kept. Raises CannotStart.

    On a machine without IPv6 there is none for "[::]" if another listener has the port's IPv4 addresses.
    """
    wanted = tuple(listeners)
    ipv4_ports = {listener.port for listener in wanted if ":" not in listener.address and listener.port}
    sockets: dict[Place, socket.socket] = {}
    try:
        for listener in wanted:
            key = place(listener)
            made = bound.get(key)
            if made is None:
                made = _bind(listener, timeout_write, listener.port in ipv4_ports)
            if made is not None:
                sockets[key] = made
    except CannotStart:
        for key, new in sockets.items():
            if key not in bound:
                new.close()
        raise
    return sockets


def activated(
    listeners: Iterable[Listener], given: Iterable[socket.socket], timeout_write: float
) -> dict[Place, socket.socket]:
    """Of the sockets that somebody else has bound for us those that `listeners` want; the others are closed."""
    found: dict[Place, socket.socket] = {}
    wanted = list(listeners)
    for sock in given:
        address = sock.getsockname()[:2] if sock.family in (socket.AF_INET, socket.AF_INET6) else ("", 0)
        match = next((one for one in wanted if _is_for(one, address) and place(one) not in found), None)
        if match is None or sock.type != socket.SOCK_STREAM:
            log.warning("socket-not-used address=%r text=%r", sock.getsockname(), "no listener has this address")
            sock.close()
            continue
        _set_options(sock, timeout_write)
        sock.setblocking(False)
        found[place(match)] = sock
    return found


def _is_for(listener: Listener, address: tuple[str, int]) -> bool:
    """Whether this socket is the listener's. systemd's own way of "every address" is [::], with IPv4."""
    everywhere = address[0] == "::" and listener.address in ("::", "0.0.0.0")
    return listener.port == address[1] and (everywhere or listener.address == address[0])


def bind_plain(what: str, address: str, port: int) -> socket.socket:
    """A listening socket for `metrics-bind`. Raises CannotStart."""
    try:
        return _listening(address, port, 0.0, ipv6_only=False)
    except OSError as error:
        raise _explained(what, address, port, error) from None


def _bind(listener: Listener, timeout_write: float, ipv4_too: bool) -> socket.socket | None:
    """`ipv4_too`: another listener has the port's IPv4 addresses, or some of them."""
    try:
        try:
            return _listening(listener.address, listener.port, timeout_write, ipv6_only=ipv4_too)
        except OSError as error:
            if listener.address != "::" or error.errno not in _NO_IPV6:
                raise
            if ipv4_too:
                text = "no IPv6 here; the port is served for the IPv4 listener alone"
                log.warning("ipv6-off listener=%s text=%r", listener.name, text)
                return None
            log.warning("ipv6-off listener=%s text=%r", listener.name, "no IPv6 here; listening at 0.0.0.0 instead")
            return _listening("0.0.0.0", listener.port, timeout_write, ipv6_only=False)
    except OSError as error:
        raise _explained(listener.name, listener.address, listener.port, error) from None


def _listening(address: str, port: int, timeout_write: float, *, ipv6_only: bool) -> socket.socket:
    """A listening socket whose options the accepted ones inherit: a connection costs no system call for them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(made, timeout_write)
        if family == socket.AF_INET6:
            # An IPv4 listener on the same port takes what is IPv4; else "[::]" answers it too.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(ipv6_only or address != "::"))
        made.bind((address, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _set_options(made: socket.socket, timeout_write: float) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Without it the greeting of TLS 1.3 waits 40 ms behind the session tickets.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, KERNEL_UNSENT)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    if timeout_write:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_write * 1000))


def _explained(name: str, address: str, port: int, error: OSError) -> CannotStart:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            why = f"another program listens there; stop it, or change the port (find it by: ss -ltnp 'sport = {port}')"
        case errno.EACCES | errno.EPERM:
            why = "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            why = "this machine does not have this address"
        case _:
            why = error.strerror or str(error)
    return CannotStart(f"cannot listen at {where} ({name}): {why}")
