"""What can be asked of a running server about addresses that guess passwords (`guard`)."""

import ipaddress
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from greenmail.errors import Refused

if TYPE_CHECKING:
    from greenmail.net.control import Reply
    from greenmail.net.requests import Office


def listed(office: "Office", wanted: Mapping[str, Any], reply: "Reply") -> None:
    """Every address that has something against it, those that are banned first."""
    found = office.family.gatekeeper.penalties.listed(time.monotonic())
    rows = [
        {
            "network": item.network,
            "failures": item.failures,
            "wait": item.wait,
            "counted": item.in_window,
            "banned_for": round(item.banned_for, 1),
        }
        for item in sorted(found, key=lambda item: (-item.banned_for, -item.in_window, item.network))
    ]
    rule = office.family.gatekeeper.penalties.rule
    reply.give({"penalties": rows, "ban_failures": rule.failures, "ban_window": rule.window, "ban_time": rule.time})


def clear(office: "Office", wanted: Mapping[str, Any], reply: "Reply") -> None:
    """Forget what is held against addresses, or networks as they are listed; against all if none is named."""
    addresses = wanted.get("addresses", [])
    if not isinstance(addresses, list) or len(addresses) > 1000:
        raise Refused("addresses is a list of texts")
    count = 0
    for address in [_address(text) for text in addresses] or [""]:
        cleared, told = office.family.gatekeeper.clear(address)
        count += cleared
        office.family.tell_workers(told)
    reply.give({"cleared": count})


def _address(text: object) -> str:
    """One address of a network, which stands for all of it."""
    try:
        return str(ipaddress.ip_network(str(text), strict=False).network_address)
    except ValueError:
        raise Refused(f"{str(text)[:60]!r} is no IP address, and no network as `penalty list` shows it") from None
