"""What stored passwords are good for in SCRAM: keys of those who are there, and of those who are not.

    {SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey        as Dovecot writes it; base64 but for the number
    {PLAIN}password                                           serves every mechanism, CRAM-MD5 too; keys are worked out

Clients take SCRAM whenever they are told of it, and a user without keys could not get in, whatever the password. So a
file of users has a mechanism only if everybody in it has: that is counted when the file is read.

A user who is not there has salt and iterations, too, and the same ones at every try, in every worker and after a
restart: they are made of the name and a secret of this machine, as often of each kind as the users' own are.
"""

import base64
import binascii
import hashlib
import hmac
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from greenmail.auth import saslprep, schemes
from greenmail.auth.api import Keys
from greenmail.auth.digests import CRAM_MD5
from greenmail.auth.scram import HASHES

LEAST_ROUNDS, MOST_ROUNDS = 4096, 10_000_000  # RFC 7677 4; a client would work for seconds
_DERIVED_ROUNDS, _DERIVED_SALT = 4096, 16
_PLAIN = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})


@dataclass(frozen=True, slots=True)
class Kind:
    """What a client sees of a user's keys, and what it costs to have them."""

    rounds: int = _DERIVED_ROUNDS
    salt_octets: int = _DERIVED_SALT
    is_derived: bool = True  # worked out from a password that is stored as it is


@dataclass(frozen=True, slots=True)
class Summary:
    """What the users of a file can do, by mechanism."""

    kinds: Mapping[str, Mapping[Kind, int]] = field(default_factory=dict)
    lacking: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # how many cannot, and one of them

    @property
    def mechanisms(self) -> frozenset[str]:
        """Those that everybody can use; none if there is nobody."""
        return frozenset(name for name in self.kinds if name not in self.lacking)


EMPTY = Summary()  # of no users at all
NOTHING = Summary(lacking=dict.fromkeys((*HASHES, CRAM_MD5), (0, "")))  # of users of whom that cannot be said


def summary(users: Iterable[tuple[str, str]]) -> Summary:
    """Of users with their stored passwords."""
    counted: dict[str, Counter[tuple[int, int, bool]]] = {name: Counter() for name in (*HASHES, CRAM_MD5)}
    lacking: dict[str, tuple[int, str]] = {}
    for user, stored in users:
        scheme, encoding, data = schemes.split(stored)
        if scheme not in _PLAIN and data[:1] in ("", "*", "!"):  # locked, as in shadow(5): nobody comes in with that
            continue
        is_plain = scheme in _PLAIN and schemes.plain(stored) is not None
        for name, counter in counted.items():
            keys = _stored_keys(stored, name) if scheme == name in HASHES and not encoding else None
            if is_plain:
                counter[_DERIVED_ROUNDS, _DERIVED_SALT, True] += 1
            elif keys is not None:
                counter[keys.iterations, len(keys.salt), False] += 1
            else:
                count, first = lacking.get(name, (0, user))
                lacking[name] = (count + 1, first)
    kinds = {
        name: {Kind(*kind): count for kind, count in counter.items()} for name, counter in counted.items() if counter
    }
    return Summary(kinds, lacking)


def keys_of(stored: str, mechanism: str, salt: bytes) -> Keys | None:
    """The keys of a stored password; `salt` is for one without keys. May take a millisecond. None: it has none."""
    password = schemes.plain(stored)
    return derived(password, mechanism, salt, stored) if password else _stored_keys(stored, mechanism)


def derived(password: bytes, mechanism: str, salt: bytes, stored: str = "") -> Keys:
    """The keys of a password, RFC 5802 3."""
    algorithm = HASHES[mechanism]
    parts = schemes.scram_keys(algorithm, saslprep.password(password), salt, _DERIVED_ROUNDS)
    return Keys(_DERIVED_ROUNDS, salt, *parts, stored)


def _stored_keys(stored: str, mechanism: str) -> Keys | None:
    prefix = f"{{{mechanism}}}"
    if stored[: len(prefix)].upper() != prefix:
        return None
    parts = stored[len(prefix) :].split(",")
    try:
        rounds = int(parts[0]) if parts[0].isascii() and parts[0].isdecimal() else 0
        octets = [base64.b64decode(part, validate=True) for part in parts[1:]]
    except (ValueError, binascii.Error):
        return None
    size = hashlib.new(HASHES[mechanism], usedforsecurity=False).digest_size
    good = LEAST_ROUNDS <= rounds <= MOST_ROUNDS and len(octets) == 3 and bool(octets[0])
    if not good or len(octets[1]) != size or len(octets[2]) != size:
        return None
    return Keys(rounds, octets[0], octets[1], octets[2], stored)


def salt_for(secret: bytes, name: str, size: int = _DERIVED_SALT) -> bytes:
    """Always the same one for this name."""
    return hashlib.pbkdf2_hmac("sha256", _keyed(secret, "salt", name), b"", 1, size)


def invented_kind(secret: bytes, name: str, kinds: Mapping[Kind, int]) -> Kind:
    """What a user of this name would have, were there one: each kind as often as there is in `kinds`.

    The highest of one draw for each kind: so another user more or less changes the outcome for hardly any name.
    """
    best, found = -math.inf, Kind()
    for kind, count in kinds.items():
        drawn = int.from_bytes(_keyed(secret, f"{kind.rounds} {kind.salt_octets} {kind.is_derived}", name)[:8])
        score = math.log((drawn + 1) / (2**64 + 1)) / count
        if score > best:
            best, found = score, kind
    return found


def invented(secret: bytes, name: str, mechanism: str, kind: Kind) -> Keys:
    """Keys of nobody, which cost as much as somebody's."""
    salt = salt_for(secret, name, kind.salt_octets)
    if kind.is_derived:
        return derived(salt, mechanism, salt)
    size = hashlib.new(HASHES[mechanism], usedforsecurity=False).digest_size
    return Keys(kind.rounds, salt, bytes(size), bytes(size))


def _keyed(secret: bytes, purpose: str, name: str) -> bytes:
    return hmac.digest(secret, f"{purpose}\0{name}".encode("utf-8", "surrogatepass"), "sha256")


def machine_secret(path: str = "/etc/machine-id") -> bytes:
    """What other machines do not know and this one does at its next start, too: machine-id(5), hashed as told there.

    Without that file a new one each time.
    """
    try:
        with open(path, "rb") as file:
            found = file.read(64).strip()
    except OSError:
        found = b""
    return hmac.digest(found, b"GreenMail: users who are not there", "sha256") if found else os.urandom(32)
