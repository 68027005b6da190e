"""The protocol by which Postfix and Exim ask a server like this one about SMTP AUTH: Dovecot's for its auth clients.

Version 1.1, as https://doc.dovecot.org/2.3/developer_manual/design/auth_protocol/ has it. Lines of fields with tabs
between them, as these, where S is this server:

    S: VERSION 1 1 / MECH PLAIN plaintext / SPID 4711 / CUID 1 / COOKIE 32 hex digits / DONE
    C: VERSION 1 1 / CPID 42
    C: AUTH 1 PLAIN service=smtp rip=192.0.2.7 lip=192.0.2.1 secured resp=AGFsaWNlAHNlY3JldA==
    S: OK 1 user=alice
    C: AUTH 2 LOGIN service=smtp rip=192.0.2.7
    S: CONT 2 VXNlcm5hbWU6
    C: CONT 2 YWxpY2U=
    S: CONT 2 UGFzc3dvcmQ6
    C: CONT 2 d3Jvbmc=
    S: FAIL 2 user=alice

Who may connect to the socket is believed when it says whose address and whether TLS it is.
"""

import ipaddress
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from greenmail.auth import digests, sasl, scram, vouched
from greenmail.auth.anonymous import ANONYMOUS
from greenmail.auth.api import Authenticator
from greenmail.auth.logins import Failed, Guard, Logins, Patience, Register
from greenmail.auth.sasl import Exchange
from greenmail.errors import BadSyntax
from greenmail.runtime import Runtime

log = logging.getLogger(__name__)

VERSION = b"VERSION\t1\t1\n"
MAX_LINE = 16_384  # octets; Dovecot's own clients send 8 KiB at most
MAX_REQUESTS = 1000  # of one connection that are not answered yet
_NOWHERE = "0.0.0.0"  # of a client whose address was not said
_PROPERTIES = {"PLAIN": "plaintext", "LOGIN": "plaintext", digests.CRAM_MD5: "dictionary\tactive"}
_SERVICE = re.compile(r"[a-z0-9-]{1,20}\Z")
_ESCAPES = str.maketrans({"\1": "\0011", "\0": "\0010", "\t": "\1t", "\n": "\1n", "\r": "\1r"})


class BadLine(Exception):
    """The other program does not speak this protocol; the connection is to be closed, the text is for the log."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of a worker share."""

    runtime: Runtime
    authenticator: Authenticator
    register: Register
    patience: Patience
    guard: Guard
    mechanisms: tuple[str, ...]
    trusts: Callable[[str], bool]  # whether an IP address counts as secure
    new_sid: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Remote:
    """The client of the other program: `auth.logins.Peer`."""

    peer: str = _NOWHERE
    local: str = _NOWHERE
    secure: bool = False
    trusted: bool = False
    end_point: bytes = b""
    exporter: bytes = b""
    certified: tuple[str, ...] = ()


@dataclass(slots=True)
class _Request:
    """One try to log in that goes on."""

    number: int
    service: str
    logins: Logins
    exchange: Exchange
    answer: str = ""  # once it is known, and the client has to say something empty first


def greeting(services: Services, pid: int, connection: int, cookie: str) -> bytes:
    """What this server says first."""
    private = Remote(secure=True)
    logins = Logins("smtp", "", private, services.runtime, services.register, services.patience)
    lines = ["VERSION\t1\t1"]
    for name in _offered(services, logins):
        lines.append(f"MECH\t{name}" + (f"\t{properties}" if (properties := _properties(name)) else ""))
    lines += [f"SPID\t{pid}", f"CUID\t{connection}", f"COOKIE\t{cookie}", "DONE"]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _offered(services: Services, logins: Logins) -> tuple[str, ...]:
    """Who may send mail says who he is."""
    return tuple(name for name in logins.offered(services.mechanisms, services.authenticator) if name != ANONYMOUS)


def _properties(mechanism: str) -> str:
    """What a program goes by that is told to use no mechanism that shows the password."""
    return "mutual-auth" if mechanism in scram.HASHES else _PROPERTIES.get(mechanism, "")


class AuthClient:
    """One connection. `take` may be called by several green threads, for several lines."""

    def __init__(self, services: Services, write: Callable[[bytes], None]) -> None:
        self._services = services
        self._write = write
        self._requests: dict[int, _Request] = {}
        self._greeted = False

    def take(self, line: bytes) -> None:
        """One line without its end. Raises BadLine. Returns when it is answered, or nothing is to be answered."""
        command, *fields = line.decode("utf-8", "replace").split("\t")
        match command:
            case "VERSION":
                if fields[:1] != ["1"]:
                    raise BadLine("another version of the protocol than 1")
                self._greeted = True
            case "CPID":
                return
            case "AUTH" if self._greeted:
                self._begin(fields)
            case "CONT" if self._greeted:
                self._go_on(fields)
            case "CANCEL" if self._greeted:
                self._requests.pop(_number(fields), None)
            case _:
                raise BadLine(f"a line that begins with {command[:40]!r}")

    # --- inside ---

    def _begin(self, fields: list[str]) -> None:
        number = _number(fields)
        if number in self._requests or len(fields) < 2:
            raise BadLine("AUTH with a number that is in use, or without a mechanism")
        mechanism, given = fields[1].upper(), _parameters(fields[2:])
        services = self._services
        service = given.get("service", "")
        remote = self._remote(given)
        logins = Logins(
            "smtp", services.new_sid(), remote, services.runtime, services.register, services.patience,
            services.guard if remote.peer != _NOWHERE else None,  # those are many, and must not pay for one another
        )  # fmt: skip
        offered = _offered(services, logins)
        try:
            if not logins.is_private:
                raise BadSyntax("passwords are taken over TLS only")
            if mechanism not in offered or mechanism.endswith(scram.PLUS) or mechanism == vouched.EXTERNAL:
                raise BadSyntax("this authentication mechanism is not offered")
            if len(self._requests) >= MAX_REQUESTS:
                raise BadSyntax("too many logins are under way")
            # Octets as this protocol has them: no octets are no initial response, "=" is one of none.
            initial = given["resp"].encode("ascii", "replace") if given.get("resp") else None
            exchange = logins.begin(services.authenticator, offered, mechanism, initial)
        except BadSyntax as bad:
            self._fail(number, "", bad.text)
            return
        name = service if _SERVICE.match(service) else "other"
        self._requests[number] = _Request(number, name, logins, exchange)
        self._step(self._requests[number])

    def _remote(self, given: dict[str, str]) -> Remote:
        peer = _address(given.get("rip", ""))
        return Remote(peer, _address(given.get("lip", "")), "secured" in given, self._services.trusts(peer))

    def _go_on(self, fields: list[str]) -> None:
        request = self._requests.get(_number(fields))
        if request is None:
            return  # it has ended meanwhile, or was cancelled
        if request.exchange.credentials is not None and not request.answer:
            raise BadLine("CONT for a login whose answer is not known yet")
        if request.answer:
            self._end(request, request.answer)
            return
        try:
            request.exchange.respond(sasl.response("\t".join(fields[1:]).encode("ascii", "replace")))
        except BadSyntax as bad:
            self._requests.pop(request.number, None)
            self._fail(request.number, "", bad.text)
            return
        self._step(request)

    def _step(self, request: _Request) -> None:
        credentials = request.exchange.credentials
        if credentials is None:
            self._challenge(request, request.exchange.challenge)
            return
        outcome = request.logins.check(self._services.authenticator, request.exchange.mechanism, credentials)
        if isinstance(outcome, Failed):
            extra = ["temp", "code=temp_fail"] if outcome.unavailable else []
            answer = _line("FAIL", request.number, f"user={_escaped(credentials.login)}", *extra)
            more = credentials.error
        else:
            request.logins.succeeded(outcome, request.exchange.mechanism, f"service={request.service}")
            answer = _line("OK", request.number, f"user={_escaped(outcome.name)}")
            more = credentials.final
        if more:
            request.answer = answer
            self._challenge(request, more)
        else:
            self._end(request, answer)

    def _challenge(self, request: _Request, octets: bytes) -> None:
        self._write(_line("CONT", request.number, sasl.encode(octets).decode("ascii")).encode("utf-8"))

    def _end(self, request: _Request, answer: str) -> None:
        if self._requests.pop(request.number, None) is not None:  # else it was cancelled meanwhile
            self._write(answer.encode("utf-8"))

    def _fail(self, number: int, login: str, reason: str) -> None:
        log.info("auth-socket refused reason=%r", reason)
        self._write(_line("FAIL", number, f"user={_escaped(login)}", f"reason={_escaped(reason)}").encode("utf-8"))


def _number(fields: list[str]) -> int:
    """Of a request, 32 bits."""
    text = fields[0] if fields else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= 0xFFFFFFFF):
        raise BadLine("a request without a number")
    return int(text)


def _parameters(fields: Iterable[str]) -> dict[str, str]:
    """name or name=value. A value may have `=` in it; `resp`, which is the last, may not have tabs."""
    found = {}
    for text in fields:
        name, _, value = text.partition("=")
        found[name] = value
    return found


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return _NOWHERE


def _line(*fields: object) -> str:
    return "\t".join(map(str, fields)) + "\n"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
