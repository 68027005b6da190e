"""SCRAM: the RFCs' own exchanges, a client that others wrote, and everything that must not succeed."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient

from greenmail.auth import scram, scram_keys
from greenmail.auth.scram import END_POINT, Means, client_final, client_first
from greenmail.errors import BadSyntax

# RFC 5802 5, RFC 7677 3: user, password pencil
RFC = {
    "SCRAM-SHA-1": {
        "salt": "QSXCR+Q6sek8bf92",
        "nonce": "3rfcNHYJY1ZVvWVs7j",
        "first": b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "challenge": b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "last": b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "final": b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    "SCRAM-SHA-256": {
        "salt": "W22ZaJ0SNY7soEsUEjb6gQ==",
        "nonce": "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "first": b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "challenge": (b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
        "last": (
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        ),
        "final": b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
}
BINDING = b"\x01\x02 hash of a certificate"
EXPORTED = b"32 octets of this connection alone"


class Server:
    """Our half, for the user "user" with password "pencil"."""

    def __init__(
        self,
        mechanism: str = "SCRAM-SHA-256",
        end_point: bytes = b"",
        password: bytes = b"pencil",
        exporter: bytes = b"",
    ) -> None:
        example = RFC[mechanism.removesuffix("-PLUS")]
        self.asked: list[tuple[str, str, str]] = []
        self.outcome: scram.Outcome | None = None

        def keys(name: str, login: str, authorize_as: str) -> object:
            self.asked.append((name, login, authorize_as))
            return scram_keys.derived(password, name, base64.b64decode(example["salt"]), "{PLAIN}pencil")

        self._steps = scram.run(mechanism, Means(keys, end_point, lambda: example["nonce"], exporter=exporter))
        assert next(self._steps) == b""

    def send(self, message: bytes) -> bytes:
        """The challenge, or what goes with success; empty if the exchange ended without one."""
        try:
            return self._steps.send(message)
        except StopIteration as end:
            self.outcome = end.value
            return end.value.final

    @property
    def is_right(self) -> bool:
        assert self.outcome is not None
        assert bool(self.outcome.final) == self.outcome.proof.right
        return self.outcome.proof.right


@pytest.mark.parametrize("mechanism", list(RFC))
def test_the_exchange_of_the_rfc(mechanism):
    example, server = RFC[mechanism], Server(mechanism)
    assert server.send(example["first"]) == example["challenge"]
    assert server.send(example["last"]) == example["final"]
    assert server.is_right and server.outcome.login == "user"


@pytest.mark.parametrize("mechanism", list(RFC))
def test_another_password(mechanism):
    example, server = RFC[mechanism], Server(mechanism, password=b"pencil2")
    assert server.send(example["first"]) == example["challenge"]
    assert server.send(example["last"]) == b""
    assert not server.is_right and "proof" in server.outcome.proof.text


@pytest.mark.parametrize("mechanism", [f"{name}{plus}" for name in RFC for plus in ("", "-PLUS")])
def test_a_client_that_others_wrote(mechanism):
    server = Server(mechanism, BINDING)
    binding = (END_POINT, BINDING) if mechanism.endswith("-PLUS") else None
    client = ScramClient([mechanism], "user", "pencil", channel_binding=binding)
    client.set_server_first(server.send(client.get_client_first().encode()).decode())
    client.set_server_final(server.send(client.get_client_final().encode()).decode())
    assert server.is_right and server.asked == [(mechanism.removesuffix("-PLUS"), "user", "")]


def exchange(server: Server, header: str, bound: bytes | None = None) -> bool:
    """A client with the password that sends this gs2-header and this channel binding."""
    client = ScramClient(["SCRAM-SHA-256"], "user", "pencil")
    bare = client.get_client_first().removeprefix("n,,")
    challenge = server.send(f"{header}{bare}".encode())
    if server.outcome is not None:
        assert challenge == b""
        return server.is_right
    keys = scram_keys.derived(b"pencil", "SCRAM-SHA-256", base64.b64decode(RFC["SCRAM-SHA-256"]["salt"]))
    without = b"c=%b,r=%b" % (
        base64.b64encode(header.encode() + BINDING if bound is None else bound),
        challenge.split(b",")[0][2:],
    )
    server.send(without + b",p=" + proof(keys, b"%b,%b,%b" % (bare.encode(), challenge, without)))
    return server.is_right


def proof(keys, message: bytes) -> bytes:
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", keys.salt, keys.iterations)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    return base64.b64encode(bytes(one ^ other for one, other in zip(key, signature, strict=True)))


@pytest.mark.parametrize(
    "mechanism, end_point, header, bound, is_right",
    [
        ("SCRAM-SHA-256", b"", "n,,", b"n,,", True),
        ("SCRAM-SHA-256", BINDING, "n,,", b"n,,", True),
        ("SCRAM-SHA-256", b"", "y,,", b"y,,", True),
        ("SCRAM-SHA-256", BINDING, "y,,", b"y,,", False),  # RFC 5802 6: somebody hid -PLUS from the client
        ("SCRAM-SHA-256", b"", "n,a=other,", b"n,a=other,", True),
        ("SCRAM-SHA-256", b"", "n,,", b"y,,", False),  # what was said first is not what is signed
        ("SCRAM-SHA-256", b"", "n,,", b"n,,more", False),
        ("SCRAM-SHA-256", BINDING, f"p={END_POINT},,", None, False),  # -PLUS was not chosen
        ("SCRAM-SHA-256-PLUS", BINDING, f"p={END_POINT},,", None, True),
        ("SCRAM-SHA-256-PLUS", BINDING, f"p={END_POINT},a=other,", None, True),
        ("SCRAM-SHA-256-PLUS", b"another", f"p={END_POINT},,", None, False),  # somebody stands between
        ("SCRAM-SHA-256-PLUS", BINDING, f"p={END_POINT},,", b"p=tls-server-end-point,,", False),
        ("SCRAM-SHA-256-PLUS", BINDING, "p=tls-exporter,,", None, False),
        ("SCRAM-SHA-256-PLUS", BINDING, "p=tls-unique,,", None, False),
        ("SCRAM-SHA-256-PLUS", BINDING, "n,,", b"n,,", False),
        ("SCRAM-SHA-256-PLUS", BINDING, "y,,", b"y,,", False),
    ],
)
def test_channel_binding(mechanism, end_point, header, bound, is_right):
    assert exchange(Server(mechanism, end_point), header, bound) is is_right


@pytest.mark.parametrize(
    "mechanism, end_point, header, data, is_right",
    [
        ("SCRAM-SHA-256-PLUS", BINDING, "p=tls-exporter,,", EXPORTED, True),  # RFC 9266
        ("SCRAM-SHA-256-PLUS", b"", "p=tls-exporter,,", EXPORTED, True),
        ("SCRAM-SHA-256-PLUS", BINDING, f"p={END_POINT},,", BINDING, True),
        ("SCRAM-SHA-256-PLUS", BINDING, "p=tls-exporter,,", BINDING, False),  # each has octets of its own
        ("SCRAM-SHA-256-PLUS", BINDING, f"p={END_POINT},,", EXPORTED, False),
        ("SCRAM-SHA-256-PLUS", BINDING, "p=tls-exporter,,", b"of another connection", False),
        ("SCRAM-SHA-256-PLUS", b"", f"p={END_POINT},,", b"", False),
        ("SCRAM-SHA-256-PLUS", BINDING, "p=tls-unique,,", EXPORTED, False),
        ("SCRAM-SHA-256", b"", "y,,", b"", False),  # somebody hid -PLUS
        ("SCRAM-SHA-256", BINDING, "n,,", b"", True),
    ],
)
def test_binding_to_the_connection(mechanism, end_point, header, data, is_right):
    server = Server(mechanism, end_point, exporter=EXPORTED)
    assert exchange(server, header, header.encode() + data) is is_right


def test_another_nonce_is_of_another_exchange():
    example, server = RFC["SCRAM-SHA-256"], Server()
    server.send(example["first"])
    server.send(example["last"].replace(b"hNlF$k0", b"hNlF$k1"))
    assert not server.is_right


def test_names_with_commas_and_equals_signs():
    server = Server()
    server.send(b"n,a=to=3Dto,n=m=2Cu=3Dst=C3,r=abc".replace(b"=C3", "é".encode()))
    assert server.asked == [("SCRAM-SHA-256", "m,u=sté", "to=to")]


def test_keys_that_cannot_be_had():
    steps = scram.run("SCRAM-SHA-256", Means(lambda *_: None))
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(b"n,,n=user,r=abc")
    assert end.value.value.proof.unavailable and not end.value.value.proof.right


@pytest.mark.parametrize(
    "message",
    [
        "",
        "n", "n,", "n,,", "n,,n=user", "n,,r=abc", "n,,r=abc,n=user", "n,,n=,r=abc", "n,,n=user,r=", "x,,n=user,r=abc",
        "p=,,n=user,r=abc", "p,,n=user,r=abc", "n,user,n=user,r=abc", "n,a=,n=user,r=abc", "n,a==,n=user,r=abc",
        "n,,n=us=er,r=abc", "n,,n=us=2cer,r=abc", "n,,m=x,n=user,r=abc", "n,,n=user,r=abc,m=x", "n,,n=user,r=a\x7f",
        "n,,n=user,r=aé", "n,,n=user,r=abc,", "n,,n=user,r=abc,xy", "n,,n=user,r=abc,é=1", "n,,n=us\0er,r=abc",
        "n,,n=user,r=a b", "N,,n=user,r=abc", "p=a_b,,n=user,r=abc",
    ],
)  # fmt: skip
def test_first_messages_that_are_none(message):
    with pytest.raises(BadSyntax):
        Server().send(message.encode())


def test_extensions_are_passed_over():
    assert client_first("n,,n=user,r=abc,x=1,Y=2=3").nonce == "abc"
    assert client_final("c=biws,r=abc,x=1,p=YQ==") == ("c=biws,r=abc,x=1", b"n,,", "abc", b"a")


@pytest.mark.parametrize(
    "message",
    ["", "p=YQ==", "c=biws,p=YQ==", "c=biws,r=abc", "r=abc,c=biws,p=YQ==", "c=?,r=abc,p=YQ==", "c=biws,r=abc,p=?",
     "c=biws,r=abc,p=", "c=biws,r=abc,p=YQ==,", "c=biws,r=abc,m=1,p=YQ==", "c=é,r=abc,p=YQ==", "c=biws,r=abc,p=é"],
)  # fmt: skip
def test_final_messages_that_are_none(message):
    server = Server()
    server.send(b"n,,n=user,r=abc")
    with pytest.raises(BadSyntax):
        server.send(message.encode())


def test_messages_are_utf_8():
    for message in (b"\xff", b"n,,n=\xff,r=abc"):
        with pytest.raises(BadSyntax):
            Server().send(message)


@given(st.lists(st.binary(max_size=40) | st.text(alphabet="nyparc=,2CD3ixb", max_size=40).map(str.encode), max_size=3))
def test_any_octets_give_an_outcome_that_is_not_right(messages):
    server = Server()
    try:
        for message in messages:
            if server.outcome is None:
                server.send(message)
    except BadSyntax:
        return
    assert server.outcome is None or not server.is_right
