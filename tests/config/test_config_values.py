"""Settings: every kind of value."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.config_text import CERT, write

from greenmail.config import from_mapping, load
from greenmail.config_tables import ConfigError
from greenmail.config_types import Endpoint
from greenmail.pop3 import uidl


@pytest.mark.parametrize(
    "key, given, value",
    [
        ("max-line", "64 KiB", 65536),
        ("max-line", "64k", 65536),
        ("max-line", "64 kB", 64000),
        ("cache-memory", "1 GiB", 1 << 30),
        ("timeout-idle", "30 min", 1800.0),
        ("timeout-idle", "1h", 3600.0),
        ("timeout-idle", "90", 90.0),
        ("timeout-idle", 0.5, 0.5),
        ("tls-min-version", 1.3, "1.3"),
        ("tls-min-version", "1.2", "1.2"),
        ("user", 0, "0"),
        ("user", "root", "root"),
        ("group", "root", "root"),
        ("metrics-bind", "127.0.0.1:9143", Endpoint("127.0.0.1", 9143)),
        ("metrics-bind", False, None),
        ("special-use", {"Gesendet": "\\sent"}, {"Gesendet": "\\Sent"}),
        ("time-zone", "Pacific/Chatham", "Pacific/Chatham"),
        ("separator", ".", "."),
        ("name-escape", "\\", "\\"),
        ("username-format", "%Ln@%Ld", "%Ln@%Ld"),
        ("mail-path", "/srv/%d/%n/Maildir", "/srv/%d/%n/Maildir"),
        ("mail-path", "%h/mail", "%h/mail"),
        ("auto-create", ["Sent", "Drafts"], ("Sent", "Drafts")),
        ("max-drain", 0, 0),
        ("pop3-uidl-format", "%f", "%f"),
        ("pop3-uidl-format", "%v-%u", "%v-%u"),
        ("sasl-mechanisms", ["login", "SCRAM-SHA-256", "PLAIN"], ("PLAIN", "LOGIN", "SCRAM-SHA-256")),
        ("master-separator", "%", "%"),
        ("master-separator", "", ""),
    ],
)
def test_values(key, given, value):
    assert getattr(from_mapping({key: given}), key.replace("-", "_")) == value


@pytest.mark.parametrize(
    "key, given",
    [
        ("max-line", 0), ("max-line", -5), ("max-line", "64 X"), ("max-line", "x"), ("max-line", True),
        ("max-line", 1e3),
        ("max-line", "9999999 GiB"), ("max-line", "٣"), ("timeout-idle", 0), ("timeout-idle", "1 fortnight"),
        ("timeout-idle", float("inf")), ("timeout-idle", float("nan")), ("timeout-idle", -1), ("timeout-idle", True),
        ("timeout-idle", "1e3"), ("tls-min-version", 1.1), ("tls-min-version", 1), ("user", "nobody-of-this-name"),
        ("user", True), ("group", "no-such-group"), ("metrics-bind", "localhost:9143"), ("metrics-bind", 9143),
        ("special-use", {"Sent": "Sent"}), ("special-use", {"Sent": "\\Inbox"}), ("special-use", ["Sent"]),
        ("special-use", {"": "\\Sent"}), ("time-zone", "Mars/Olympus"), ("time-zone", "../../etc/passwd"),
        ("time-zone", 5), ("separator", ""), ("separator", "//"), ("separator", "a"), ("separator", "%"),
        ("separator", "ä"), ("name-escape", "/"), ("name-escape", "x"), ("name-escape", "ab"), ("username-format", "x"),
        ("username-format", "%x"), ("username-format", "%u%"), ("username-format", "%Xu"), ("mail-path", "Maildir"),
        ("mail-path", "maildir:~/Maildir"), ("mail-path", "/srv/%x"), ("mail-path", "/srv/%"), ("mail-path", "/a\0b"),
        ("mail-path", 5), ("passwd-file", "/etc/%h/users"), ("auto-create", "Sent"), ("auto-create", [1]),
        ("auto-create", [""]), ("secure-networks", ["10.0.0.1/8"]), ("secure-networks", [10]), ("secure-networks", 10),
        ("allow-plain-text", "yes"), ("allow-plain-text", 1), ("max-connections", 0), ("max-auth-failures", 0),
        ("coexistence", "courier"), ("mailbox-names", "utf-8"), ("log-format", "xml"), ("pop3-uidl-format", "%x"),
        ("pop3-uidl-format", "abc"), ("pop3-uidl-format", "%u %v"), ("pop3-uidl-format", "%08"), ("prefix", "a\nb"),
        ("cert-path", None), ("server", 5), ("server", {"listener": 5}), ("worker-pool-size", "8"),
        ("sasl-mechanisms", []), ("sasl-mechanisms", "PLAIN"), ("sasl-mechanisms", ["NTLM"]), ("sasl-mechanisms", [5]),
        ("master-separator", "**"), ("master-separator", "a"), ("master-separator", "@"), ("master-separator", 5),
    ],
)  # fmt: skip
def test_what_is_not_a_value(key, given):
    pattern = rf"settings: {key}[.a-z]*: found .*; allowed: "
    with pytest.raises(ConfigError, match=pattern):
        from_mapping({key: given})


@pytest.mark.parametrize(
    "given",
    ["%08Xu%08Xv", "%f", "%v-%u", "UID%u-%v", "%g", "%m", "%%%u", "%{uid | hex(8)}%{uidvalidity | hex(8)}", "%{uid}",
     "%{filename}", "%{guid|upper}", "%{ md5 }", "%v.%u", "%Lf", "%", "%x", "", "abc", "%%", "%u %v", "%{uid", "%{ui}",
     "%08", "%{uid | }", "%{uid | sha1}", "%{uid | hex(8) | substr(1)}", "%{uid|hex(8)|lower|upper(3)}",
     "%{uid|hex( 8 )}", "%v%v", "x%{uidvalidity | hex(8)}",
     "%0u", "%00u", "%v", "%{uidvalidity}", "%8u", "%999u", "%1000u", "%U%L", "%Xf", "%{UID}"],
)  # fmt: skip
def test_pop3_uidl_format_is_what_pop3_takes(given):
    def taken(function) -> bool:
        try:
            function()
        except ValueError:
            return False
        except ConfigError:
            return False
        return True

    wanted = taken(lambda: uidl.Format(given)) and " " not in re.sub(r"%\{[^}]*\}", "", given)
    assert taken(lambda: from_mapping({"pop3-uidl-format": given})) is wanted


_UIDL_PARTS = st.sampled_from(
    [*"%{}|() uvgfmXLU08x", "%{uid", "uidvalidity", "hex", "lower", "sha256", "%u", "%%", "(8)"]
)


@given(st.lists(_UIDL_PARTS, max_size=12).map("".join))
def test_no_pop3_uidl_format_is_found_wrong_only_at_a_login(text):
    try:
        from_mapping({"pop3-uidl-format": text})
    except ConfigError:
        return
    uidl.Format(text)


@pytest.mark.parametrize(
    "settings, owner",
    [
        ({"user": 54321}, (54321, 54321)),
        ({"user": "54321", "group": 12}, (54321, 12)),
        ({"user": "54321", "group": "60001"}, (54321, 60001)),
    ],
)
def test_the_owner_of_mail_needs_no_account(settings, owner):
    assert from_mapping(settings).owner() == owner


@pytest.mark.parametrize("number", ["4294967295", "99999999999999999999", "٣", -1])
@pytest.mark.parametrize("key", ["user", "group"])
def test_numbers_that_are_no_ids(key, number):
    with pytest.raises(ConfigError, match=f"settings: {key}: found .*; allowed: "):
        from_mapping({key: number})


@pytest.mark.parametrize(
    "networks, address, secure",
    [
        ([], "127.0.0.1", False),
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),  # a client of [::] that speaks IPv4
        (["127.0.0.0/8"], "128.0.0.1", False),
        (["::1"], "::1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        ("10.0.0.0/8", "10.1.2.3", True),
    ],
)
def test_secure_networks(networks, address, secure):
    assert from_mapping({"secure-networks": networks}).counts_as_secure(address) is secure
    assert from_mapping({"secure-networks": networks, "allow-plain-text": True}).counts_as_secure(address)


def test_relative_paths_begin_at_the_file(tmp_path):
    text = "cert-path: tls/c\nkey-path: /k\npasswd-file: users\nlog-path: log\nrun-path: run\n"
    config = load(write(tmp_path, text))
    assert config.cert_path == str(tmp_path / "tls/c")
    assert config.key_path == "/k"
    assert config.passwd_file == str(tmp_path / "users")
    assert (config.log_path, config.run_directory) == (str(tmp_path / "log"), str(tmp_path / "run"))
    assert config.source == str(tmp_path / "imap.yaml")
    assert load(write(tmp_path, "log-path: syslog\n")).log_path == "syslog"


def test_what_was_given_stays_known(tmp_path):
    config = load(write(tmp_path, "bind-port: 143\npasswd-file: x\n"))
    assert config.given("bind_port") and not config.given("bind_addr") and not config.given("log_path")


def test_frozen():
    with pytest.raises(ValueError, match="frozen"):
        from_mapping({}).bind_port = 5  # type: ignore[misc]  # that it is refused is the test


def test_notices_tell_why_nobody_can_log_in():
    assert any("neither passwd-file nor auth is set" in notice for notice in from_mapping({}).notices())
    assert any("no certificate" in notice for notice in from_mapping({}).notices())
    good = {"passwd-file": "/u", **CERT}
    assert from_mapping(good).notices() == ()
    (notice,) = from_mapping({**good, "allow-plain-text": True}).notices()
    assert "without TLS" in notice


def test_owner_of_the_workers():
    assert from_mapping({}).owner() == (os.geteuid(), os.getegid())
    assert from_mapping({"user": "root"}).owner() == (0, 0)
    assert from_mapping({"user": "root", "group": 7}).owner() == (0, 7)
    assert from_mapping({"group": "root"}).owner() == (os.geteuid(), 0)
    assert from_mapping({"user": 3_999_999_999}).owner() == (
        3_999_999_999,
        3_999_999_999,
    )  # no account, as in containers


def test_run_directory_without_a_setting(monkeypatch):
    config = from_mapping({})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert config.run_directory == "/run/greenmail"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert config.run_directory == "/run/user/1000/greenmail"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert config.run_directory == "/tmp/greenmail-1000"


@pytest.mark.parametrize("given", ["", "mailto:postmaster@example.org", "tel:+49-30-1", "https://example.org/help"])
def test_the_administrator_is_a_uri(given: str) -> None:
    assert from_mapping({"server-admin": given}).server_admin == given


@pytest.mark.parametrize("given", ["postmaster@example.org", "mailto:", "mailto:a b", "mailto:\u00e9"])
def test_the_administrator_is_nothing_but_a_uri(given: object) -> None:
    with pytest.raises(ConfigError, match="a URI such as mailto:"):
        from_mapping({"server-admin": given})
