"""Certificates: what is checked at the start, and what the messages say."""

import datetime
import errno
import hashlib
import logging
import os
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from greenmail.config import from_mapping
from greenmail.net import tls
from greenmail.net.children import Identity
from greenmail.net.site import Site
from greenmail.net.tls import CannotStart, Pair

PEM = serialization.Encoding.PEM
NOW = datetime.datetime.now(datetime.UTC)


def make(subject, issuer=None, signer=None, key=None, days=(-1, 100)):
    """(certificate, key); self-signed without a signer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issued = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer or subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issued)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
    )
    own = signer or key
    algorithm = None if isinstance(own, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(own, algorithm), key


def written(tmp_path, certificates, key, key_format=serialization.PrivateFormat.PKCS8, password=None):
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    (tmp_path / "cert.pem").write_bytes(b"".join(certificate.public_bytes(PEM) for certificate in certificates))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(PEM, key_format, hidden))
    return Pair(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))


@pytest.mark.parametrize(
    "key, key_format",
    [
        (ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.PKCS8),
        (ec.generate_private_key(ec.SECP384R1()), serialization.PrivateFormat.TraditionalOpenSSL),  # SEC1
        (rsa.generate_private_key(65537, 2048), serialization.PrivateFormat.PKCS8),
        (rsa.generate_private_key(65537, 2048), serialization.PrivateFormat.TraditionalOpenSSL),  # PKCS#1
        (ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.PKCS8),
    ],
    ids=["ec-pkcs8", "ec-sec1", "rsa-pkcs8", "rsa-pkcs1", "ed25519"],
)
def test_every_usual_form_of_key_is_loaded(tmp_path, key, key_format):
    certificate, _ = make("mail.example.org", key=key)
    pair = written(tmp_path, [certificate], key, key_format)
    material = tls.read(pair)
    assert material.expires == certificate.not_valid_after_utc.timestamp()
    made = tls.context(material, "1.2", "HIGH")
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert "PRIVATE" not in repr(material)


def test_a_chain_in_the_right_order_is_not_worth_a_line(tmp_path, caplog):
    root, root_key = make("root")
    middle, middle_key = make("middle", "root", root_key)
    leaf, key = make("mail", "middle", middle_key)
    tls.read(written(tmp_path, [leaf, middle, root], key))
    assert caplog.text == ""


def test_a_chain_in_the_wrong_order_is_a_warning(tmp_path, caplog):
    root, root_key = make("root")
    middle, middle_key = make("middle", "root", root_key)
    leaf, key = make("mail", "middle", middle_key)
    tls.read(written(tmp_path, [leaf, root, middle], key))
    assert "certificate-chain" in caplog.text
    assert "cert.pem" in caplog.text


@pytest.mark.parametrize(
    "days, level, word",
    [
        ((-100, -1), logging.ERROR, "certificate-expired"),
        ((-100, 3), logging.WARNING, "certificate-expires-soon"),
        ((1, 100), logging.ERROR, "certificate-not-yet-valid"),
    ],
)
def test_dates_are_looked_at_and_do_not_stop_the_server(tmp_path, caplog, days, level, word):
    certificate, key = make("mail", days=days)
    tls.read(written(tmp_path, [certificate], key))
    (record,) = caplog.records
    assert record.levelno == level
    assert word in record.getMessage()
    assert "cert.pem" in record.getMessage()


def refusal(pair):
    with pytest.raises(CannotStart) as caught:
        tls.read(pair)
    assert caught.value.status == 78
    assert "\n" not in caught.value.text
    return caught.value.text


def test_a_key_of_another_certificate(tmp_path):
    certificate, _ = make("mail")
    _, other = make("other")
    text = refusal(written(tmp_path, [certificate], other))
    assert "cert.pem" in text
    assert "key.pem" in text


def test_the_key_must_fit_the_first_certificate(tmp_path):
    root, root_key = make("root")
    leaf, key = make("mail", "root", root_key)
    assert "first certificate" in refusal(written(tmp_path, [root, leaf], key))


def test_files_that_are_not_there_or_hold_something_else(tmp_path):
    certificate, key = make("mail")
    pair = written(tmp_path, [certificate], key)
    assert "cert-path: /nowhere: cannot be read" in refusal(Pair("/nowhere", pair.key_path))
    assert "key-path: /nowhere: cannot be read" in refusal(Pair(pair.cert_path, "/nowhere"))
    assert "no PEM certificate" in refusal(Pair(pair.key_path, pair.key_path))
    assert "no PEM private key" in refusal(Pair(pair.cert_path, pair.cert_path))
    damaged = certificate.public_bytes(PEM).replace(b"MII", b"AAA", 1)
    (tmp_path / "bad.pem").write_bytes(damaged)
    assert "damaged" in refusal(Pair(str(tmp_path / "bad.pem"), pair.key_path))


def test_an_encrypted_key_is_refused_with_the_way_out_and_never_asks(tmp_path):
    certificate, key = make("mail")
    assert "openssl pkey" in refusal(written(tmp_path, [certificate], key, password=b"secret"))


def test_unknown_ciphers(tmp_path):
    certificate, key = make("mail")
    with pytest.raises(CannotStart, match="tls-ciphers"):
        tls.context(tls.read(written(tmp_path, [certificate], key)), "1.2", "NO-SUCH-CIPHER")


def test_changes_on_disk_are_found_and_half_a_change_waits(tmp_path, caplog):
    certificate, key = make("mail")
    pair = written(tmp_path, [certificate], key)
    old, told = tls.read(pair), {}
    assert tls.changed([old], told) == []
    fresh, fresh_key = make("mail")
    (tmp_path / "cert.pem").write_bytes(fresh.public_bytes(PEM))
    assert tls.changed([old], told) == []  # the key is still the old one
    assert "certificate-not-reloaded" in caplog.text
    assert tls.changed([old], told) == [] and caplog.text.count("certificate-not-reloaded") == 1  # said once
    written(tmp_path, [fresh], fresh_key)
    (found,) = tls.changed([old], told)
    assert found.certificates == fresh.public_bytes(PEM)


def test_material_goes_through_memory_into_a_living_context(tmp_path):
    certificate, key = make("mail")
    context = tls.context(tls.read(written(tmp_path, [certificate], key)), "1.3", "HIGH")
    fresh, fresh_key = make("mail")
    with tls.in_memory(tls.read(written(tmp_path, [fresh], fresh_key))) as descriptors:
        os.unlink(tmp_path / "key.pem")
        tls.load(context, *descriptors)


def test_a_renewed_certificate_waits_while_there_are_no_descriptors(tmp_path, monkeypatch, caplog):
    """The parent is the last that may end for want of room."""
    certificate, key = make("old")
    pair = written(tmp_path, [certificate], key)
    material = tls.read(pair)
    site = Site(
        config=from_mapping({}), status_token=None, identity=Identity(0, 0), sockets={}, metrics_socket=None,
        materials={pair: material}, contexts={pair: tls.context(material, "1.2", "HIGH")},
        database_secrets={}, pam=None,
    )  # fmt: skip
    certificate, key = make("new")
    written(tmp_path, [certificate], key)
    real, opened = os.memfd_create, []

    def full(name, flags):
        if opened:
            raise OSError(errno.EMFILE, "Too many open files")
        opened.append(real(name, flags))
        return opened[-1]

    monkeypatch.setattr(os, "memfd_create", full)
    assert site.renewed() == site.renewed() == []
    assert caplog.text.count("certificate-not-reloaded") == 1 and "Too many open files" in caplog.text
    with pytest.raises(OSError):
        os.fstat(opened[0])
    monkeypatch.undo()
    assert [found.pair for found in site.renewed()] == [pair]


@pytest.mark.parametrize(
    "algorithm, expected",
    [
        (hashes.SHA256(), "sha256"),
        (hashes.SHA384(), "sha384"),
        (hashes.SHA512(), "sha512"),
    ],
)
def test_the_channel_binding_is_the_hash_that_signed_the_certificate(monkeypatch, tmp_path, algorithm, expected):
    """RFC 5929 4.1."""
    monkeypatch.setattr(hashes, "SHA256", lambda: algorithm)
    certificate, key = make("mail.example.org")
    monkeypatch.undo()
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert tls.binding(certificate) == hashlib.new(expected, der).digest()
    other, _ = make("ca.example.org")
    made = tls.context(tls.read(written(tmp_path, [certificate, other], key)), "1.2", "HIGH")
    assert tls.end_point(made) == tls.binding(certificate)


def test_a_certificate_that_is_signed_without_a_hash_has_no_binding(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    certificate, _ = make("mail.example.org", key=key)
    assert tls.binding(certificate) == b""
    assert tls.end_point(tls.context(tls.read(written(tmp_path, [certificate], key)), "1.2", "HIGH")) == b""


def test_sha_1_does_not_bind(monkeypatch):
    """RFC 5929 4.1: SHA-256 in the place of MD5 and SHA-1."""
    certificate, _ = make("mail.example.org")

    class Old:
        signature_hash_algorithm = hashes.SHA1()
        fingerprint = staticmethod(certificate.fingerprint)

    assert tls.binding(Old()) == certificate.fingerprint(hashes.SHA256())


def test_a_renewed_certificate_has_a_binding_of_its_own(tmp_path):
    first, key = make("mail.example.org")
    made = tls.context(tls.read(written(tmp_path, [first], key)), "1.2", "HIGH")
    second, key = make("mail.example.org")
    with tls.in_memory(tls.read(written(tmp_path, [second], key))) as descriptors:
        tls.load(made, *descriptors)
    assert tls.end_point(made) == tls.binding(second) != tls.binding(first)
