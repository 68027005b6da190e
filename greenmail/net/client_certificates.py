"""Clients that show certificates: asked for in the handshake, looked at behind it.

Python's `ssl` ends the handshake of a client whose certificate it does not trust, and knows no pinned keys. A client
may have a certificate for quite another purpose, or an expired one and a password: so where certificates are asked for
(`tls-client-certificate`), and only there, connections are pyOpenSSL's, which ask us about each. `PeerSocket` has the
methods of `ssl.SSLSocket` that `Stream` uses, and its exceptions. So are they where `tls-exporter` is wanted, which
`ssl` does not tell: then clients are asked for nothing.

OpenSSL checks the chain up to `client-ca-path`, dates, purpose and `client-crl-path`. Sessions are not resumed: each
connection shows its certificate, and one that was revoked opens no door any more.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from greenmail.auth import certificates
from greenmail.auth.database import Blocking, Entry, Unavailable
from greenmail.config import Config
from greenmail.net import exporter
from greenmail.net.tls import EX_CONFIG, CannotStart

log = logging.getLogger(__name__)

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_OPTIONS = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | ssl.OP_IGNORE_UNEXPECTED_EOF
_RELEASE_BUFFERS = 0x10  # SSL_MODE_RELEASE_BUFFERS, as `ssl` has it: 34 KiB less of a connection that is silent
_LARGEST = 1 << 24  # octets of a file of authorities or revocations
# X509_V_ERR_...: the numbers are those of OpenSSL's interface, the texts for whoever reads the log.
_PROBLEMS = {
    2: "its issuer is not in client-ca-path",
    3: "there is no revocation list of its issuer in client-crl-path",
    7: "its signature is wrong",
    8: "the signature of the revocation list is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    11: "the revocation list is not valid yet",
    12: "the revocation list in client-crl-path has expired",
    18: "it is self-signed",
    19: "its chain ends at an authority that is not in client-ca-path",
    20: "its issuer is not in client-ca-path",
    21: "its issuer is not in client-ca-path",
    23: "it was revoked",
    24: "its issuer is no authority",
    26: "it is not meant for clients (extended key usage)",
    66: "its key is too weak",
    67: "the key of its issuer is too weak",
    68: "its signature is too weak",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked of clients: the settings, with the files that the parent has read."""

    required: bool
    authorities: bytes  # PEM; may be empty, where keys are pinned
    crl_path: str
    shows_authorities: bool  # clients are told whose certificates to choose from


@dataclass(slots=True)
class _Seen:
    """What the handshake said of a certificate."""

    problem: str = ""
    socket: "PeerSocket | None" = None  # during the handshake: what refers to itself is found late


def asking(config: Config) -> Asking | None:
    """By the settings; None: certificates are not asked for. Raises CannotStart."""
    if config.tls_client_certificate == "off":
        return None
    octets = _read("client-ca-path", config.client_ca_path) if config.client_ca_path else b""
    if config.client_ca_path and not _load(x509.load_pem_x509_certificates, octets):
        raise CannotStart(f"client-ca-path: {config.client_ca_path}: there is no PEM certificate in it", EX_CONFIG)
    if config.client_crl_path and not _lists(_read("client-crl-path", config.client_crl_path)):
        text = f"client-crl-path: {config.client_crl_path}: there is no PEM revocation list in this file"
        raise CannotStart(text, EX_CONFIG)
    is_required = config.tls_client_certificate == "required"
    # A client with a certificate of its own making would take an authority's name for a reason not to show it.
    return Asking(is_required, octets, config.client_crl_path, not config.client_keys_file)


def _read(key: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise CannotStart(f"{key}: {path}: cannot be read: {error.strerror}", EX_CONFIG) from None


def _load(read: Callable[[bytes], list[x509.Certificate]], octets: bytes) -> list[x509.Certificate]:
    try:
        return read(octets)
    except ValueError:
        return []


def _lists(octets: bytes) -> list[x509.CertificateRevocationList]:
    """Every revocation list of a PEM file; none, if one of them is damaged."""
    mark = b"-----BEGIN X509 CRL-----"
    try:
        return [x509.load_pem_x509_crl(mark + part) for part in octets.split(mark)[1:]]
    except ValueError:
        return []


class AskingContext:
    """In the place of an `SSLContext`. What it is made of changes while it lives: then the next connection has it."""

    def __init__(self, asked: Asking | None, min_version: str, ciphers: str, exports: bool = False) -> None:
        """`asked`: None, if nothing is; `exports`: connections tell `tls-exporter`."""
        self.exports = exports
        self.greenmail_end_point = b""
        self.sni_callback: Callable[[PeerSocket, str | None, AskingContext], None] | None = None
        self._asked = asked
        self._version = _VERSIONS[min_version]
        self._ciphers = ciphers.encode("ascii", "replace")
        self._pair: tuple[list[x509.Certificate], bytes] = ([], b"")
        self._crl_stamp: tuple[int, int, int] | None = None
        self._crls: list[x509.CertificateRevocationList] = []
        self._inner: SSL.Context | None = None

    def load_cert_chain(self, certfile: str, keyfile: str, password: Any) -> None:
        """As that of SSLContext; connections that are open keep what they have. Raises ssl.SSLError, OSError."""
        with open(certfile, "rb") as file, open(keyfile, "rb") as key:
            chain, octets = file.read(), key.read()
        before = self._pair
        try:
            self._pair = (x509.load_pem_x509_certificates(chain), octets)
            self._inner = self._made()
        except (SSL.Error, crypto.Error, ValueError, TypeError) as error:
            self._pair = before
            raise ssl.SSLError(1, f"certificate and key: {error}") from None

    def wrap_socket(self, sock: Any, server_side: bool, do_handshake_on_connect: bool) -> "PeerSocket":
        """A connection before its handshake. Raises OSError."""
        return PeerSocket(SSL.Connection(self.now(), sock), sock, self)

    def _look_at_revocations(self) -> None:
        """One stat; a list that cannot be read leaves the one that was there."""
        if self._asked is None or not self._asked.crl_path:
            return
        try:
            found = os.stat(self._asked.crl_path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._crl_stamp:
                return
            with open(self._asked.crl_path, "rb") as file:
                crls = _lists(file.read(_LARGEST))
        except OSError as error:
            log.error("client-crl path=%s cannot be read: %s", self._asked.crl_path, error.strerror)
            return
        self._crl_stamp = stamp
        if not crls:
            log.error("client-crl path=%s has no revocation list that can be read", self._asked.crl_path)
            return
        log.info("client-crl path=%s revoked=%d", self._asked.crl_path, sum(len(crl) for crl in crls))
        self._crls = crls
        self._inner = self._made()

    def _made(self) -> SSL.Context:
        """A fresh one: pyOpenSSL does not let one be changed that has connections."""
        made = SSL.Context(SSL.TLS_SERVER_METHOD)
        made.set_min_proto_version(self._version)
        made.set_options(_OPTIONS)
        made.set_mode(_RELEASE_BUFFERS)
        made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        made.set_cipher_list(self._ciphers)
        chain, key = self._pair
        made.use_certificate(chain[0])
        for certificate in chain[1:]:
            made.add_extra_chain_cert(certificate)
        private: Any = load_pem_private_key(key, None)  # of a kind that `tls.read` has tried with this certificate
        made.use_privatekey(private)
        made.set_tlsext_servername_callback(self._named)
        if self._asked is not None:
            self._ask(made, self._asked)
        return made

    def _ask(self, made: SSL.Context, asked: Asking) -> None:
        """Each connection shows its certificate, so none is resumed."""
        made.set_options(SSL.OP_NO_TICKET)
        store = made.get_cert_store()
        assert store is not None, "every context has one"
        for authority in _load(x509.load_pem_x509_certificates, asked.authorities):
            store.add_cert(crypto.X509.from_cryptography(authority))
            if asked.shows_authorities:
                made.add_client_ca(authority)
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an authority that another one signed is one, too
        for crl in self._crls:
            store.add_crl(crl)
        if asked.crl_path:
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
        mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if asked.required else 0)
        made.set_verify(mode, _note)

    def _named(self, connection: SSL.Connection) -> None:
        """In the handshake: the client has said, or not, which server it wants."""
        sock = connection.get_app_data().socket
        if self.sni_callback is not None and sock is not None:
            name = connection.get_servername()
            self.sni_callback(sock, None if name is None else name.decode("ascii", "replace"), self)

    def now(self) -> SSL.Context:
        """With certificate and revocations of this moment. Raises ssl.SSLError."""
        self._look_at_revocations()
        if self._inner is None:
            raise ssl.SSLError(1, "there is no certificate")
        return self._inner


def _note(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
    """OpenSSL's question about each certificate of a chain: what is wrong is noted, the handshake goes on."""
    seen = connection.get_app_data()
    if not ok and not seen.problem:
        where = "" if depth == 0 else f" (certificate {depth} above it)"
        seen.problem = _PROBLEMS.get(number, f"OpenSSL's error {number}") + where
    return True


class PeerSocket:
    """A pyOpenSSL connection as a non-blocking `ssl.SSLSocket`."""

    def __init__(self, connection: SSL.Connection, sock: Any, context: AskingContext) -> None:
        self._connection = connection
        self._sock = sock
        self._context = context
        self._seen = _Seen(socket=self)
        self.greenmail_end_point = context.greenmail_end_point
        connection.set_app_data(self._seen)
        connection.set_accept_state()

    @property
    def context(self) -> AskingContext:
        """Whose certificate the client is shown."""
        return self._context

    @context.setter
    def context(self, context: AskingContext) -> None:
        self._context = context
        self._connection.set_context(context.now())

    @property
    def exporter(self) -> bytes:
        """`tls-exporter` behind the handshake; nothing, if it cannot be told."""
        return exporter.exported(self._connection) if self._context.exports else b""

    @property
    def problem(self) -> str:
        """Why the client's certificate is not to be trusted; empty: it is, or there is none."""
        return self._seen.problem

    def certificate(self) -> x509.Certificate | None:
        """The one that the client has shown; whether it is good, `problem` says."""
        return self._connection.get_peer_certificate(as_cryptography=True)

    def do_handshake(self) -> None:
        """A step of it."""
        with _as_ssl():
            self._connection.do_handshake()
        self._seen.socket = None

    def recv(self, size: int) -> bytes:
        """What is there, nothing at the end of the stream."""
        try:
            with _as_ssl():
                return self._connection.recv(size)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def send(self, data: memoryview) -> int:
        """How much of it was taken."""
        with _as_ssl():
            return self._connection.send(data)

    def unwrap(self) -> None:
        """Say close_notify."""
        with _as_ssl():
            self._connection.shutdown()

    def version(self) -> str:
        return self._connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, ...]:
        return (self._connection.get_cipher_name() or "",)

    def settimeout(self, seconds: float) -> None:
        self._sock.settimeout(seconds)

    def fileno(self) -> int:
        number: int = self._sock.fileno()
        return number

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._seen.socket = None
        self._sock.close()


@contextmanager
def _as_ssl() -> Iterator[None]:
    """pyOpenSSL's exceptions as those of `ssl`."""
    try:
        yield
    except SSL.WantReadError:
        raise ssl.SSLWantReadError from None
    except SSL.WantWriteError:
        raise ssl.SSLWantWriteError from None
    except SSL.ZeroReturnError:
        raise ssl.SSLZeroReturnError from None
    except SSL.SysCallError as error:
        number, text = error.args
        raise (OSError(number, os.strerror(number)) if number > 0 else _error(ssl.SSLEOFError, str(text))) from None
    except SSL.Error as error:
        reasons = [str(found[2]) for found in error.args[0] if found[2]] if error.args else []
        raise _error(ssl.SSLError, ", ".join(reasons) or "TLS error") from None


def _error(kind: type[ssl.SSLError], text: str) -> ssl.SSLError:
    made = kind(1, text)
    made.reason = text  # one that Python has not raised itself has none
    return made


class Identities:
    """Whom clients' certificates are for; one a worker."""

    def __init__(self, config: Config, blocking: Blocking) -> None:
        self._kind = config.client_certificate_user
        self._required = config.tls_client_certificate == "required"
        self._keys = certificates.pinned_keys(config.client_keys_file) if config.client_keys_file else None
        self._blocking = blocking

    def users(self, sock: Any, peer: str) -> tuple[str, ...] | None:
        """Whom the certificate of a connection is for, nobody without one; None: it must go.

        The log has what came, and why it was not enough. What is in a certificate that nobody has signed for is
        written with %r, as all that clients send.
        """
        if not isinstance(sock, PeerSocket):
            return ()
        subject, key = "", ""
        try:
            found = sock.certificate()
            if found is None:
                return ()  # that it must be there, the handshake has seen to
            subject = found.subject.rfc4514_string()[:256]
            key = certificates.key_of(found)
        except certificates.UNREADABLE:
            found = None
        problem = sock.problem if found is not None else "it is malformed"
        pinned = self._pinned(key) if key else ()
        users = pinned or (certificates.names_in(found, self._kind) if found is not None and not problem else ())
        if not users:
            why = problem or f"there is no {self._kind} in it"
            log.warning("client-certificate refused rip=%s subject=%r reason=%r", peer, subject, why)
            return None if self._required else ()
        log.info("client-certificate rip=%s subject=%r users=%r by=%s",
                 peer, subject, users, "key" if pinned else self._kind)  # fmt: skip
        return users

    def _pinned(self, key: str) -> tuple[str, ...]:
        if self._keys is None:
            return ()
        found = self._keys.recall(key) or self._keys.find(key, self._blocking)
        if isinstance(found, Unavailable):
            log.error("client-keys-file reason=%r", found.text)
        return (found.name,) if isinstance(found, Entry) else ()
