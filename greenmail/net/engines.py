"""What the sessions of a worker share, whatever protocol they speak."""

from collections.abc import Callable
from dataclasses import dataclass

from greenmail.auth.api import User
from greenmail.auth.authenticator import PasswordAuthenticator
from greenmail.auth.logins import Guard, Patience, Register
from greenmail.auth.passage import Carrier
from greenmail.config import Config
from greenmail.runtime import Runtime
from greenmail.storage.api import Account
from greenmail.transcript import Traces


@dataclass(frozen=True, slots=True)
class Means:
    """Of one worker; an engine is made of it, and of what that engine alone needs."""

    config: Config
    runtime: Runtime
    authenticator: PasswordAuthenticator
    open_account: Callable[[User], Account]
    register: Register
    guard: Guard
    carrier: Carrier | None  # to processes of the mail's owners
    traces: Traces
    new_sid: Callable[[], str]


def patience(config: Config) -> Patience:
    """How often a client may be wrong."""
    return Patience(config.max_auth_failures, config.auth_failure_delay)
