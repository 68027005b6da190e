"""Somebody who makes tokens: keys, a JWK Set and introspection, served over HTTP as issuers do."""

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
NAME, AUDIENCE = "https://id.example.org/", "mail.example.org"


def public(key: Any, kid: str, **more: str) -> dict[str, Any]:
    """One key of a JWK Set."""
    algorithm: Any = jwt.algorithms.OKPAlgorithm
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    made = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, **more}


def claims(**changed: Any) -> dict[str, Any]:
    """Those of a good token; None takes one out."""
    now = int(time.time())
    good = {"iss": NAME, "aud": AUDIENCE, "email": "alice", "scope": "openid imap", "iat": now, "exp": now + 300}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def token(key: Any = EC, algorithm: str = "ES256", kid: str = "one", header: Any = None, **changed: Any) -> str:
    """A signed one."""
    return jwt.encode(claims(**changed), key, algorithm, headers={"kid": kid, **(header or {})})


@dataclass
class Issuer:
    """What is served, and what was asked."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public(EC, "one")])
    active: dict[str, dict[str, Any]] = field(default_factory=dict)  # by token
    asked: list[str] = field(default_factory=list)  # paths
    authorization: str = ""
    status: int = 200
    gate: threading.Event = field(default_factory=threading.Event)  # answers wait for it

    def answer(self, path: str, form: dict[str, str]) -> Any:
        if path == "/.well-known/openid-configuration":
            return {"issuer": NAME, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            return {"keys": self.keys}
        return self.active.get(form.get("token", ""), {"active": False})


@contextmanager
def serving() -> Iterator[Issuer]:
    """One on the loopback."""
    issuer = Issuer()
    issuer.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            octets = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            issuer.asked.append(self.path)
            issuer.authorization = self.headers.get("Authorization", "")
            issuer.gate.wait(20)
            body = json.dumps(issuer.answer(self.path, dict(urllib.parse.parse_qsl(octets.decode())))).encode()
            self.send_response(issuer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield issuer
        server.shutdown()


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()
