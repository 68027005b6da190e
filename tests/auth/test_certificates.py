"""Names in certificates of clients, and files of pinned keys."""

import datetime
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from support.client_pki import UPN, Authority, address, common_name, host, mail, upn

from greenmail.auth.certificates import _utf8_string, key_of, names_in, parse_keys, pinned_keys
from greenmail.auth.database import Entry, StandIn, Unavailable


def of(tmp_path, *names):
    return Authority(tmp_path).client("the common name", names)[0]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("rfc822name", ("a@example.org", "b@example.org")),
        ("dnsname", ("laptop.example.org",)),
        ("upn", ("alice@ad.example.org", "j\u00f6rg@ad.example.org")),
        ("cn", ("the common name",)),
    ],
)
def test_names(tmp_path, kind, expected):
    names = [
        mail("a@example.org"), address("192.0.2.1"), host("laptop.example.org"), upn("alice@ad.example.org"),
        x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01x"), mail("b@example.org"),
        upn("j\u00f6rg@ad.example.org"),
    ]  # fmt: skip
    assert names_in(of(tmp_path, *names), kind) == expected


@pytest.mark.parametrize("kind", ["rfc822name", "dnsname", "upn"])
def test_without_alternative_names_there_are_none(tmp_path, kind):
    assert names_in(of(tmp_path), kind) == ()


def test_one_that_is_malformed_has_no_names(tmp_path):
    octets = of(tmp_path, mail("a@example.org")).public_bytes(Encoding.DER)
    twice = octets.replace(b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x11")  # one extension as another
    assert twice != octets
    for kind in ("rfc822name", "dnsname", "upn"):
        assert names_in(x509.load_der_x509_certificate(twice), kind) == ()
    nameless = octets.replace(b"the common name", b"\xff" * 15)
    assert names_in(x509.load_der_x509_certificate(nameless), "cn") == ()


@pytest.mark.parametrize(
    "der, expected",
    [
        (b"\x0c\x03bob", "bob"),
        (b"\x0c\x81\x80" + b"b" * 128, "b" * 128),
        (b"", None), (b"\x0c", None), (b"\x0c\x04bob", None), (b"\x0c\x02bob", None), (b"\x16\x03bob", None),
        (b"\x0c\x81", None), (b"\x0c\x82\x01\x00" + b"b" * 256, None), (b"\x0c\x01\xff", None),
    ],
)  # fmt: skip
def test_utf8_string(der, expected):
    if expected is None:
        with pytest.raises(ValueError):
            _utf8_string(der)
    else:
        assert _utf8_string(der) == expected


@given(st.binary(max_size=40))
def test_any_octets_in_a_principal_name_are_a_name_or_none(octets):
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = common_name("x")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime.datetime(2026, 1, 1))
    builder = builder.not_valid_after(datetime.datetime(2027, 1, 1))
    try:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.OtherName(UPN, octets)]), critical=False)
        made = builder.sign(key, hashes.SHA256())
    except ValueError:  # no DER at all
        return
    assert isinstance(names_in(made, "upn"), tuple)


KEY = "ab" * 32


@pytest.mark.parametrize(
    "text, users, problems",
    [
        (f"alice:{KEY}\n", {KEY: "alice"}, 0),
        (f"# a comment\n\nalice:{KEY.upper()}:the laptop: old\r\n", {KEY: "alice"}, 0),
        (f"alice: {KEY} \nalice:{'cd' * 32}", {KEY: "alice", "cd" * 32: "alice"}, 0),
        (f"alice:{KEY}\nbob:{KEY}\n", {KEY: "alice"}, 1),
        (f":{KEY}\nalice\nalice:\nalice:{KEY[1:]}\nalice:{'xy' * 32}\n", {}, 5),
    ],
)
def test_files_of_pinned_keys(text, users, problems):
    table = parse_keys(text.encode())
    assert {key: entry.name for key, entry in table.entries.items()} == users
    assert len(table.problems) == problems


@given(st.binary(max_size=300))
def test_any_octets_are_a_file_of_pinned_keys(octets):
    assert all(len(key) == 64 for key in parse_keys(octets).entries)


def test_the_file_is_found_again_and_may_be_missing(tmp_path):
    def blocking(function, *args):
        return function(*args)

    keys = pinned_keys(str(tmp_path / "keys"))
    assert isinstance(keys.find(KEY, blocking), Unavailable)
    (tmp_path / "keys").write_text(f"alice:{KEY}\n")
    found = keys.find(KEY, blocking)
    assert isinstance(found, Entry)
    assert found.name == "alice"
    assert isinstance(keys.find("cd" * 32, blocking), StandIn)


def test_the_key_is_what_the_documented_command_says(tmp_path):
    made = of(tmp_path)
    (tmp_path / "bob.pem").write_bytes(made.public_bytes(Encoding.PEM))
    command = "openssl x509 -in bob.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == key_of(made)
