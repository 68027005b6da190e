"""Which mechanisms a file of users can serve, and the keys of those who are in it and of those who are not."""

import os
import shutil
import subprocess
from collections import Counter

import pytest

from greenmail.auth import schemes
from greenmail.auth.digests import CRAM_MD5
from greenmail.auth.scram_keys import Kind, derived, invented, invented_kind, keys_of, machine_secret, salt_for, summary

SHA256 = (
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
SHA1 = "{SCRAM-SHA-1}4096,QSXCR+Q6sek8bf92,6dlGYMOdZcOPutkcNY8U2g7vK9Y=,D+CSWLOshSulAsxiupA+qs2/fTE="
BOTH = {"SCRAM-SHA-1", "SCRAM-SHA-256"}
SECRET = b"of this machine"


@pytest.mark.parametrize(
    "stored, mechanisms",
    [
        ([], set()),
        (["{PLAIN}a"], BOTH),
        (["{CLEARTEXT.b64}YQ=="], BOTH),
        ([SHA256], {"SCRAM-SHA-256"}),
        ([SHA1], {"SCRAM-SHA-1"}),
        ([SHA256, "{PLAIN}a"], {"SCRAM-SHA-256"}),
        ([SHA256, SHA1], set()),
        ([SHA256, "{ARGON2ID}$argon2id$x"], set()),
        ([SHA256, "$6$salt$hash"], set()),
        ([SHA256, "!"], {"SCRAM-SHA-256"}),  # locked: nobody comes in with that
        ([SHA256, "", "*", "{CRYPT}!$6$x"], {"SCRAM-SHA-256"}),
        (["!", ""], set()),
        ([SHA256, "{PLAIN}"], set()),  # nobody can log in with that, but it says what it is
        ([SHA256, "{PLAIN.b64}?"], set()),
        ([SHA256.replace("4096", "4095")], set()),  # RFC 7677 4
        ([SHA256.replace("4096", "10000001")], set()),
        ([SHA256.replace("4096", "+4096")], set()),
        ([SHA256.replace("{SCRAM-SHA-256}", "{SCRAM-SHA-256.b64}")], set()),
        ([SHA256.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "")], set()),
        ([SHA256[:-4]], set()),
        ([SHA256 + ",x"], set()),
        (["{scram-sha-256}" + SHA256.partition("}")[2]], {"SCRAM-SHA-256"}),
    ],
)
def test_mechanisms_that_everybody_has(stored, mechanisms):
    found = summary((f"user{number}", text) for number, text in enumerate(stored))
    assert found.mechanisms - {CRAM_MD5} == mechanisms


@pytest.mark.parametrize(
    "stored, possible",
    [
        (["{PLAIN}a", "{CLEARTEXT.b64}YQ=="], True),
        (["{PLAIN}a", "!"], True),
        (["{PLAIN}a", SHA256], False),
        (["{PLAIN}a", "{CRAM-MD5}00"], False),
        (["{PLAIN}"], False),
        ([], False),
    ],
)
def test_cram_md5_wants_the_passwords_of_all(stored, possible):
    found = summary((f"user{number}", text) for number, text in enumerate(stored))
    assert (CRAM_MD5 in found.mechanisms) == possible


def test_who_is_in_the_way():
    found = summary([("a", SHA256), ("b", "$6$x"), ("c", "$6$y")])
    assert found.lacking == {"SCRAM-SHA-256": (2, "b"), "SCRAM-SHA-1": (3, "a"), "CRAM-MD5": (3, "a")}


@pytest.mark.parametrize("stored, mechanism", [(SHA256, "SCRAM-SHA-256"), (SHA1, "SCRAM-SHA-1")])
def test_keys_that_are_stored_are_those_of_the_password(stored, mechanism):
    keys = keys_of(stored, mechanism, b"")
    assert schemes.verify(stored, b"pencil", allow_weak=False).right  # RFC 5802 5, RFC 7677 3
    assert keys == derived(b"pencil", mechanism, keys.salt, stored)


def test_passwords_are_prepared():
    assert derived("p\u00e4ss".encode(), "SCRAM-SHA-1", b"salt") == derived(
        "pa\u0308ss".encode(), "SCRAM-SHA-1", b"salt"
    )
    stored = schemes.make("SCRAM-SHA-256", "pa\u0308ss".encode())
    for spelling in ("p\u00e4ss", "pa\u0308ss"):
        assert schemes.verify(stored, spelling.encode(), allow_weak=False).right
    assert not schemes.verify(stored, b"pass", allow_weak=False).right


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("doveadm") is None, reason="doveadm is not installed")
@pytest.mark.parametrize("mechanism", sorted(BOTH))
def test_dovecots_keys_are_ours(mechanism):
    command = ["doveadm", "pw", "-s", mechanism, "-p", "pässword"]
    stored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    keys = keys_of(stored, mechanism, b"")
    assert keys is not None and keys == derived("pässword".encode(), mechanism, keys.salt, stored)


def test_nobody_has_the_same_keys_at_every_try_and_another_one_others():
    first, again = (invented(SECRET, "nobody", "SCRAM-SHA-256", Kind()) for _ in range(2))
    assert first == again and first.stored == ""
    assert invented(SECRET, "somebody", "SCRAM-SHA-256", Kind()).salt != first.salt
    assert invented(b"of another", "nobody", "SCRAM-SHA-256", Kind()).salt != first.salt
    odd = invented(SECRET, "nobody", "SCRAM-SHA-1", Kind(20000, 12, False))
    assert (odd.iterations, len(odd.salt), len(odd.stored_key)) == (20000, 12, 20)
    assert salt_for(SECRET, "nobody", 40)[:8] == salt_for(SECRET, "nobody", 8)


def test_kinds_are_invented_as_often_as_there_are():
    few, many = Kind(20000, 16, False), Kind(4096, 16, False)
    names = [f"name{number}" for number in range(3000)]
    before = [invented_kind(SECRET, name, {few: 100, many: 200}) for name in names]
    assert 850 < Counter(before)[few] < 1150
    after = [invented_kind(SECRET, name, {many: 202, few: 101}) for name in names]
    assert sum(one != other for one, other in zip(before, after, strict=True)) < 10
    assert invented_kind(SECRET, "x", {}) == Kind()


def test_the_secret_is_the_same_after_a_restart(tmp_path):
    path = tmp_path / "machine-id"
    path.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    assert machine_secret(str(path)) == machine_secret(str(path))
    assert b"3d1219c7" not in machine_secret(str(path))
    os.unlink(path)
    assert machine_secret(str(path)) != machine_secret(str(path))
