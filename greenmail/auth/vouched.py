"""EXTERNAL, OAUTHBEARER and XOAUTH2: somebody whom the settings trust says who the client is.

    EXTERNAL      [authzid]                                              RFC 4422 A; who it is, the certificate says
    OAUTHBEARER   gs2-header %x01 *(key "=" value %x01) %x01              RFC 7628 3.1; `auth` is "Bearer" SP token
    XOAUTH2       "user=" name %x01 "auth=Bearer " token %x01 %x01        as Google documents it

The name that a client gives beside a certificate or token is an authorization identity: it must be the same user's, or
the certificate's or token's owner a master. What is said to a client whose token is no good is JSON, which it answers
with one line that means nothing, and then comes the refusal: RFC 7628 3.2.3.
"""

import json
import re
from collections.abc import Generator
from dataclasses import dataclass, field

from greenmail.auth.api import Proof, Secret, Token
from greenmail.auth.saslprep import utf8_text
from greenmail.auth.scram import Means
from greenmail.errors import BadSyntax

EXTERNAL = "EXTERNAL"
OAUTHBEARER = "OAUTHBEARER"
XOAUTH2 = "XOAUTH2"
WITH_TOKEN = (OAUTHBEARER, XOAUTH2)
CERTIFICATE, TOKEN = "certificate", "token"  # see `Proof.vouched`

_AUTHZID = re.compile(r"a=((?:[^=,]|=2C|=3D)+)")  # RFC 5801 4, gs2-authzid
_PAIR = re.compile(rb"([A-Za-z]+)=([\x20-\x7e\t\r\n]*)")  # RFC 7628 3.1, kvpair
_BEARER = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)  # RFC 6750 2.1, b64token
_NOBODY = "no certificate was shown"


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who it is, and what to tell the client if he may not come in."""

    login: str
    authorize_as: str
    proof: Proof
    error: bytes = field(default=b"", repr=False)
    token: Secret = field(default=Secret(b""))  # as a password is: who tries the same one again guesses nothing


@dataclass(frozen=True, slots=True)
class Bearer:
    """A client's message."""

    authorize_as: str
    token: Secret  # empty: none was sent


def external(means: Means) -> Generator[bytes, bytes, Vouched]:
    """RFC 4422 A.1. Of a certificate with several names the one that the client asks for, else the first."""
    authorize_as = utf8_text((yield b""), "the authorization identity")
    names = means.certified
    if not names:
        return Vouched("", authorize_as, Proof(False, text=_NOBODY, vouched=CERTIFICATE))
    wanted = authorize_as.casefold()
    login = next((name for name in names if name.casefold() == wanted), names[0])
    return Vouched(login, authorize_as, Proof(True, vouched=CERTIFICATE))


def oauthbearer(means: Means) -> Generator[bytes, bytes, Vouched]:
    """RFC 7628 3."""
    sent = bearer((yield b""))
    token = means.token(sent.token)
    return _judged(sent, token, _rfc7628_error(token))


def xoauth2(means: Means) -> Generator[bytes, bytes, Vouched]:
    """Google's forerunner of OAUTHBEARER."""
    sent = google_bearer((yield b""))
    token = means.token(sent.token)
    return _judged(sent, token, _google_error(token))


def bearer(message: bytes) -> Bearer:
    """client-resp — RFC 7628 3.1. Raises BadSyntax."""
    if message == b"\1":  # kvsep alone, which belongs behind an error
        raise BadSyntax("OAUTHBEARER begins with a gs2-header")
    header, _, rest = message.partition(b"\1")
    flag, first, behind = utf8_text(header, "the gs2-header").partition(",")
    name, second, nothing = behind.partition(",")
    if not first or not second or nothing or flag not in ("n", "y"):  # RFC 7628 3.1: there is no channel binding
        raise BadSyntax("OAUTHBEARER begins with a gs2-header such as n,a=user@example.org,")
    found = _AUTHZID.fullmatch(name)
    if name and found is None:
        raise BadSyntax("the authorization identity of a gs2-header is written a=")
    authorize_as = found[1].replace("=2C", ",").replace("=3D", "=") if found else ""
    return Bearer(authorize_as, _token(_pairs(rest)))


def google_bearer(message: bytes) -> Bearer:
    """The one message of XOAUTH2. Raises BadSyntax."""
    pairs = _pairs(message)
    user = pairs.get(b"user", b"")
    if not user:
        raise BadSyntax("XOAUTH2 wants user= and auth=Bearer")
    return Bearer(utf8_text(user, "the user name"), _token(pairs))


def _pairs(octets: bytes) -> dict[bytes, bytes]:
    if not octets.endswith(b"\1"):
        raise BadSyntax("the end of the message is not there: it is %x01")
    pairs: dict[bytes, bytes] = {}
    for pair in octets.rstrip(b"\1").split(b"\1") if octets.strip(b"\1") else ():
        key, equals, value = pair.partition(b"=")
        is_name = key == b"user"  # UTF-8, in XOAUTH2 alone
        if not equals or key.lower() in pairs or not (is_name or _PAIR.fullmatch(pair)):
            raise BadSyntax("this message has something in it that is not key=value, or something twice")
        pairs[key.lower()] = value
    return pairs


def _token(pairs: dict[bytes, bytes]) -> Secret:
    """Nothing: the client wants to be told what kind of token it needs. RFC 7628 4.3."""
    value = pairs.get(b"auth", b"")
    if not value:
        return Secret(b"")
    match = _BEARER.fullmatch(value)
    if match is None:
        raise BadSyntax("a token is sent as auth=Bearer, and has no other characters than those of base64")
    return Secret(match[1])


def _judged(sent: Bearer, token: Token, error: bytes) -> Vouched:
    if token.unavailable:  # then the client must not throw its token away
        return Vouched(sent.authorize_as, "", Proof(False, text=token.text, unavailable=True, vouched=TOKEN))
    if not token.login:
        return Vouched(sent.authorize_as, "", Proof(False, text=token.text, vouched=TOKEN), error, sent.token)
    return Vouched(token.login, sent.authorize_as, Proof(True, vouched=TOKEN), error, sent.token)


def _rfc7628_error(token: Token) -> bytes:
    """RFC 7628 3.2.2. One whose token is good and who may not come in is told that it is not."""
    status = "insufficient_scope" if token.lacks_scope else "invalid_token"
    found = {"status": status, "scope": token.scope, "openid-configuration": token.openid_configuration}
    return _json(found)


def _google_error(token: Token) -> bytes:
    """The status is that of HTTP, where a bearer token is refused: RFC 6750 3.1."""
    return _json({"status": "403" if token.lacks_scope else "401", "schemes": "bearer", "scope": token.scope})


def _json(members: dict[str, str]) -> bytes:
    return json.dumps({name: value for name, value in members.items() if value}).encode("ascii")
