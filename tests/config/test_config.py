"""Settings: the promises of the specification pages (rows A1-A16, B1-B10), and listeners."""

import os

import pytest
from support.config_text import CERT, write

from greenmail.config import INTERMEDIATE, Config, from_mapping, load
from greenmail.config_tables import ConfigError, Listener


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
