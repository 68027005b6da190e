"""The small client for HTTP: one request, one answer, one limit of time, and nothing that could go elsewhere."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.pki import make_certificate

from greenmail.auth.web import Answer, NoAnswer, Request
from greenmail.net.tls import CannotStart
from greenmail.net.web import LARGEST, WebClient

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.contextmanager
def served(
    speak: Callable[[Any, bytes], None], context: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """A server for one connection: (its port, the requests that came)."""
    requests: list[bytes] = []

    def run() -> None:
        with contextlib.suppress(OSError):
            accepted = listener.accept()[0]
            sock = context.wrap_socket(accepted, server_side=True) if context else accepted
            with sock:
                sock.settimeout(20)
                request = sock.recv(65536)
                while request.startswith(b"POST") and not request.endswith(b"token=x"):
                    request += sock.recv(65536)
                requests.append(request)
                speak(sock, requests[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1], requests
    thread.join(20)


def ask(port: int, path: str = "/", timeout: float = 10.0, **more: Any) -> Answer | NoAnswer:
    return WebClient(timeout)(Request(f"http://127.0.0.1:{port}{path}", **more))


def sends(octets: bytes) -> Callable[[Any, bytes], None]:
    return lambda sock, request: sock.sendall(octets)


def test_a_get_and_a_post():
    with served(sends(OK)) as (port, requests):
        assert ask(port, "/a?b=c") == Answer(200, b"{}")
    assert requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    with served(sends(OK)) as (port, requests):
        assert ask(port, "", body=b"token=x", headers={"Authorization": "Basic eA=="}) == Answer(200, b"{}")
    assert requests[0].startswith(b"POST / HTTP/1.1\r\n")
    assert b"Authorization: Basic eA==\r\n" in requests[0]
    assert b"Content-Length: 7\r\n" in requests[0]
    assert requests[0].endswith(b"\r\n\r\ntoken=x")


@pytest.mark.parametrize(
    "octets, status, body",
    [
        (b"HTTP/1.1 404 No\r\n\r\nnothing", 404, b"nothing"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 200, b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200_000, 200, b"x" * 200_000),
        (b"HTTP/1.1 302 Over there\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, b""),
    ],
)
def test_answers(octets, status, body):
    """A redirection is an answer like others: the token goes nowhere else."""
    with served(sends(octets)) as (port, _):
        assert ask(port) == Answer(status, body)


@pytest.mark.parametrize(
    "octets, why",
    [
        (b"", "hung up without an answer"),
        (b"* OK IMAP4rev1\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "ended before its time"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LARGEST + 1), f"more than {LARGEST} octets"),
    ],
)
def test_what_is_no_answer(octets, why):
    with served(sends(octets)) as (port, _):
        found = ask(port)
    assert isinstance(found, NoAnswer)
    assert why in found.text


def drip(sock: Any, request: bytes) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(200):
        sock.sendall(b"x")
        time.sleep(0.05)  # what the other side does, not a wait for it


def silent(sock: Any, request: bytes) -> None:
    sock.recv(1)  # until the client is gone


@pytest.mark.parametrize("speak", [drip, silent])
def test_the_limit_is_that_of_the_whole(speak):
    began = time.monotonic()
    with served(speak) as (port, _):
        found = ask(port, timeout=0.4)
    assert found == NoAnswer("127.0.0.1 did not answer within 0.4 seconds")
    assert time.monotonic() - began < 8


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ask(port) == NoAnswer("127.0.0.1 cannot be reached: Connection refused")


def test_certificates_are_looked_at(tmp_path):
    cert, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with served(sends(OK), context) as (port, requests):
        found = WebClient(10.0)(Request(f"https://127.0.0.1:{port}/"))
    assert isinstance(found, NoAnswer)
    assert "the certificate of 127.0.0.1 is not good" in found.text
    assert requests == []
    with served(sends(OK), context) as (port, _):
        assert WebClient(10.0, str(cert))(Request(f"https://127.0.0.1:{port}/")) == Answer(200, b"{}")
    with pytest.raises(CannotStart, match="oauth-ca-path: /nowhere"):
        WebClient(10.0, "/nowhere")
