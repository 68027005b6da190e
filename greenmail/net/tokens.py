"""Bearer tokens, by the configuration: who looks at them, on threads of their own.

Passwords are compared by other threads, so that an issuer who does not answer keeps nobody else from logging in.
"""

import logging
from collections.abc import Callable

from greenmail.auth.api import Secret, Token
from greenmail.auth.oauth import Introspection, Jwts
from greenmail.auth.oauth_claims import Rules
from greenmail.auth.oauth_keys import Keys, Source
from greenmail.config import Config
from greenmail.net.tls import EX_CONFIG, CannotStart
from greenmail.net.web import WebClient
from greenmail.net.work import Clock, Pool

log = logging.getLogger(__name__)

THREADS = 4


def verifier(config: Config, clock: Clock) -> Callable[[Secret], Token] | None:
    """What an authenticator is to ask; None: no tokens are taken."""
    if not config.takes_tokens:
        return None
    pool = Pool("token", THREADS, clock)
    try:
        look = looker(config)
    except CannotStart as problem:  # a file that the parent could read and this worker cannot
        log.error("oauth reason=%r", problem.text)
        text = problem.text
        return lambda token: Token(text=text, unavailable=True)

    def verify(token: Secret) -> Token:
        found: Token = pool.run(look, token)
        return found

    return verify


def looker(config: Config) -> Callable[[Secret], Token]:
    """Looks at a token, and may wait for the issuer. Raises CannotStart."""
    web = WebClient(config.oauth_timeout, config.oauth_ca_path)
    rules = Rules(
        config.oauth_issuer,
        config.oauth_audience,
        config.oauth_user_claim,
        config.oauth_scope,
        config.oauth_leeway,
        config.oauth_openid_configuration,
    )
    if config.oauth_introspection_url:
        client = (config.oauth_client_id, Secret(_secret(config.oauth_client_secret_file)))
        return Introspection(config.oauth_introspection_url, client, rules, web, config.oauth_introspection_ttl)
    is_set = config.oauth_jwks_file or config.oauth_jwks_url
    source = Source(
        config.oauth_jwks_file,
        config.oauth_jwks_url,
        "" if is_set else config.oauth_openid_configuration,
        config.oauth_issuer,
    )
    return Jwts(Keys(source, web), rules, config.oauth_algorithms)


def _secret(path: str) -> bytes:
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            return file.readline(4096).strip()
    except OSError as error:
        text = f"oauth-client-secret-file: {path}: cannot be read: {error.strerror}"
        raise CannotStart(text, EX_CONFIG) from None
