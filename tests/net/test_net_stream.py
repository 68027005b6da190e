"""One connection: sending, receiving, TLS, and every way it can end."""

import hashlib
import logging
import os
import ssl
import time

import gevent
import pytest
from gevent.ssl import SSLContext
from support.pki import make_certificate

from greenmail.errors import Disconnected
from greenmail.net import tls
from greenmail.net.addresses import plain_address
from greenmail.net.stream import GATHER
from greenmail.runtime import Wake


def read_exactly(client, octets):
    data = b""
    while len(data) < octets:
        piece = client.recv(1 << 18)
        assert piece, f"ended after {len(data)} of {octets}"
        data += piece
    return data


@pytest.mark.parametrize(
    "text, expected",
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_plain_address(text, expected):
    assert plain_address(text) == expected


def test_small_writes_go_out_together_at_the_next_receive(loop):
    client, stream = loop.pair()
    stream.write(b"* OK ")
    stream.write(b"hello\r\n")
    gevent.sleep(0.01)
    client.settimeout(0.0)
    with pytest.raises(BlockingIOError):
        client.recv(100)
    client.settimeout(20)
    reader = gevent.spawn(stream.receive)
    assert client.recv(100) == b"* OK hello\r\n"
    client.sendall(b"a NOOP\r\n")
    assert reader.get(timeout=20) == b"a NOOP\r\n"
    assert (stream.received, stream.sent) == (8, 12)
    assert stream.unreported() == (8, 12)
    assert stream.unreported() == (0, 0)


def test_a_full_buffer_is_sent_without_being_asked(loop):
    client, stream = loop.pair()
    stream.write(b"x" * GATHER)
    assert len(read_exactly(client, GATHER)) == GATHER


@pytest.mark.parametrize("secure", [False, True])
def test_what_is_large_arrives_whole_while_others_run(loop, secure):
    client, stream = loop.pair()
    if secure:
        client = loop.secure(client, stream)
    data = os.urandom(1 << 16) * (64 if secure else 256)
    turns = []

    def neighbour() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0.001)

    beside = gevent.spawn(neighbour)
    sender = gevent.spawn(lambda: (stream.write(data), stream.flush()))
    assert read_exactly(client, len(data)) == data
    sender.get(timeout=20)
    beside.kill()
    assert stream.sent == len(data)
    assert len(turns) >= 2


def test_a_client_that_does_not_read_is_dropped_and_costs_little(loop):
    client, stream = loop.pair(timeout_write=0.2)
    chunk, written = b"x" * GATHER, 0
    with pytest.raises(Disconnected, match="does not read"):
        while written < 1 << 26:
            stream.write(chunk)
            written += len(chunk)
    assert written < 1 << 26
    with pytest.raises(Disconnected):  # and it stays so
        stream.write(b"more")
    client.close()


def test_a_client_that_reads_slowly_is_not_dropped(loop):
    client, stream = loop.pair(timeout_write=0.5)
    size = 1 << 21
    sender = gevent.spawn(lambda: (stream.write(b"x" * size), stream.flush()))
    left, begun = size, time.monotonic()
    while left:
        left -= len(client.recv(1 << 16))
        gevent.sleep(0.03)
    sender.get(timeout=20)
    assert time.monotonic() - begun > 0.5


def test_receive_tells_the_end_of_the_stream(loop):
    client, stream = loop.pair()
    client.close()
    with pytest.raises(Disconnected, match="closed by peer"):
        stream.receive()


def test_receive_gives_up_after_its_timeout_and_a_farewell_still_arrives(loop):
    client, stream = loop.pair()
    stream.timeout = 0.05
    with pytest.raises(Disconnected, match="idle"):
        stream.receive()
    stream.write(b"* BYE too slow\r\n")
    stream.flush()
    assert client.recv(100) == b"* BYE too slow\r\n"


def test_who_pipelines_without_end_lets_others_run(loop):
    client, stream = loop.pair()
    turns = []

    def neighbour() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0)

    tasks = [gevent.spawn(client.sendall, b"a NOOP\r\n" * 400_000), gevent.spawn(neighbour)]
    gevent.sleep(0.01)
    for _ in range(20):
        before, end = len(turns), time.monotonic() + 0.003
        while time.monotonic() < end:  # as commands take that came at once
            pass
        stream.receive()
        assert len(turns) > before
    gevent.killall(tasks)


# --- TLS ---


def test_tls_has_version_and_cipher_for_the_log(loop):
    client, stream = loop.pair()
    assert (stream.secure, stream.can_start_tls) == (False, True)
    client = loop.secure(client, stream)
    assert (stream.secure, stream.can_start_tls) == (True, False)
    assert stream.tls_version == client.version() == "TLSv1.3"
    assert stream.tls_cipher == client.cipher()[0]


def test_without_a_certificate_tls_cannot_be_started(loop):
    _, stream = loop.pair(context=lambda: None)
    assert not stream.can_start_tls
    with pytest.raises(Disconnected):
        stream.start_tls()


def test_starttls_throws_away_what_was_injected(loop, caplog):
    """RFC 9051 6.2.1: commands that came in clear must not be taken for the protected client's."""
    client, stream = loop.pair()
    client.sendall(b"a STARTTLS\r\n")
    assert stream.receive() == b"a STARTTLS\r\n"
    client.sendall(b"b LOGIN eve secret\r\n")
    gevent.sleep(0.02)
    stream.write(b"a OK begin\r\n")
    server = gevent.spawn(stream.start_tls)
    assert client.recv(100) == b"a OK begin\r\n"
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(loop.cert))
    client = context.wrap_socket(client, server_hostname="localhost")
    server.get(timeout=20)
    client.sendall(b"c CAPABILITY\r\n")
    assert stream.receive() == b"c CAPABILITY\r\n"
    assert "tls-injection" in caplog.text
    assert "secret" not in caplog.text


def test_an_endless_injection_ends_the_connection(loop):
    client, stream = loop.pair()
    flood = gevent.spawn(client.sendall, b"x" * (1 << 22))
    gevent.sleep(0.02)
    with pytest.raises(Disconnected):
        stream.start_tls()
    flood.kill()


def test_a_handshake_has_a_time_limit(loop, caplog):
    client, stream = loop.pair(timeout_handshake=0.1)
    with caplog.at_level(logging.INFO), pytest.raises(Disconnected):
        stream.handshake(loop.context)
    assert caplog.text.count("tls-failed") == 1
    assert not stream.secure
    client.close()


def test_a_client_that_drips_its_handshake_is_dropped_in_time(loop):
    client, stream = loop.pair(timeout_handshake=0.3)

    def drip() -> None:
        for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200):
            client.send(bytes([octet]))
            gevent.sleep(0.02)

    task = gevent.spawn(drip)
    begun = time.monotonic()
    with pytest.raises(Disconnected, match="too long"):
        stream.handshake(loop.context)
    assert time.monotonic() - begun < 5
    task.kill()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.0\r\n\r\n", b"a LOGIN x y\r\n", bytes(300), b"\x16\x03\x01\xff\xff" * 20]
)
def test_garbage_instead_of_a_handshake_is_one_line_of_the_log(loop, garbage, caplog):
    client, stream = loop.pair(timeout_handshake=0.5)
    client.sendall(garbage)
    with caplog.at_level(logging.INFO), pytest.raises(Disconnected):
        stream.handshake(loop.context)
    assert caplog.text.count("\n") == 1
    assert "tls-failed protocol=imap rip=127.0.0.1" in caplog.text
    assert "Traceback" not in caplog.text


def test_the_end_of_tls_is_said_and_the_last_words_arrive(loop):
    client, stream = loop.pair()
    client = loop.secure(client, stream)
    stream.write(b"* BYE\r\n")
    stream.flush()
    closing = gevent.spawn(stream.close)
    assert client.recv(100) == b"* BYE\r\n"
    assert client.recv(100) == b""  # close_notify; without it the client's TLS would raise
    client.close()
    closing.get(timeout=20)


def test_unread_input_does_not_take_the_last_words_with_it(loop):
    client, stream = loop.pair()
    client.sendall(b"x" * 100000)
    gevent.sleep(0.02)
    stream.write(b"* BYE enough\r\n")
    stream.flush()
    closing = gevent.spawn(stream.close)
    assert client.recv(100) == b"* BYE enough\r\n"
    client.close()
    closing.get(timeout=20)


# --- Waiting for news ---


@pytest.mark.parametrize("secure", [False, True])
def test_rest_ends_with_input_which_is_not_lost(loop, secure):
    client, stream = loop.pair()
    if secure:
        client = loop.secure(client, stream)
    waiting = gevent.spawn(stream.rest, 20)
    gevent.sleep(0.01)
    client.sendall(b"DONE\r\n")
    assert waiting.get(timeout=20) is Wake.INPUT
    assert stream.rest(0) is Wake.INPUT
    assert stream.receive() == b"DONE\r\n"
    assert stream.rest(0.01) is Wake.TIMEOUT


def test_rest_sees_what_tls_has_decrypted_already(loop):
    client, stream = loop.pair()
    client = loop.secure(client, stream)
    client.sendall(b"x" * 16000)
    assert stream._sock.recv(1) == b"x"  # the rest of the record waits inside OpenSSL; the socket is not readable
    assert stream.rest(20) is Wake.INPUT


def test_rest_ends_with_an_interruption(loop):
    _, stream = loop.pair()
    stream.interrupt()  # nobody rests: nothing happens, later either
    assert stream.rest(0.01) is Wake.TIMEOUT
    waiting = gevent.spawn(stream.rest, 20)
    gevent.sleep(0.01)
    stream.interrupt()
    stream.interrupt()
    assert waiting.get(timeout=20) is Wake.CHANGED
    assert stream.rest(0.01) is Wake.TIMEOUT


def test_rest_raises_at_the_end_of_the_stream(loop):
    client, stream = loop.pair()
    client.close()
    with pytest.raises(Disconnected):
        stream.rest(20)


# --- The end of the worker ---


def test_drain_says_farewell_to_a_client_that_waits(loop):
    client, stream = loop.pair()
    stream.write(b"* OK ready\r\n")
    waiting = gevent.spawn(stream.receive)
    assert client.recv(100) == b"* OK ready\r\n"
    stream.drain()
    with pytest.raises(Disconnected, match="shutting down"):
        waiting.get(timeout=20)
    assert client.recv(100) == b"* BYE the end\r\n"


@pytest.mark.parametrize(
    "said, at_rest",
    [
        ([b"* OK [CAPABILITY LITERAL+ " + b"X" * 200 + b"] ready\r\n"], True),
        ([b"* OK LITERAL", b"+ X\r\n"], True),  # one line, sent in two pieces
        ([b"a OK done\r\n+ idling\r\n"], False),
        ([b"+", b" go on\r\n"], True),  # never seen: an engine writes a continuation at once
        ([b"a OK done\r\n", b"+ \r\n"], False),
        ([b"+\r\n"], False),
        ([b"+OK ready\r\n"], True),  # POP3
    ],
)
def test_a_client_has_its_answer_unless_the_last_line_asks_for_more(loop, said, at_rest):
    _, stream = loop.pair()
    for data in said:
        stream.write(data)
        stream.flush()
    assert stream._at_rest() is at_rest


def test_drain_lets_a_command_be_finished(loop):
    client, stream = loop.pair()
    stream.write(b"* OK ready\r\n")
    client.sendall(b"a APPEND INBOX {4}\r\n")
    assert stream.receive()
    stream.write(b"+ go on\r\n")
    waiting = gevent.spawn(stream.receive)
    gevent.sleep(0.01)
    stream.drain()
    gevent.sleep(0.02)
    assert not waiting.ready()
    client.sendall(b"mail\r\n")
    assert waiting.get(timeout=20) == b"mail\r\n"
    stream.write(b"a OK\r\n")
    with pytest.raises(Disconnected):
        stream.receive()
    said = b"* OK ready\r\n+ go on\r\na OK\r\n* BYE the end\r\n"
    assert read_exactly(client, len(said)) == said


def test_drain_in_the_middle_of_a_literal_waits(loop):
    client, stream = loop.pair()
    stream.write(b"* OK ready\r\n")
    client.sendall(b"a APPEND INBOX {9+}\r\nhalf")
    assert stream.receive()
    stream.drain()
    waiting = gevent.spawn(stream.receive)
    gevent.sleep(0.02)
    assert not waiting.ready()
    client.sendall(b" done\r\n")
    assert waiting.get(timeout=20) == b" done\r\n"


def test_drain_ends_a_rest(loop):
    client, stream = loop.pair()
    waiting = gevent.spawn(stream.rest, 20)
    gevent.sleep(0.01)
    stream.drain()
    with pytest.raises(Disconnected):
        waiting.get(timeout=20)
    assert client.recv(100) == b"* BYE the end\r\n"


def test_the_channel_binding_is_that_of_the_certificate_that_the_client_saw(loop, tmp_path):
    """RFC 5929 4: also if another one was loaded while the handshake was under way."""
    client, stream = loop.pair()
    assert stream.end_point == b""
    server = gevent.spawn(stream.handshake, loop.context)
    gevent.sleep(0)  # the handshake has begun, and waits for the client
    cert, key = make_certificate(tmp_path, "renewed")
    with tls.in_memory(tls.read(tls.Pair(str(cert), str(key)))) as descriptors:
        tls.load(loop.context, *descriptors)
    trusting = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(str(loop.cert))
    client = trusting.wrap_socket(client, server_hostname="localhost")
    server.get(timeout=20)
    assert stream.end_point == hashlib.sha256(client.getpeercert(binary_form=True)).digest()


def test_large_chunks_arrive_whole_and_in_order_though_the_client_reads_slowly(loop):
    client, stream = loop.pair()
    chunks = []
    for number in range(200):
        chunks += [b"* %d FETCH (BODY[] {60004}\r\n" % number, b"%d" % (number % 10) * 60_000 + b"\r\n\r\n", b")\r\n"]
    expected = b"".join(chunks)

    def send():
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()

    sender = gevent.spawn(send)
    gevent.sleep(0.05)
    data = read_exactly(client, len(expected))
    sender.get(timeout=20)
    assert hashlib.sha256(data).digest() == hashlib.sha256(expected).digest()
    assert stream.sent == len(expected)
