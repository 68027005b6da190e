"""URLs, listeners, and who is logged in as."""

from pathlib import Path

import pytest

from greenmail import config as configuration
from greenmail.errors import Refused
from greenmail.shadow import logins
from greenmail.shadow.logins import Login, Master
from greenmail.shadow.place import Place, Trust, of_config, place


@pytest.mark.parametrize(
    "text, expected",
    [
        ("imap://localhost", Place("imap", "localhost", 143)),
        ("imaps://mail.example.org/", Place("imaps", "mail.example.org", 993)),
        ("imap://[::1]:1143", Place("imap", "::1", 1143)),
    ],
)
def test_place(text: str, expected: Place) -> None:
    assert place(text, ("imap", "imaps")) == expected
    assert place(str(expected), ("imap", "imaps")) == expected


@pytest.mark.parametrize(
    "text", ["", "localhost", "pop3://x", "imap://", "imap://x:99999", "imap://x/INBOX", "imap://a:b@x", "imap://x?y"]
)
def test_what_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        place(text, ("imap", "imaps"))


@pytest.mark.parametrize(
    "listeners, expected",
    [
        ('a: {bind: ["0.0.0.0:1143"], protocol: imap}', "imap://127.0.0.1:1143"),
        ('a: {bind: ["[::]:1143"], protocol: imap}', "imap://[::1]:1143"),
        (
            'a: {bind: ["192.0.2.1:143"], protocol: imap}, b: {bind: ["192.0.2.1:993"], protocol: imap,'
            " tls: {implicit: true, cert-path: x, key-path: y}}",
            "imaps://192.0.2.1:993",
        ),
    ],
)
def test_the_listener_of_a_configuration(tmp_path: Path, listeners: str, expected: str) -> None:
    path = tmp_path / "imap.yaml"
    path.write_text(f"server: {{listener: {{{listeners}}}}}\n")
    config = configuration.load(str(path))
    assert str(of_config(config, "imap")) == expected
    with pytest.raises(Refused):
        of_config(config, "pop3")


@pytest.mark.parametrize(
    "host, insecure, allowed",
    [("localhost", False, True), ("127.9.9.9", False, True), ("::1", False, True), ("192.0.2.1", False, False),
     ("mail.example.org", False, False), ("localhost.example.org", False, False), ("192.0.2.1", True, True)],
)  # fmt: skip
def test_where_a_password_may_go_without_tls(host: str, insecure: bool, allowed: bool) -> None:
    assert Trust(insecure).allows_clear_text(Place("imap", host, 143)) is allowed


def test_a_master_user_names_the_user() -> None:
    assert Master("root", "pw").login("ann") == Login("ann*root", "pw")
    assert Master("root", "pw", "%").login("ann") == Login("ann%root", "pw")
    by_authzid = Master("root", "pw", by_authzid=True)
    assert by_authzid.login("ann").plain() == b"ann\0root\0pw"  # RFC 4616 2
    assert by_authzid.login("ann", may_authzid=False) == Login("ann*root", "pw")


def test_passwords_are_not_shown() -> None:
    for value in (Login("ann", "hidden"), Master("root", "hidden"), logins.Passwords({"ann": "hidden"})):
        assert "hidden" not in repr(value)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ann:secret\nbob:with:colon \n", {"ann": "secret", "bob": "with:colon "}),
        ("# ann:no\n\nann:sécret\r\n", {"ann": "sécret"}),
    ],
)
def test_passwords_of(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    path = tmp_path / "passwords"
    path.write_bytes(text.encode())
    assert logins.passwords_of(str(path)) == expected


@pytest.mark.parametrize("octets", [b"ann\n", b"ann:\n", b":pw\n", b"ann:a\0b\n", b"ann:\xff\n"])
def test_what_is_no_file_of_passwords_is_refused(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "passwords"
    path.write_bytes(octets)
    with pytest.raises(Refused):
        logins.passwords_of(str(path))
