"""Settings: the promises of the specification pages (rows A1-A16, B1-B10), every kind of value, every kind of error."""

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail import config_doc, config_file
from greenmail.config import INTERMEDIATE, Config, from_mapping, load
from greenmail.config_tables import ConfigError, Listener
from greenmail.config_types import Endpoint
from greenmail.pop3 import uidl

ROOT = Path(__file__).parents[2]
CERT = {"cert-path": "/c", "key-path": "/k"}


def write(tmp_path: Path, text: str, name: str = "imap.yaml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def problems(path: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).replace(path, "FILE").split("\n")


def places(config: Config) -> list[tuple[str, str, int, str, bool]]:
    return [(one.name, one.address, one.port, one.protocol, one.implicit_tls) for one in config.listeners()]


# ---- the specification pages ----

PAGE_A = [
    "bind-addr: 0.0.0.0\nbind-port: 143\nbind-port-tls: 993\n",
    "cert-path: /usr/local/stalwart-imap/etc/imap.crt\nkey-path: /usr/local/stalwart-imap/etc/imap.key\n",
    "log-level: info\n",
    "max-request-size: 52428800\n",
    "worker-pool-size: 16\n",
]
PAGE_B_IMAP = """
[server.listener."imap"]
bind = ["[::]:143"]
protocol = "imap"

[server.listener."imaptls"]
bind = ["[::]:993"]
protocol = "imap"
tls.implicit = true
"""
PAGE_B_POP3 = """
[server.listener."pop3"]
bind = ["[::]:110"]
protocol = "pop3"

[server.listener."pop3s"]
bind = ["[::]:995"]
protocol = "pop3"
tls.implicit = true
"""
PAGE_CERT = 'cert-path = "/c"\nkey-path = "/k"\n'


def test_a16_examples_of_the_page_verbatim(tmp_path):
    config = load(write(tmp_path, "".join(PAGE_A)))
    assert places(config) == [("imap", "0.0.0.0", 143, "imap", False), ("imaps", "0.0.0.0", 993, "imap", True)]
    assert (config.max_request_size, config.worker_pool_size, config.log_level) == (52428800, 16, "info")
    assert config.cert_path == "/usr/local/stalwart-imap/etc/imap.crt"


@pytest.mark.parametrize("block", PAGE_A[1:])
def test_a16_each_example_alone(tmp_path, block):
    load(write(tmp_path, block))


def test_a4_a6_a7_both_ports_with_only_a_certificate():
    config = from_mapping(CERT)
    assert config.listeners() == (
        Listener("imap", "0.0.0.0", 143, "imap", False, "/c", "/k"),
        Listener("imaps", "0.0.0.0", 993, "imap", True, "/c", "/k"),
    )
    assert not [notice for notice in config.notices() if "993" in notice]


def test_a7_without_a_certificate_993_is_not_opened_and_info_says_so():
    config = from_mapping({})
    assert places(config) == [("imap", "0.0.0.0", 143, "imap", False)]
    assert config.notices()[0] == "port 993 is not opened, because cert-path and key-path are not set"


def test_a7_without_a_certificate_a_given_tls_port_is_an_error():
    with pytest.raises(ConfigError, match="bind-port-tls: is set, but there is no certificate"):
        from_mapping({"bind-port-tls": 993})


@pytest.mark.parametrize(
    "given, address",
    [
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "127.0.0.1"),
        ("::", "::"),
        ("[::1]", "::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_a5_bind_addr_is_an_ip_literal(given, address):
    assert from_mapping({"bind-addr": given}).listeners()[0].address == address


@pytest.mark.parametrize("given", ["localhost", "", "1.2.3", "300.1.1.1", "1.2.3.4:143", "::g", 5, None, ["::"]])
def test_a5_a_bad_literal_names_the_key(given):
    with pytest.raises(ConfigError, match=r"bind-addr: found .*allowed: an IP address such as"):
        from_mapping({"bind-addr": given})


@pytest.mark.parametrize("key", ["bind-port", "bind-port-tls"])
@pytest.mark.parametrize("given", [-1, 65536, "143", True, 1.5, None])
def test_a6_a7_ports(key, given):
    with pytest.raises(ConfigError, match=f"{key}: found .*allowed: a whole number from 0 to 65535"):
        from_mapping({key: given, **CERT})


@pytest.mark.parametrize("given", [{"cert-path": "/c"}, {"key-path": "/k"}])
def test_a10_certificate_and_key_come_together(given):
    with pytest.raises(ConfigError, match=r"is set, but (cert|key)-path is not"):
        from_mapping(given)


@pytest.mark.parametrize("level", ["error", "warn", "info", "debug", "trace"])
def test_a12_log_levels(level):
    assert from_mapping({"log-level": level}).log_level == level


@pytest.mark.parametrize("level", ["warning", "INFO", "", False, 3])
def test_a12_other_log_levels_are_errors(level):
    with pytest.raises(ConfigError, match=r"log-level: found .*allowed: one of error, warn, info, debug, trace"):
        from_mapping({"log-level": level})


def test_defaults_of_the_page_and_the_work_order():
    config = from_mapping({})
    assert (config.bind_addr, config.bind_port, config.bind_port_tls) == ("0.0.0.0", 143, 993)
    assert (config.log_level, config.max_request_size, config.worker_pool_size) == ("info", 52428800, os.cpu_count())
    assert (config.prefix, config.separator, config.mailbox_names) == ("", "/", "auto")
    assert (config.username_format, config.default_domain) == ("%Lu", "")
    assert (config.secure_networks, config.allow_plain_text) == ((), False)
    assert (config.lock_timeout, config.processes, config.create_mail_path) == (30, os.cpu_count(), True)
    assert (config.max_connections, config.max_connections_per_user, config.max_auth_failures) == (20000, 50, 3)
    assert (config.max_line, config.max_line_anonymous, config.max_command_size) == (65536, 8192, 1 << 20)
    assert (config.timeout_handshake, config.timeout_anonymous, config.timeout_authenticated) == (10, 60, 1800)
    assert (config.timeout_idle, config.timeout_pop3, config.timeout_write) == (1800, 600, 120)
    assert (config.idle_keepalive, config.stop_grace, config.poll_interval) == (120, 15, 15)
    assert (config.cache_memory, config.time_zone, config.coexistence) == (256 << 20, "", "none")
    assert (config.tls_min_version, config.tls_ciphers) == ("1.2", INTERMEDIATE)
    assert (config.metrics_bind, config.log_format, config.log_path) == (None, "text", "-")
    assert config.drain == 52428800 + (1 << 20)


@pytest.mark.parametrize("given, threads", [(16, 16), (1, 1), (0, os.cpu_count()), (-3, os.cpu_count())])
def test_a15_worker_pool_size(given, threads):
    assert from_mapping({"worker-pool-size": given}).worker_pool_size == threads


@pytest.mark.parametrize("given", [52428801, "50 MiB", "50MiB", "50m"])
def test_a13_a14_max_request_size(given):
    assert from_mapping({"max-request-size": given}).max_request_size in (52428800, 52428801)


def test_b3_b5_b6_b9_examples_of_the_page_verbatim(tmp_path):
    config = load(write(tmp_path, PAGE_CERT + PAGE_B_IMAP + PAGE_B_POP3, "greenmail.toml"))
    assert places(config) == [
        ("imap", "::", 143, "imap", False),
        ("imaptls", "::", 993, "imap", True),
        ("pop3", "::", 110, "pop3", False),
        ("pop3s", "::", 995, "pop3", True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'server: {listener: {t: {bind: ["[::]:993"], protocol: imap, tls: {implicit: true}}}}',
        'server: {listener: {t: {bind: ["[::]:993"], protocol: imap, tls.implicit: true}}}',
        "server:\n  listener:\n    t:\n      bind: '[::]:993'\n      protocol: imap\n      tls.implicit: on\n",
        'server.listener.t: {bind: ["[::]:993"], protocol: imap, tls.implicit: true}',
        'server.listener: {t: {bind: ["[::]:993"], protocol: imap, tls.implicit: true}}',
        'server: {listener.t: {bind: ["[::]:993"], protocol: imap, tls.implicit: true}}',
    ],
)
def test_b3_shapes_of_a_listener_in_yaml(tmp_path, text):
    config = load(write(tmp_path, "cert-path: /c\nkey-path: /k\n" + text))
    assert config.listeners() == (Listener("t", "::", 993, "imap", True, "/c", "/k"),)


def test_b4_a_listener_has_many_addresses():
    bind = ["[::]:143", "127.0.0.1:1143", "[2001:db8::1]:0"]
    config = from_mapping({"server": {"listener": {"many": {"bind": bind, "protocol": "imap"}}}})
    assert [(one.address, one.port) for one in config.listeners()] == [
        ("::", 143),
        ("127.0.0.1", 1143),
        ("2001:db8::1", 0),
    ]


def test_b8_pop3_is_off_unless_asked_for():
    assert {listener.protocol for listener in from_mapping(CERT).listeners()} == {"imap"}


def test_b10_listeners_with_certificates_of_their_own(tmp_path):
    text = """
cert-path: /c
key-path: /k
server.listener.inside: {bind: ["10.0.0.1:993"], protocol: imap, tls: {implicit: true}}
server.listener.mail.example.org:
  bind: ["192.0.2.1:993"]
  protocol: imap
  tls: {implicit: true, cert-path: /c2, key-path: k2}
server.listener.third: {bind: ["192.0.2.2:993"], protocol: imap, tls.implicit: true, cert-path: /c3, key-path: /k3}
"""
    config = load(write(tmp_path, text))
    assert [(one.name, one.cert_path, one.key_path) for one in config.listeners()] == [
        ("inside", "/c", "/k"),
        ("mail.example.org", "/c2", str(tmp_path / "k2")),
        ("third", "/c3", "/k3"),
    ]


LISTENER = {"server": {"listener": {"a": {"bind": ["127.0.0.1:1"], "protocol": "imap"}}}}


@pytest.mark.parametrize(
    "flat, ports",
    [
        ({}, [1]),
        (CERT, [1]),
        ({"bind-port": 143}, [143, 1]),
        ({"bind-port-tls": 993, **CERT}, [993, 1]),
        ({"bind-addr": "127.0.0.1"}, [1]),
        ({"bind-port": 2, "bind-port-tls": 3, **CERT}, [2, 3, 1]),
    ],
)
def test_flat_ports_beside_listeners_open_only_if_given(flat, ports):
    assert [listener.port for listener in from_mapping(flat | LISTENER).listeners()] == ports


def test_implicit_tls_without_a_certificate_is_an_error():
    table = {"bind": ["127.0.0.1:1"], "protocol": "pop3", "tls": {"implicit": True}}
    with pytest.raises(ConfigError, match=r"server\.listener\.a\.tls\.implicit: is true, but there is no certificate"):
        from_mapping({"server": {"listener": {"a": table}}})
    table["tls"] = {"implicit": True, "cert-path": "/c", "key-path": "/k"}
    assert from_mapping({"server": {"listener": {"a": table}}}).listeners()[0].cert_path == "/c"


@pytest.mark.parametrize(
    "bind",
    ["143", ":143", "localhost:143", "::1:143", "[127.0.0.1]:143", "127.0.0.1", "[::]", "127.0.0.1:65536",
     "127.0.0.1:١", "127.0.0.1:-1", [], 143, None, [["127.0.0.1:1"]], {"a": 1}],
)  # fmt: skip
def test_what_is_no_bind(bind):
    table = {"bind": bind, "protocol": "imap"}
    with pytest.raises(ConfigError, match=r"server\.listener\.a\.bind: found .*allowed: a"):
        from_mapping({"server": {"listener": {"a": table}}})


def test_an_address_bound_twice_is_an_error():
    table = {"bind": ["0.0.0.0:143"], "protocol": "imap"}
    with pytest.raises(ConfigError, match=r"server\.listener\.b\.bind: 0\.0\.0\.0:143 is bound twice, first by a"):
        from_mapping({"server": {"listener": {"a": table, "b": table}}})
    with pytest.raises(ConfigError, match=r"bind-port-tls: 0.0.0.0:143 is bound twice, first by imap"):
        from_mapping({"bind-port-tls": 143, **CERT})
    free = {"bind": ["0.0.0.0:0", "0.0.0.0:0"], "protocol": "imap"}
    assert len(from_mapping({"server": {"listener": {"a": free}}}).listeners()) == 2


# ---- values ----


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


# ---- errors ----


def test_all_errors_at_once_with_line_key_value_and_what_is_allowed(tmp_path):
    text = """bind-addr: localhost
bind-prot: 143
log-level: verbose
bind_port: 5
server:
  listener:
    a:
      bind: ["[::]:143"]
      protocol: smtp
      tls.implicit: maybe
      tls.impliccit: true
    b: {bind: 5}
    c: 7
  listner: {}
log-level: info
cert-path: x
143: 5
"""
    assert problems(write(tmp_path, text)) == [
        "FILE:1: bind-addr: found 'localhost'; allowed: an IP address such as 0.0.0.0, 127.0.0.1 or ::",
        "FILE:2: bind-prot: unknown key; did you mean bind-port?",
        "FILE:3: log-level: found 'verbose'; allowed: one of error, warn, info, debug, trace",
        "FILE:4: bind_port: unknown key; did you mean bind-port?",
        "FILE:9: server.listener.a.protocol: found 'smtp'; allowed: one of imap, pop3",
        "FILE:10: server.listener.a.tls.implicit: found 'maybe'; allowed: true or false",
        "FILE:11: server.listener.a.tls.impliccit: unknown key; did you mean implicit?",
        "FILE:12: server.listener.b.bind: found 5; allowed: "
        'an IP address and a port, such as "127.0.0.1:143" or "[::]:143"',
        "FILE:12: server.listener.b.protocol: is not set; give imap or pop3",
        "FILE:13: server.listener.c: found 7; allowed: a table of settings",
        "FILE:14: server.listner: unknown key; did you mean listener?",
        "FILE:15: log-level: given twice, first in line 3",
        "FILE:16: cert-path: is set, but key-path is not: set both",
        "FILE:17: 143: found 143 as a key; put it between quotes if it is a name",
    ]


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("a.yaml", "a: [1\nb: 2", "FILE:2: not YAML: while parsing a flow sequence"),
        ("a.yaml", "username-format: %Lu\n", "FILE:1: not YAML: .*put the value between quotes"),
        ("a.yaml", "- a\n- b\n", "FILE:1: not a table of settings"),
        ("a.yaml", "x: 2026-99-99\n", "FILE: not YAML: month must be in"),
        ("a.yaml", "x: !!python/object/apply:os.system [id]\n", "FILE:1: not YAML: could not determine a constructor"),
        ("a.yaml", "a: &a {a: *a}\n", "FILE: not YAML: tables nested too deeply"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "FILE:2: not YAML: expected a single document"),
        ("a.yaml", "{[1, 2]: 3}", r"FILE:1: \[1, 2\]: found \[1, 2\] as a key"),
        ("a.yaml", "a: \x01", "FILE: not YAML"),
        ("a.toml", "a = \nb = 2", "FILE:1: not TOML"),
        ("a.toml", "bind-port = 1\nbind-port = 2\n", "FILE:2: not TOML: Cannot overwrite a value"),
        ("a.toml", "a = " + "[" * 2000, "FILE: not TOML: maximum recursion depth exceeded"),
        ("a.toml", "bind-port = 'x'\n", "FILE:1: bind-port: found 'x'"),
        ("a.toml", "[server.listener.a]\nbind = 'x'\nprotocol = 'imap'\n", "FILE:2: server.listener.a.bind: found 'x'"),
        ("a.yaml", "server.listener.a.b: 5", "FILE:1: server.listener.a.b: found 5; allowed: a table of settings"),
        ("a.yaml", "server: 5\nserver.listener.a: {}", "FILE:1: server: found 5; allowed: a table"),
    ],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path, name, text, expected):
    assert re.match(expected, problems(write(tmp_path, text, name))[0])


def test_a_key_in_two_shapes_is_given_twice(tmp_path):
    text = """server:
  listener:
    a: {bind: ["[::]:1"], protocol: imap, tls: {implicit: false}, tls.implicit: false}
server.listener.a: {protocol: pop3}
"""
    assert problems(write(tmp_path, text)) == [
        "FILE:3: server.listener.a.tls.implicit: given twice, first in line 3",
        "FILE:4: server.listener.a.protocol: given twice, first in line 3",
    ]


def test_not_utf8_and_not_there(tmp_path):
    (tmp_path / "latin1.yaml").write_bytes(b"a: b\nprefix: \xe4\n")
    assert problems(str(tmp_path / "latin1.yaml")) == ["FILE:2: not UTF-8: found octet 0xe4"]
    assert problems(str(tmp_path / "absent.yaml")) == ["FILE: cannot be read: No such file or directory"]
    assert problems(str(tmp_path)) == ["FILE: cannot be read: Is a directory"]


def test_empty_files_are_all_defaults(tmp_path):
    for text in ("", "# nothing\n", "---\n", "\ufeff# with a byte order mark\n"):
        assert load(write(tmp_path, text)).listeners() == from_mapping({}).listeners()


def test_merge_keys_are_not_given_twice(tmp_path):
    text = """server:
  listener:
    a: &base {bind: ["127.0.0.1:1"], protocol: imap}
    b: {<<: *base, bind: ["127.0.0.1:2"]}
"""
    assert [one.port for one in load(write(tmp_path, text)).listeners()] == [1, 2]


keys = st.sampled_from([*config_doc.settings(), "server.listener.a", "tls.implicit", "listener", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(keys, values, max_size=4))
def test_any_values_give_a_config_or_a_config_error(mapping):
    try:
        from_mapping(mapping).listeners()
    except ConfigError as error:
        assert error.problems and all(problem.text for problem in error.problems)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.dictionaries(keys, values, max_size=3).map(yaml.safe_dump))
def test_any_text_gives_a_tree(text):
    for toml in (True, False):
        config_file.read(text, toml)


# ---- the example file ----


def test_example_file_is_what_the_settings_say():
    """After a change of a setting: python -m greenmail.config_doc > conf/imap.yaml."""
    assert (ROOT / "conf/imap.yaml").read_text(encoding="utf-8") == config_doc.render()


def test_example_file_has_one_line_for_each_setting_with_its_default():
    text = (ROOT / "conf/imap.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^#([a-z0-9-]+): (.*)$", text, re.MULTILINE)
    assert [name for name, _ in lines] == config_doc.settings()
    defaults = from_mapping({})
    for name, value in lines:
        field = Config.model_fields[name.replace("-", "_")]
        assert field.description and field.description.endswith((".", "/healthz."))
        if not field.examples:
            read = from_mapping({name: yaml.safe_load(value)} | (CERT if name == "bind-port-tls" else {}))
            assert getattr(read, name.replace("-", "_")) == getattr(defaults, name.replace("-", "_")), name


def test_example_file_with_every_line_uncommented_is_good(tmp_path):
    text = re.sub(r"^#([a-z0-9-]+: )", r"\1", config_doc.render(), flags=re.MULTILINE)
    text = text.replace("vmail", "root")  # a user that every machine has
    config = load(write(tmp_path, text))
    assert config.model_fields_set == set(Config.model_fields)
    assert config.metrics_bind == Endpoint("127.0.0.1", 9143)


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
