"""`type: ldap`: users of a directory, RFC 4511, by ldap3.

The entry of a user is looked for as `bind-dn`, by `filter`; then his password is shown to the server by a bind as this
entry (`bind: true`), or the hash that the entry has is compared here. Who has no entry costs a bind as well, of a name
that cannot be there. Names are escaped, RFC 4515 3: nobody finds another one's entry by `*`. References to other
servers are not followed: they would be shown the password.
"""

import importlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenmail.auth import fields, scram_keys
from greenmail.auth.api import Secret
from greenmail.auth.database import Entry, Found, Listed, Question, StandIn, Unavailable, Unlisted, Verdict, Wrong

_CERT_REQUIRED = 2  # ssl.CERT_REQUIRED, whose module belongs to net/
_SHOWN = 200
_MOST_IDLE = 4  # connections that wait for the next question
# What says that the password is wrong, or the account closed, and not that something is broken: RFC 4511 A.1.
_NOT_HIM = {32: "no such entry", 48: "cannot bind", 49: "password mismatch", 53: "refused by the server"}
_VARIABLE = re.compile("%([und%])")


@dataclass(frozen=True, slots=True)
class Settings:
    """As in the configuration."""

    urls: Sequence[str]
    base: str
    timeout: float
    filter: str = "(uid=%n)"
    scope: str = "sub"
    bind_dn: str = ""
    bind_password: Secret = field(default_factory=lambda: Secret(b""))
    start_tls: bool = False
    ca_path: str = ""
    compares: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)
    default_scheme: str = "CRYPT"


def missing() -> str:
    """What is not installed here; empty: nothing."""
    try:
        importlib.import_module("ldap3")
    except ImportError:
        return "needs the Python package ldap3: pip install 'greenmail[ldap]'"
    return ""


class _Down(Exception):
    """No server answers as it should."""


class Directory:
    """Satisfies `remembered.Backend`."""

    label = "ldap"

    def __init__(self, settings: Settings, summary: scram_keys.Summary) -> None:
        # Here and not above: it is an optional part, which `missing` has looked for.
        ldap3: Any = importlib.import_module("ldap3")
        importlib.import_module("ldap3.core.exceptions")
        malformed: Any = importlib.import_module("pyasn1.error").PyAsn1Error
        self.summary = summary
        self.compares = settings.compares
        self._ldap3 = ldap3
        self._settings = settings
        self._seconds = max(1, round(settings.timeout))  # whole ones, as the kernel is told
        self._failures: Any = (ldap3.core.exceptions.LDAPException, OSError, malformed)
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def _server(self, url: str) -> Any:
        """A new one for each connection: they keep for ever that an address did not answer once."""
        settings, ldap3 = self._settings, self._ldap3
        has_tls = settings.start_tls or url.startswith("ldaps://")
        tls = ldap3.Tls(validate=_CERT_REQUIRED, ca_certs_file=settings.ca_path or None) if has_tls else None
        return ldap3.Server(url, tls=tls, connect_timeout=self._seconds, get_info=ldap3.NONE)

    def look_up(self, name: str) -> Found:
        """The user's entry."""
        try:
            found = self._search(name)
        except _Down as error:
            return Unavailable(str(error))
        return found if not isinstance(found, tuple) else found[1]

    def everybody(self) -> Listed:
        """Nobody is told."""
        return Unlisted("ldap has a filter for one user at a time")

    def verify(self, name: str, question: Question) -> Verdict:
        """The user, if the server takes a bind with his password."""
        password = question.password.reveal()
        try:
            found = self._search(name)
            if isinstance(found, Unavailable):
                return found
            nobody = f"cn={os.urandom(8).hex()},{self._settings.base}"
            refusal = self._bind(found[0] if isinstance(found, tuple) else nobody, password)
        except _Down as error:
            return Unavailable(str(error))
        if isinstance(found, StandIn):
            return found
        return Wrong(refusal) if refusal else found[1]

    def _search(self, name: str) -> StandIn | Unavailable | tuple[str, Entry]:
        """The name of the entry, and what it says. Raises _Down."""
        connection = self._kept()
        is_fresh = connection is None
        connection = connection or self._connected()
        try:
            response = self._ask(connection, name)
        except self._failures as error:
            self._give_up(connection)
            if is_fresh:
                raise _Down(_text(error)) from None
            # It waited for long, and was closed: another one tells whether the server is there.
            connection = self._connected()
            try:
                response = self._ask(connection, name)
            except self._failures as again:
                self._give_up(connection)
                raise _Down(_text(again)) from None
        self._keep(connection)
        if len(response) > 1:
            return Unavailable(f"more than one entry is that of user {name}", True)
        return self._entry(name, response[0]) if response else StandIn()

    def _ask(self, connection: Any, name: str) -> list[Any]:
        settings, ldap3 = self._settings, self._ldap3
        scope = {"sub": ldap3.SUBTREE, "one": ldap3.LEVEL, "base": ldap3.BASE}[settings.scope]
        _done, result, response, _request = connection.search(
            settings.base, filter_for(settings.filter, name), scope, attributes=list(settings.attributes),
            size_limit=2, time_limit=self._seconds,
        )  # fmt: skip
        if result["result"] not in (0, 4, 32):  # success, more than two, and no such base
            raise self._ldap3.core.exceptions.LDAPException(f"{result['description']} {result['message']}")
        return [item for item in response or [] if item["type"] == "searchResEntry"]

    def _entry(self, name: str, found: Any) -> Unavailable | tuple[str, Entry]:
        there = {key.lower(): value for key, value in found["raw_attributes"].items()}
        values = {use: there.get(attribute.lower()) or None for attribute, use in self._settings.attributes.items()}
        if self.compares:
            values.pop("password", None)
        entry = fields.entry(name, values, self._settings.default_scheme)
        return entry if isinstance(entry, Unavailable) else (str(found["dn"]), entry)

    def _bind(self, dn: str, password: bytes) -> str:
        """Why the server does not take this password for this entry; empty: it does. Raises _Down."""
        connection = self._connected(dn, password)
        code = connection.result["result"] if not connection.bound else 0
        text = f"{connection.result['description']} {connection.result['message']}".strip()
        self._give_up(connection)
        if code and code not in _NOT_HIM:
            raise _Down(f"bind: {text}"[:_SHOWN])
        return f"{_NOT_HIM[code]}: {text}"[:_SHOWN] if code else ""

    def _connected(self, dn: str = "", password: bytes = b"") -> Any:
        """A connection to the first server that answers, bound as `dn`; without it as `bind-dn`. Raises _Down.

        With `dn` it may not be bound: the server did not take the password.
        """
        problems = []
        for url in self._settings.urls:
            try:
                return self._connect(self._server(url), dn, password)
            except self._failures as error:
                problems.append(_text(error))
        raise _Down("; ".join(problems))

    def _connect(self, server: Any, dn: str, password: bytes) -> Any:
        settings, ldap3 = self._settings, self._ldap3
        own = settings.bind_password.reveal()
        user, secret = (dn, password) if dn else (settings.bind_dn, own)
        connection = ldap3.Connection(
            server, user=user or None, password=secret.decode("utf-8", "surrogateescape") if user else None,
            authentication=ldap3.SIMPLE if user else ldap3.ANONYMOUS, client_strategy=ldap3.SAFE_SYNC,
            receive_timeout=self._seconds, auto_referrals=False, read_only=True, raise_exceptions=False,
            check_names=False,
        )  # fmt: skip
        try:
            connection.open()
            if settings.start_tls and not connection.start_tls()[0]:
                raise ldap3.core.exceptions.LDAPStartTLSError(f"StartTLS: {connection.result['description']}")
            connection.bind()
            if not connection.bound and not dn:
                problem = f"bind as bind-dn: {connection.result['description']} {connection.result['message']}"
                raise ldap3.core.exceptions.LDAPBindError(problem)
        except self._failures:
            self._give_up(connection)
            raise
        return connection

    def _kept(self) -> Any:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: Any) -> None:
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        self._give_up(connection)

    def _give_up(self, connection: Any) -> None:
        try:
            connection.unbind()
        except self._failures:
            return  # it was closed already

    def close(self) -> None:
        """Give up all connections."""
        while self._idle:
            self._give_up(self._kept())


def filter_for(template: str, name: str) -> str:
    """The filter with the user's name in it, escaped: RFC 4515 3."""
    local, _, domain = name.partition("@")
    values = {"u": name, "n": local, "d": domain}
    return _VARIABLE.sub(lambda match: match[1] if match[1] == "%" else escaped(values[match[1]]), template)


def escaped(text: str) -> str:
    """valueencoding — RFC 4515 3. What is not a letter, a digit or harmless is written by its octets."""
    return "".join(
        chr(octet) if (chr(octet).isalnum() and octet < 128) or octet in b"@._- +" else f"\\{octet:02x}"
        for octet in text.encode("utf-8", "surrogateescape")
    )


def _text(error: BaseException) -> str:
    text, misnamed, _ = " ".join(str(error).split()).partition("certificate {")  # ldap3 shows it whole
    return f"{text}the certificate is of another name" if misnamed else text[:_SHOWN]
