"""Settings: every kind of error, each with its line, its key, its value and what is allowed."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_text import write

from greenmail import config_doc, config_file
from greenmail.config import from_mapping, load
from greenmail.config_tables import ConfigError


def problems(path: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).replace(path, "FILE").split("\n")


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
