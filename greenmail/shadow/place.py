"""Where a server is (`imaps://host:port`), and what is believed of its certificate."""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from greenmail.config import Config
from greenmail.config_tables import Listener
from greenmail.errors import Refused

PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}


@dataclass(frozen=True, slots=True)
class Place:
    """A server's address; without implicit TLS, STARTTLS or STLS is used where it is offered."""

    scheme: str  # key of PORTS
    host: str
    port: int
    is_certain: bool = False  # it is GreenMail on this machine: its certificate need not have the right name

    @property
    def implicit_tls(self) -> bool:
        """TLS from the first octet."""
        return self.scheme.endswith("s")

    @property
    def is_loopback(self) -> bool:
        """Whether nothing leaves this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def place(text: str, schemes: Sequence[str]) -> Place:
    """The place that a URL names. Raises Refused."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"{text!r} is not a URL: {error}") from None
    wanted = " or ".join(f"{scheme}://HOST[:PORT]" for scheme in schemes)
    if parts.scheme not in schemes or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Refused(f"{text!r} is not {wanted}")
    if parts.username is not None or parts.password is not None:
        raise Refused("a URL names the server alone: users are named by --user, passwords never on the command line")
    return Place(parts.scheme, host, port or PORTS[parts.scheme])


def reason(error: OSError) -> str:
    """Why a connection failed, and what to do if it is the certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message} (--ca-file FILE, or --insecure)"
    return error.strerror or str(error)


def of_config(config: Config, protocol: str) -> Place:
    """Where the GreenMail of `config` serves `protocol` on this machine. Raises Refused."""

    def rank(listener: Listener) -> int:
        return 0 if listener.implicit_tls else 1 if listener.cert_path else 2

    found = sorted((one for one in config.listeners() if one.protocol == protocol), key=rank)
    if not found:
        option = "--ours" if protocol == "imap" else "--ours-pop3"
        raise Refused(f"no listener for {protocol} is in {config.source}: name the server by {option}, or use --start")
    address = ipaddress.ip_address(found[0].address.partition("%")[0])
    host = found[0].address
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    scheme = protocol + "s" if found[0].implicit_tls else protocol
    return Place(scheme, host, found[0].port, is_certain=True)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which certificates are believed, and where a password may go without any."""

    insecure: bool = False
    ca_file: str = ""

    def context(self, where: Place) -> ssl.SSLContext:
        """For a connection to `where`. Raises Refused."""
        try:
            made = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise Refused(f"--ca-file: {self.ca_file} cannot be used: {error.strerror or error}") from None
        if self.insecure or where.is_certain:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        return made

    def allows_clear_text(self, where: Place) -> bool:
        """Whether a password may be sent to `where` unencrypted."""
        return self.insecure or where.is_loopback
