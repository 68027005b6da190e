"""SASL mechanisms, RFC 4422, for IMAP's AUTHENTICATE and POP3's AUTH alike.

A mechanism is a generator: it yields a challenge, is sent the client's response, and returns `Credentials`. The engine
holds an `Exchange`:

    exchange = sasl.start("PLAIN", sasl.initial(argument))     # argument: octets behind the mechanism's name, or None
    credentials = sasl.converse(exchange, write, read_line)
    ... credentials ...                                        # right, and the user may come in?
    sasl.conclude(credentials, write, read_line)               # yes
    sasl.explain(credentials, write, read_line)                # no

Everything raises BadSyntax: unknown mechanisms, broken base64, malformed messages, and the client's "*" (cancelled).
"""

import base64
import binascii
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from greenmail.auth import anonymous, digests, scram, vouched
from greenmail.auth.api import Proof, Secret
from greenmail.auth.saslprep import utf8_text
from greenmail.errors import BadSyntax


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client proved, or wants to have checked."""

    login: str
    password: Secret
    authorize_as: str = ""  # RFC 4616 2, authzid; empty: the same as `login`
    proof: Proof | None = None  # in the place of the password
    final: bytes = field(default=b"", repr=False)  # for the client once it is let in; RFC 4422 3.6, additional data
    error: bytes = field(default=b"", repr=False)  # for the client that is not let in; RFC 7628 3.2.2
    trace: str = ""  # what one who does not say who he is says of himself: RFC 4505 2


Steps = Generator[bytes, bytes, Credentials]
Mechanism = Callable[[scram.Means], Steps]


class Exchange:
    """One run of a mechanism: a challenge to send, or the credentials at the end."""

    def __init__(self, mechanism: str, steps: Generator[bytes, bytes, Credentials]) -> None:
        self.mechanism = mechanism
        self.credentials: Credentials | None = None
        self._steps = steps
        self.challenge = next(steps)

    def respond(self, data: bytes) -> None:
        """Take the client's (decoded) response; `challenge` is the next to send unless `credentials` is set."""
        try:
            self.challenge = self._steps.send(data)
        except StopIteration as end:
            self.credentials = end.value


def _nobody(mechanism: str, login: str, authorize_as: str) -> None:
    return None


def start(mechanism: str, initial_response: bytes | None, means: scram.Means | None = None) -> Exchange:
    """Begin; `initial_response` is decoded, and None if the client sent none. RFC 4422 3.3, RFC 4959 3.

    `means` is needed by those that are more than name and password.
    """
    make = MECHANISMS.get(mechanism.upper())
    if make is None:
        raise BadSyntax("this authentication mechanism is not offered")
    exchange = Exchange(mechanism.upper(), make(means or scram.Means(_nobody)))
    if initial_response is not None:
        exchange.respond(initial_response)
    return exchange


def encode(challenge: bytes) -> bytes:
    """base64 without line breaks, for the wire."""
    return base64.b64encode(challenge)


def response(line: bytes) -> bytes:
    """The octets of one line of the client, without its CRLF. "*" cancels: RFC 9051 6.2.2, RFC 5034 4."""
    if line == b"*":
        raise BadSyntax("authentication cancelled")
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise BadSyntax("this is not base64") from None


def initial(argument: bytes | None) -> bytes | None:
    """The initial response behind a mechanism's name; "=" is one of no octets. RFC 4959 3, RFC 5034 4."""
    if argument is None or argument == b"=":
        return None if argument is None else b""
    if not argument:
        raise BadSyntax("an empty initial response is written =")
    return response(argument)


def converse(exchange: Exchange, write: Callable[[bytes], None], read_line: Callable[[], bytes]) -> Credentials:
    """Challenges and responses, one a line, until there are credentials. RFC 9051 6.2.2, RFC 5034 4."""
    while exchange.credentials is None:
        write(b"+ %b\r\n" % encode(exchange.challenge))
        exchange.respond(response(read_line()))
    return exchange.credentials


def conclude(credentials: Credentials, write: Callable[[bytes], None], read_line: Callable[[], bytes]) -> None:
    """`final`, if there is one, and the client's answer to it: nothing. RFC 9051 6.2.2, RFC 5034 4."""
    if credentials.final:
        write(b"+ %b\r\n" % encode(credentials.final))
        if response(read_line()):
            raise BadSyntax("the exchange was over, and nothing was expected")


def explain(credentials: Credentials, write: Callable[[bytes], None], read_line: Callable[[], bytes]) -> None:
    """`error`, if there is one, and the client's answer to it, which means nothing: RFC 7628 3.2.3."""
    if credentials.error:
        write(b"+ %b\r\n" % encode(credentials.error))
        read_line()


def plain(means: scram.Means) -> Steps:
    """message = [authzid] UTF8NUL authcid UTF8NUL passwd — RFC 4616 2."""
    message = yield b""
    parts = message.split(b"\0")
    if len(parts) != 3 or not parts[1]:
        raise BadSyntax("PLAIN wants an authorization identity, a user name and a password, with NUL between them")
    utf8_text(parts[2], "the password")
    return Credentials(
        utf8_text(parts[1], "the user name"), Secret(parts[2]), utf8_text(parts[0], "the authorization identity")
    )


def login(means: scram.Means) -> Steps:
    """User name, then password: draft-murchison-sasl-login. Outlook sends the name as initial response."""
    name = yield b"Username:"
    password = yield b"Password:"
    if not name or b"\0" in password:
        raise BadSyntax("LOGIN wants a user name and a password without NUL")
    return Credentials(utf8_text(name, "the user name"), Secret(password))


def _scram(mechanism: str) -> Mechanism:
    """RFC 5802, RFC 7677."""

    def steps(means: scram.Means) -> Steps:
        outcome = yield from scram.run(mechanism, means)
        return Credentials(outcome.login, Secret(b""), outcome.authorize_as, outcome.proof, outcome.final)

    return steps


def _cram_md5(means: scram.Means) -> Steps:
    """RFC 2195 2."""
    outcome = yield from digests.cram_md5(means.clear)
    return Credentials(outcome.login, Secret(b""), proof=outcome.proof)


def _vouched(run: Callable[[scram.Means], Generator[bytes, bytes, vouched.Vouched]]) -> Mechanism:
    """RFC 4422 A, RFC 7628."""

    def steps(means: scram.Means) -> Steps:
        outcome = yield from run(means)
        return Credentials(outcome.login, outcome.token, outcome.authorize_as, outcome.proof, error=outcome.error)

    return steps


def _anonymous(means: scram.Means) -> Steps:
    """RFC 4505 2. Whom the settings name for it, not the client."""
    trace = anonymous.trace((yield b""))
    if not means.anonymous_user:
        raise BadSyntax("this authentication mechanism is not offered")
    proof = Proof(True, vouched=anonymous.ANONYMOUS)
    return Credentials(means.anonymous_user, Secret(b""), proof=proof, trace=trace)


OFF = frozenset({digests.CRAM_MD5})  # not offered unless the settings name it

# In the order in which clients are told of them.
MECHANISMS: dict[str, Mechanism] = {
    "PLAIN": plain,
    "LOGIN": login,
    **{f"{name}{suffix}": _scram(f"{name}{suffix}") for name in scram.HASHES for suffix in (scram.PLUS, "")},
    vouched.EXTERNAL: _vouched(vouched.external),
    vouched.OAUTHBEARER: _vouched(vouched.oauthbearer),
    vouched.XOAUTH2: _vouched(vouched.xoauth2),
    digests.CRAM_MD5: _cram_md5,
    anonymous.ANONYMOUS: _anonymous,
}
