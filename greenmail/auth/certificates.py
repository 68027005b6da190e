"""Whom a client's certificate is for: a name in it, or a key that is pinned to a user.

A name counts only if an authority that the settings name has signed for it; a pinned key counts whoever signed, since
only who has it can have come with it. The file of pinned keys:

    line = user ":" key [":" comment] LF

`key` is the SHA-256 of the public key (SubjectPublicKeyInfo, RFC 5280 4.1.2.7) in 64 hexadecimal digits, as

    openssl x509 -in bob.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum

gives it: it stays the same when a certificate is renewed for the same key. A user may have several, a key has one user.
"""

import hashlib
import re
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from greenmail.auth.database import Entry
from greenmail.auth.passwd_file import PasswdFile, Table

_UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")  # of Microsoft's directories; a UTF8String
_KEY = re.compile(r"[0-9a-f]{64}")
_UTF8_STRING = 0x0C
# What is raised for certificates that OpenSSL takes and that are malformed all the same.
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip


def key_of(certificate: x509.Certificate) -> str:
    """The SHA-256 of its public key, as files of pinned keys have it."""
    return hashlib.sha256(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def names_in(certificate: x509.Certificate, kind: str) -> tuple[str, ...]:
    """The names of one of KINDS, in the order in which they stand there. One that cannot be read has none."""
    try:
        return tuple(name for name in KINDS[kind](certificate) if name)
    except UNREADABLE:
        return ()


def _alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _mail_addresses(certificate: x509.Certificate) -> list[str]:
    return [name.value for name in _alternatives(certificate) if isinstance(name, x509.RFC822Name)]


def _hosts(certificate: x509.Certificate) -> list[str]:
    return [name.value for name in _alternatives(certificate) if isinstance(name, x509.DNSName)]


def _principals(certificate: x509.Certificate) -> list[str]:
    others = [name for name in _alternatives(certificate) if isinstance(name, x509.OtherName)]
    return [_utf8_string(name.value) for name in others if name.type_id == _UPN]


def _common_names(certificate: x509.Certificate) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [str(name.value) for name in found]


KINDS: dict[str, Callable[[x509.Certificate], list[str]]] = {
    "rfc822name": _mail_addresses,
    "dnsname": _hosts,
    "upn": _principals,
    "cn": _common_names,
}


def _utf8_string(der: bytes) -> str:
    """One DER value; a name of more than 255 octets is no user's. Raises ValueError."""
    size, start = (der[1], 2) if len(der) > 1 else (0, 2)
    if size == 0x81 and len(der) > 2:
        size, start = der[2], 3
    if not der or der[0] != _UTF8_STRING or size != len(der) - start:
        raise ValueError("not a UTF8String")
    return der[start:].decode("utf-8")


def parse_keys(octets: bytes) -> Table:
    """The users of a file of pinned keys, by key. Total: any octets give a table."""
    users: dict[str, Entry] = {}
    problems = []
    for number, line in enumerate(octets.decode("utf-8", "surrogateescape").split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, rest = line.partition(":")
        key = rest.partition(":")[0].strip().lower()
        if not user or not _KEY.fullmatch(key):
            problems.append(f"line={number} has not the form user:key, with a key of 64 hexadecimal digits")
        elif key in users:
            problems.append(f"line={number} has a key that is there already, the first one counts")
        else:
            users[key] = Entry(user)
    return Table(users, tuple(problems))


def pinned_keys(path: str) -> PasswdFile:
    """The file of pinned keys, read again when it changes: `find` takes a key in the place of a name."""
    return PasswdFile(path, read=parse_keys)
