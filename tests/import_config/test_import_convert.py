"""Dovecot's settings and ours, side by side."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greenmail import cli
from greenmail import config as configuration
from greenmail.auth.sasl import MECHANISMS, OFF
from greenmail.import_config.convert import Conversion, convert
from greenmail.import_config.doveconf import parse, rest
from greenmail.import_config.draft import Weight

USERS = "passdb {\n driver = passwd-file\n args = /etc/dovecot/users\n}\n"
TLS = "ssl_cert = </etc/cert.pem\nssl_key = </etc/key.pem\n"
MAIL = "mail_location = maildir:/var/vmail/%d/%n\n"
TLS = "ssl_cert = </etc/cert.pem\nssl_key = </etc/key.pem\n"
MASTER = "passdb {\n driver = passwd-file\n args = /etc/masters\n master = yes\n}\n"


def settings(text: str) -> dict[str, Any]:
    """What became of `text`, which GreenMail must take."""
    found: dict[str, Any] = yaml.safe_load(convert(text).yaml) or {}
    configuration.from_mapping(found)
    return found


def ports(text: str) -> dict[str, tuple[list[str], bool]]:
    tables = settings(text)["server"]["listener"]
    return {name: (table["bind"], table["tls"]["implicit"]) for name, table in tables.items()}


def dropped(text: str) -> dict[str, Weight]:
    return {left.setting: left.weight for left in convert(text).dropped}


def static(args: str) -> str:
    return f"userdb {{\n driver = static\n args = {args}\n}}\n"


def inbox(text: str) -> str:
    return f"namespace inbox {{\n inbox = yes\n {text}\n}}\n"


@pytest.mark.parametrize(
    "text, expected",
    [
        # where mail lies
        (MAIL, {"mail-path": "/var/vmail/%d/%n", "mailbox-names": "mutf7", "separator": "."}),
        (
            "mail_location = maildir:~/Maildir:INDEX=/i/%u:CONTROL=/c/%d/%n:INBOX=/x/%u/:UTF-8:LAYOUT=maildir++",
            {"mail-path": "~/Maildir", "index-path": "/i/%u", "control-path": "/c/%d/%n", "inbox-path": "/x/%u",
             "mailbox-names": "utf8"},
        ),
        ("mail_location = maildir:~/Maildir:INDEX=MEMORY", {"index-path": None}),
        ("mail_location = maildir:~/M:LAYOUT=fs", {"layout": "fs", "separator": "/", "mailbox-directory": None}),
        ("mail_location = maildir:~/M:LAYOUT=FS:DIRNAME=mBx", {"layout": "fs", "mailbox-directory": "mBx"}),
        ("mail_location = maildir:~/M\nmail_home = /home/%n", {"mail-path": "/home/%n/M"}),
        ("mail_location = maildir:%h/M\n" + static("uid=mail gid=mail home=/v/%d/%Ln"),
         {"mail-path": "/v/%d/%n/M", "user": "mail", "group": "mail"}),
        (MAIL + static("mail=maildir:/other/%u"), {"mail-path": "/other/%u"}),
        (MAIL + inbox("location = maildir:/own/%u"), {"mail-path": "/own/%u"}),
        ("mail_location = maildir:~/M\nuserdb {\n driver = passwd-file\n args = /etc/dovecot/users\n"
         " override_fields = uid=mail gid=8 home=/v/%n\n}\n" + USERS,
         {"mail-path": "/v/%n/M", "user": "mail", "group": "8"}),
        ("mail_uid = mail\nmail_gid = 8", {"user": "mail", "group": "8"}),
        # how mailboxes are called
        (inbox("separator = /"), {"separator": "/", "prefix": None}),
        (inbox("prefix = INBOX."), {"separator": ".", "prefix": "INBOX."}),
        (inbox('mailbox "Sent Messages" {\n special_use = \\Sent\n }\n mailbox Notes {\n auto = subscribe\n }'),
         {"special-use": {"Sent Messages": "\\Sent"}, "auto-create": ["Notes"]}),
        (inbox("prefix = INBOX.\n mailbox Bin {\n special_use = \\trash\n auto = create\n }"),
         {"special-use": {"INBOX.Bin": "\\Trash"}, "auto-create": ["INBOX.Bin"]}),
        ("mail_plugins = quota listescape", {"name-escape": "\\"}),
        ("protocol imap {\n mail_plugins = listescape\n}\nplugin {\n listescape_char = ^\n}", {"name-escape": "^"}),
        ("plugin {\n listescape_char = ^\n}", {"name-escape": None}),
        # who may log in
        (USERS, {"passwd-file": "/etc/dovecot/users", "username-format": None}),
        ("passdb {\n driver = passwd-file\n args = scheme=CRYPT username_format=%u /etc/%d/users\n}",
         {"passwd-file": "/etc/%d/users"}),
        ("auth_username_format = %Ln", {"username-format": "%Ln"}),
        ("auth_username_format = %{user}", {"username-format": "%u"}),
        ("auth_username_format =", {"username-format": "%u"}),
        ("auth_default_realm = example.org", {"default-domain": "example.org"}),
        ("login_trusted_networks = 10.0.0.0/8 fd00::/8",
         {"secure-networks": ["127.0.0.0/8", "::1", "10.0.0.0/8", "fd00::/8"], "allow-plain-text": None}),
        ("disable_plaintext_auth = no", {"allow-plain-text": True}),
        ("disable_plaintext_auth = no\nssl = required", {"allow-plain-text": None}),
        # TLS
        (TLS, {"cert-path": "/etc/cert.pem", "key-path": "/etc/key.pem"}),
        (TLS + "ssl = no", {"cert-path": None, "key-path": None}),
        (TLS + "ssl_min_protocol = TLSv1.3", {"tls-min-version": "1.3"}),
        ("ssl_cert = </etc/cert.pem\nssl_key = # hidden, use -P to show it", {"cert-path": None}),
        # quota
        ("mail_plugins = quota\nplugin {\n quota = maildir:User quota\n quota_rule = *:storage=1G:messages=1000\n"
         " quota_rule2 = Trash:ignore\n}",
         {"quota-storage": 1 << 30, "quota-messages": 1000, "quota-ignore": ["Trash"]}),
        ("protocol imap {\n mail_plugins = quota imap_quota\n}\nplugin {\n quota_rule = *:bytes=500\n}",
         {"quota-storage": 500}),
        ("plugin {\n quota_rule = *:bytes=500\n}", {"quota-storage": None}),
        ("mail_plugins = quota\nplugin {\n quota = maildir:U:noenforcing\n quota_rule = *:bytes=500\n}",
         {"quota-storage": None}),
        # limits, POP3
        ("mail_max_userip_connections = 80", {"max-connections-per-user": 80}),
        ("protocol imap {\n mail_max_userip_connections = 0\n}", {"max-connections-per-user": 1_000_000}),
        ("mail_max_userip_connections = 20", {"max-connections-per-user": None}),
        ("pop3_uidl_format = %g", {"pop3-uidl-format": "%g"}),
        ("protocol pop3 {\n pop3_uidl_format = %v.%u\n pop3_no_flag_updates = yes\n}",
         {"pop3-uidl-format": "%v.%u", "pop3-no-flag-updates": True}),
        ("pop3_delete_type = flag\npop3_deleted_flag = $POP3Deleted",
         {"pop3-delete": "flag", "pop3-deleted-flag": "$POP3Deleted"}),
        ("pop3_deleted_flag = \\flagged", {"pop3-delete": "flag", "pop3-deleted-flag": "\\Flagged"}),
        ("pop3_delete_type = expunge\npop3_deleted_flag = $x", {"pop3-delete": None, "pop3-deleted-flag": None}),
        ("pop3_delete_type = default", {"pop3-delete": None}),
        ("imap_idle_notify_interval = 5 mins\nimap_max_line_length = 128 k\nimap_literal_minus = yes",
         {"idle-keepalive": 300, "max-line": 131072, "literal-minus": True}),
    ],
)  # fmt: skip
def test_settings(text: str, expected: dict[str, Any]) -> None:
    found = settings(text)
    assert {key: found.get(key) for key in expected} == expected


def login(protocol: str, *listeners: str) -> str:
    blocks = "".join(f" inet_listener {listener}\n" for listener in listeners)
    return f"service {protocol}-login {{\n{blocks}}}\n"


ANY = ["0.0.0.0:%d", "[::]:%d"]


def everywhere(port: int) -> list[str]:
    return [address % port for address in ANY]


@pytest.mark.parametrize(
    "text, expected",
    [
        (TLS, {"imap": (everywhere(143), False), "imaps": (everywhere(993), True),
               "pop3": (everywhere(110), False), "pop3s": (everywhere(995), True)}),
        (TLS + "protocols = imap\nlisten = 127.0.0.1, ::1",
         {"imap": (["127.0.0.1:143", "[::1]:143"], False), "imaps": (["127.0.0.1:993", "[::1]:993"], True)}),
        (TLS + "ssl = no\nprotocols = imap", {"imap": (everywhere(143), False)}),
        ("protocols = imap", {"imap": (everywhere(143), False)}),
        (TLS + "protocols = imap lmtp\n" + login("imap", "imap {\n port = 0\n }", "imaps {\n port = 1993\n }"),
         {"imaps": (everywhere(1993), True)}),
        (TLS + "protocols = imap\n" + login("imap", "extra {\n port = 9930\n address = 10.0.0.1\n ssl = yes\n }"),
         {"imap": (everywhere(143), False), "imaps": (everywhere(993), True), "extra": (["10.0.0.1:9930"], True)}),
        (TLS + "protocols = imap\n" + login("imap", "imaps {\n ssl = no\n }", "p {\n port = 10143\n haproxy = yes\n }"),
         {"imap": (everywhere(143), False), "imaps": (everywhere(993), False)}),
    ],
)  # fmt: skip
def test_listeners(text: str, expected: dict[str, tuple[list[str], bool]]) -> None:
    assert ports(text) == expected


@pytest.mark.parametrize(
    "text, setting, weight",
    [
        ("mail_location = mbox:~/mail", "mail_location", Weight.FIRST),
        ("mail_location = maildir:~/M:LAYOUT=index", "mail_location/LAYOUT", Weight.FIRST),
        ("mail_location = maildir:~/M:DIRNAME=mBx", "mail_location/DIRNAME", Weight.FIRST),
        ("mail_location = maildir:/v/%1n/%n", "mail_location", Weight.FIRST),
        ("mail_location = maildir:/v/%n:CONTROL=/c/%2.1Mu", "mail_location/CONTROL", Weight.FIRST),
        ("passdb {\n driver = sql\n args = /etc/dovecot/sql.conf\n}", "passdb sql", Weight.FIRST),
        ("passdb {\n driver = ldap\n args = /etc/dovecot/ldap.conf\n}", "passdb ldap", Weight.FIRST),
        (USERS + "passdb {\n driver = sql\n}\n", "passdb sql", Weight.TO_DO),
        (USERS + "passdb {\n driver = passwd-file\n args = scheme=SHA1 /etc/v\n}", "passdb passwd-file", Weight.TO_DO),
        ("passdb {\n driver = passwd-file\n args = scheme=SHA256 /etc/u\n}", "passdb passwd-file/scheme", Weight.FIRST),
        ("passdb {\n driver = passwd-file\n args = username_format=%n /etc/%d/u\n}",
         "passdb passwd-file/username_format", Weight.FIRST),
        ("userdb {\n driver = passwd\n}\n", "userdb passwd", Weight.FIRST),
        ("namespace shared {\n type = shared\n prefix = shared/%%u/\n}", "namespace shared", Weight.TO_DO),  # no acl
        ("namespace x {\n prefix = x/\n location = mbox:~/mail\n}", "namespace x", Weight.TO_DO),
        ("namespace x {\n prefix = x\n location = maildir:~/x\n}", "namespaces", Weight.FIRST),
        ("ssl_cert = </etc/cert.pem\nssl_key = # hidden, use -P to show it", "ssl_key", Weight.FIRST),
        ("local_name a.org {\n ssl_cert = </etc/a.pem\n}", "local_name a.org/ssl_cert", Weight.FIRST),
        ("plugin {\n sieve = file:~/sieve\n}", "plugin/sieve", Weight.TO_DO),
        ("plugin {\n mail_crypt_save_version = 2\n}", "plugin/mail_crypt_save_version", Weight.FIRST),
        ("pop3_reuse_xuidl = yes", "pop3_reuse_xuidl", Weight.FIRST),
        ("pop3_uidl_format = %v", "pop3_uidl_format", Weight.FIRST),
        ("auth_mechanisms = plain gssapi", "auth_mechanisms", Weight.TO_DO),
        ("auth_mechanisms = plain xoauth2 oauthbearer", "auth_mechanisms", Weight.TO_DO),
        ("auth_mechanisms = plain anonymous", "auth_mechanisms", Weight.TO_DO),  # guests change nothing here
        (TLS + "local_name a.org {\n ssl_cert = </etc/a.pem\n ssl_key = </etc/a.key\n}", "local_name a.org/ssl_cert",
         Weight.TO_DO),
        (TLS + "local_name a.org {\n ssl_cert = </etc/a.pem\n ssl_key = # hidden, use -P to show it\n}",
         "local_name a.org/ssl_cert", Weight.FIRST),
        (TLS + "local_name a.org {\n ssl_min_protocol = TLSv1.3\n}", "local_name a.org/ssl_min_protocol", Weight.TO_DO),
        (MASTER.replace("passwd-file", "pam"), "passdb pam", Weight.TO_DO),
        (MASTER.replace("/etc/masters", "/etc/%d/masters"), "passdb passwd-file", Weight.TO_DO),
        (MASTER + MASTER, "passdb passwd-file", Weight.TO_DO),
        (MASTER.replace("/etc/m", "scheme=SHA256 /etc/m"), "passdb passwd-file/scheme", Weight.TO_DO),
        (MASTER + "auth_master_user_separator = .", "auth_master_user_separator", Weight.TO_DO),
        ("mail_uid = no-such-user-here", "user", Weight.FIRST),
        ("namespace inbox {\n inbox = yes\n separator = \\\n}", "separator", Weight.FIRST),
        ("service lmtp {\n unix_listener /x {\n mode = 0600\n }\n}", "service lmtp/unix_listener /x/mode",
         Weight.NOTHING),
        ("something_new = 1", "something_new", Weight.TO_DO),
        ("# 2.4.1 (abc): /etc/dovecot/dovecot.conf\nmail_path = ~/M", "Dovecot", Weight.TO_DO),
        ("this is no setting", "(not understood)", Weight.FIRST),
    ],
)  # fmt: skip
def test_what_is_not_carried_over_is_named(text: str, setting: str, weight: Weight) -> None:
    assert dropped(text)[setting] is weight
    assert setting in convert(text).yaml
    settings(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        (MASTER, {"master-passwd-file": "/etc/masters", "master-separator": ""}),
        (
            MASTER + "auth_master_user_separator = *",
            {"master-passwd-file": "/etc/masters", "master-separator": "*"},
        ),
        (MASTER.replace("master = yes", "deny = yes"), {"deny-file": "/etc/masters"}),
        ("auth_master_user_separator = *", {}),
        ("auth_mechanisms = plain login scram-sha-256", {}),
        (
            "auth_mechanisms = plain cram-md5",
            {"sasl-mechanisms": [*(name for name in MECHANISMS if name not in OFF), "CRAM-MD5"]},
        ),
    ],
)
def test_masters_and_who_is_denied(text: str, expected: dict[str, Any]) -> None:
    found = settings(text)
    assert {key: found[key] for key in found if key.startswith(("master", "deny", "sasl"))} == expected
    assert not {"auth_mechanisms", "auth_master_user_separator"} & dropped(text).keys()


def test_certificates_by_name() -> None:
    """Two blocks of one certificate are one pair."""
    block = "local_name {} {{\n ssl_cert = </etc/{}.pem\n ssl_key = </etc/{}.key\n}}\n"
    found = settings(
        TLS + block.format("imap.b.org", "b", "b") + block.format("b.org", "b", "b") + block.format("c", "c", "c")
    )
    assert found["certificates"] == [
        {"cert-path": "/etc/b.pem", "key-path": "/etc/b.key"}, {"cert-path": "/etc/c.pem", "key-path": "/etc/c.key"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, expected",
    [
        ("auth_mechanisms = plain anonymous", "anonymous"),
        ("auth_mechanisms = anonymous\nauth_anonymous_username = guest", "guest"),
        ("auth_anonymous_username = guest", None),  # nobody comes in as him
    ],
)
def test_guests(text: str, expected: str | None) -> None:
    assert settings(text).get("anonymous-user") == expected
    assert "auth_anonymous_username" not in dropped(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("passdb {\n driver = pam\n}", [{"type": "pam", "service": "dovecot"}]),
        ("passdb {\n driver = pam\n args = *\n}", [{"type": "pam"}]),
        ("passdb {\n driver = pam\n args = session=yes max_requests=3 mail\n}", [{"type": "pam", "service": "mail"}]),
        (
            "passdb {\n driver = pam\n args = %s\n}\n" + USERS + USERS.replace("users", "more"),
            [{"type": "passwd-file", "path": "/etc/dovecot/more"}, {"type": "pam"}],
        ),
        (
            "passdb {\n driver = pam\n args = *\n}\nuserdb {\n driver = passwd\n}\nfirst_valid_uid = 1000",
            [{"type": "pam"}, {"type": "system", "min-uid": 1000, "max-uid": 0xFFFFFFFE}],
        ),
        (USERS, None),
    ],
)
def test_further_databases(text: str, expected: list[dict[str, Any]] | None) -> None:
    assert settings(text).get("auth") == expected
    assert not {"passdb pam", "passdb passwd-file", "first_valid_uid"} & dropped(text).keys()


def test_a_plain_site_is_ready() -> None:
    found = convert(TLS + USERS + MAIL + "mail_uid = mail\nmail_gid = mail\nprotocols = imap pop3")
    assert found.is_ready and not found.dropped


def test_secrets_are_not_shown() -> None:
    found = convert("doveadm_password = tell-nobody\nimapc_password = tell-nobody\nssl_key_password = tell-nobody\n")
    assert "tell-nobody" not in found.yaml and "doveadm_password = (not shown)" in found.yaml


def test_every_setting_of_dovecot_is_used_or_named() -> None:
    """Whatever is in a block that was not asked for."""
    text = "a_b = 1\npassdb {\n driver = pam\n skip = never\n}\nremote 1.2.3.4 {\n protocol imap {\n x = y\n }\n}\n"
    named = {left.setting for left in convert(text).dropped}
    used = {"passdb/driver"}
    assert {key for key, _ in rest(parse(text).root)} - used <= named


LINES = st.sampled_from(
    [*TLS.split("\n"), *USERS.split("\n"), *MAIL.split("\n"), "}", "namespace inbox {", "inbox = yes", "separator = x",
     "prefix = \x7f\x85", "mailbox A {", "special_use = \\Sent \\Junk", "service imap-login {", "inet_listener q {",
     "port = 99999", "port = 143", "address = nowhere", "listen = ::", "mail_uid = 4294967295", "ssl_min_protocol = x",
     "auth_username_format = %d", "login_trusted_networks = 10.0.0.1/8", "auto = create", "plugin {", "quota_rule = x",
     "mail_plugins = quota listescape", "listescape_char = .", "imap_max_line_length = 0", "password = \x1b[31m"]
)  # fmt: skip


@given(st.lists(LINES, max_size=25))
def test_any_lines_give_a_configuration_that_greenmail_takes(lines: list[str]) -> None:
    settings("\n".join(lines))


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = cli.main(["import-config", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_verb_reads_a_file_or_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TLS + USERS + MAIL + "mail_uid = mail\nmail_gid = mail\nprotocols = imap pop3"
    file = tmp_path / "doveconf"
    file.write_text(text)
    assert run([str(file)], capsys) == (0, convert(text).yaml, "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run([], capsys)[:2] == (0, convert(text).yaml)


def test_the_verb_says_on_standard_error_what_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "doveconf"
    file.write_text("mail_location = mbox:~/mail\nlog_path = /x\n")
    status, out, err = run([str(file)], capsys)
    assert status == 3
    assert "mail_location = mbox:~/mail" in err and "log_path = /x" in err
    assert err.index("solved before") < err.index("nothing to do")
    assert isinstance(yaml.safe_load(out), dict)


@pytest.mark.parametrize("octets", [b"", b"# nothing\n"])
def test_no_settings_at_all(octets: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "doveconf"
    file.write_bytes(octets)
    status, out, err = run([str(file)], capsys)
    assert status == 1 and not out and "doveconf -n | greenmail import-config" in err
    assert run([str(tmp_path / "missing")], capsys)[0] == 1


def test_a_conversion_is_the_same_each_time() -> None:
    assert isinstance(convert(TLS), Conversion) and convert(TLS) == convert(TLS)


ACL = "mail_plugins = acl\n"
OWN = "mail_location = maildir:~/Maildir\n" + "namespace inbox {\n inbox = yes\n separator = /\n}\n"


@pytest.mark.parametrize(
    "block, table",
    [
        (
            "namespace compat {\n prefix = INBOX.\n separator = .\n hidden = yes\n list = no\n alias_for = \n}",
            {"type": "private", "prefix": "INBOX.", "separator": ".", "list": "no", "hidden": True, "alias-for": ""},
        ),
        (  # as people wrote it before there was alias_for
            "namespace old {\n prefix = mail/\n separator = /\n hidden = yes\n list = no\n location = \n}",
            {"type": "private", "prefix": "mail/", "list": "no", "hidden": True, "alias-for": ""},
        ),
        (
            "namespace s {\n type = shared\n prefix = shared/%%u/\n separator = /\n subscriptions = no\n"
            " list = children\n location = maildir:%%h/Maildir:INDEX=~/Maildir/shared/%%u\n}",
            {"type": "shared", "prefix": "shared/%u/", "list": "children"},
        ),
        (
            "namespace s {\n type = shared\n prefix = users/%%d/%%n/\n subscriptions = no\n"
            " location = maildir:/v/%%d/%%n:INDEXPVT=~/Maildir/shared/%%u\n}",
            {"type": "shared", "prefix": "users/%d/%n/", "mail-path": "/v/%d/%n", "private-seen": "yes"},
        ),
        (
            "namespace p {\n type = public\n prefix = Public/\n location = maildir:/v/public:UTF-8\n}",
            {"type": "public", "prefix": "Public/", "subscriptions": True, "mail-path": "/v/public",
             "mailbox-names": "utf8", "default-rights": ""},
        ),
        (
            "namespace a {\n prefix = Archive/\n separator = /\n location = maildir:/archive/%u:CONTROL=/c/%u\n}",
            {"type": "private", "prefix": "Archive/", "mail-path": "/archive/%u", "control-path": "/c/%u"},
        ),
    ],
)  # fmt: skip
def test_namespaces_are_carried_over(block: str, table: dict[str, Any]) -> None:
    assert settings(ACL + OWN + block)["namespaces"] == [table]


def test_without_acls_all_may_do_everything_in_public_mailboxes() -> None:
    """As in Dovecot; with the plug-in nobody may do anything where no list says so."""
    block = "namespace p {\n type = public\n prefix = Public/\n subscriptions = no\n location = maildir:/v/public\n}"
    (table,) = settings(OWN + block)["namespaces"]
    assert table["default-rights"] == "lrwstipekxa"
