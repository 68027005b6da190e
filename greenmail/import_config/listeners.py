"""Addresses, ports and certificates: `service imap-login`, `listen`, `ssl*`."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any

from greenmail.import_config.doveconf import HIDDEN, Block, words
from greenmail.import_config.draft import STAYS, Draft, Weight

_PORTS = {
    "imap": {"imap": (143, False), "imaps": (993, True)},
    "pop3": {"pop3": (110, False), "pop3s": (995, True)},
}
_ASK_FOR_KEY = (
    "doveconf hides the key's path: run `doveconf -nP | greenmail import-config`, or set key-path; without it "
    "there is no TLS"
)
_ASK_FOR_NAMED = (
    "doveconf hides the key's path: run `doveconf -nP | greenmail import-config`, or write the pair into certificates"
)
_FILES_OF_NAMED = "put certificate and key into files of their own, and the pair of paths into certificates"
_TLS_VERSIONS = {"TLSv1.2": "1.2", "TLSv1.3": "1.3"}


@dataclass(slots=True)
class _Site:
    """What the listeners have in common."""

    draft: Draft
    ssl: str
    has_certificate: bool
    listen: list[str]
    tables: dict[str, Any] = field(default_factory=dict)


def carry(root: Block, draft: Draft) -> None:
    """Certificate first: without one there are no listeners with TLS from the first octet."""
    ssl = root.take("ssl", "yes")
    has_certificate = ssl != "no" and _certificate(root, draft)
    if has_certificate:
        _by_name(root, draft)
    version = root.take("ssl_min_protocol")
    if version in _TLS_VERSIONS:
        draft.settings["tls-min-version"] = _TLS_VERSIONS[version]
    elif version:
        draft.leave("ssl_min_protocol", version, "GreenMail speaks TLS 1.2 and 1.3 only: old clients must be renewed")
    protocols = root.values.get("protocols", "imap pop3")
    served = set(words(protocols))
    site = _Site(draft, ssl, has_certificate, words(root.take("listen", "*, ::")))
    for protocol in _PORTS:
        if served & {protocol, f"{protocol}s"}:
            for service in root.of("service", f"{protocol}-login") or [Block()]:
                _service(site, service, protocol)
    others = served - {"imap", "imaps", "pop3", "pop3s", "none"}
    root.take("protocols")
    if others:
        draft.leave("protocols", " ".join(sorted(others)), STAYS)
    if site.tables:
        draft.settings["server"] = {"listener": site.tables}
    else:
        text = "no port for IMAP or POP3 was found; GreenMail's own defaults (143, 993) are used"
        draft.leave("protocols", protocols, text, Weight.FIRST)


def _certificate(root: Block, draft: Draft) -> bool:
    """Whether there is a certificate with its key."""
    cert, key = root.take("ssl_cert"), root.take("ssl_key")
    if cert.startswith("<") and key.startswith("<"):
        draft.settings["cert-path"] = cert[1:].strip()
        draft.settings["key-path"] = key[1:].strip()
        return True
    if key.startswith(HIDDEN):
        draft.leave("ssl_key", "", _ASK_FOR_KEY, Weight.FIRST)
        draft.leave("ssl_cert", cert, _ASK_FOR_KEY, Weight.FIRST)
    elif cert or key:
        text = "put certificate and key into files of their own, then set cert-path and key-path"
        draft.leave("ssl_cert and ssl_key", "", text, Weight.FIRST)
    else:
        draft.leave("ssl", "", "there is no certificate: set cert-path and key-path", Weight.FIRST)
    return False


def _by_name(root: Block, draft: Draft) -> None:
    """Certificates of `local_name` blocks. Ours are chosen by the names in them, not by that of the block."""
    found: list[dict[str, str]] = []
    for block in root.of("local_name"):
        cert, key = block.values.get("ssl_cert", ""), block.values.get("ssl_key", "")
        if not cert and not key:
            continue
        block.take("ssl_cert")
        block.take("ssl_key")
        if not cert.startswith("<") or not key.startswith("<"):
            advice = _ASK_FOR_NAMED if key.startswith(HIDDEN) else _FILES_OF_NAMED
            shown = cert if cert.startswith("<") else ""
            draft.leave(f"local_name {block.name}/ssl_cert", shown, advice, Weight.FIRST)
            continue
        pair = {"cert-path": cert[1:].strip(), "key-path": key[1:].strip()}
        if pair not in found:
            found.append(pair)
        text = f"look that {block.name} stands in this certificate: by that it is chosen (certificates)"
        draft.leave(f"local_name {block.name}/ssl_cert", cert, text)
    if found:
        draft.settings["certificates"] = found


def _service(site: _Site, service: Block, protocol: str) -> None:
    """The listeners of one login service, those that are there by default too."""
    listeners = {block.name: block for block in service.of("inet_listener")}
    for name, (port, implicit) in _PORTS[protocol].items():
        _listener(site, protocol, name, listeners.pop(name, Block()), (port, implicit))
    for name, block in listeners.items():
        _listener(site, protocol, name, block, (0, False))


def _listener(site: _Site, protocol: str, name: str, block: Block, default: tuple[int, bool]) -> None:
    where = f"service {protocol}-login/inet_listener {name}"
    port = block.take("port")
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else default[0]
    implicit = block.is_on("ssl", default[1])
    block.take("reuse_port")
    if not number or (implicit and site.ssl == "no"):
        block.take("address")
        return
    if block.is_on("haproxy"):
        block.take("address")
        text = "GreenMail does not speak the PROXY protocol: give clients a port of their own"
        site.draft.leave(where, f"port {number}, haproxy = yes", text)
        return
    if implicit and not site.has_certificate:
        block.take("address")
        text = "not opened, because there is no certificate: see ssl_key, then add the listener"
        site.draft.leave(where, f"port {number}", text, Weight.FIRST)
        return
    bind = _addresses(site, where, words(block.take("address")) or site.listen, number)
    if bind:
        unique = name if name and name not in site.tables else f"{protocol}-{name or number}"
        site.tables[unique] = {"bind": bind, "protocol": protocol, "tls": {"implicit": implicit}}


def _addresses(site: _Site, where: str, addresses: list[str], port: int) -> list[str]:
    found = []
    for address in addresses:
        literal = {"*": "0.0.0.0", "[::]": "::"}.get(address, address).strip("[]")
        try:
            ipaddress.ip_address(literal)
        except ValueError:
            site.draft.leave(where, f"listen {address}", "give the IP address of this name in `bind`", Weight.FIRST)
            continue
        found.append(f"[{literal}]:{port}" if ":" in literal else f"{literal}:{port}")
    return found
