"""What is said in a token, or of one, and whether it is enough.

A token comes from the issuer that the settings name, for us (`aud`), within its time, with the scopes that are wanted,
and names the user in a claim that the settings choose. RFC 7519 4.1, RFC 9068 4, RFC 7662 2.2.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from greenmail.auth.api import Token

Claims = Mapping[str, Any]

_SHOWN = 100  # characters of a claim that the log gets to see


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings want of a token. Named as they are, without `oauth-`."""

    issuer: str = ""
    audience: tuple[str, ...] = ()
    user_claim: str = "email"
    scope: tuple[str, ...] = ()
    leeway: float = 30.0
    openid_configuration: str = ""

    def refused(self, text: str, lacks_scope: bool = False) -> Token:
        """A token that is no good, with what a client is told of how to get a better one."""
        return Token("", text, lacks_scope, False, " ".join(self.scope), self.openid_configuration)

    def unavailable(self, text: str) -> Token:
        """It cannot be found out now."""
        return Token("", text, unavailable=True)


def judge(claims: Claims, rules: Rules, now: Callable[[], float] = time.time) -> Token:
    """Whom a token is for, by claims that can be believed."""
    wrong = _time_problem(claims, rules, now()) or _origin_problem(claims, rules)
    if wrong:
        return rules.refused(wrong)
    lacking = set(rules.scope) - _scopes(claims)
    if lacking:
        return rules.refused(f"the token has not the scope {' '.join(sorted(lacking))}", lacks_scope=True)
    user = claims.get(rules.user_claim)
    if not isinstance(user, str) or not user:
        return rules.refused(f"the token has no claim {rules.user_claim} with a name in it")
    if rules.user_claim == "email" and claims.get("email_verified") in (False, "false"):
        return rules.refused("the issuer has not verified the address in email")
    return Token(user, scope=" ".join(rules.scope), openid_configuration=rules.openid_configuration)


def _time_problem(claims: Claims, rules: Rules, now: float) -> str:
    """`exp` and `nbf`, RFC 7519 4.1.4, 4.1.5. Without `exp` a token would be good for ever."""
    expires, begins = _date(claims.get("exp")), _date(claims.get("nbf", 0))
    if expires is None or begins is None:
        return "the token does not say when it ends"
    if expires + rules.leeway <= now:
        return f"the token has expired {_ago(now - expires)} ago"
    if begins - rules.leeway > now:
        return f"the token is not valid for another {_ago(begins - now)}: are the clocks right?"
    return ""


def _origin_problem(claims: Claims, rules: Rules) -> str:
    if rules.issuer and claims.get("iss") != rules.issuer:
        return f"the token is from {_shown(claims.get('iss'))} and not from oauth-issuer"
    found = claims.get("aud")
    audience = found if isinstance(found, list) else [found]
    if rules.audience and not any(isinstance(one, str) and one in rules.audience for one in audience):
        return f"the token is for {_shown(found)} and not for oauth-audience"
    if "cnf" in claims:  # RFC 7800 3.1: who sends it has to prove more than that
        return "the token is bound to a key of the client, which cannot be checked here"
    return ""


def _scopes(claims: Claims) -> set[str]:
    """`scope`, RFC 8693 4.2; Microsoft calls it `scp`, others make it a list."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        parts = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        found |= {part for part in parts if isinstance(part, str)}
    return found


def _date(value: Any) -> float | None:
    """NumericDate, RFC 7519 2; a date beyond all bounds is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -1e15 < value < 1e15 else None


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN]
