"""Password schemes of Dovecot's passwd-file: `{SCHEME}data`, and `{SCHEME.b64}`, `{SCHEME.hex}`.

======================================  ==========================================================================
PLAIN CLEAR CLEARTEXT                   the password itself
CRYPT, or no scheme at all              crypt(3): $1$ $2a$ $2b$ $2y$ $5$ $6$ $7$ $y$ $gy$ $sha1$ ..., and DES;
                                        what others write there: $argon2id$ $scrypt$ $pbkdf2-sha256$
SHA256-CRYPT SHA512-CRYPT BLF-CRYPT     the same; MD5-CRYPT, DES-CRYPT, MD5 too
ARGON2 ARGON2I ARGON2ID                 $argon2i$v=19$m=..,t=..,p=..$salt$hash
PBKDF2                                  $1$salt$rounds$hex, HMAC-SHA-1
SHA SHA1 SHA256 SHA512                  base64 (or hex) of the digest
SSHA SSHA256 SSHA512 SMD5               base64 of digest and salt; the digest is of password and salt
LDAP-MD5 PLAIN-MD5                      base64, and hex, of the digest
CRAM-MD5 HMAC-MD5                       hex of the states of HMAC-MD5 after the password
SCRAM-SHA-1 SCRAM-SHA-256               iterations,salt,StoredKey,ServerKey: RFC 5802 3, checked against a password
======================================  ==========================================================================

Verifying may take long and is meant for the password pool: it touches nothing but its arguments. crypt(3) is called
through ctypes, which lets go of the GIL, as crypt_rn of libxcrypt, which needs no lock; argon2-cffi and hashlib let go
of it as well. Digests are compared in constant time.
"""

import base64
import binascii
import ctypes
import functools
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import argon2
from argon2.low_level import Type, verify_secret

from greenmail.auth import md5_state, saslprep

_PREFIX = re.compile(r"\{([A-Za-z0-9_-]+)(?:\.(b64|base64|hex))?\}", re.IGNORECASE)
_CRYPT_DATA = 32768  # sizeof(struct crypt_data) in libxcrypt
PASSWORD_MAX = 1024  # octets; longer ones are refused before any work is done for them
_SCRAM_MOST_ROUNDS = 10_000_000
_SCRYPT_MOST = 256 << 20  # octets of memory
_DES = re.compile(r"[./0-9A-Za-z]{13}\Z|_[./0-9A-Za-z]{19}\Z")

# RFC 9106 4 would take 64 MiB; this is OWASP's smaller one of equal strength, so that a burst of logins fits in memory.
_ARGON2ID = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password is right; `problem` says why the stored one can never be matched, for the log."""

    right: bool
    problem: str = ""


WRONG = Verdict(False)
# Nobody's password: checked where there is none to check, so that it takes as long.
STAND_IN = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$fmmlTRwycpaYUQ4KLlSsEQ$IwqeL4wRHcahzW74v6Wpa+ZzZ4I2DXkoq5x1senTnhs"
_MALFORMED = "the stored password is locked or malformed"


def verify(stored: str, password: bytes, allow_weak: bool) -> Verdict:
    """Check `password` against `stored` as it stands in the file. Never raises."""
    if not is_possible(password):
        return WRONG
    if not stored:
        return Verdict(False, "no password is stored")
    scheme, encoding, data = split(stored)
    known = SCHEMES.get(scheme)
    if known is None:
        return Verdict(False, f"the password scheme {scheme} is not known")
    if not allow_weak and is_weak(scheme, data):
        return Verdict(False, f"the password scheme {scheme} is weak, and allow-weak-schemes is false")
    try:
        return Verdict(known.check(_decoded(data, encoding, known), password))
    except (ValueError, binascii.Error) as error:
        return Verdict(False, f"{_MALFORMED}: {error}" if isinstance(error, _Unusable) else _MALFORMED)


def is_possible(password: bytes) -> bool:
    """Whether anybody can have this password.

    Nobody may log in without one. With a NUL behind it a password is the same one to HMAC, so to PBKDF2.
    """
    return 0 < len(password) <= PASSWORD_MAX and b"\0" not in password


def split(stored: str) -> tuple[str, str, str]:
    """Scheme in upper case, encoding in lower case ("" if none was given), and the rest."""
    match = _PREFIX.match(stored)
    if match is None:
        return "CRYPT", "", stored
    return match[1].upper(), (match[2] or "").lower(), stored[match.end() :]


def is_weak(scheme: str, data: str) -> bool:
    """Whether `allow-weak-schemes` is needed: unsalted or salted MD5, and DES."""
    if scheme in ("SMD5", "LDAP-MD5", "PLAIN-MD5", "DES-CRYPT", "CRAM-MD5", "HMAC-MD5"):
        return True
    if scheme == "MD5":
        return not data.startswith("$")
    return scheme == "CRYPT" and (not data.startswith("$") or data.startswith("$3$")) and data[:1] not in "*!x"


def make(scheme: str, password: bytes) -> str:
    """A new stored password with its `{SCHEME}`. Raises KeyError for a scheme that is not in MAKERS."""
    return f"{{{scheme}}}{MAKERS[scheme](password)}"


class _Unusable(ValueError):
    """A stored password that names something this machine cannot do."""


def _decoded(data: str, encoding: str, scheme: "_Scheme") -> bytes:
    raw = data.encode("utf-8", "surrogateescape")
    encoding = encoding or scheme.encoding
    # Dovecot takes an unsalted digest of the right length for hex, whatever the scheme's own encoding is.
    if scheme.digest_size and len(raw) == 2 * scheme.digest_size and encoding == "b64":
        encoding = "hex"
    if encoding in ("b64", "base64"):
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    return binascii.unhexlify(raw) if encoding == "hex" else raw


def _plain(stored: bytes, password: bytes) -> bool:
    return bool(stored) and hmac.compare_digest(stored, password)


def _crypt(stored: bytes, password: bytes) -> bool:
    for prefix, check in _OTHERS.items():
        if stored.startswith(prefix):
            return check(stored, password)
    found = _crypt_rn(password, stored)
    if found is None:
        raise ValueError
    return hmac.compare_digest(found, stored)


@functools.cache
def _libcrypt() -> Callable[..., bytes | None] | None:
    for name in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so"):  # .2 where the obsolete functions were left out
        try:
            function = ctypes.CDLL(name, use_errno=True).crypt_rn
        except (OSError, AttributeError):
            continue
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
        function.restype = ctypes.c_char_p
        found: Callable[..., bytes | None] = function
        return found
    return None


def _crypt_rn(password: bytes, setting: bytes) -> bytes | None:
    """crypt(3), or None if it fails: unknown setting, or a password it cannot take."""
    function = _libcrypt()
    if function is None:
        raise _Unusable("libxcrypt is not installed, which the crypt schemes need")
    if b"\0" in password or b"\0" in setting:
        return None  # C would stop there and compare a shorter one
    work = ctypes.create_string_buffer(_CRYPT_DATA)
    try:
        found = function(password, setting, work, _CRYPT_DATA)
        # crypt(5): what begins with an asterisk is no hash but the report of a failure.
        return None if found is None or found.startswith(b"*") else found
    finally:
        ctypes.memset(work, 0, _CRYPT_DATA)  # what is left of the password; the result has been copied


def _argon2(stored: bytes, password: bytes) -> bool:
    kinds = {b"$argon2id$": Type.ID, b"$argon2i$": Type.I, b"$argon2d$": Type.D}
    kind = next((kinds[prefix] for prefix in kinds if stored.startswith(prefix)), None)
    if kind is None:
        raise ValueError
    try:
        return verify_secret(stored, password, kind)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError) as error:
        raise ValueError from error


def _scrypt(stored: bytes, password: bytes) -> bool:
    """$scrypt$ln=16,r=8,p=1$salt$hash"""
    _empty, _name, parameters, salt, digest = stored.split(b"$")
    cost = _numbers(parameters)
    log, blocks, lanes = (cost.get(name, 0) for name in (b"ln", b"r", b"p"))
    wanted = _unpadded(digest)
    if min(log, blocks, lanes) <= 0 or max(log, blocks, lanes) > 31 or not wanted:
        raise ValueError
    if blocks * lanes << (log + 7) > _SCRYPT_MOST:
        raise ValueError
    made = hashlib.scrypt(
        password, salt=_unpadded(salt), n=1 << log, r=blocks, p=lanes, maxmem=2 * _SCRYPT_MOST, dklen=len(wanted)
    )
    return hmac.compare_digest(made, wanted)


def _pbkdf2_phc(stored: bytes, password: bytes) -> bool:
    """$pbkdf2-sha256$i=10000,l=32$salt$hash, and as passlib writes it: $pbkdf2-sha256$29000$salt$hash"""
    _empty, name, parameters, salt, digest = stored.split(b"$")
    algorithm = {b"pbkdf2": "sha1", b"pbkdf2-sha256": "sha256", b"pbkdf2-sha512": "sha512"}.get(name)
    count = int(parameters) if parameters.isdigit() else _numbers(parameters).get(b"i", 0)
    wanted = _unpadded(digest)
    if algorithm is None or not wanted or not 0 < count <= _SCRAM_MOST_ROUNDS:
        raise ValueError
    made = hashlib.pbkdf2_hmac(algorithm, password, _unpadded(salt), count, len(wanted))
    return hmac.compare_digest(made, wanted)


def _numbers(parameters: bytes) -> dict[bytes, int]:
    return {name: int(value) for name, _, value in (part.partition(b"=") for part in parameters.split(b","))}


def _unpadded(text: bytes) -> bytes:
    """base64 without its padding; passlib writes `.` for `+`."""
    return base64.b64decode(text.replace(b".", b"+") + b"=" * (-len(text) % 4), validate=True)


def _cram_md5(stored: bytes, password: bytes) -> bool:
    if len(stored) != 32:
        raise ValueError
    return hmac.compare_digest(md5_state.hmac_states(password, _hash("md5", password).digest()), stored)


def _pbkdf2(stored: bytes, password: bytes) -> bool:
    empty, version, salt, rounds, digest = stored.split(b"$")
    wanted = binascii.unhexlify(digest)
    count = int(rounds)
    if empty or version != b"1" or not wanted or not 0 < count <= _SCRAM_MOST_ROUNDS:
        raise ValueError
    return hmac.compare_digest(hashlib.pbkdf2_hmac("sha1", password, salt, count, len(wanted)), wanted)


def _hash(algorithm: str, octets: bytes) -> "hashlib._Hash":
    # Machines in FIPS mode give out MD5 for old times' sake only, and would not even let this module load otherwise.
    return hashlib.new(algorithm, octets, usedforsecurity=False)


def _digest(algorithm: str) -> Callable[[bytes, bytes], bool]:
    """The digest of the password; what is behind it in the file is salt, which was hashed after the password."""
    size = _hash(algorithm, b"").digest_size

    def check(stored: bytes, password: bytes) -> bool:
        if len(stored) < size:
            raise ValueError
        return hmac.compare_digest(_hash(algorithm, password + stored[size:]).digest(), stored[:size])

    return check


def _unsalted(algorithm: str) -> Callable[[bytes, bytes], bool]:
    def check(stored: bytes, password: bytes) -> bool:
        wanted = _hash(algorithm, password).digest()
        if len(stored) != len(wanted):
            raise ValueError
        return hmac.compare_digest(wanted, stored)

    return check


def _md5(stored: bytes, password: bytes) -> bool:
    if stored.startswith(b"$"):
        return _crypt(stored, password)
    return _unsalted("md5")(base64.b64decode(stored, validate=True), password)


def _scram(algorithm: str) -> Callable[[bytes, bytes], bool]:
    """StoredKey = H(HMAC(Hi(password, salt, i), "Client Key")) — RFC 5802 3."""

    def check(stored: bytes, password: bytes) -> bool:
        rounds, salt, stored_key, _server_key = stored.split(b",")
        count = int(rounds)
        if not 0 < count <= _SCRAM_MOST_ROUNDS:
            raise ValueError
        wanted, octets = base64.b64decode(stored_key, validate=True), base64.b64decode(salt, validate=True)
        # RFC 5802 2.2 wants the password prepared; Dovecot hashes what it is given. Few passwords are two.
        return any(
            hmac.compare_digest(scram_keys(algorithm, spelling, octets, count)[0], wanted)
            for spelling in sorted({password, saslprep.password(password)})
        )

    return check


def scram_keys(algorithm: str, password: bytes, salt: bytes, rounds: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey, RFC 5802 3, of a password that is prepared."""
    salted = hashlib.pbkdf2_hmac(algorithm, password, salt, rounds)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    return _hash(algorithm, client_key).digest(), hmac.digest(salted, b"Server Key", algorithm)


def plain(stored: str) -> bytes | None:
    """The password, where it is stored as it is; None: it is not, or it is none that anybody could log in with."""
    scheme, encoding, data = split(stored)
    known = SCHEMES.get(scheme)
    if known is not _PLAIN:
        return None
    try:
        found = _decoded(data, encoding, known)
    except (ValueError, binascii.Error):
        return None
    return found if found and len(found) <= PASSWORD_MAX and b"\0" not in found else None


@dataclass(frozen=True, slots=True)
class _Scheme:
    check: Callable[[bytes, bytes], bool]  # (stored, decoded; password); ValueError: malformed
    encoding: str = ""  # of data without a suffix
    digest_size: int = 0  # of an unsalted digest


# Hashes that crypt(3) does not know, and that other servers have beside those that it does.
_OTHERS: dict[bytes, Callable[[bytes, bytes], bool]] = {
    b"$argon2": _argon2,
    b"$scrypt$": _scrypt,
    b"$pbkdf2": _pbkdf2_phc,
}
_CRAM_MD5 = _Scheme(_cram_md5, "hex")
_CRYPT = _Scheme(_crypt)
_PLAIN = _Scheme(_plain)
_ARGON2 = _Scheme(_argon2)
_SHA1 = _Scheme(_unsalted("sha1"), "b64", 20)

SCHEMES: dict[str, _Scheme] = {
    "PLAIN": _PLAIN,
    "CLEAR": _PLAIN,
    "CLEARTEXT": _PLAIN,
    "CRYPT": _CRYPT,
    "SHA256-CRYPT": _CRYPT,
    "SHA512-CRYPT": _CRYPT,
    "BLF-CRYPT": _CRYPT,
    "MD5-CRYPT": _CRYPT,
    "DES-CRYPT": _CRYPT,
    "MD5": _Scheme(_md5),
    "ARGON2": _ARGON2,
    "ARGON2I": _ARGON2,
    "ARGON2ID": _ARGON2,
    "PBKDF2": _Scheme(_pbkdf2),
    "SHA": _SHA1,
    "SHA1": _SHA1,
    "SHA256": _Scheme(_unsalted("sha256"), "b64", 32),
    "SHA512": _Scheme(_unsalted("sha512"), "b64", 64),
    "SSHA": _Scheme(_digest("sha1"), "b64"),
    "SSHA256": _Scheme(_digest("sha256"), "b64"),
    "SSHA512": _Scheme(_digest("sha512"), "b64"),
    "SMD5": _Scheme(_digest("md5"), "b64"),
    "LDAP-MD5": _Scheme(_unsalted("md5"), "b64", 16),
    "PLAIN-MD5": _Scheme(_unsalted("md5"), "hex", 16),
    "CRAM-MD5": _CRAM_MD5,
    "HMAC-MD5": _CRAM_MD5,
    "SCRAM-SHA-1": _Scheme(_scram("sha1")),
    "SCRAM-SHA-256": _Scheme(_scram("sha256")),
}


def _make_argon2id(password: bytes) -> str:
    return _ARGON2ID.hash(password)


def _make_sha512_crypt(password: bytes) -> str:
    salt = base64.b64encode(os.urandom(12), b"./")
    found = _crypt_rn(password, b"$6$rounds=100000$" + salt)
    if found is None:
        raise ValueError("crypt(3) cannot take this password")
    return found.decode("ascii")


def _make_scram(algorithm: str) -> Callable[[bytes], str]:
    """RFC 5802 3, RFC 7677 4: iteration count, salt, StoredKey, ServerKey."""

    def make_it(password: bytes) -> str:
        rounds, salt = 20000, os.urandom(16)
        parts = (salt, *scram_keys(algorithm, saslprep.password(password), salt, rounds))
        return ",".join([str(rounds), *(base64.b64encode(part).decode() for part in parts)])

    return make_it


MAKERS: dict[str, Callable[[bytes], str]] = {
    "ARGON2ID": _make_argon2id,
    "SHA512-CRYPT": _make_sha512_crypt,
    "SCRAM-SHA-256": _make_scram("sha256"),
    "SCRAM-SHA-1": _make_scram("sha1"),
}
