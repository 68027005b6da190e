"""Certificates and contexts.

The parent reads and checks certificate and key, which may be root's alone, and makes the contexts before it forks: so
all workers share the keys of session tickets, and a client resumes its session with any of them. A certificate that
is renewed later reaches the workers as descriptors of anonymous files (memfd) over the socketpair, and is loaded into
the living contexts; connections that are open keep what they have.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import itertools
import logging
import os
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from gevent.ssl import SSLContext
from OpenSSL import SSL

log = logging.getLogger(__name__)

EXPIRES_SOON = 14 * 86400.0
_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class CannotStart(Exception):
    """Why the server cannot run as it is configured: one line, with the path or key and what to do. `status`: exit."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


EX_CONFIG = 78  # sysexits.h: something in the configuration is wrong


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate and its key are."""

    cert_path: str
    key_path: str


@dataclass(frozen=True, slots=True)
class Material:
    """A certificate with its chain, and its key: checked."""

    pair: Pair
    certificates: bytes
    key: bytes
    expires: float  # seconds since 1970

    def __repr__(self) -> str:
        return f"Material({self.pair})"


def read(pair: Pair) -> Material:
    """Read and check a pair. Raises CannotStart; what is only suspicious goes to the log."""
    certificates = _octets("cert-path", pair.cert_path)
    key_octets = _octets("key-path", pair.key_path)
    blocks = _PEM_CERTIFICATE.findall(certificates)
    if not blocks:
        raise CannotStart(f"cert-path: {pair.cert_path}: there is no PEM certificate in this file", EX_CONFIG)
    try:
        chain = [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError:
        raise CannotStart(f"cert-path: {pair.cert_path}: a certificate in this file is damaged", EX_CONFIG) from None
    key = _private_key(pair.key_path, key_octets)
    try:
        probe = SSL.Context(SSL.TLS_METHOD)
        probe.use_certificate(chain[0])
        probe.use_privatekey(key)
        probe.check_privatekey()
    except (SSL.Error, ValueError, TypeError):
        text = f"key-path: {pair.key_path} is not the key of the first certificate in cert-path: {pair.cert_path}"
        raise CannotStart(text, EX_CONFIG) from None
    _look_at_chain(pair, chain)
    expires = chain[0].not_valid_after_utc.timestamp()
    _look_at_dates(pair, chain[0], expires)
    return Material(pair, certificates, key_octets, expires)


def read_all(pairs: Iterable[Pair]) -> dict[Pair, Material]:
    """Read and check every pair. Raises CannotStart."""
    return {pair: read(pair) for pair in pairs}


def context(material: Material, min_version: str, ciphers: str) -> SSLContext:
    """A context for servers. Raises CannotStart."""
    made = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[min_version]
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # A client that closes its half without a word of TLS may still read: OpenSSL would refuse to send. Nothing can be
    # cut short by that: a command ends with its line.
    made.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    # The client knows whether its processor has AES: Mozilla's intermediate profile leaves the choice to it.
    made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        made.set_ciphers(ciphers)
    except ssl.SSLError:
        text = f"tls-ciphers: OpenSSL knows none of these ciphers: {ciphers!r}; see `openssl ciphers -v`"
        raise CannotStart(text, EX_CONFIG) from None
    try:
        with in_memory(material) as descriptors:
            load(made, *descriptors)
    except OSError as error:  # OpenSSL's errors, too
        raise CannotStart(f"cert-path: {material.pair.cert_path}: OpenSSL refuses it: {error}", EX_CONFIG) from None
    return made


@contextmanager
def in_memory(material: Material) -> Iterator[tuple[int, int]]:
    """Descriptors of anonymous files with certificate and key, for as long as the block. Raises OSError."""
    with ExitStack() as opened:
        certificates = _memory("certificate", material.certificates)
        opened.callback(os.close, certificates)
        key = _memory("key", material.key)
        opened.callback(os.close, key)
        yield certificates, key


def load(into: Any, certificates: int, key: int) -> None:
    """Load a pair from descriptors into a context, living or new. Raises ssl.SSLError, OSError."""
    # No passphrase is ever asked for: a prompt would stop the worker.
    into.load_cert_chain(f"/proc/self/fd/{certificates}", f"/proc/self/fd/{key}", password=_no_passphrase)
    block = _PEM_CERTIFICATE.search(os.pread(certificates, 1 << 20, 0))
    # Beside the certificate, since a context does not show what it has; a gevent one has room for it.
    certificate = None if block is None else x509.load_pem_x509_certificate(block[0])
    into.greenmail_end_point = b"" if certificate is None else binding(certificate)
    into.greenmail_names = frozenset[str]() if certificate is None else names_in(certificate)


def wants_input(sock: Any) -> bool | None:
    """Go on with the handshake of a socket that does not wait; whether it waits for input, or for room; None: done."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLWantWriteError:
        return False
    return None


def end_point(context: Any) -> bytes:
    """`tls-server-end-point` of connections that begin now with this context; empty if there is none."""
    found: bytes = getattr(context, "greenmail_end_point", b"")
    return found


def names(context: Any) -> frozenset[str]:
    """Of servers, that the certificate of this context is for now; in lower case, perhaps with a `*` in front."""
    found: frozenset[str] = getattr(context, "greenmail_names", frozenset())
    return found


def names_in(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names among the alternative names; the common name where there are none, as it was once."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = alternative.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        found = []
    if not found:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        found = [str(one.value) for one in common]
    return frozenset(name.lower().removesuffix(".") for name in found if name)


def binding(certificate: x509.Certificate) -> bytes:
    """The hash of the certificate by the algorithm of its signature, but no weaker than SHA-256: RFC 5929 4.1.

    Empty where that signature has no single hash (Ed25519): then it is not defined, and clients would not agree.
    """
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return b""
    if algorithm is None:
        return b""
    weak = algorithm.name in ("md5", "sha1")
    return certificate.fingerprint(hashes.SHA256() if weak else algorithm)


def changed(materials: Iterable[Material], told: dict[Pair, str]) -> list[Material]:
    """What is on disk now, checked, for those of `materials` that are not the same there any more.

    A pair that is halfway through being replaced, or broken, is left for the next look. `told`: see `not_reloaded`.
    """
    found = []
    for old in materials:
        try:
            if old.certificates == _octets("", old.pair.cert_path) and old.key == _octets("", old.pair.key_path):
                told.pop(old.pair, None)
            else:
                found.append(read(old.pair))
        except CannotStart as error:
            not_reloaded(old.pair, error.text, told)
    return found


def not_reloaded(pair: Pair, why: str, told: dict[Pair, str]) -> None:
    """A line of the log, once for as long as the reason is the same; `told` is what it was told of each pair."""
    if told.get(pair) != why:
        log.warning("certificate-not-reloaded path=%s reason=%r", pair.cert_path, why)
    told[pair] = why


def _memory(name: str, octets: bytes) -> int:
    descriptor = os.memfd_create(f"greenmail-{name}", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(octets)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _no_passphrase() -> bytes:
    return b""


def _octets(key: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise CannotStart(f"{key}: {path}: cannot be read: {error.strerror}", EX_CONFIG) from None


def _private_key(path: str, octets: bytes) -> Any:
    if b"ENCRYPTED" in octets:
        text = f"key-path: {path}: the key is encrypted; write it without a passphrase: openssl pkey -in {path}"
        raise CannotStart(text, EX_CONFIG)
    try:
        return load_pem_private_key(octets, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CannotStart(f"key-path: {path}: there is no PEM private key in this file", EX_CONFIG) from None


def _look_at_chain(pair: Pair, chain: list[x509.Certificate]) -> None:
    """Each certificate should be signed by the one below it: RFC 8446 4.4.2. Some clients forgive it, some do not."""
    for number, (lower, upper) in enumerate(itertools.pairwise(chain), 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            log.warning(
                "certificate-chain path=%s text=%r",
                pair.cert_path,
                f"certificate {number} is not signed by certificate {number + 1}; put each issuer below",
            )
            return


def _look_at_dates(pair: Pair, certificate: x509.Certificate, expires: float) -> None:
    now = time.time()
    day = time.strftime("%Y-%m-%d", time.gmtime(expires))
    if expires <= now:
        log.error("certificate-expired path=%s expired=%s", pair.cert_path, day)
    elif expires - now < EXPIRES_SOON:
        log.warning("certificate-expires-soon path=%s expires=%s", pair.cert_path, day)
    if certificate.not_valid_before_utc.timestamp() > now:
        log.error("certificate-not-yet-valid path=%s", pair.cert_path)
