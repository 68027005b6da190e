"""The settings of who may log in without a password of ours, by certificate or token: a part of `config.Config`."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from greenmail import config_types as kind
from greenmail.auth.certificates import KINDS
from greenmail.config_tables import Table, setting


def _asked(value: Any) -> str:
    """YAML takes `off` for a truth value."""
    return kind.one_of("off", "optional", "required")("off" if value is False else value)


class VouchedSettings(Table):
    """The section Certificates and tokens."""

    tls_client_certificate: Annotated[str, BeforeValidator(_asked)] = setting(
        "off",
        "Whether clients are asked for certificates in TLS: off, optional, or required (without one there is no"
        " connection). Whoever has shown a good one may log in by the mechanism EXTERNAL, without a password.",
    )
    client_ca_path: kind.Path = setting(
        "", "Authorities, in PEM, whose certificates for clients are good.", "/etc/greenmail/client-ca.pem"
    )
    client_crl_path: kind.Path = setting(
        "", "Their revocation lists, in PEM; read again when the file changes.", "/etc/greenmail/client-crl.pem"
    )
    client_certificate_user: Annotated[str, BeforeValidator(kind.one_of(*KINDS))] = setting(
        "rfc822name",
        "Where the user's name stands in a certificate: rfc822name, dnsname or upn of its alternative names, or cn of"
        " its subject.",
    )
    client_keys_file: kind.Path = setting(
        "",
        "Pinned keys, one a line, as user:SHA-256 of the public key (docs/client-certificates.md): these are good"
        " whoever signed the certificate.",
        "/etc/greenmail/client-keys",
    )
