"""IP addresses as text."""

import ipaddress
from typing import Any


def plain_address(text: str) -> str:
    """An IP address as logs and settings spell it: IPv4 in an IPv6 socket loses its prefix, a zone stays."""
    if not text.startswith("::ffff:"):
        return text
    mapped = ipaddress.IPv6Address(text).ipv4_mapped
    return text if mapped is None else str(mapped)


def own_name(sock: Any) -> tuple[str, int]:
    """Our address and port of a connection; none of one that has no such name, or not any more."""
    try:
        name = sock.getsockname()
    except OSError:  # reset between accept and here; the first receive will tell
        name = ""
    return (plain_address(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)
