"""APOP, RFC 1939 7, and CRAM-MD5 in AUTH: only if the settings say so."""

import base64
import hashlib
import hmac

from greenmail.auth.logins import Patience
from greenmail.auth.sasl import MECHANISMS, OFF

from .pop3_host import Host


def apop_host(**settings) -> Host:
    return Host(pop3_apop=True, patience=Patience(auth_failure_delay=0.0), **settings)


def digest(host: Host, password: str) -> bytes:
    timestamp = host.sessions[-1].timestamp
    assert timestamp.startswith(b"<") and timestamp.endswith(b"@greenmail>")
    return hashlib.md5(timestamp + password.encode()).hexdigest().encode()


def test_apop():
    host = apop_host()
    wire = host.connect()
    assert host.talk(wire, b"APOP alice %b\r\n" % digest(host, "wrong")).startswith(b"-ERR [AUTH] ")
    assert host.talk(wire, b"APOP alice %b\r\n" % digest(host, "secret")).startswith(b"+OK Logged in, 3 messages")
    assert host.talk(wire, b"APOP alice %b\r\n" % digest(host, "secret")).startswith(b"-ERR")
    assert [attempt.mechanism for attempt in host.users.attempts] == ["APOP", "APOP"]


def test_the_digest_is_of_the_password_in_its_one_spelling():
    """RFC 6856 2.2: SASLprep on both sides; RFC 4013 3 has the example."""
    host = apop_host()
    host.users.passwords["alice"] = "I\u00adX\u00aa"
    wire = host.connect()
    assert host.talk(wire, b"APOP alice %b\r\n" % digest(host, "IXa")).startswith(b"+OK Logged in")


def test_what_is_malformed_says_nothing_of_the_user():
    host = apop_host()
    wire = host.connect()
    for line in (b"APOP", b"APOP alice", b"APOP alice x", b"APOP alice %b x" % (b"0" * 32)):
        assert host.talk(wire, line + b"\r\n").startswith(b"-ERR")
    assert host.users.attempts == []


def test_without_privacy_or_the_setting_there_is_no_timestamp():
    for host, secure in ((apop_host(), False), (Host(), True)):
        wire = host.connect(secure=secure)
        assert host.sessions[-1].timestamp == b""
        assert host.talk(wire, b"APOP alice %b\r\n" % (b"0" * 32)).startswith(b"-ERR [AUTH]")
        assert host.users.attempts == []


def test_cram_md5():
    host = Host(mechanisms=tuple(MECHANISMS), patience=Patience(auth_failure_delay=0.0))
    wire = host.connect()
    assert b" CRAM-MD5\r\n" in host.talk(wire, b"CAPA\r\n")
    for password, answer in (("wrong", b"-ERR [AUTH]"), ("secret", b"+OK")):
        challenge = base64.b64decode(host.talk(wire, b"AUTH CRAM-MD5\r\n")[2:])
        proof = hmac.digest(password.encode(), challenge, "md5").hex()
        assert host.talk(wire, base64.b64encode(b"alice " + proof.encode()) + b"\r\n").startswith(answer)


def test_cram_md5_is_off():
    assert frozenset({"CRAM-MD5"}) == OFF
    host = Host()
    wire = host.connect()
    assert b"CRAM" not in host.talk(wire, b"CAPA\r\n")
    assert host.talk(wire, b"AUTH CRAM-MD5\r\n").startswith(b"-ERR")
