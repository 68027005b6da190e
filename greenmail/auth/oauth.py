"""Whom a bearer token is for: RFC 6750. By its own signature, or by what its issuer says of it.

    Jwts             tokens that are JWTs (RFC 7519, RFC 9068), with the issuer's public keys      `auth.oauth_keys`
    Introspection    any tokens: the issuer is asked about each, RFC 7662

What is said is then judged the same way (`auth.oauth_claims`). Both run in the pool, on several threads. A token is
shown to no log: what is wrong with it is told in words of ours.
"""

import base64
import hmac
import json
import logging
import os
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt

from greenmail.auth.api import Secret, Token
from greenmail.auth.oauth_claims import Rules, judge
from greenmail.auth.oauth_keys import Keys
from greenmail.auth.web import NoAnswer, Request, Web

log = logging.getLogger(__name__)

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")
_TYPES = frozenset({"", "jwt", "at+jwt"})  # RFC 9068 2.1; the same keys sign other things, too: RFC 8725 2.8
_MOST_REMEMBERED = 10_000
_SILENCE = 5.0  # seconds for which an issuer that did not answer is not asked again


class Jwts:
    """Looks at JWTs."""

    def __init__(self, keys: Keys, rules: Rules, algorithms: tuple[str, ...], now: Callable[[], float] = time.time):
        self._keys = keys
        self._rules = rules
        self._algorithms = algorithms
        self._now = now

    def __call__(self, token: Secret) -> Token:
        """Whom it is for."""
        if not token.reveal():
            return self._rules.refused("no token was sent")
        text = token.reveal().decode("latin-1")
        try:
            header = jwt.get_unverified_header(text)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return self._rules.refused("the token is no signed JWT")
        algorithm, kid = str(header.get("alg")), str(header.get("kid", ""))
        if algorithm not in self._algorithms:
            return self._rules.refused(f"the token is signed by {algorithm[:20]!r}, which is not in oauth-algorithms")
        if "crit" in header or _type(header) not in _TYPES:  # RFC 7515 4.1.11, RFC 8725 3.11
            return self._rules.refused("the token is of another type than tokens for access")
        keys = self._keys.find(kid, algorithm)
        if not keys and not self._keys:
            return self._rules.unavailable(f"there are no keys of the issuer: {self._keys.problem}")
        for key in keys:
            claims = _signed(text, key.key, algorithm)
            if claims is not None:
                return judge(claims, self._rules, self._now)
        which = "its signature is wrong" if keys else f"the issuer has no key {kid[:60]!r} for {algorithm}"
        return self._rules.refused(f"the token is not the issuer's: {which}")


def _type(header: dict[str, Any]) -> str:
    """RFC 7515 4.1.9: "application/" may be left out, and case does not matter."""
    return str(header.get("typ", "")).lower().removeprefix("application/")


def _signed(text: str, key: Any, algorithm: str) -> dict[str, Any] | None:
    """The claims of a token, if it was signed with this key. What they say is judged elsewhere, as for any token."""
    unjudged = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False)
    options: Any = {**unjudged, "verify_sub": False, "verify_jti": False, "enforce_minimum_key_length": True}
    try:
        return jwt.decode(text, key, algorithms=[algorithm], options=options)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None


class Introspection:
    """Asks the issuer, and remembers for a short while what it said."""

    def __init__(
        self,
        url: str,
        client: tuple[str, Secret],
        rules: Rules,
        web: Web,
        lifetime: float,
        clocks: tuple[Callable[[], float], Callable[[], float]] = (time.time, time.monotonic),
    ) -> None:
        """`client`: who we are to the issuer. `clocks`: the wall's, and one that is never put back."""
        self._url = url
        self._client = client
        self._rules = rules
        self._web = web
        self._lifetime = lifetime
        self._wall, self._steady = clocks
        self._key = os.urandom(32)
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, float, Token]] = {}  # in the order of entering, so of expiry
        self._silent_until = float("-inf")
        self._silent_why = ""

    def __call__(self, token: Secret) -> Token:
        """Whom it is for."""
        if not token.reveal():
            return self._rules.refused("no token was sent")
        digest = hmac.digest(self._key, token.reveal(), "sha256")
        with self._lock:
            until, ends, known = self._known.get(digest, (float("-inf"), 0.0, None))
            if known is not None and until > self._steady() and ends > self._wall():
                return known
            if self._silent_until > self._steady():
                return self._rules.unavailable(self._silent_why)
        answer = self._ask(token)
        if isinstance(answer, NoAnswer):
            log.error("oauth-introspection reason=%r", answer.text)
            with self._lock:
                self._silent_until, self._silent_why = self._steady() + _SILENCE, answer.text
            return self._rules.unavailable(answer.text)
        found = self._judged(answer)
        ends = float(answer.get("exp", "inf")) if found.login else float("inf")
        self._remember(digest, ends + self._rules.leeway, found)
        return found

    def _ask(self, token: Secret) -> dict[str, Any] | NoAnswer:
        """RFC 7662 2.1, and RFC 6749 2.3.1 for who we are."""
        name, secret = (urllib.parse.quote_plus(part) for part in (self._client[0], self._client[1].reveal()))
        body = urllib.parse.urlencode({"token": token.reveal(), "token_type_hint": "access_token"})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if name:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode("ascii")
        answer = self._web(Request(self._url, body.encode("ascii"), headers))
        if isinstance(answer, NoAnswer):
            return answer
        if answer.status != 200:
            return NoAnswer(f"{self._url} answers {answer.status}: are oauth-client-id and its secret right?")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else NoAnswer(f"{self._url} does not answer with a JSON object")

    def _judged(self, answer: dict[str, Any]) -> Token:
        if answer.get("active") is not True:
            return self._rules.refused("the issuer says that the token is not active")
        # Without `iss` (RFC 7662 2.2: optional) it is still the issuer that says it.
        rules = self._rules if "iss" in answer else replace(self._rules, issuer="")
        return judge({"exp": self._wall() + self._lifetime, **answer}, rules, self._wall)

    def _remember(self, digest: bytes, ends: float, found: Token) -> None:
        now = self._steady()
        with self._lock:
            for oldest in [key for key, _ in zip(self._known, range(2), strict=False)]:
                if self._known[oldest][0] <= now or len(self._known) >= _MOST_REMEMBERED:
                    del self._known[oldest]
            self._known.pop(digest, None)
            self._known[digest] = (now + self._lifetime, ends, found)
