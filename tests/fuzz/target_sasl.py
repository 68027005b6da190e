"""SASL exchanges, message by message: credentials, or BadSyntax; and a proof is right only of who knows the secret.

The first line names the mechanism, the others are messages. Of SCRAM a line `!` is the right client-final, worked out
here from what was said, and `!` with octets behind it the same with its proof spoiled; of CRAM-MD5 likewise.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace

from greenmail.auth import digests, sasl, saslprep, scram, scram_keys
from greenmail.auth.api import Clear, Keys, Secret, Token
from greenmail.errors import BadSyntax

USER, PASSWORD, TOKEN = "alice", "p\u00e4sswort", "good.token"
GUEST = "guest"  # as whom ANONYMOUS comes in
SALT = b"0123456789abcdef"
KEYS = {name: scram_keys.keys_of(f"{{PLAIN}}{PASSWORD}", name, SALT) for name in scram.HASHES}


def _keys(mechanism: str, login: str, authorize_as: str) -> Keys | None:
    if login == "down":
        return None
    return KEYS[mechanism] if login == USER else scram_keys.derived(SALT, mechanism, login.encode("utf-8", "replace"))


def _clear(login: str) -> Clear | None:
    if login == "down":
        return None
    return Clear(Secret(PASSWORD.encode()), f"{{PLAIN}}{PASSWORD}") if login == USER else Clear(Secret(b"?"))


def _token(token: Secret) -> Token:
    text = token.reveal().decode("ascii", "replace")
    return Token(
        login=USER if text == TOKEN else "", text="no", lacks_scope="scope" in text, unavailable="down" in text
    )


def means(bound: bool) -> scram.Means:
    """Of a connection with a client certificate, over TLS that can be bound to."""
    made = scram.Means(
        _keys, b"end point" if bound else b"", lambda: "server", _clear, ("alice", "Bob") if bound else (), _token
    )
    return replace(made, anonymous_user=GUEST if bound else "")


@dataclass
class Client:
    """The other half of SCRAM and CRAM-MD5."""

    mechanism: str
    bound: bool
    first: str = ""
    said: list[bytes] = field(default_factory=list)
    knows: bool = False  # the last message was the right one

    def message(self, line: bytes, challenge: bytes) -> bytes:
        self.knows = False
        if not line.startswith(b"!"):
            self.first = self.first or line.decode("utf-8", "replace")
            return line
        self.knows = line == b"!"
        if self.mechanism == digests.CRAM_MD5:
            digest = hmac.digest(saslprep.password(PASSWORD.encode()), challenge, "md5").hex()
            return f"{USER} {digest if self.knows else digest[::-1]}".encode()
        name = self.mechanism.removesuffix(scram.PLUS)
        if name not in scram.HASHES or not challenge.startswith(b"r=") or self.first.count(",") < 2:
            self.knows = False
            return line
        header, bare = self._parts()
        hash_name = scram.HASHES[name]
        found = dict(part.split("=", 1) for part in challenge.decode("ascii").split(","))
        binding = b"end point" if self.bound and header.startswith("p") else b""
        without = f"c={base64.b64encode(header.encode() + binding).decode()},r={found['r']}"
        salted = hashlib.pbkdf2_hmac(
            hash_name, saslprep.password(PASSWORD.encode()), base64.b64decode(found["s"]), int(found["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", hash_name)
        stored = hashlib.new(hash_name, client_key).digest()
        signature = hmac.digest(stored, f"{bare},{challenge.decode()},{without}".encode(), hash_name)
        proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        if not self.knows:
            proof = (
                proof[:-1] + bytes([proof[-1] ^ (line[-1] or 1)])
                if len(line) % 2
                else proof[: (len(line) - 1) % len(proof)]
            )
        return f"{without},p={base64.b64encode(proof).decode()}".encode()

    def _parts(self) -> tuple[str, str]:
        flag, authorize_as, bare = self.first.split(",", 2)
        return f"{flag},{authorize_as},", bare


def check(data: bytes) -> None:
    head, *lines = data.split(b"\n")
    bound = not head.endswith(b"-")
    mechanism = head.rstrip(b"-").decode("latin-1").upper()
    client = Client(mechanism, bound)
    try:
        initial = sasl.initial(lines.pop(0) if head.endswith(b"=") and lines else None)
        exchange = sasl.start(mechanism.rstrip("="), initial, means(bound))
    except BadSyntax as bad:
        assert bad.text.isprintable()
        return
    challenges: list[bytes] = []
    waiting = lines[::-1]

    def write(line: bytes) -> None:
        assert line.startswith(b"+ ") and line.endswith(b"\r\n")
        challenges.append(base64.b64decode(line[2:-2], validate=True))

    def read_line() -> bytes:
        if not waiting:
            return b"*"
        line = waiting.pop()
        if line.startswith(b"\\"):  # octets that are no base64
            return line[1:]
        return base64.b64encode(client.message(line, challenges[-1]))

    try:
        credentials = sasl.converse(exchange, write, read_line)
        assert exchange.credentials is credentials
        _judged(client, credentials)
        sasl.explain(credentials, write, read_line)
        sasl.conclude(credentials, write, read_line)
    except BadSyntax as bad:
        assert bad.text.isprintable(), bad.text
    _prepared(data)


def _judged(client: Client, credentials: sasl.Credentials) -> None:
    assert "\0" not in credentials.login and "\0" not in credentials.authorize_as
    proof = credentials.proof
    named = credentials.login + credentials.authorize_as + credentials.trace  # where a client may write what it likes
    assert all(secret in named or secret not in repr(credentials) for secret in (PASSWORD, TOKEN))
    assert (
        credentials.login != GUEST
        or client.mechanism.startswith(("ANONYMOUS", "PLAIN", "LOGIN"))
        or (proof and not proof.right)
    )
    if proof is None or not proof.right or proof.vouched:
        if client.knows and proof is not None and not proof.vouched:
            assert proof.unavailable or credentials.login != USER or _binding_is_wrong(client), "who knows may come in"
        return
    assert client.knows and credentials.login == USER, "nobody else may"
    if credentials.final:
        assert credentials.final.startswith(b"v=")


def _binding_is_wrong(client: Client) -> bool:
    """RFC 5802 6."""
    flag = client.first.partition(",")[0]
    is_plus = client.mechanism.endswith(scram.PLUS)
    return flag != ("p=" + scram.END_POINT if is_plus else "n") or (is_plus and not client.bound)


def _prepared(data: bytes) -> None:
    """RFC 4013: what is prepared stays as it is when it is prepared again."""
    once = saslprep.password(data)
    assert saslprep.password(once) == once
