"""IP addresses as text."""

import ipaddress


def plain_address(text: str) -> str:
    """An IP address as logs and settings spell it: IPv4 in an IPv6 socket loses its prefix, a zone stays."""
    if not text.startswith("::ffff:"):
        return text
    mapped = ipaddress.IPv6Address(text).ipv4_mapped
    return text if mapped is None else str(mapped)
