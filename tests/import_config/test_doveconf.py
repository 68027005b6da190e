"""The settings that `doveconf -n` prints, as blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.import_config.doveconf import Block, arguments, parse, rest, words
from greenmail.import_config.location import CannotCarry, Location, location, path

TEXT = """\
# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
# Pigeonhole version 0.5.19 (4eae2f79)
# OS: Linux 6.1 x86_64 Debian 12.11
# Hostname: mail.example.org
auth_mechanisms = plain login
namespace inbox {
  inbox = yes
  location =
  mailbox "Sent \\"old\\" Messages" {
    special_use = \\Sent
  }
}
passdb {
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
  driver = passwd-file
}
plugin {
  listescape_char = \\
  note = "a # b "
}
protocols = " imap lmtp pop3"
ssl_key = # hidden, use -P to show it
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
  }
}
local_name a.example.org {
  ssl_cert = </etc/a.pem
}
"""


def test_the_whole_is_read() -> None:
    output = parse(TEXT)
    root = output.root
    assert (output.version, output.source, output.host) == ("2.3.19.1", "/etc/dovecot/dovecot.conf", "mail.example.org")
    assert output.strange_lines == 0
    assert root.values["protocols"] == " imap lmtp pop3"
    assert root.values["ssl_key"].startswith("# hidden")
    (namespace,) = root.of("namespace", "inbox")
    assert namespace.values == {"inbox": "yes", "location": ""}
    assert [mailbox.name for mailbox in namespace.of("mailbox")] == ['Sent "old" Messages']
    assert root.of("plugin")[0].values == {"listescape_char": "\\", "note": "a # b "}
    assert root.of("service", "auth")[0].blocks[0].name == "/var/spool/postfix/private/auth"


def test_what_nobody_took_is_known_with_its_place() -> None:
    root = parse(TEXT).root
    root.take("auth_mechanisms")
    root.of("namespace")[0].take("inbox")
    found = dict(rest(root))
    assert "auth_mechanisms" not in found and "namespace inbox/inbox" not in found
    assert found["service auth/unix_listener /var/spool/postfix/private/auth/mode"] == "0660"
    assert found["local_name a.example.org/ssl_cert"] == "</etc/a.pem"


@pytest.mark.parametrize("text", ["}", "a {", "what is this", "a {\nb = c", "passdb {\n}\n}"])
def test_lines_that_do_not_fit_are_counted(text: str) -> None:
    assert parse(text).strange_lines == 1


@given(st.text(alphabet=st.sampled_from(list('ab ={}\n"\\#<%\t'))))
def test_any_text_is_read(text: str) -> None:
    list(rest(parse(text).root))


_KEY = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(
    st.dictionaries(_KEY, st.from_regex(r"[a-z/%<]{0,9}", fullmatch=True)), st.lists(st.tuples(_KEY, _KEY), max_size=3)
)
def test_what_is_written_is_read(values: dict[str, str], blocks: list[tuple[str, str]]) -> None:
    lines = [f"{key} = {value}\n" for key, value in values.items()]
    lines += [f"{kind} {name} {{\n  x = y\n}}\n" for kind, name in blocks]
    expected = Block("", "", values, [Block(kind, name, {"x": "y"}) for kind, name in blocks])
    assert parse("".join(lines)).root == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("scheme=CRYPT username_format=%u /etc/users", ({"scheme": "CRYPT", "username_format": "%u"}, "/etc/users")),
        ("/etc/users", ({}, "/etc/users")),
        ("uid=vmail gid=vmail home=/v/%d/%n", ({"uid": "vmail", "gid": "vmail", "home": "/v/%d/%n"}, "")),
        ("/etc/a=b/users", ({}, "/etc/a=b/users")),
        ("", ({}, "")),
    ],
)  # fmt: skip
def test_arguments(text: str, expected: tuple[dict[str, str], str]) -> None:
    assert arguments(text) == expected


def test_words() -> None:
    assert words(" imap, lmtp pop3") == ["imap", "lmtp", "pop3"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("maildir:~/Maildir", Location("maildir", "~/Maildir")),
        ("maildir:/a:INDEX=/b:UTF-8:LAYOUT=x", Location("maildir", "/a", {"INDEX": "/b", "UTF-8": "", "LAYOUT": "x"})),
        ("maildir:/a::b:CONTROL=/c", Location("maildir", "/a:b", {"CONTROL": "/c"})),
        ("mbox:~/mail:INBOX=/var/mail/%u", Location("mbox", "~/mail", {"INBOX": "/var/mail/%u"})),
        ("", Location("", "")),
    ],
)  # fmt: skip
def test_location(text: str, expected: Location) -> None:
    assert location(text) == expected


@pytest.mark.parametrize(
    "text, home, lower, expected",
    [
        ("/var/vmail/%d/%n", "", True, "/var/vmail/%d/%n"),
        ("/var/vmail/%{domain}/%{username}/", "", True, "/var/vmail/%d/%n"),
        ("/var/vmail/%Ld/%Ln", "", True, "/var/vmail/%d/%n"),
        ("~/Maildir", "", True, "~/Maildir"),
        ("~/Maildir", "/home/%n", True, "/home/%n/Maildir"),
        ("%h/Maildir", "/home/%n", True, "/home/%n/Maildir"),
        ("%{home}/Maildir", "", True, "%h/Maildir"),
        ("Maildir", "/home/%n", True, "/home/%n/Maildir"),
        ("~", "/home/%n", True, "/home/%n"),
        ("/a/100%%/%u", "", True, "/a/100%%/%u"),
    ],
)
def test_path(text: str, home: str, lower: bool, expected: str) -> None:
    assert path(text, home, lower) == expected


@pytest.mark.parametrize(
    "text", ["/var/%1n/%u", "/var/%2.1Mu/%u", "/var/%{auth_user}", "/var/%i", "/var/%Lu", "/a/%Un"]
)
def test_variables_that_cannot_be_carried(text: str) -> None:
    with pytest.raises(CannotCarry):
        path(text, "", False)
