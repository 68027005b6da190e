"""What Dovecot served by its configuration, GreenMail serves by the converted one: ports, folders, UIDs, flags, ids."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import own_machine, trees
from support.interop_site import need
from support.pki import make_certificate

pytestmark = pytest.mark.interop

COMMON = """\
protocols = imap pop3
listen = 127.0.0.1
log_path = {place}/dovecot.log
ssl_cert = <{cert}
ssl_key = <{key}
mail_uid = vmail
mail_gid = vmail
first_valid_uid = 0
passdb {{
  driver = passwd-file
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
}}
"""
PASSWD_FILE = "userdb {\n  driver = passwd-file\n  args = username_format=%u /etc/dovecot/users\n}\n"
STATIC = "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/var/vmail/%d/%n\n}\n"
AS_DEBIAN = """\
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
  separator = /
}
"""
PREFIX = """\
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
  prefix = INBOX.
  mailbox Bin {
    special_use = \\Trash
    auto = subscribe
  }
}
protocol pop3 {
  pop3_uidl_format = %v-%u
}
"""
PLACES = "INDEX=/var/vmail/index/%u:CONTROL=/var/vmail/control/%u:INBOX=/var/vmail/inbox/%n:UTF-8"
ELSEWHERE = (
    f"mail_location = maildir:/var/vmail/%d/%n/Maildir:{PLACES}\n"
    + """\
auth_username_format = %Lu
mail_plugins = listescape
namespace inbox {
  inbox = yes
  separator = /
  mailbox Sent {
    special_use = \\Sent
    auto = subscribe
  }
}
"""
)
SITES = {"as-debian": AS_DEBIAN + PASSWD_FILE, "prefix": PREFIX + STATIC, "elsewhere": ELSEWHERE + STATIC}
USERS = "alice@example.org:{PLAIN}secret::::/var/vmail/example.org/alice::\n"

FILL = """\
doveadm mailbox create -s -u alice@example.org "${{PREFIX}}Work" "${{PREFIX}}Work${{SEP}}Entwürfe" "${{PREFIX}}Quiet"
for n in 1 2 3 4 5; do
    printf 'From: a@example.org\\nSubject: n%d\\n\\nbody\\n' $n | doveadm save -u alice@example.org -m INBOX
    printf 'From: a@example.org\\nSubject: w%d\\n\\nbody\\n' $n |
        doveadm save -u alice@example.org -m "${{PREFIX}}Work${{SEP}}Entwürfe"
done
doveadm flags add -u alice@example.org '\\Seen $Label1 todo' mailbox INBOX uid 2:4
doveadm expunge -u alice@example.org mailbox INBOX uid 3
"""


def script(place: Path, site: str, prefix: str, separator: str, fill: bool) -> str:
    cert, key = make_certificate(place)
    conf = COMMON.format(place=place, cert=cert, key=key) + SITES[site]
    return f"""\
PREFIX='{prefix}' SEP='{separator}'
cat > /etc/dovecot/dovecot.conf <<'EOF'
{conf}EOF
echo '{USERS.strip()}' > /etc/dovecot/users
mkdir -p /var/vmail/example.org/alice /etc/greenmail
{"" if fill else f"cp -a {place}/Maildir /var/vmail/example.org/alice/Maildir"}
chown -R vmail:vmail /var/vmail
systemctl start dovecot
_wait 993
{FILL.format() if fill else ""}
state alice@example.org
systemctl stop dovecot
doveconf -n | greenmail import-config > /etc/greenmail/imap.yaml
greenmail check-config -c /etc/greenmail/imap.yaml >&2
systemctl start greenmail
state alice@example.org
systemctl stop greenmail
systemctl start dovecot
_wait 993
state alice@example.org
"""


def states(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    "site, prefix, separator, fill",
    [
        ("as-debian", "", "/", True),
        ("prefix", "INBOX.", ".", True),
        ("elsewhere", "", "/", True),
        ("as-debian", "", "/", False),
    ],
    ids=["as-debian", "prefix", "elsewhere", "recorded-tree"],
)
def test_users_see_the_same(place: Path, site: str, prefix: str, separator: str, fill: bool) -> None:
    need("dovecot", "dovecot-imapd dovecot-pop3d")
    if not fill:
        trees.unpack("dovecot", place)
    before, served, after = states(own_machine.run(place, script(place, site, prefix, separator, fill)))
    assert len(before["boxes"]) >= 3 and len(before["uidl"]) >= 4
    assert served == before
    assert after == before
