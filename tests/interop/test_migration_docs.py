"""docs/migrating-from-*.md, run as written on a machine of its own.

<!-- run -->              the next fence is commands
<!-- run: delivery -->    the same, and one more message is in INBOX afterwards
<!-- run: old-server -->  the same, while a GreenMail on another copy of the mail stands for Courier
<!-- file: PATH -->       the next fence is written to PATH
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support import own_machine, trees
from support.interop_site import need
from support.own_machine import ROOT

pytestmark = pytest.mark.interop

FENCE = re.compile(r"<!-- (run|file)(?:: ([^ ]+))? -->\n```[a-z]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
USERS = "alice@example.org:{PLAIN}secret::::/var/vmail/example.org/alice::"
DOVECOT = """\
protocols = imap pop3 lmtp
log_path = /var/log/dovecot.log
ssl_cert = </etc/ssl/mail.pem
ssl_key = </etc/ssl/mail.key
mail_location = maildir:~/Maildir
mail_uid = vmail
mail_gid = vmail
first_valid_uid = 1
namespace inbox {
  inbox = yes
  separator = /
}
passdb {
  driver = passwd-file
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = username_format=%u /etc/dovecot/users
}
!include_try local.conf
"""
CERTIFICATE = """\
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout /etc/ssl/mail.key -out /etc/ssl/mail.pem
cp -a Maildir /var/vmail/example.org/alice/Maildir
chown -R vmail:vmail /var/vmail
"""
COUNT = "find /var/vmail/example.org/alice/Maildir/new /var/vmail/example.org/alice/Maildir/cur -type f | wc -l"
DELIVERED = f"""\
for _ in $(seq 200); do [ "$({COUNT})" -gt "$COUNTED" ] && break; sleep 0.1; done
[ "$({COUNT})" -gt "$COUNTED" ] || {{ cat /var/log/mail.log >&2 || true; exit 1; }}
"""
OLD_SERVER = f"""\
cp -a /var/vmail /var/old
sed 's|/var/vmail|/var/old|g' /etc/greenmail/users > /etc/greenmail/old.users
sed -e 's|^passwd-file:.*|passwd-file: /etc/greenmail/old.users|' /etc/greenmail/imap.yaml > /etc/greenmail/old.yaml
echo 'run-path: /run/old' >> /etc/greenmail/old.yaml
{sys.executable} -m greenmail -c /etc/greenmail/old.yaml &
OLD=$!
_wait 993; _wait 995
"""
OLD_SERVER_END = "kill $OLD\nwait $OLD\nrm -r /var/old\n"


def commands(page: str, states_before: tuple[str, ...] = ()) -> str:
    """The page as a script; `state` is asked before the chapters of these numbers."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    chapters = re.split(r"^## (?=[0-9])", text, flags=re.MULTILINE)
    script = []
    for chapter in chapters:
        if chapter.partition(".")[0] in states_before:
            script.append("state alice@example.org\n")
        for kind, argument, body in FENCE.findall(chapter):
            if kind == "file":
                script.append(f"cat > {argument} <<'END-OF-FILE'\n{body}END-OF-FILE\n")
            elif argument == "delivery":
                script.append(f"COUNTED=$({COUNT})\n{body}{DELIVERED}")
            elif argument == "old-server":
                script.append(OLD_SERVER + body + OLD_SERVER_END)
            else:
                script.append(body)
    return "".join(script)


def states(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"folders"')]


def test_from_dovecot_and_back(place: Path) -> None:
    for program, package in (("dovecot", "dovecot-imapd"), ("postfix", "postfix"), ("maildrop", "maildrop")):
        need(program, package)
    if not Path("/usr/lib/dovecot/lmtp").exists():
        pytest.skip("Dovecot's LMTP is not installed (Debian: dovecot-lmtpd)")
    trees.unpack("dovecot", place)
    setting_up = f"""\
cat > /etc/dovecot/dovecot.conf <<'EOF'
{DOVECOT}EOF
mkdir -p /var/vmail/example.org/alice
echo '{USERS}' > /etc/dovecot/users
{CERTIFICATE}
postconf -e 'mydestination =' 'virtual_mailbox_domains = example.org' 'myhostname = mail.example.org'
postconf -e 'inet_protocols = ipv4'
postconf -e 'maillog_file = /var/log/mail.log' 'default_database_type = hash' 'alias_maps =' 'alias_database ='
systemctl start dovecot
_wait 993
"""
    ending = (
        "_wait 993\nstate alice@example.org\ndoveadm -f tab mailbox status -u alice@example.org highestmodseq INBOX\n"
    )
    output = own_machine.run(place, setting_up + commands("migrating-from-dovecot.md", ("1", "4")) + ending)
    before, served, after = states(output)
    assert served["subscribed"] == before["subscribed"] and served["folders"] == before["folders"]
    for now, last in ((served, before), (after, served)):
        for name, box in last["boxes"].items():
            assert now["boxes"][name]["validity"] == box["validity"], name
            assert box["messages"].items() <= now["boxes"][name]["messages"].items(), name
        assert [line.split()[1] for line in last["uidl"]] == [line.split()[1] for line in now["uidl"]][
            : len(last["uidl"])
        ]
    assert len(after["boxes"]["INBOX"]["messages"]) == len(before["boxes"]["INBOX"]["messages"]) + 3
    assert "no client would notice the switch" in output
    assert int(output.split()[-1]) > 1_700_000_000_000_000


def test_from_courier(place: Path) -> None:
    trees.unpack("courier", place)
    users = (
        "alice@example.org\\thome=/var/vmail/example.org/alice|uid=%s|gid=%s|systempw=$(openssl passwd -6 secret)\\n"
    )
    setting_up = f"""\
mkdir -p /etc/courier /var/vmail/example.org/alice
{CERTIFICATE}
printf "{users}" $(id -u vmail) $(id -g vmail) > /etc/courier/userdb
"""
    ending = "systemctl start greenmail\nstate alice@example.org\nsystemctl stop greenmail\n"
    output = own_machine.run(place, setting_up + commands("migrating-from-courier.md", ("4",)) + ending)
    assert "no client would notice the switch" in output
    served, again = states(output)
    assert again == served
    courier = trees.expected("courier")
    listed = {line.rpartition(' "')[2].rstrip('"') for line in courier["list_raw"] if "Noselect" not in line}
    assert listed <= set(served["boxes"])
    assert served["uidl"] == courier["pop3_uidl"]
    assert served["boxes"]["INBOX"]["validity"] == ["b'795343556'"]


@pytest.mark.parametrize("page", ["migrating-from-dovecot.md", "migrating-from-courier.md"])
def test_every_fence_is_marked(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert len(FENCE.findall(text)) == text.count("\n```") // 2
