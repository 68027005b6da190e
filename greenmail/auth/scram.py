"""SCRAM-SHA-1 and SCRAM-SHA-256, with -PLUS: the server's half of RFC 5802 and RFC 7677.

    client-first  = gs2-header "n=" saslname ",r=" c-nonce *("," extension)
    gs2-header    = flag "," ["a=" authzid] ","
    server-first  = "r=" c-nonce s-nonce ",s=" salt ",i=" iterations
    client-final  = "c=" base64(gs2-header cbind-data) ",r=" nonce *("," extension) ",p=" proof
    server-final  = "v=" ServerSignature

A message that is none of these is BadSyntax. Everything else that can be wrong (proof, channel binding, nonce, an
unknown user) ends in a `Proof` that is not right, and the client is told one thing, in the protocol's own words: the
`e=` of a server-final would tell it more.

Channel binding is `tls-server-end-point`, RFC 5929 4: whoever stands between client and server has another certificate,
so the client's proof is of no use to him; or `tls-exporter`, RFC 9266, where the connection's TLS can tell it: he has
another connection.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from greenmail.auth.api import Clear, Keys, Proof, Secret, Token
from greenmail.auth.saslprep import utf8_text
from greenmail.errors import BadSyntax

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
PLUS = "-PLUS"
END_POINT = "tls-server-end-point"
EXPORTER = "tls-exporter"

_NONCE = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_NAME = re.compile(r"(?:[^=,]|=2C|=3D)+")  # saslname, RFC 5802 7
_TYPE = re.compile(r"p=[A-Za-z0-9.-]+")


def _nonce() -> str:
    return base64.b64encode(os.urandom(18)).decode("ascii")


def _no_clear(login: str) -> Clear | None:
    return None


def _no_token(token: Secret) -> Token:
    return Token(text="no tokens are taken here")


@dataclass(frozen=True, slots=True)
class Means:
    """What the server's half needs to know of user database and connection."""

    keys: Callable[[str, str, str], Keys | None]  # (mechanism without -PLUS, login, authorization identity)
    end_point: bytes = b""  # of this connection's TLS; empty: none, or it is not offered
    nonce: Callable[[], str] = field(default=_nonce)
    clear: Callable[[str], Clear | None] = field(default=_no_clear)  # (login), for CRAM-MD5
    certified: tuple[str, ...] = ()  # whom the client's certificate is for, for EXTERNAL
    token: Callable[[Secret], Token] = field(default=_no_token)  # whom a token is for, for OAUTHBEARER
    anonymous_user: str = ""  # as whom ANONYMOUS comes in
    exporter: bytes = b""  # as `end_point`

    @property
    def bindings(self) -> dict[str, bytes]:
        """What can be bound to, by the flag of a gs2-header."""
        found = {f"p={END_POINT}": self.end_point, f"p={EXPORTER}": self.exporter}
        return {flag: data for flag, data in found.items() if data}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end, but for `final`: the client gets it once it is sure that it may come in."""

    login: str
    authorize_as: str
    proof: Proof
    final: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class First:
    """The client's first message."""

    header: str  # gs2-header
    flag: str  # "n", "y", or "p=" and a type of channel binding
    authorize_as: str
    bare: str
    login: str
    nonce: str


def run(mechanism: str, means: Means) -> Generator[bytes, bytes, Outcome]:
    """The exchange of one of HASHES, with or without PLUS."""
    first = client_first(_text((yield b"")))
    wrong = _binding_problem(first.flag, mechanism.endswith(PLUS), means.bindings)
    if wrong:
        return Outcome(first.login, first.authorize_as, Proof(False, text=wrong))
    name = mechanism.removesuffix(PLUS)
    keys = means.keys(name, first.login, first.authorize_as)
    if keys is None:
        return Outcome(first.login, first.authorize_as, Proof(False, unavailable=True))
    nonce = first.nonce + means.nonce()
    challenge = f"r={nonce},s={base64.b64encode(keys.salt).decode('ascii')},i={keys.iterations}"
    without_proof, bound, repeated, proof = client_final(_text((yield challenge.encode("ascii"))))
    message = f"{first.bare},{challenge},{without_proof}".encode()  # AuthMessage, RFC 5802 3
    expected = first.header.encode() + means.bindings.get(first.flag, b"")
    wrong = ""
    if not hmac.compare_digest(bound, expected):
        wrong = "the channel binding is that of another connection"
    elif repeated != nonce:
        wrong = "the nonce is not the one of this exchange"
    elif not is_proof(HASHES[name], keys, message, proof):
        wrong = "the proof is wrong: password mismatch"
    if wrong or not keys.stored:
        return Outcome(first.login, first.authorize_as, Proof(False, keys.stored, wrong))
    signature = hmac.digest(keys.server_key, message, HASHES[name])
    final = b"v=" + base64.b64encode(signature)
    return Outcome(first.login, first.authorize_as, Proof(True, keys.stored), final)


def _binding_problem(flag: str, is_plus: bool, bindings: Mapping[str, bytes]) -> str:
    """RFC 5802 6. "y": the client can, and was not told that we can; so somebody took that out of what we said."""
    if flag == "y":
        return "the client was not told of channel binding: somebody changes what is sent" if bindings else ""
    if flag == "n":
        return "-PLUS was chosen without channel binding" if is_plus else ""
    if not is_plus:
        return "channel binding was used, and not -PLUS"
    can = " or ".join(one[2:] for one in bindings)
    return "" if flag in bindings else f"channel binding {flag[2:]!r} is not {can}"


def is_proof(algorithm: str, keys: Keys, message: bytes, proof: bytes) -> bool:
    """H(proof XOR HMAC(StoredKey, AuthMessage)) = StoredKey — RFC 5802 3."""
    signature = hmac.digest(keys.stored_key, message, algorithm)
    if len(proof) != len(signature):
        return False
    client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.new(algorithm, client_key, usedforsecurity=False).digest(), keys.stored_key)


def client_first(text: str) -> First:
    """client-first-message, RFC 5802 7. Raises BadSyntax."""
    flag, comma, rest = text.partition(",")
    authorization, second_comma, bare = rest.partition(",")
    if not comma or not second_comma or not (flag in ("n", "y") or _TYPE.fullmatch(flag)):
        raise BadSyntax("this does not begin with a gs2-header")
    if authorization and not authorization.startswith("a="):
        raise BadSyntax("the authorization identity of a gs2-header is written a=")
    attributes = _attributes(bare)
    if [key for key, _ in attributes[:2]] != ["n", "r"] or not _NONCE.fullmatch(attributes[1][1]):
        raise BadSyntax("client-first-message wants n= and r=")
    header = text[: len(text) - len(bare)]
    authorize_as = _name(authorization[2:]) if authorization else ""
    return First(header, flag, authorize_as, bare, _name(attributes[0][1]), attributes[1][1])


def client_final(text: str) -> tuple[str, bytes, str, bytes]:
    """client-final-message, RFC 5802 7: what is without the proof, channel binding, nonce, proof. Raises BadSyntax."""
    without_proof, found, proof = text.rpartition(",p=")
    attributes = _attributes(without_proof) if found else []
    if [key for key, _ in attributes[:2]] != ["c", "r"] or not proof:
        raise BadSyntax("client-final-message wants c=, r= and p=")
    return without_proof, _octets(attributes[0][1]), attributes[1][1], _octets(proof)


def _attributes(text: str) -> list[tuple[str, str]]:
    found = []
    for part in text.split(","):
        key, equals, value = part[:1], part[1:2], part[2:]
        if not (key.isascii() and key.isalpha()) or equals != "=" or not value:
            raise BadSyntax("an attribute is a letter, = and a value")
        if key == "m":  # RFC 5802 5.1: must be understood, and there is nothing yet to be understood
            raise BadSyntax("there are no mandatory extensions here")
        found.append((key, value))
    return found


def _name(escaped: str) -> str:
    if not _NAME.fullmatch(escaped):
        raise BadSyntax("in a name = is written =3D, and a comma =2C")
    return escaped.replace("=2C", ",").replace("=3D", "=")


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSyntax("this attribute is not base64") from None


def _text(octets: bytes) -> str:
    return utf8_text(octets, "a message of SCRAM")
