"""The settings of who may log in without a password of ours, by certificate or token: a part of `config.Config`."""

import ipaddress
import urllib.parse
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from greenmail import config_types as kind
from greenmail.auth.anonymous import ANONYMOUS
from greenmail.auth.certificates import KINDS
from greenmail.auth.oauth import ASYMMETRIC, SYMMETRIC
from greenmail.config_file import Problem, Tree
from greenmail.config_tables import Table, setting

if TYPE_CHECKING:
    from greenmail.config import Config


def _asked(value: Any) -> str:
    """YAML takes `off` for a truth value."""
    return kind.one_of("off", "optional", "required")("off" if value is False else value)


def web_address(value: Any) -> str:
    """Of a service that is told secrets, or believed: https, or a service of this machine; nothing is allowed too."""
    found = kind.text(value)
    if found and not _is_safe(found):
        raise ValueError("an https:// address; http:// for 127.0.0.1 and [::1] alone")
    return found


def _is_safe(address: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(address)
        if not parts.hostname or parts.port == 0:  # asking for it raises ValueError for what is no number
            return False
        is_local = parts.scheme == "http" and ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
    return parts.scheme == "https" or is_local


def _words(value: Any) -> tuple[str, ...]:
    """A list of words, or a single one."""
    return kind.names([value] if isinstance(value, str) and value else value)


def _algorithms(value: Any) -> tuple[str, ...]:
    """In the spelling of RFC 7518, which has one in mixed case."""
    known = (*ASYMMETRIC, *SYMMETRIC)
    if not isinstance(value, list | tuple) or not value or not all(one in known for one in value):
        raise ValueError(f"a list of some of {', '.join(known)}")
    return tuple(value)


WebAddress = Annotated[str, BeforeValidator(web_address)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


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
    oauth_issuer: kind.Text = setting(
        "", "Who makes the tokens for OAUTHBEARER and XOAUTH2: their `iss` (docs/oauth.md).", "https://id.example.org/"
    )
    oauth_audience: Words = setting((), "Whom tokens must be for, one of these: their `aud`.", "[mail.example.org]")
    oauth_jwks_file: kind.Path = setting("", "The issuer's public keys, a JWK Set.", "/etc/greenmail/jwks.json")
    oauth_jwks_url: WebAddress = setting(
        "", "Where the issuer has them, such as https://id.example.org/certs, in the place of a file."
    )
    oauth_openid_configuration: WebAddress = setting(
        "",
        "The issuer's own description: clients are told of it, and the address of the keys is taken from it, if neither"
        " they nor introspection are set.",
        "https://id.example.org/.well-known/openid-configuration",
    )
    oauth_algorithms: Annotated[tuple[str, ...], BeforeValidator(_algorithms)] = setting(
        ASYMMETRIC, "How tokens may be signed; HS256, HS384 and HS512 only with a secret key in a file of keys."
    )
    oauth_introspection_url: WebAddress = setting(
        "",
        "Where to ask the issuer about each token (https://id.example.org/introspect), in the place of looking at its"
        " signature: tokens need not be JWTs then.",
    )
    oauth_client_id: kind.Text = setting("", "Who this server is to the issuer that it asks.", "greenmail")
    oauth_client_secret_file: kind.Path = setting(
        "", "The secret that goes with it, in a file's first line.", "/etc/greenmail/oauth-secret"
    )
    oauth_introspection_ttl: kind.Seconds = setting(30, "Seconds for which it is remembered what the issuer said.")
    oauth_user_claim: kind.Text = setting(
        "email", "The claim in which the user's name stands; users must not be able to choose it for themselves."
    )
    oauth_scope: Words = setting((), "Scopes that a token must have, all of these.", "[imap]")
    oauth_leeway: Annotated[float, BeforeValidator(kind.seconds_or_zero)] = setting(
        30, "Seconds by which the issuer's clock may differ from this machine's."
    )
    oauth_timeout: kind.Seconds = setting(5, "Seconds within which the issuer must answer.")
    oauth_ca_path: kind.Path = setting(
        "", "Authorities, in PEM, for the issuer's own certificate; nothing: the system's.", "/etc/greenmail/id-ca.pem"
    )


_KEY_SOURCES = ("oauth_jwks_file", "oauth_jwks_url", "oauth_openid_configuration")


def problems(tree: Tree, config: "Config") -> list[Problem]:
    """What these settings ask of each other."""
    found: list[Problem] = []

    def wrong(field: str, text: str) -> None:
        name = field.replace("_", "-")
        found.append(Problem(tree.line((name,)), name, text))

    if config.tls_client_certificate != "off" and not config.client_ca_path and not config.client_keys_file:
        text = f"is {config.tls_client_certificate}, but no certificate is good: set client-ca-path or client-keys-file"
        wrong("tls_client_certificate", text)
    asks = bool(config.oauth_introspection_url)
    sources = [field for field in _KEY_SOURCES if getattr(config, field)]
    if asks and any(field in sources for field in _KEY_SOURCES[:2]):
        wrong("oauth_introspection_url", "is set, and keys are, too: the one or the other says whether a token is good")
    if config.oauth_jwks_file and config.oauth_jwks_url:
        wrong("oauth_jwks_url", "is set, and oauth-jwks-file is, too: remove one of them")
    if config.oauth_issuer and not sources and not asks:
        text = "is set, but not how to tell whether a token is good: set oauth-jwks-file, oauth-jwks-url,"
        wrong("oauth_issuer", f"{text} oauth-openid-configuration or oauth-introspection-url")
    for field in ("oauth_issuer", "oauth_audience") if sources and not asks else ():
        if not getattr(config, field):
            name = field.replace("_", "-")
            wrong(sources[0], f"is set, but {name} is not: tokens of anybody, or for anybody, would be taken")
    if set(config.oauth_algorithms) & set(SYMMETRIC) and not config.oauth_jwks_file:
        wrong("oauth_algorithms", "has one with a secret key in it, which only an oauth-jwks-file can have")
    if config.anonymous_user and ANONYMOUS not in config.sasl_mechanisms:
        wrong("anonymous_user", f"is set, but sasl-mechanisms has no {ANONYMOUS}: name it there, or remove this")
    if config.oauth_client_secret_file and not config.oauth_client_id:
        wrong("oauth_client_secret_file", "is set, but oauth-client-id is not")
    return found
