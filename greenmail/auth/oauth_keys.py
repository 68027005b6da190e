"""The issuer's public keys, a JWK Set (RFC 7517 5), from a file or a web address.

They are fetched again after an hour, and when a token is signed with a key that is not there: issuers change keys. But
not more often than every 30 seconds, since anybody can send tokens with key ids of his own. An issuer that cannot be
reached leaves the keys that there were. Everything here runs in the pool, on several threads.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from greenmail.auth.web import Answer, NoAnswer, Request, Web

log = logging.getLogger(__name__)

REFRESH = 3600.0
LEAST_PAUSE = 30.0
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}  # RFC 7518 3.1, RFC 8037 3.1
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Key:
    """One of the keys."""

    kid: str
    kind: str  # RFC 7518 6.1, kty
    algorithm: str  # the only one that it is for; empty: any of its kind
    key: Any

    def fits(self, kid: str, algorithm: str) -> bool:
        """Whether a token with these words in its header may be signed with it."""
        is_kind = self.kind == _KINDS.get(algorithm[:2]) and self.algorithm in ("", algorithm)
        return is_kind and (not kid or self.kid == kid)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the keys are: one of these."""

    path: str = ""
    url: str = ""
    openid_configuration: str = ""  # RFC 8414 2, jwks_uri; its issuer must be this:
    issuer: str = ""


def parse(octets: bytes, secrets: bool) -> tuple[Key, ...] | str:
    """The keys for signatures, or what is wrong. One of an unknown kind is left out, RFC 7517 5.

    `secrets`: also symmetric ones; only a file can have them.
    """
    try:
        found = json.loads(octets)
        keys = found["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "this is no JWK Set: it has no keys in it"
    if not isinstance(keys, list):
        return "this is no JWK Set: its keys are no list"
    made = []
    for one in keys:
        if isinstance(one, dict) and one.get("use", "sig") == "sig" and (secrets or one.get("kty") != "oct"):
            key = _key(one)
            made += [key] if key is not None else []
    return tuple(made) or "there is no key for signatures in this JWK Set"


def _key(one: Mapping[str, Any]) -> Key | None:
    kid, algorithm = one.get("kid", ""), one.get("alg", "")
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        return None
    try:
        return Key(kid, str(one.get("kty")), algorithm, jwt.PyJWK(dict(one)).key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None


class Keys:
    """The keys as they are known now."""

    def __init__(self, source: Source, web: Web, now: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._web = web
        self._now = now
        self._lock = threading.Lock()
        self._keys: tuple[Key, ...] = ()
        self._stamp: tuple[int, int, int] | None = None
        self._tried = float("-inf")  # the last look at a web address
        self._fetched = float("-inf")  # the last one that brought keys
        self.problem = ""  # why the last look brought none

    def find(self, kid: str, algorithm: str) -> list[Key]:
        """The keys that a token with these words in its header may be signed with."""
        found = self._fitting(kid, algorithm)
        if self._is_due(bool(found)):
            # Who has keys does not wait for another thread that is asking for new ones.
            if self._lock.acquire(blocking=not found):
                try:
                    if self._is_due(bool(self._fitting(kid, algorithm))):
                        self._look()
                finally:
                    self._lock.release()
            found = self._fitting(kid, algorithm)
        return found

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._keys)

    def _fitting(self, kid: str, algorithm: str) -> list[Key]:
        return [key for key in self._keys if key.fits(kid, algorithm)]

    def _is_due(self, is_known: bool) -> bool:
        if self._source.path:
            return True  # one stat
        now = self._now()
        if now - self._tried < LEAST_PAUSE:
            return False
        return not is_known or now - self._fetched >= REFRESH

    def _look(self) -> None:
        octets = self._from_file() if self._source.path else self._from_web()
        if octets is None:
            return
        found = parse(octets, secrets=bool(self._source.path)) if isinstance(octets, bytes) else octets
        self.problem = found if isinstance(found, str) else ""
        if isinstance(found, str):
            log.error("oauth-keys reason=%r", found)
            return
        if found != self._keys:
            log.info("oauth-keys count=%d kids=%r", len(found), [key.kid for key in found][:10])
        self._keys = found
        self._fetched = self._now()

    def _from_file(self) -> bytes | str | None:
        """The file's octets, or what is wrong; None: it is the one that is known."""
        path = self._source.path
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return None
            with open(path, "rb") as file:
                octets = file.read(_LARGEST)
        except OSError as error:
            return f"oauth-jwks-file: {path} cannot be read: {error.strerror}"
        self._stamp = stamp
        return octets

    def _from_web(self) -> bytes | str:
        self._tried = self._now()
        url = self._source.url
        if not url:
            configuration = self._get(self._source.openid_configuration)
            if isinstance(configuration, str):
                return configuration
            found = _jwks_uri(configuration, self._source.issuer)
            if isinstance(found, NoAnswer):
                return found.text
            url = found
        return self._get(url)

    def _get(self, url: str) -> bytes | str:
        answer = self._web(Request(url))
        if isinstance(answer, Answer) and answer.status == 200:
            return answer.body
        return answer.text if isinstance(answer, NoAnswer) else f"{url} answers {answer.status}"


def _jwks_uri(octets: bytes, issuer: str) -> str | NoAnswer:
    """RFC 8414 3.3: what is said by another issuer than the one that was asked for is not used."""
    try:
        found = json.loads(octets)
        if found["issuer"] != issuer:
            return NoAnswer("oauth-openid-configuration is of another issuer than oauth-issuer")
        url = found["jwks_uri"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return NoAnswer("oauth-openid-configuration leads to no document with issuer and jwks_uri")
    is_safe = isinstance(url, str) and url.startswith("https://" if not url.startswith("http://127.0.0.1:") else "http")
    return url if is_safe else NoAnswer("jwks_uri in oauth-openid-configuration is no https address")
