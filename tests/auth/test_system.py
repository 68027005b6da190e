"""Users of this machine."""

import os
import pwd

import pytest

from greenmail.auth.database import Entry, StandIn, Unavailable
from greenmail.auth.system import SystemUsers

ROOT = pwd.getpwuid(0)
TODAY = 20000


def test_home_uid_and_gid_are_those_of_the_machine():
    assert SystemUsers(0, 10).look_up(ROOT.pw_name) == Entry(ROOT.pw_name, "", 0, ROOT.pw_gid, ROOT.pw_dir)


@pytest.mark.parametrize("name", [ROOT.pw_name, "no-such-user", "", "a\0b", "\udcff"])
def test_who_is_no_user_between_the_limits(name):
    assert SystemUsers(1000, 59999).look_up(name) == StandIn()


@pytest.mark.parametrize(
    "rest, stored, no_login",
    [
        ("$6$salt$hash:19000:0:99999:7:::", "{CRYPT}$6$salt$hash", ""),
        ("$6$salt$hash::::::", "{CRYPT}$6$salt$hash", ""),
        ("!$6$salt$hash:19000::::::", "{CRYPT}!$6$salt$hash", ""),
        ("*", "{CRYPT}*", ""),
        ("", "", ""),
        ("$6$x$y:19000:0:99999:7::20000:", "{CRYPT}$6$x$y", "the account has expired"),
        ("$6$x$y:19000:0:99999:7::20001:", "{CRYPT}$6$x$y", ""),
        ("$6$x$y:0:0:99999:7:::", "{CRYPT}$6$x$y", "the password must be changed first"),
        ("$6$x$y:19900:0:99:7:::", "{CRYPT}$6$x$y", "the password has expired"),
        ("$6$x$y:19900:0:100:7:::", "{CRYPT}$6$x$y", ""),
    ],
)
def test_hashes_of_shadow(tmp_path, rest, stored, no_login):
    name = ROOT.pw_name
    (tmp_path / "shadow").write_text(f"{name}x:!:::::::\n{name}:{rest}\n{name}:second:::::::\n")
    found = SystemUsers(0, 10, str(tmp_path / "shadow"), lambda: TODAY * 86400.0 + 1).look_up(name)
    assert found == Entry(name, stored, 0, ROOT.pw_gid, ROOT.pw_dir, no_login)


def test_who_is_not_in_shadow_is_not_there(tmp_path):
    (tmp_path / "shadow").write_text("other:x:::::::\n")
    assert SystemUsers(0, 10, str(tmp_path / "shadow")).look_up(ROOT.pw_name) == StandIn()


def test_a_file_that_cannot_be_read_is_no_wrong_password(tmp_path):
    found = SystemUsers(0, 10, str(tmp_path / "none")).look_up(ROOT.pw_name)
    assert isinstance(found, Unavailable) and f"uid {os.geteuid()}" in found.text
