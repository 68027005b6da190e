"""Several certificates: which one a client is shown, and that each is renewed by itself."""

import datetime
import hashlib
import os
import ssl
import sys
from types import SimpleNamespace

import gevent
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gevent.ssl import SSLContext
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from support.client_pki import Authority

from greenmail import metrics
from greenmail.config import ConfigError, from_mapping
from greenmail.errors import Disconnected
from greenmail.net import tls
from greenmail.net.children import Identity
from greenmail.net.client_certificates import Identities
from greenmail.net.site import Site, _contexts
from greenmail.net.sni import Chooser


def context(*names):
    return SimpleNamespace(greenmail_names=frozenset(names))


OWN = context("mail.example.org", "*.example.org")
FIRST = context("mail.example.com", "*.mail.example.com", "both.example.net", "x.example.org")
SECOND = context("both.example.net", "*.example.com", "mail.example.org")


@pytest.mark.parametrize(
    "name, expected",
    [
        (None, OWN),
        ("", OWN),
        ("mail.example.org", OWN),  # of two that have it the listener's own
        ("mail.example.com", FIRST),
        ("MAIL.Example.COM", FIRST),
        ("mail.example.com.", FIRST),
        ("imap.mail.example.com", FIRST),
        ("imap.example.com", SECOND),
        ("both.example.net", FIRST),  # the first of the settings
        ("x.example.org", FIRST),  # goes before the listener's *
        ("y.example.org", OWN),
        ("a.b.example.com", OWN),  # * is one label
        ("example.com", OWN),
        ("elsewhere.example", OWN),
        ("com", OWN),
        ("*.example.com", SECOND),  # nobody asks so; it harms nobody
        (".", OWN),
    ],
)
def test_choice(name, expected):
    assert Chooser([FIRST, SECOND]).choose(name, OWN) is expected


@given(st.text(max_size=300))
def test_any_name_gives_a_certificate(name):
    assert Chooser([FIRST, SECOND]).choose(name, OWN) in (OWN, FIRST, SECOND)


def test_new_names_count_from_the_next_handshake():
    one, two = context("a.example"), context("b.example")
    chooser = Chooser([one, two])
    assert chooser.choose("b.example", OWN) is two
    one.greenmail_names, two.greenmail_names = two.greenmail_names, one.greenmail_names
    assert chooser.choose("b.example", OWN) is one
    two.greenmail_names = frozenset()
    assert chooser.choose("a.example", OWN) is OWN


def issue(directory, common_name, *names):
    """(certificate, key) written to fullchain.pem and privkey.pem in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=60))
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    made = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (directory / "fullchain.pem").write_bytes(made.public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "privkey.pem").write_bytes(key.private_bytes(pem, *plain))
    return made


@pytest.mark.parametrize(
    "names, expected",
    [
        ((), {"fallback.example"}),  # of the subject, where there are no others
        (("A.example", "*.B.example"), {"a.example", "*.b.example"}),
    ],
)
def test_names_in_a_certificate(tmp_path, names, expected):
    assert tls.names_in(issue(tmp_path, "fallback.example", *names)) == expected


@pytest.fixture
def directories(tmp_path):
    """As certbot has them: links to files that have numbers."""
    for name, names in (("org", ("mail.example.org",)), ("com", ("mail.example.com",)), ("net", ("*.example.net",))):
        issue(tmp_path / "archive" / name / "1", name, *names)
        (tmp_path / "live" / name).mkdir(parents=True)
        link(tmp_path, name, 1)
    return tmp_path


def link(place, name, number):
    """certbot's renewal: each link is replaced by a rename."""
    for part in ("privkey", "fullchain"):
        new = place / "live" / name / "new"
        os.symlink(f"../../archive/{name}/{number}/{part}.pem", new)
        os.rename(new, place / "live" / name / f"{part}.pem")


def settings(place, *names, **more):
    paths = [
        {
            "cert-path": str(place / "live" / name / "fullchain.pem"),
            "key-path": str(place / "live" / name / "privkey.pem"),
        }
        for name in names
    ]
    return {**paths[0], "certificates": paths[1:], **{name.replace("_", "-"): value for name, value in more.items()}}


def site_of(config, asked=None):
    materials = tls.read_all(tls.Pair(*paths) for paths in config.certificate_paths())
    return Site(
        config=config, status_token=None, identity=Identity(0, 0), sockets={}, metrics_socket=None,
        materials=materials, contexts=_contexts(config, materials, asked), database_secrets={}, pam=None,
    )  # fmt: skip


def default_of(site):
    return site.contexts[tls.Pair(site.config.cert_path, site.config.key_path)]


def shown(loop, site, name, users=None):
    """The certificate that a client of this name sees, and the binding that the stream has."""
    client, stream = loop.pair(**({} if users is None else {"users": users}))
    server = gevent.spawn(stream.handshake, default_of(site))
    trusting = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    wrapped = trusting.wrap_socket(client, server_hostname=name)
    server.get(timeout=20)
    octets = wrapped.getpeercert(binary_form=True)
    assert stream.end_point == hashlib.sha256(octets).digest()
    found = x509.load_der_x509_certificate(octets)
    wrapped.close()
    stream.close()
    return found


def common(certificate):
    return certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


EXPECTED = {None: "org", "mail.example.com": "com", "imap.example.net": "net", "other.example": "org"}


@pytest.mark.parametrize("asks", [False, True])
def test_handshakes(loop, directories, asks):
    """Also where clients are asked for certificates, which are pyOpenSSL's connections."""
    from greenmail.net import client_certificates

    more = {}
    if asks:
        authority = Authority(directories)
        more = {"tls_client_certificate": "optional", "client_ca_path": str(authority.path)}
    config = from_mapping(settings(directories, "org", "com", "net", **more))
    site = site_of(config, client_certificates.asking(config))
    users = Identities(config, lambda function, *args: function(*args)).users
    for name, expected in EXPECTED.items():
        assert common(shown(loop, site, name, users)) == expected


def test_a_client_s_certificate_is_looked_at_whatever_it_is_shown(loop, directories):
    from support.client_pki import mail

    from greenmail.net import client_certificates

    authority, strangers = Authority(directories), Authority(directories, "strangers")
    more = {"tls_client_certificate": "optional", "client_ca_path": str(authority.path)}
    config = from_mapping(settings(directories, "org", "com", **more))
    site = site_of(config, client_certificates.asking(config))
    users = Identities(config, lambda function, *args: function(*args)).users
    for signer, expected in ((authority, ("alice",)), (strangers, ())):
        client, stream = loop.pair(users=users)
        server = gevent.spawn(stream.handshake, default_of(site))
        trusting = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        trusting.load_cert_chain(str(signer.client("x", [mail("alice")])[1]))
        trusting.wrap_socket(client, server_hostname="mail.example.com")
        server.get(timeout=20)
        assert stream.certified == expected


def test_each_is_renewed_by_itself_and_a_broken_one_stays(loop, directories, caplog, monkeypatch):
    expiries = {}
    monkeypatch.setattr(metrics, "certificate_expiry", lambda path, when: expiries.update({path: when}))
    site = site_of(from_mapping(settings(directories, "org", "com", "net")))
    assert site.renewed() == []
    before = {name: shown(loop, site, name).serial_number for name in EXPECTED}
    issue(directories / "archive" / "com" / "2", "com", "mail.example.com", "new.example.com")
    link(directories, "com", 2)
    issue(directories / "archive" / "net" / "2", "net", "*.example.net")
    (directories / "archive" / "net" / "2" / "fullchain.pem").write_bytes(b"half a")
    link(directories, "net", 2)
    path = str(directories / "live" / "com" / "fullchain.pem")
    assert [found.pair.cert_path for found in site.renewed()] == [path]
    assert list(expiries) == [path]
    assert site.renewed() == site.renewed() == []
    after = {name: shown(loop, site, name).serial_number for name in EXPECTED}
    assert {name for name in EXPECTED if before[name] != after[name]} == {"mail.example.com"}
    assert common(shown(loop, site, "new.example.com")) == "com"
    assert caplog.text.count("certificate-not-reloaded") == 1
    issue(directories / "archive" / "net" / "3", "net", "*.example.net")
    link(directories, "net", 3)
    assert len(site.renewed()) == 1
    assert shown(loop, site, "imap.example.net").serial_number != before["imap.example.net"]


def test_a_connection_in_the_midst_of_its_handshake_keeps_the_certificate_that_it_was_shown(loop, directories):
    site = site_of(from_mapping(settings(directories, "org", "com")))
    first = shown(loop, site, "mail.example.com")
    issue(directories / "archive" / "com" / "2", "com", "mail.example.com")
    link(directories, "com", 2)
    real = site.contexts[tls.Pair(*site.config.certificate_paths()[-1])]
    client, stream = loop.pair()
    server = gevent.spawn(stream.handshake, default_of(site))
    chosen = default_of(site).sni_callback

    def then_renewed(sock, name, context):
        chosen(sock, name, context)
        assert len(site.renewed()) == 1

    default_of(site).sni_callback = then_renewed
    trusting = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    wrapped = trusting.wrap_socket(client, server_hostname="mail.example.com")
    server.get(timeout=20)
    octets = wrapped.getpeercert(binary_form=True)
    assert x509.load_der_x509_certificate(octets).serial_number == first.serial_number
    assert stream.end_point == hashlib.sha256(octets).digest() != tls.end_point(real)


@pytest.mark.parametrize(
    "given, problem",
    [
        ({"certificates": [{"cert-path": "/a", "key-path": "/b"}]}, "certificates: is set, but cert-path and key-path"),
        ({"cert-path": "/a", "key-path": "/b", "certificates": [{"cert-path": "/c"}]}, "certificates.0.key-path"),
        ({"cert-path": "/a", "key-path": "/b", "certificates": [{"cert-path": "", "key-path": "/d"}]}, "a path"),
        ({"cert-path": "/a", "key-path": "/b", "certificates": "/c"}, "certificates"),
    ],
)
def test_settings_that_cannot_be(given, problem):
    with pytest.raises(ConfigError, match=problem):
        from_mapping(given)


def test_a_listener_s_own_certificate_is_default_enough():
    own = {"cert-path": "/a", "key-path": "/b"}
    listener = {"imaps": {"bind": ["[::]:993"], "protocol": "imap", "tls": {"implicit": True, **own}}}
    config = from_mapping({"server": {"listener": listener}, "certificates": [{"cert-path": "/c", "key-path": "/d"}]})
    assert config.certificate_paths() == [("/a", "/b"), ("/c", "/d")]


def test_a_name_that_is_not_ascii_is_one_line_of_the_log(loop, directories, caplog, monkeypatch):
    """RFC 6066 3. Not a traceback: anybody can send such names."""
    caplog.set_level("INFO")
    others = []
    monkeypatch.setattr(sys, "unraisablehook", others.append)
    site = site_of(from_mapping(settings(directories, "org", "com")))
    client, stream = loop.pair()
    server = gevent.spawn(stream.handshake, default_of(site))
    hello = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    hello.set_tlsext_host_name("bücher.example".encode())
    hello.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        hello.do_handshake()
    client.sendall(hello.bio_read(1 << 16))
    with pytest.raises(Disconnected):
        server.get(timeout=20)
    assert not others
    assert "tls-name-unreadable name=b'b\\xc3\\xbccher.example'" in caplog.text
    assert common(shown(loop, site, "mail.example.com")) == "com"
    elsewhere = SimpleNamespace(exc_value=ValueError(), object=None)
    sys.unraisablehook(elsewhere)
    assert others == [elsewhere]
