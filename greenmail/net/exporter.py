"""`tls-exporter`: 32 octets that both ends of one TLS connection know, and nobody else. RFC 9266, RFC 8446 7.5.

Python's `ssl` does not tell them; pyOpenSSL does. In TLS 1.2 they are nobody else's only with the extended master
secret (RFC 9266 3), of which pyOpenSSL does not tell: there `tls-server-end-point` is left. A client that is told of
-PLUS and then fails cannot log in, so nothing is told to any before both ends of a connection were seen to agree.
"""

# mypy: allow-untyped-calls
# (pyOpenSSL types what is needed here by halves)

import datetime
import logging

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

log = logging.getLogger(__name__)

_LABEL = b"EXPORTER-Channel-Binding"
_OCTETS = 32
_ONLY = "TLSv1.3"
_ROUNDS = 10  # of a handshake, which needs three


def exported(connection: SSL.Connection) -> bytes:
    """Of a connection whose handshake is over; nothing in another version than TLS 1.3."""
    if connection.get_protocol_version_name() != _ONLY:
        return b""
    return connection.export_keying_material(_LABEL, _OCTETS, b"")  # RFC 9266 4.1: the context is of no octets


def works() -> bool:
    """Whether two ends of a connection have the same octets here, and two connections others: tried out in memory."""
    try:
        (one, same), (other, _) = _tried(), _tried()
    except (SSL.Error, AttributeError, TypeError, ValueError) as error:
        log.error("tls-exporter is not offered reason=%r", f"{type(error).__name__}: {error}")
        return False
    if len(one) == _OCTETS and one == same != other:
        return True
    log.error("tls-exporter is not offered reason=%r", "the two ends of a connection do not agree")
    return False


def _tried() -> tuple[bytes, bytes]:
    """What the server and the client of a new connection have."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self-test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    day = datetime.timedelta(days=1)
    builder = builder.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(builder.sign(key, hashes.SHA256()))
    context.use_privatekey(key)
    server, client = SSL.Connection(context), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(_ROUNDS):
        for near, far in ((client, server), (server, client)):
            try:
                near.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                far.bio_write(near.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
    return exported(server), exported(client)
