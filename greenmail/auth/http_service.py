"""`type: http`: a service of one's own says who may log in. One POST for each question, JSON both ways.

    -> {"user": "bob@example.org", "name": "bob", "domain": "example.org", "address": "192.0.2.7", "protocol": "imap",
        "mechanism": "PLAIN", "password": "..."}
    <- {"result": "ok", "user": "bob", "home": "/srv/mail/bob", "mail": "", "uid": 5000, "gid": 5000,
        "allow_nets": "10.0.0.0/8", "extra": {"quota_rule": "*:storage=1G"}}
    <- {"result": "denied", "reason": "for the log"}
    <- {"result": "unknown"}                              the next database is asked

Without `password` (and then without `address`, `protocol`, `mechanism`) it is asked whether there is such a user; with
`send-password: false` it is never told one, and answers with what is stored, `"password": "{SCRAM-SHA-256}..."`.
Whatever else it answers is none: nobody is let in, and nobody is told that his password is wrong.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from greenmail.auth import fields, scram_keys
from greenmail.auth.api import Secret
from greenmail.auth.database import Entry, Found, Listed, Question, StandIn, Unavailable, Unlisted, Verdict, Wrong
from greenmail.auth.web import NoAnswer, Request, Web

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """As in the configuration."""

    url: str
    token: Secret = field(default_factory=lambda: Secret(b""))
    send_password: bool = True
    default_scheme: str = "CRYPT"


class HttpService:
    """Satisfies `remembered.Backend`."""

    label = "http"

    def __init__(self, settings: Settings, summary: scram_keys.Summary, web: Web) -> None:
        self.compares = settings.send_password
        self.summary = summary
        self._settings = settings
        self._web = web

    def look_up(self, name: str) -> Found:
        """The user, without a password."""
        found = self._asked(name, {})
        return Unavailable(f"denied a question without a password: {found.text}") if isinstance(found, Wrong) else found

    def everybody(self) -> Listed:
        """Nobody is told."""
        return Unlisted("an http service is asked for one user at a time")

    def verify(self, name: str, question: Question) -> Verdict:
        """The user, if the service finds the password right."""
        try:
            password = question.password.reveal().decode("utf-8")
        except UnicodeDecodeError:
            return Wrong("the password is not UTF-8")
        more = {"address": question.address, "protocol": question.protocol, "mechanism": question.mechanism}
        return self._asked(name, {**more, "password": password})

    def _asked(self, name: str, more: dict[str, str]) -> Verdict:
        local, _, domain = name.partition("@")
        body = json.dumps({"user": name, "name": local, "domain": domain, **more}).encode("utf-8")
        headers = {"Content-Type": "application/json"}
        token = self._settings.token.reveal()
        if token:
            headers["Authorization"] = f"Bearer {token.decode('ascii')}"
        answer = self._web(Request(self._settings.url, body, headers))
        if isinstance(answer, NoAnswer):
            return Unavailable(answer.text)
        if answer.status != 200:
            return Unavailable(f"{self._settings.url} answered with status {answer.status}")
        return self._read(name, answer.body)

    def _read(self, name: str, octets: bytes) -> Verdict:
        try:
            said = json.loads(octets)
        except (ValueError, RecursionError):
            said = None
        result = said.get("result") if isinstance(said, dict) else None
        if result == "unknown":
            return StandIn()
        if result == "denied":
            return Wrong((fields.text_of(said.get("reason")) or "denied by the service")[:_SHOWN])
        if result != "ok":
            return Unavailable(f"{self._settings.url} answered with no result of ok, denied or unknown")
        return _entry(name, said, self._settings)


def _entry(name: str, said: dict[str, Any], settings: Settings) -> Entry | Unavailable:
    extra = said.get("extra")
    values = {**(extra if isinstance(extra, dict) else {}), **said}
    own = {
        key: value
        for key, value in values.items()
        if key not in ("result", "reason", "extra") and value not in ("", None)
    }
    found = fields.entry(name, own, settings.default_scheme)
    if isinstance(found, Entry) and not found.stored and not settings.send_password:
        return Unavailable(f"{settings.url} told no password of user {name}", True)
    return found
