"""CRAM-MD5, RFC 2195, and APOP, RFC 1939 7: a digest of a challenge and of the password.

Both want the password as it is ({PLAIN}), and MD5 no longer keeps anybody from trying passwords at home: so neither is
offered unless the settings say so, and never over a connection that others can listen to.
"""

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from greenmail.auth import saslprep
from greenmail.auth.api import Clear, Proof
from greenmail.errors import BadSyntax

CRAM_MD5 = "CRAM-MD5"
MD5_HEX = re.compile(rb"[0-9a-fA-F]{32}")

AskClear = Callable[[str], Clear | None]  # (login): see `Authenticator.clear`


@dataclass(frozen=True, slots=True)
class Digested:
    """Who it was, and whether the digest was right."""

    login: str
    proof: Proof


def challenge() -> bytes:
    """What no other connection is given: a msg-id, RFC 2195 2, RFC 1939 7."""
    return b"<%b.%d@greenmail>" % (os.urandom(12).hex().encode("ascii"), time.time())


def cram_md5(ask: AskClear, make: Callable[[], bytes] = challenge) -> Generator[bytes, bytes, Digested]:
    """The exchange: a challenge, and login SP digest. RFC 2195 2."""
    sent = make()
    login, space, digest = (yield sent).rpartition(b" ")
    if not space or not login or b"\0" in login or not MD5_HEX.fullmatch(digest):
        raise BadSyntax("CRAM-MD5 wants a user name, a space and 32 hexadecimal digits")
    return prove(_text(login), digest, ask, lambda password: hmac.digest(password, sent, "md5").hex())


def apop(timestamp: bytes, login: str, digest: bytes, ask: AskClear) -> Digested:
    """MD5 of the timestamp in the greeting with the password behind it, prepared. RFC 1939 7, RFC 6856 2.2."""
    if not MD5_HEX.fullmatch(digest):
        raise BadSyntax("APOP wants a user name and 32 hexadecimal digits")

    def made_of(password: bytes) -> str:
        return hashlib.md5(timestamp + saslprep.password(password), usedforsecurity=False).hexdigest()

    return prove(login, digest, ask, made_of)


def prove(login: str, digest: bytes, ask: AskClear, made_of: Callable[[bytes], str]) -> Digested:
    """Compare with what `made_of` the right password is; for an unknown user with that of an invented one."""
    clear = ask(login)
    if clear is None:
        return Digested(login, Proof(False, unavailable=True))
    is_right = hmac.compare_digest(made_of(clear.password.reveal()).encode("ascii"), digest.lower())
    right = is_right and bool(clear.stored)
    return Digested(login, Proof(right, clear.stored, "" if right else "the digest is wrong: password mismatch"))


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("a user name is UTF-8") from None
