"""What the protocols ask of user databases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Secret:
    """A password or key that never shows itself in a log, a traceback or a debugger's list of variables."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The octets; to be handed to a verifier and to nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class User:
    """A user who may log in: where the mail is and who owns it."""

    name: str  # after `username-format` and `default-domain`: the name in logs, paths and the register
    home: str = ""
    uid: int | None = None
    gid: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)  # passwd-file's extra fields, without `userdb_`
    master: str = ""  # the master user who came in as this one, for the log
    is_anonymous: bool = False  # nobody said who he is: may read what this user's account has, RFC 4505 5


class Denial(Enum):
    """Why a login failed. Clients are told of FAILED and UNAVAILABLE only; the log knows all."""

    UNKNOWN = "unknown user"
    MISMATCH = "password mismatch"
    NO_LOGIN = "login is disabled for this user"
    NETWORK = "not allowed from this address"
    OWNER = "mail belongs to another uid or gid than this server runs as"
    INVALID_NAME = "user name is not allowed"
    UNAVAILABLE = "user database or password pool is not available"


@dataclass(frozen=True, slots=True)
class Denied:
    """A login that failed; `text` is for the log."""

    denial: Denial
    user: str
    text: str


@dataclass(frozen=True, slots=True)
class Keys:
    """What a server knows of a user in SCRAM, RFC 5802 3; of one who is not there it looks no different."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    stored: str = field(default="", repr=False)  # the stored password that they came from; empty: nobody's


@dataclass(frozen=True, slots=True)
class Clear:
    """A password that is stored as it is; of one who is not there an invented one."""

    password: Secret
    stored: str = field(default="", repr=False)  # as it is stored; empty: nobody's


@dataclass(frozen=True, slots=True)
class Proof:
    """How a client did that shows that it knows a password, and does not send it."""

    right: bool
    stored: str = field(default="", repr=False)  # what it was right for
    text: str = ""  # why it was wrong, for the log
    unavailable: bool = False  # it could not be found out
    # "certificate" or "token": who signed it says who this is, and `stored` does not matter; "ANONYMOUS": nobody does.
    vouched: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """What is to be thought of a bearer token."""

    login: str = ""  # whom it is for; empty: it is no good
    text: str = ""  # why it is no good, for the log; never a part of the token
    lacks_scope: bool = False  # it is good, but for something else
    unavailable: bool = False  # it could not be found out
    scope: str = ""  # that a token must have, and where clients learn who gives them: RFC 7628 3.2.2
    openid_configuration: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to log in, by whatever command or mechanism: with a password, or with a proof in its place."""

    login: str  # as the client gave it, decoded from UTF-8
    password: Secret
    address: str  # the client's IP address
    protocol: str  # "imap" or "pop3"
    mechanism: str  # "PLAIN", "LOGIN", "USER" ...: for the log
    secure: bool
    authorize_as: str = ""  # SASL authorization identity, RFC 4616 2; empty: the same as `login`
    proof: Proof | None = None


class Authenticator(Protocol):
    """Checks passwords against the configured user databases."""

    takes_tokens: bool  # OAUTHBEARER and XOAUTH2 can work
    anonymous_user: str  # as whom ANONYMOUS comes in; empty: it does not

    def able(self) -> frozenset[str]:
        """The mechanisms that want certain stored passwords (SCRAM without -PLUS, CRAM-MD5) and that every user has."""

    def keys(self, mechanism: str, login: str, authorize_as: str, address: str) -> Keys | None:
        """What the client's proof is to be compared with: invented for an unknown user, None if that is not known."""

    def clear(self, login: str, address: str) -> Clear | None:
        """The password as it is, for CRAM-MD5 and APOP: likewise. One who has none has an invented one."""

    def token(self, token: Secret, address: str) -> Token:
        """Whom a bearer token is for, RFC 6750; nobody, where none are taken."""

    def check(self, attempt: Attempt) -> User | Denied:
        """The user, or why not. Takes equally long for an unknown user and a wrong password."""
