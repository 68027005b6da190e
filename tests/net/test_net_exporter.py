"""`tls-exporter`: what both ends of a connection know, and what becomes of it where they do not agree."""

import gevent
import pytest
from OpenSSL import SSL

from greenmail.net import exporter, tls
from greenmail.net.client_certificates import AskingContext
from greenmail.net.tls import Pair

LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 4.1


def test_it_works_here():
    assert exporter.works()


@pytest.mark.parametrize("wrong", ["two ends", "two connections", "short", "none"])
def test_what_does_not_hold_is_not_offered(monkeypatch, caplog, wrong):
    real, calls = exporter.exported, []

    def broken(connection):
        calls.append(real(connection))
        return {
            "two ends": calls[-1] if len(calls) % 2 else bytes(32),
            "two connections": calls[0],
            "short": calls[-1][:16],
            "none": b"",
        }[wrong]

    monkeypatch.setattr(exporter, "exported", broken)
    assert not exporter.works()
    assert "tls-exporter is not offered" in caplog.text


def test_a_library_without_it(monkeypatch, caplog):
    def missing(*args):
        raise AttributeError("export_keying_material")

    monkeypatch.setattr(exporter, "exported", missing)
    assert not exporter.works()
    assert "AttributeError: export_keying_material" in caplog.text


def connected(loop, pki, exports, version):
    """The client's connection and our stream, behind the handshake."""
    context = AskingContext(None, "1.2", "HIGH", exports)
    with tls.in_memory(tls.read(Pair(str(pki[0]), str(pki[1])))) as descriptors:
        tls.load(context, *descriptors)
    client, stream = loop.pair()
    server = gevent.spawn(stream.handshake, context)
    method = SSL.Context(SSL.TLS_CLIENT_METHOD)
    method.set_max_proto_version(version)
    connection = SSL.Connection(method)
    connection.set_connect_state()
    while True:
        try:
            connection.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        try:
            client.sendall(connection.bio_read(1 << 16))
        except SSL.WantReadError:
            pass
        if done:
            break
        connection.bio_write(client.recv(1 << 16))
    server.get(timeout=20)
    return connection, stream


def test_client_and_server_have_the_same_octets_and_no_other_connection_has(loop, pki):
    connection, stream = connected(loop, pki, True, SSL.TLS1_3_VERSION)
    assert (
        stream.exporter
        == connection.export_keying_material(LABEL, 32, b"")
        == connection.export_keying_material(LABEL, 32)
    )
    assert len(stream.exporter) == 32 and len(stream.end_point) == 32
    assert connected(loop, pki, True, SSL.TLS1_3_VERSION)[1].exporter != stream.exporter


@pytest.mark.parametrize("exports, version", [(True, SSL.TLS1_2_VERSION), (False, SSL.TLS1_3_VERSION)])
def test_where_there_is_none(loop, pki, exports, version):
    """RFC 9266 3: not without the extended master secret, of which nothing is known."""
    _, stream = connected(loop, pki, exports, version)
    assert stream.exporter == b"" and len(stream.end_point) == 32


def test_a_connection_of_ssl_has_none(loop):
    client, stream = loop.pair()
    loop.secure(client, stream)
    assert stream.exporter == b"" and stream.end_point
