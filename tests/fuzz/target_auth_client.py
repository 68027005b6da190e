"""Lines of a program that asks about SMTP AUTH: answered by the protocol, or BadLine ends the connection."""

import tempfile
from pathlib import Path

from greenmail.auth.authenticator import BACKENDS, Databases, PasswordAuthenticator, Rules
from greenmail.auth.logins import NoGuard, Patience
from greenmail.auth.postfix_auth import AuthClient, BadLine, Services, greeting
from greenmail.runtime import direct

MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL", "CRAM-MD5", "ANONYMOUS", "OAUTHBEARER", "XOAUTH2")


class NoRegister:
    """SMTP has no seats."""

    def login(self, user: str, address: str, protocol: str) -> str | None:
        raise AssertionError("no session begins")

    def logout(self, user: str, address: str, protocol: str) -> None:
        raise AssertionError("no session ends")

    def poll(self, user: str, delay: float) -> float:
        raise AssertionError("nobody looks for mail")

    def unpoll(self, user: str) -> None:
        raise AssertionError("nobody looks for mail")


def services() -> Services:
    """With one user, whose password costs nothing to compare."""
    path = Path(tempfile.mkdtemp()) / "users"
    path.write_text("alice@example.org:{PLAIN}secret\nlocked:{PLAIN}secret::::::nologin=gone\n")
    authenticator = PasswordAuthenticator(
        Databases([BACKENDS["passwd-file"](str(path))]),
        Rules(default_domain="example.org", owner=lambda: (1000, 1001)),
        direct().blocking,
    )
    return Services(
        direct(), authenticator, NoRegister(), Patience(3, 0.0), NoGuard(), MECHANISMS, lambda _: False, lambda: "s1"
    )


SERVICES = services()


def check(data: bytes) -> None:
    said = bytearray()
    client = AuthClient(SERVICES, said.extend)
    assert greeting(SERVICES, 1, 2, "0" * 32).endswith(b"\nDONE\n")
    if not data.startswith(b"VERSION"):
        client.take(b"VERSION\t1\t1")
    try:
        for line in data.split(b"\n"):
            before = len(said)
            client.take(line)
            answer = bytes(said[before:])
            assert answer.count(b"\n") == bool(answer) and answer.endswith(b"\n" if answer else b"")
            assert b"\0" not in answer and b"\r" not in answer
            if answer:
                word, number, *_ = answer.split(b"\t")
                assert word in (b"OK", b"FAIL", b"CONT") and int(number) == int(line.split(b"\t")[1])
            if answer.startswith(b"OK"):
                assert b"secret" in data or b"c2VjcmV0" in data or b"PLAIN" in data.upper() or b"LOGIN" in data.upper()
    except BadLine as bad:
        assert str(bad).isprintable()
