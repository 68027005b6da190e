"""Connections that ask for certificates: pyOpenSSL's in the place of `ssl`'s, and nothing else may be different."""

import base64
import hashlib
import os
import ssl

import gevent
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from gevent.ssl import SSLContext
from support.client_pki import Authority, mail
from support.pki import make_certificate

from greenmail.config import from_mapping
from greenmail.errors import Disconnected
from greenmail.net import client_certificates, tls
from greenmail.net.client_certificates import AskingContext, Identities
from greenmail.net.tls import CannotStart, Pair
from greenmail.runtime import Wake


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def config(authority, **more):
    settings = {"tls-client-certificate": "optional", "client-ca-path": str(authority.path)}
    return from_mapping({**settings, **{name.replace("_", "-"): value for name, value in more.items()}})


@pytest.fixture
def asking(loop, pki, authority):
    """`loop`, with our context in the place of its own."""
    context = AskingContext(client_certificates.asking(config(authority)), "1.2", "HIGH")
    with tls.in_memory(tls.read(Pair(str(pki[0]), str(pki[1])))) as descriptors:
        tls.load(context, *descriptors)
    loop.context = context
    return loop


def shake_hands(asking, authority, certificate=None, stream_and_client=None):
    """The client's TLS socket, and the stream, for which the certificate is looked at."""
    users = Identities(config(authority), lambda function, *args: function(*args)).users
    client, stream = stream_and_client or asking.pair(users=users)
    server = gevent.spawn(stream.handshake, asking.context)
    trusting = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(str(asking.cert))
    if certificate is not None:
        trusting.load_cert_chain(str(certificate))
    wrapped = trusting.wrap_socket(client, server_hostname="localhost")
    server.get(timeout=20)
    return wrapped, stream


def test_what_engines_and_logs_are_told(asking, authority):
    client, stream = shake_hands(asking, authority, authority.client("x", [mail("alice"), mail("bob")])[1])
    assert stream.certified == ("alice", "bob")
    assert stream.tls_version == client.version() == "TLSv1.3"
    assert stream.tls_cipher == client.cipher()[0]
    assert stream.end_point == hashlib.sha256(client.getpeercert(binary_form=True)).digest()
    _, stream = shake_hands(asking, authority)
    assert stream.certified == ()


def test_what_is_large_arrives_whole_both_ways_though_the_reader_is_slow(asking, authority):
    client, stream = shake_hands(asking, authority)
    data = os.urandom(1 << 22)
    sender = gevent.spawn(lambda: (stream.write(data), stream.flush()))
    got = bytearray()
    while len(got) < len(data):
        gevent.sleep(0)
        got += client.recv(30_000)
    assert got == data
    sender.get(timeout=20)
    sender = gevent.spawn(client.sendall, data)
    got = bytearray()
    while len(got) < len(data):
        got += stream.receive()
    assert got == data
    sender.get(timeout=20)


def test_input_is_waited_for_and_the_end_is_said_by_both(asking, authority):
    client, stream = shake_hands(asking, authority)
    waiting = gevent.spawn(stream.rest, 20)
    gevent.sleep(0.01)
    client.sendall(b"DONE\r\n")
    assert waiting.get(timeout=20) is Wake.INPUT
    assert stream.receive() == b"DONE\r\n"
    stream.write(b"* BYE\r\n")
    stream.flush()
    closing = gevent.spawn(stream.close)
    assert client.recv(100) == b"* BYE\r\n"
    assert client.recv(100) == b""  # close_notify; without it the client's TLS would raise
    client.close()
    closing.get(timeout=20)


@pytest.mark.parametrize("politely", [False, True])
def test_a_client_that_goes(asking, authority, politely):
    client, stream = shake_hands(asking, authority)
    if politely:
        client.settimeout(0.2)
        with pytest.raises((OSError, ValueError)):  # it waits for our close_notify, which does not come
            client.unwrap()
    client.close()
    with pytest.raises(Disconnected, match="by peer"):
        stream.receive()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 50])
def test_garbage_instead_of_a_handshake_is_one_line_of_the_log(asking, garbage, caplog):
    caplog.set_level("INFO")
    client, stream = asking.pair(timeout_handshake=0.5)
    client.sendall(garbage)
    with pytest.raises(Disconnected):
        stream.handshake(asking.context)
    (record,) = caplog.records
    assert record.getMessage().startswith("tls-failed protocol=imap rip=127.0.0.1 reason=")


def test_a_silent_client_is_dropped_in_time(asking):
    _, stream = asking.pair(timeout_handshake=0.1)
    with pytest.raises(Disconnected, match="took too long"):
        stream.handshake(asking.context)


def test_a_renewed_certificate_is_that_of_the_next_connection(asking, authority, tmp_path):
    client, stream = shake_hands(asking, authority)
    (tmp_path / "new").mkdir()
    cert, key = make_certificate(tmp_path / "new")
    with tls.in_memory(tls.read(Pair(str(cert), str(key)))) as descriptors:
        tls.load(asking.context, *descriptors)
    asking.cert = cert
    later, second = shake_hands(asking, authority)
    assert later.getpeercert(binary_form=True) != client.getpeercert(binary_form=True)
    assert second.end_point == hashlib.sha256(later.getpeercert(binary_form=True)).digest()
    client.sendall(b"still here")
    assert stream.receive() == b"still here"


def test_a_pair_that_cannot_be_used_leaves_the_one_that_was_there(asking, authority, tmp_path):
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(OSError):
        asking.context.load_cert_chain(str(tmp_path / "bad.pem"), str(tmp_path / "bad.pem"), None)
    shake_hands(asking, authority)


def test_a_revocation_list_that_is_broken_leaves_the_one_that_was_there(loop, pki, authority, tmp_path, caplog):
    made, path = authority.client("x", [mail("alice")])
    crl = authority.revoked(tmp_path / "crl.pem", made)
    settings = config(authority, client_crl_path=str(crl))
    loop.context = AskingContext(client_certificates.asking(settings), "1.2", "HIGH")
    with tls.in_memory(tls.read(Pair(str(pki[0]), str(pki[1])))) as descriptors:
        tls.load(loop.context, *descriptors)
    assert shake_hands(loop, authority, path)[1].certified == ()
    for broken in (b"nothing", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        crl.write_bytes(broken)
        assert shake_hands(loop, authority, path)[1].certified == ()
    assert caplog.text.count("has no revocation list that can be read") == 2
    crl.unlink()
    assert shake_hands(loop, authority, path)[1].certified == ()
    assert "client-crl path=" in caplog.text
    authority.revoked(crl)
    assert shake_hands(loop, authority, path)[1].certified == ("alice",)


@pytest.mark.parametrize(
    "field, text, words",
    [
        ("client_ca_path", None, "client-ca-path: /nowhere: cannot be read"),
        ("client_ca_path", b"nothing", "there is no PEM certificate in it"),
        ("client_crl_path", b"nothing", "there is no PEM revocation list"),
        ("client_crl_path", b"-----BEGIN X509 CRL-----\nAAAA\n", "there is no PEM revocation list"),
    ],
)
def test_files_that_cannot_be_used_are_told_at_the_start(authority, tmp_path, field, text, words):
    path = tmp_path / "file" if text is not None else "/nowhere"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(CannotStart, match=words) as caught:
        client_certificates.asking(config(authority, **{field: str(path)}))
    assert caught.value.status == 78


def test_one_that_is_malformed_is_refused_as_others_are(asking, authority, tmp_path, caplog):
    """OpenSSL looks at less of it than others do; nobody who shows such a thing causes a traceback."""
    made, path = authority.client("malformed-name", [mail("alice")])
    octets = made.public_bytes(Encoding.DER)
    strange = tmp_path / "strange.pem"
    printable = octets.replace(
        b"\x0c\x0emalformed-name", b"\x13\x0e" + b"\xff" * 14
    )  # PrintableString, which this is not
    assert printable != octets
    pem = base64.encodebytes(printable).decode()
    key = path.read_text().partition("-----BEGIN CERTIFICATE-----")[0]
    strange.write_text(f"{key}-----BEGIN CERTIFICATE-----\n{pem}-----END CERTIFICATE-----\n")
    _, stream = shake_hands(asking, authority, strange)
    assert stream.certified == ()
    assert "client-certificate refused rip=127.0.0.1 subject='' reason='it is malformed'" in caplog.text


def test_off_asks_nobody():
    assert client_certificates.asking(from_mapping({})) is None


def test_the_log_shows_what_is_in_a_certificate_in_one_line(asking, authority, caplog):
    caplog.set_level("INFO")
    strange = Authority(authority.directory, "strange")
    made, path = strange.client("a\r\nlogin user=root", [mail("alice")])
    assert b"login user=root" in made.public_bytes(Encoding.DER)
    shake_hands(asking, authority, path)
    assert all("\n" not in record.getMessage() and "\r" not in record.getMessage() for record in caplog.records)
