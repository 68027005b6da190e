"""The tables within the settings, and what every field of them is made of. `config` has the settings themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from greenmail import config_types as kind
from greenmail.config_file import Problem

Protocol = Annotated[str, BeforeValidator(kind.one_of("imap", "pop3"))]


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and port to bind."""

    name: str  # of its table; "imap" and "imaps" for the flat ports
    address: str  # IP literal without brackets
    port: int
    protocol: str  # "imap" or "pop3"
    implicit_tls: bool
    cert_path: str  # empty: no certificate, STARTTLS is not offered
    key_path: str
    is_proxied: bool = False  # each connection begins with a header of the PROXY protocol


class ConfigError(Exception):
    """A configuration that cannot be used; the text names file, line, key, what was found and what is allowed."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(self._line, self.problems)))

    def _line(self, problem: Problem) -> str:
        where = f"{self.source}:{problem.line}" if problem.line else self.source
        return ": ".join(part for part in (where, problem.key, problem.text) if part)


def kebab(name: str) -> str:
    """The name of a field as it stands in the file."""
    return name.replace("_", "-")


def setting(default: Any, doc: str, example: str = "") -> Any:
    """A field; `example` is for the example file, where the default is nothing."""
    return Field(default, description=doc, examples=[example] if example else None, validate_default=True)


class Table(BaseModel):
    """A table of settings: nothing in it but its fields, which are named in kebab-case in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab)


class TlsTable(Table):
    """`server.listener.<name>.tls`."""

    implicit: kind.Switch = setting(False, "TLS from the first octet, instead of after STARTTLS or STLS.")
    cert_path: kind.Path = setting("", "This listener's certificate; as the flat `cert-path`, which is used otherwise.")
    key_path: kind.Path = setting("", "This listener's private key.")


class CertificateTable(Table):
    """One of `certificates`."""

    cert_path: kind.PathGiven = Field(description="the path of a certificate in PEM, with the chain below it")
    key_path: kind.PathGiven = Field(description="the path of its private key, in PEM")


class ListenerTable(Table):
    """`server.listener.<name>`."""

    bind: kind.Endpoints = Field(description='a list of addresses with ports, such as ["[::]:143"]')
    protocol: Protocol = Field(description="imap or pop3")
    tls: TlsTable = Field(default_factory=TlsTable, description="TLS of this listener.")
    proxy_protocol: kind.Switch = setting(
        False, "Connections come from a load balancer, which says by the PROXY protocol whose they are."
    )


class ServerTable(Table):
    """`server`."""

    listener: dict[str, ListenerTable] = Field(default_factory=dict, description="Listeners by name.")
