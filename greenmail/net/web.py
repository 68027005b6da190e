"""A small client for HTTP, for the services that the settings name: one request, one answer, one limit of time.

Runs on threads of a pool and uses the system's own sockets. No redirection is followed and no proxy asked; the answer
may have 1 MiB.
"""

import http.client
import ssl
import time
import urllib.parse
from typing import Any

from greenmail.auth.web import Answer, NoAnswer, Request
from greenmail.net.tls import EX_CONFIG, CannotStart

LARGEST = 1 << 20
_CHUNK = 1 << 16


class WebClient:
    """Satisfies `auth.web.Web`."""

    def __init__(self, timeout: float, ca_path: str = "", key: str = "oauth-ca-path") -> None:
        """`ca_path`: authorities in PEM in the place of the system's. Raises CannotStart, which names the `key`."""
        self._timeout = timeout
        try:
            self._context = ssl.create_default_context(cafile=ca_path or None)
        except OSError as error:
            text = f"{key}: {ca_path}: cannot be used: {error.strerror or error}"
            raise CannotStart(text, EX_CONFIG) from None

    def __call__(self, request: Request) -> Answer | NoAnswer:
        """The answer; the limit is that of the whole, name resolution aside, which the system's resolver limits."""
        end = time.monotonic() + self._timeout
        parts = urllib.parse.urlsplit(request.url)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection = self._connection(parts)
        try:
            connection.request(
                "GET" if request.body is None else "POST",
                target,
                request.body,
                {"Accept": "application/json", "User-Agent": "GreenMail", "Connection": "close", **request.headers},
            )
            return _answer(connection, end)
        except TimeoutError:
            return NoAnswer(f"{parts.hostname} did not answer within {self._timeout:g} seconds")
        except http.client.RemoteDisconnected:
            return NoAnswer(f"{parts.hostname} hung up without an answer")
        except ssl.SSLCertVerificationError as error:
            return NoAnswer(f"the certificate of {parts.hostname} is not good: {error.verify_message}")
        except OSError as error:
            return NoAnswer(f"{parts.hostname} cannot be reached: {error.strerror or type(error).__name__}")
        except http.client.HTTPException as error:
            return NoAnswer(f"{parts.hostname} does not speak HTTP: {type(error).__name__}")
        finally:
            connection.close()

    def _connection(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(host, parts.port, timeout=self._timeout)


def _answer(connection: http.client.HTTPConnection, end: float) -> Answer | NoAnswer:
    sock: Any = connection.sock  # the answer takes it over, where the connection is to be closed
    sock.settimeout(_left(end))
    answer = connection.getresponse()
    body = bytearray()
    while True:
        sock.settimeout(_left(end))
        piece = answer.read1(_CHUNK)
        if not piece:
            if answer.length:  # octets that were announced and did not come
                return NoAnswer(f"the answer of {connection.host} ended before its time")
            return Answer(answer.status, bytes(body))
        body += piece
        if len(body) > LARGEST:
            return NoAnswer(f"{connection.host} sent more than {LARGEST} octets")


def _left(end: float) -> float:
    """Seconds; one that drips its answer must not have more. Raises TimeoutError."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
