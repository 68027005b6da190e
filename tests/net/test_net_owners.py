"""Which other users there are: by the directories of a template, or by the passwd-file."""

from pathlib import Path

import pytest

from greenmail.auth.api import User
from greenmail.auth.passwd_file import PasswdFile
from greenmail.config import from_mapping
from greenmail.net.accounts import settings_for
from greenmail.net.namespaces import owner_settings, tables_of
from greenmail.net.owners import Owners, by_directories, has_name
from greenmail.runtime import direct

BLOCKING = direct().blocking


@pytest.mark.parametrize(
    "template, domain, directories, expected",
    [
        ("{}/%u", "", ["bob", "carol@x.org"], ["bob", "carol@x.org"]),
        ("{}/%d/%n/Maildir", "", ["x.org/bob", "y.org/bob", "y.org/ann"], ["ann@y.org", "bob@x.org", "bob@y.org"]),
        ("{}/%n", "x.org", ["bob"], ["bob@x.org"]),  # no domain in the path: only users of the reader's own share it
        ("{}/%d/%u", "", ["x.org/bob@x.org", "x.org/eve@y.org"], ["bob@x.org"]),
        ("{}/u-%u/m", "", ["u-bob", "x-eve", "u-"], ["bob"]),
        ("{}/100%%/%n", "", ["100%/bob"], ["bob"]),
        ("{}/%u", "", [".hidden", "...", "bo\nb"], ["...", ".hidden"]),
        ("{}/%n/%d", "", ["bob/x.org"], ["bob@x.org"]),
    ],
)
def test_by_directories(
    tmp_path: Path, template: str, domain: str, directories: list[str], expected: list[str]
) -> None:
    for directory in directories:
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "file").touch()
    assert by_directories(template.format(tmp_path), domain) == expected


def test_a_missing_directory_has_no_users(tmp_path: Path) -> None:
    assert by_directories(f"{tmp_path}/nothing/%u", "") == []


@pytest.mark.parametrize("template", ["~/Maildir", "%h/Maildir", "/var/mail/shared", "/var/%d/all", "/var/%%u"])
def test_paths_that_do_not_tell_users(template: str) -> None:
    assert not has_name(template)


def test_the_passwd_file_knows_who_there_is(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("bob:{PLAIN}x::::/home/bob\ncarol:{PLAIN}x::::/home/carol\n")
    owners = Owners([PasswdFile(str(tmp_path / "users"))], BLOCKING, BLOCKING)
    assert owners.everybody("~/Maildir", "alice") == ["bob", "carol"]
    assert owners.find("bob") == User("bob", "/home/bob")
    assert owners.find("eve") is None and owners.find("../bob") is None
    assert Owners([], BLOCKING, BLOCKING).find("anyone") == User("anyone")


def test_an_unreadable_passwd_file_shows_nobody(tmp_path: Path) -> None:
    owners = Owners([PasswdFile(str(tmp_path / "missing"))], BLOCKING, BLOCKING)
    assert owners.find("bob") is None and owners.everybody("~/Maildir", "alice") == []


def test_an_owners_mail_is_where_he_has_it_himself() -> None:
    config = from_mapping({"prefix": "INBOX.", "separator": ".", "quota-storage": "1 GiB", "namespaces": [
        {"type": "shared", "prefix": "user.%u.", "list": "children"},
        {"type": "shared", "prefix": "old.%u.", "mail-path": "/old/%d/%n", "list": "children"},
    ]})  # fmt: skip
    own = settings_for(config, User("alice@x.org", "/home/alice"))
    bob = User("bob@x.org", "/home/bob", extra={"mail": "maildir:/data/bob", "quota_rule": "*:storage=5M"})
    _, where_he_is, elsewhere = tables_of(config)
    found = owner_settings(config, where_he_is, bob, own, settings_for)
    assert (found.mail_path, found.prefix, found.owner) == ("/data/bob", "INBOX.", "bob@x.org")
    assert found.quota.limits.storage == 5 << 20 and not found.create_mail_path
    assert owner_settings(config, elsewhere, bob, own, settings_for).mail_path == "/old/x.org/bob"
