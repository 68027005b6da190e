"""Password schemes, on what `doveadm pw` of Dovecot 2.3 and crypt(3) of libxcrypt made of one password."""

import hashlib
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.auth import md5_state, schemes
from greenmail.auth.schemes import MAKERS, SCHEMES, STAND_IN, is_weak, make, split, verify

PASSWORD = "sëcret".encode()

# fmt: off
STORED = [
    "{PLAIN}sëcret",
    "{CLEAR}sëcret",
    "{CLEARTEXT}sëcret",
    "{CRYPT}$2y$05$HTdYY1wyK1Aa1Q.iFn9GV.Q/WMoUNlpZ51DyVOt7/yHjKxNYoUnSe",
    "{SHA512-CRYPT}$6$BoYHMsrhKE6wRiRt$4ihNvyObAMZuEtg9CfX8cJ0hjzqioCQRIvYkmjB9MIWm29/Z2ONT8obpEtidWxbXf5fG6yE7I2lLnFfgmYe2Q/",
    "{SHA256-CRYPT}$5$28e1CzymgARrabxl$kQlXSTIvxZrYeGnZ93/a7UbcQAHwuoluDb3EHeC7Le/",
    "{BLF-CRYPT}$2y$04$ESLZwfZ1JxXhw5iyTHwKHOi.gy6pdB2nPqDyyX5IR33nH.yquU0NK",
    "{MD5-CRYPT}$1$nnlg0DIy$mvAHly.szQMXg/mVpvluF/",
    "{MD5}$1$m5zVa6/m$dexICmnIkRLLm..Z4U19/.",
    "{DES-CRYPT}rhr9YLjmlOvLc",
    "{ARGON2I}$argon2i$v=19$m=32768,t=5,p=1$fG/aXPYvkkAq0RHGSTerPQ$W/RWqMYSWa8WkZOYfNNAwgdq191C06QnEViKN0SuzFE",
    "{PBKDF2}$1$fV8.oZCWwF8sPyZn$5000$2b0ca3b962d9a573074106b94bb9b8d4f31a4261",
    "{SHA}Z/k1FHmnQQkKeHrnZ4W/9JHgYds=",
    "{SHA1}Z/k1FHmnQQkKeHrnZ4W/9JHgYds=",
    "{SHA256}7dXG1CfsnX0BkOARkFWEv2DmMu/plzz0BrgQZUqaoyo=",
    "{SHA512}zb7mbqzLFJx4zjJLMe5jGAh4xHXsi3hjb2rWF1H74GB+9319CvKWDxQcLpJlxCHu26QuQgoS2cX1SuV7vOVGRw==",
    "{SSHA}E7neLJuasUxZbQlOSoeSAJs/Ek1Yke2I",
    "{SSHA256}ptCqXCI6uwTPE5LAoXSlDg7D1w3jo8Tz1tEQo7Oh4ayBk8yf",
    "{SSHA512}9HsjiD3ksM7DbUAMDAzKBpkJWwCriHqu4bMm1moAvJpYdpRaRh3qAPvnq/yU/K3CGGT4ERMWdNAeQIrpZKUCW9w+YXI=",
    "{SMD5}iqJodDaHa7UmStrNY97syXA0cYQ=",
    "{LDAP-MD5}MLrjeBok+zrqvi+axk46kQ==",
    "{PLAIN-MD5}30bae3781a24fb3aeabe2f9ac64e3a91",
    "{SCRAM-SHA-1}4096,6YsQ5MuvXXhYQkL+s4Lbow==,RT5mvMvu/jua9v+2qH5ckX9ZbxY=,0adpAI9ZA2g/d8uOBUr2cO17sRM=",
    "{SCRAM-SHA-256}4096,Nz4tDnQcd7uGmxWPgwPw7A==,HwBaKSe6bdq4NLW49tNgOMwZe8wHic7CAIvqhHX28BI=,+xe20FwOPSOlv+474dYbvaiDqH0Sao+G24jzcmWJZR4=",
    "{PLAIN.B64}c8OrY3JldA==",
    "{PLAIN.HEX}73c3ab63726574",
    "{SHA.HEX}67f9351479a741090a787ae76785bff491e061db",
    "{SHA256.HEX}edd5c6d427ec9d7d0190e011905584bf60e632efe9973cf406b810654a9aa32a",
    "{SSHA.B64}IeApbHIMOj7Ur/aNlWo+bNsvGhv+WKB1",
    "{SHA512.BASE64}zb7mbqzLFJx4zjJLMe5jGAh4xHXsi3hjb2rWF1H74GB+9319CvKWDxQcLpJlxCHu26QuQgoS2cX1SuV7vOVGRw==",
    "{SSHA512.HEX}cfd9f792c59af5c795d7915613cee6e0db97b5a00291f94ad972ad094e4c16592509c9a2a0579a7afbc91352adcd9b1328c11e1f8f426a85fbe4218895f0e00c5ae9f940",
    "{SHA512-CRYPT.B64}JDYkeEZoSTgzVGhCWnNMa0hXeSQ5NEJ2YVJRcEZoRGFwM3hiZnMySUo1dnhUU3pOZXJKRmVvYjVBUDVwc25JZEcxNjIybWRlYXlMVkxMa2ttUUdWR05hTzlidm1qdHRnemtDcGQzWDRHMQ==",
    "{LDAP-MD5.HEX}30bae3781a24fb3aeabe2f9ac64e3a91",
    "{PLAIN-MD5.B64}MLrjeBok+zrqvi+axk46kQ==",
    "{SMD5.HEX}cd6d51964abdbed1fc56cfdfeeaa708777d3b227",
    # Without a prefix it is CRYPT; made by crypt(3).
    "$y$j75$f1n4sU6WI3.pZNlxuS2js/$0Efunf4uPt9WpUikIAkyK0mWb04o904nJd9704FcGZ2",
    "$gy$j75$GSU79CVTagrkdwNbvFBw50$LTRuEZYFbhh203z5uYKCbCIAnqRT3zaxdrS9gC8/F1.",
    "{CRYPT}$7$CU..../....J64MvcwB9k0c30IGTXT7R.$kQK..GeqUcS9oP93Tkj/O7eysbHbpILFtCwWoa8q1vD",
    "{BLF-CRYPT}$2b$04$cfUBPiz/BgsqWsAiwCgceuNB8xz3BgGkrsuvzlrd9Mad3RLzCiHrK",
    "$2a$04$5kUMJ7MH6ulv1R17n3irV.vAjD8PXYyRbqicYhOeqETxaq09K6GRy",
    "{crypt}_J9..D6jG6x/udrNastM",
    # argon2, by argon2-cffi; in a file without prefix, too.
    "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$4FCbbIpJLzBhk2dgQ0STuw$FrT/mJiFTRovb0maBCelM7ZnrVnVxiPNHkttT6w4/80",
    "{ARGON2}$argon2d$v=19$m=64,t=1,p=1$ghUkWSGr0h9x984UNfhn9g$onnfJkJPapncTvJKEv8N0pqhbRQbbxtWvmmcaSjBmYM",
    "$argon2id$v=19$m=64,t=1,p=1$4FCbbIpJLzBhk2dgQ0STuw$FrT/mJiFTRovb0maBCelM7ZnrVnVxiPNHkttT6w4/80",
    # Upper and lower case, and base64 without its padding.
    "{plain}sëcret",
    "{SHA256}7dXG1CfsnX0BkOARkFWEv2DmMu/plzz0BrgQZUqaoyo",
    "{Sha256.Hex}EDD5C6D427EC9D7D0190E011905584BF60E632EFE9973CF406B810654A9AA32A",
    "{MD5}MLrjeBok+zrqvi+axk46kQ==",  # what LDAP calls so
    "{CRAM-MD5}1b65509d2b3e0632a7989c01f46d543923de3897561756726eeb422eb96393c6",
    "{HMAC-MD5}1b65509d2b3e0632a7989c01f46d543923de3897561756726eeb422eb96393c6",
    # What other servers write where Dovecot has CRYPT: by crypt(3), by hashlib, and by passlib 1.7.4.
    "$sha1$1000$saltsalt$NcYhNHPB3c8k9UXTLq7oNFCRq4mv",
    "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$LYYPkH+RS0W0Ag1SwxOqnLOk6Elk6W/qpdkeQL2G7So",
    "$scrypt$ln=10,r=8,p=1$oVSKEcJYa40xRsh5z7kXIg$gWb1ruyxeLcgnw5PlTZvgNFx+YDeO2sDYZnncDYWs5M",
    "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ$6g8YpirgmY7uNCqptpnOzd2G1R0KLcGKEdFfCPX3HZg",
    "{CRYPT}$pbkdf2-sha256$1000$cI7RGuP831trrbX2nvN.rw$Co5pAxKTmNh5ZZs4L1wTU11hL.GqriyyK4oXmvS9x6c",
    "$pbkdf2-sha512$1000$fK8VgnDOmfN.r7XWmlMKYQ$cnUw/B35VoTDUYuoh8ReKcovC3U1PLQ7MQ5cR2MV5wLrapGVL0JOrT66468vufGXfxlAYd4jUR6QuczYJa1C8A",
    "$pbkdf2$1000$w9j7n3NujTGGUAoBoDQmhA$Qj9RVNlUBuhUfCdWGCfFVcOgD5M",
]
# fmt: on


@pytest.mark.parametrize("stored", STORED)
def test_the_right_password_and_wrong_ones(stored):
    assert verify(stored, PASSWORD, allow_weak=True) == schemes.Verdict(True)
    for wrong in (b"s\xc3\xabcreT", b"s", b"\0", PASSWORD + b"\0", b"s\xebcret", b"x" * 600):
        verdict = verify(stored, wrong, allow_weak=True)
        assert not verdict.right, wrong
    assert not verify(stored, b"", allow_weak=True).right


WEAK = {"DES-CRYPT", "SMD5", "LDAP-MD5", "PLAIN-MD5", "CRAM-MD5", "HMAC-MD5"}


@pytest.mark.parametrize("stored", STORED)
def test_weak_schemes_need_the_switch(stored):
    scheme, _, data = split(stored)
    weak = scheme in WEAK or (scheme == "MD5" and not data.startswith("$")) or data.startswith("_")
    assert is_weak(scheme, data) is weak
    verdict = verify(stored, PASSWORD, allow_weak=False)
    assert verdict.right is not weak
    assert ("allow-weak-schemes" in verdict.problem) is weak


def test_every_scheme_is_shown():
    assert {split(stored)[0] for stored in STORED} == set(SCHEMES)


@pytest.mark.parametrize(
    "stored",
    ["", "!", "*", "!!", "x", "*LK*", "!$6$sMN.UbInU3Y0YeaY$WgSiIoxppGP7qV1B5vTO2q", "{PLAIN}", "{CRYPT}",
     "{NO-SUCH}abc", "*0", "*1", "{CRYPT}*", "{MD5}$1$",
     "{PLAIN.rot13}frperg", "$", "$6$", "$zz$abc$def", "$argon2id$", "$argon2x$v=19$m=64,t=1,p=1$aaaa$aaaa",
     "{ARGON2ID}sëcret", "{ARGON2ID}", "{SHA256}????", "{SHA256}QUJD", "{SHA256.hex}abc", "{SSHA}QUJD", "{SSHA}",
     "{PBKDF2}$1$salt$x$00", "{PBKDF2}$1$salt$0$00", "{PBKDF2}$1$salt$1000$", "{PBKDF2}$2$salt$1000$00", "{PBKDF2}",
     "{PBKDF2}$1$salt$99999999999999$00", "{SCRAM-SHA-256}4096,a,b", "{SCRAM-SHA-256}-1,QUJD,QUJD,QUJD",
     "{SCRAM-SHA-256}99999999999,QUJD,QUJD,QUJD", "{SCRAM-SHA-256}1,?,?,?", "{MD5}abc", "{PLAIN-MD5}zz", "{PLAIN.b64}?",
     "{PLAIN.hex}7", "{PLAIN.b64}", "ab", "a", "\udcff", "{PLAIN}\udcff", "{", "{}", "{PLAIN", "$2y$99$abc", "$6$\0$x"],
)  # fmt: skip
def test_what_never_matches(stored):
    for password in (PASSWORD, b"", b"!", b"*", b"x", b"{PLAIN}", stored.encode("utf-8", "replace"), b"\0"):
        assert not verify(stored, password, allow_weak=True).right


@pytest.mark.parametrize("stored", ["", "!", "{NO-SUCH}abc", "{SHA256}QUJD", "$zz$abc$def", "{PBKDF2}"])
def test_a_stored_password_that_is_no_use_has_its_reason_told(stored):
    assert verify(stored, PASSWORD, allow_weak=True).problem


@pytest.mark.parametrize("stored", ["*", "*0", "!", "x"])
def test_the_answer_of_a_failed_crypt_is_no_hash(stored):
    for password in (b"\0", b"*", b"*0", b"*1", b"x" * 600, b"a\0b"):
        assert not verify(stored, password, allow_weak=True).right


def test_plain_may_look_like_anything():
    assert verify("{PLAIN}{SHA}abc", b"{SHA}abc", allow_weak=False).right
    assert verify("{PLAIN}\udcff", b"\xff", allow_weak=False).right  # Latin-1 in an old file


def test_long_passwords_are_refused_before_any_work():
    assert verify("{PLAIN}" + "a" * 1024, b"a" * 1024, allow_weak=False).right
    assert not verify("{PLAIN}" + "a" * 1025, b"a" * 1025, allow_weak=False).right


def test_nobody_knows_the_stand_in():
    assert verify(STAND_IN, PASSWORD, allow_weak=False) == schemes.Verdict(False)


@pytest.mark.parametrize("scheme", list(MAKERS))
def test_make(scheme):
    stored = make(scheme, PASSWORD)
    assert stored.startswith(f"{{{scheme}}}") and ":" not in stored and "\n" not in stored
    assert verify(stored, PASSWORD, allow_weak=False).right
    assert make(scheme, PASSWORD) != stored


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("doveadm") is None, reason="doveadm is not installed")
@pytest.mark.parametrize("scheme", list(MAKERS))
def test_dovecot_takes_what_we_make(scheme):
    command = ["doveadm", "pw", "-t", make(scheme, PASSWORD), "-p", PASSWORD.decode()]
    assert "(verified)" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


cheap = st.sampled_from(["PLAIN", "SHA", "SSHA512", "PLAIN-MD5", "SHA256.hex", "PLAIN.b64", "ARGON2ID", "MD5", "NONE"])


@settings(max_examples=200, deadline=None)
@given(cheap, st.text(max_size=40), st.binary(max_size=20))
def test_any_stored_password_gives_a_verdict(scheme, data, password):
    verdict = verify(f"{{{scheme}}}{data}", password, allow_weak=True)
    assert not verdict.right or scheme.startswith("PLAIN") or len(data) > 20


@pytest.mark.parametrize(
    "stored",
    [
        "$scrypt$", "$scrypt$ln=10,r=8,p=1$c2FsdA$", "$scrypt$ln=40,r=8,p=1$c2FsdA$AAAA",
        "$scrypt$ln=20,r=8,p=9$c2FsdA$AAAA", "$scrypt$i=1$c2FsdA$AAAA", "$pbkdf2-sha256$ln=1,r=1,p=1$c2FsdA$AAAA",
        "$scrypt$ln=10,r=8$c2FsdA$AAAA", "$scrypt$ln=0,r=8,p=1$c2FsdA$AAAA", "$scrypt$ln=10,r=0,p=1$c2FsdA$AAAA",
        "$scrypt$ln=10,r=-1,p=-1$c2FsdA$AAAA", "$pbkdf2-sha256$", "$pbkdf2-md5$1000$c2FsdA$AAAA",
        "$pbkdf2-sha256$0$c2FsdA$AAAA", "$pbkdf2-sha256$99999999999$c2FsdA$AAAA", "$pbkdf2-sha256$i=x$c2FsdA$AAAA",
        "$pbkdf2-sha256$l=3$c2FsdA$AAAA", "$pbkdf2-sha256$1000$c2FsdA$", "{CRAM-MD5}", "{CRAM-MD5}00", "{CRAM-MD5}zz",
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_told_and_costs_nothing(stored):
    verdict = verify(stored, PASSWORD, allow_weak=True)
    assert not verdict.right and verdict.problem.startswith("the stored password is locked or malformed")


@given(st.binary(max_size=200).filter(lambda key: b"\0" not in key), st.binary(max_size=100))
@settings(max_examples=30)
def test_the_states_of_cram_md5_are_those_of_hmac(key, challenge):
    """RFC 2104 2: whatever comes behind the first block, the states are what it begins with."""
    states = md5_state.hmac_states(key, hashlib.md5(key, usedforsecurity=False).digest())
    short = key if len(key) <= 64 else hashlib.md5(key, usedforsecurity=False).digest()
    for state, pad in ((states[:16], 0x5C), (states[16:], 0x36)):
        block = bytes(octet ^ pad for octet in short.ljust(64, b"\0"))
        assert md5_state.after(block) == state
    padding = b"\x80" + bytes(55) + (0).to_bytes(8, "little")
    assert md5_state.after(padding) == hashlib.md5(b"", usedforsecurity=False).digest()
    tail = challenge[:55]
    last = tail + b"\x80" + bytes(55 - len(tail)) + (8 * len(tail)).to_bytes(8, "little")
    assert md5_state.after(last) == hashlib.md5(tail, usedforsecurity=False).digest()
