"""Mail programs of Debian, unmodified, doing their ordinary work over TLS."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.interop_site import Site, need
from support.wire_client import parse

pytestmark = [pytest.mark.interop]


def run(site: Site, *words: object, text: str = "", ok: tuple[int, ...] = (0,), **more: str) -> str:
    """Run a program with its own home; what it printed."""
    environment = {**os.environ, "HOME": str(site.home), "LC_ALL": "C.UTF-8", **more}
    done = subprocess.run(
        [str(word) for word in words], input=text, capture_output=True, text=True, timeout=90, env=environment,
        cwd=site.home, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode in ok, f"{words[0]} ended with {done.returncode}: {said}\n{site.server.logged()[-3000:]}"
    return said


def config(site: Site, name: str, text: str) -> Path:
    path = site.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def messages(site: Site, name: str) -> int:
    with site.imap() as client:
        (answer,) = client.ok(f'STATUS "{name}" (MESSAGES)')
        return int(parse(answer)[-1][1])


class Terminal:
    """A program on a terminal of its own, by tmux: what it shows can be read, and keys can be typed."""

    def __init__(self, site: Site, command: str) -> None:
        self.tmux = need("tmux", "tmux")
        self.site = site
        self.name = f"greenmail{site.server.imaps}"
        self.command = command

    def __enter__(self) -> "Terminal":
        self._run("new-session", "-d", "-x", "100", "-y", "30", self.command, TERM="xterm")
        return self

    def __exit__(self, *_: object) -> None:
        run(self.site, self.tmux, "-L", self.name, "kill-server", ok=(0, 1))

    def _run(self, *words: str, **more: str) -> str:
        return run(self.site, self.tmux, "-L", self.name, *words, **more)

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until `condition`; a terminal program has no event to wait for."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.screen()
            time.sleep(0.2)


def test_curl_lists_fetches_appends_and_searches(site: Site) -> None:
    curl = need("curl", "curl")
    user = ("--user", "alice:secret", "--silent", "--show-error", "--cacert", site.server.cert)
    imaps = f"imaps://localhost:{site.server.imaps}"
    assert '"/" INBOX' in run(site, curl, *user, f"{imaps}/").replace('"INBOX"', "INBOX")
    assert "Body of message 2." in run(site, curl, *user, f"{imaps}/INBOX;MAILINDEX=2")
    assert "SEARCH 5" in run(site, curl, *user, f"{imaps}/INBOX?SUBJECT%20%22message%205%22")
    letter = config(site, "letter", "Subject: by curl\r\n\r\nhello\r\n")
    run(site, curl, *user, "-T", letter, f"{imaps}/Sent")
    assert messages(site, "Sent") == 1
    plain = f"imap://localhost:{site.server.imap}"
    assert "Body of message 1." in run(site, curl, *user, "--ssl-reqd", f"{plain}/INBOX;MAILINDEX=1")
    assert "1 " in run(site, curl, *user, f"pop3s://localhost:{site.server.pop3s}/")
    assert "..dots" in run(site, curl, *user, "--ssl-reqd", f"pop3://localhost:{site.server.pop3}/3")
    run(site, curl, "--silent", "--cacert", site.server.cert, "--user", "alice:wrong", f"{imaps}/", ok=(67,))


@pytest.mark.parametrize("program", ["mutt", "neomutt"])
def test_mutt_opens_the_inbox_tags_and_saves(site: Site, program: str) -> None:
    mutt = need(program, program)
    # Nothing may follow that the index does not know: NeoMutt then throws away what is left of the keys.
    keys = "<tag-pattern>~s 'message [12]$'<enter><tag-prefix><save-message>=Archive<enter>"
    rc = config(
        site,
        "muttrc",
        f"""\
set folder="imaps://alice:secret@localhost:{site.server.imaps}/"
set imap_user=alice
set imap_pass=secret
set spoolfile="+INBOX"
set ssl_force_tls=yes
set certificate_file="{site.server.cert}"
unset ssl_verify_host
set sort=date
set quit=yes
set delete=yes
set confirmappend=no
set mark_old=no
set record=""
set wait_key=no
unset help
push "{keys}"
""",
    )
    with Terminal(site, f"{mutt} -n -F {rc}") as terminal:
        terminal.until(lambda: "Del:2" in terminal.screen())
        assert messages(site, "Archive") == 2
        terminal.keys("q")
        terminal.until(lambda: messages(site, "INBOX") == 8)


def test_mbsync_syncs_both_ways_and_then_has_nothing_to_do(site: Site) -> None:
    mbsync = need("mbsync", "isync")
    local = site.home / "Mail"
    local.mkdir()
    rc = config(
        site,
        "mbsyncrc",
        f"""\
IMAPAccount green
Host localhost
Port {site.server.imaps}
User alice
Pass secret
SSLType IMAPS
CertificateFile {site.server.cert}

IMAPStore far
Account green

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""",
    )
    run(site, mbsync, "-c", rc, "-a")
    inbox = local / "INBOX"
    assert len(list((inbox / "new").iterdir()) + list((inbox / "cur").iterdir())) == 10
    new = inbox / "cur" / "1704200000.local.host:2,S"
    new.write_text("Subject: written here\n\nlocal\n")
    first = min((inbox / "new").iterdir())
    first.rename(inbox / "cur" / f"{first.name.split(':')[0]}:2,FS")
    run(site, mbsync, "-c", rc, "-a")
    assert messages(site, "INBOX") == 11
    with site.imap() as client:
        client.ok("SELECT INBOX")
        assert any("\\Flagged" in m["FLAGS"] for m in client.fetch("1:* (FLAGS)").values())
    before = sorted(path.name for path in inbox.rglob("*"))
    run(site, mbsync, "-c", rc, "-a")
    assert sorted(path.name for path in inbox.rglob("*")) == before
    assert messages(site, "INBOX") == 11


def test_offlineimap_syncs(site: Site) -> None:
    offlineimap = need("offlineimap", "offlineimap3")
    rc = config(
        site,
        "offlineimaprc",
        f"""\
[general]
accounts = green
ui = basic
metadata = {site.home}/meta
[Account green]
localrepository = local
remoterepository = remote
[Repository local]
type = Maildir
localfolders = {site.home}/Mail
[Repository remote]
type = IMAP
remotehost = localhost
remoteport = {site.server.imaps}
remoteuser = alice
remotepass = secret
ssl = yes
sslcacertfile = {site.server.cert}
""",
    )
    run(site, offlineimap, "-c", rc, "-o")
    inbox = site.home / "Mail" / "INBOX"
    assert len(list((inbox / "new").iterdir()) + list((inbox / "cur").iterdir())) == 10
    (inbox / "cur" / "1704200000.1.host:2,S").write_text("Subject: written here\nMessage-ID: <o@l>\n\nlocal\n")
    run(site, offlineimap, "-c", rc, "-o")
    assert messages(site, "INBOX") == 11
    run(site, offlineimap, "-c", rc, "-o")
    assert messages(site, "INBOX") == 11


@pytest.mark.parametrize("protocol", ["IMAP", "POP3"])
def test_fetchmail_takes_the_mail_to_a_local_program(site: Site, protocol: str) -> None:
    fetchmail = need("fetchmail", "fetchmail")
    port = site.server.imaps if protocol == "IMAP" else site.server.pop3s
    sink = site.home / "sink"
    rc = config(
        site,
        "fetchmailrc",
        f"""\
poll localhost protocol {protocol} port {port}
  user "alice" password "secret" is "alice" here
  ssl sslcertfile "{site.server.cert}" sslcertck
  keep
  mda "cat >> {sink}"
""",
    )
    arguments = (fetchmail, "-f", rc, "--nodetach", "--nosyslog", "-i", site.home / "ids", "--pidfile", site.home / "p")
    run(site, *arguments, *(("-U",) if protocol == "POP3" else ()), USER="alice", LOGNAME="alice")
    text = sink.read_text()
    assert all(f"Body of message {number}." in text for number in range(1, 11))
    run(site, *arguments, *(("-U",) if protocol == "POP3" else ()), ok=(1,), USER="alice", LOGNAME="alice")


@pytest.mark.parametrize("kind", ["IMAP", "POP3"])
def test_getmail_fetches_each_message_once(site: Site, kind: str) -> None:
    getmail = need("getmail", "getmail6")
    sink = site.home / "got"
    taker = config(site, "taker", f'#!/bin/sh\ncat >> "{sink}"\n')
    taker.chmod(0o755)
    port = site.server.imaps if kind == "IMAP" else site.server.pop3s
    rc = config(
        site,
        ".getmail/getmailrc",
        f"""\
[retriever]
type = Simple{kind}SSLRetriever
server = localhost
port = {port}
username = alice
password = secret
ca_certs = {site.server.cert}
[destination]
type = MDA_external
path = {taker}
allow_root_commands = true
[options]
read_all = false
delete = false
""",
    )
    for _ in range(2):
        run(site, getmail, f"--getmaildir={rc.parent}", "--rcfile=getmailrc")
        assert sink.read_text().count("Body of message") == 10


def test_imapfilter_moves_what_its_rules_say(site: Site) -> None:
    imapfilter = need("imapfilter", "imapfilter")
    rc = config(
        site,
        "filter.lua",
        f"""\
options.timeout = 30
options.info = false
options.certificates = false
account = IMAP {{
  server = 'localhost', port = {site.server.imaps}, username = 'alice', password = 'secret', ssl = 'auto'
}}
results = account.INBOX:contain_subject('message 4') + account.INBOX:contain_body('Body of message 9')
results:move_messages(account['Archive'])
account.INBOX:is_unseen():mark_flagged()
account:create_mailbox('Filtered')
""",
    )
    run(site, imapfilter, "-t", site.server.cert, "-c", rc)
    assert messages(site, "Archive") == 2
    assert messages(site, "INBOX") == 8
    assert messages(site, "Filtered") == 0


def test_imapflow_does_a_days_work(site: Site) -> None:
    node = need("node", "nodejs")
    script = Path(__file__).parent / "node" / "imapflow.mjs"
    if not (script.parent / "node_modules" / "imapflow").exists():
        pytest.skip("imapflow is not installed (npm install in tests/interop/node)")
    (site.maildir / "maildirsize").write_text("10485760S,1000C\n1 1\n2000 -7\n")  # wrong, and so counted anew
    said = run(site, node, script, site.server.imaps, site.server.cert)
    assert said.strip().endswith("all done"), said


def test_openssl_speaks_to_all_four_ports(site: Site) -> None:
    openssl = need("openssl", "openssl")
    for port, upgrade, greeting in (
        (site.server.imaps, (), "* OK"),
        (site.server.imap, ("-starttls", "imap"), ""),
        (site.server.pop3s, (), "+OK"),
        (site.server.pop3, ("-starttls", "pop3"), ""),
    ):
        said = run(
            site, openssl, "s_client", "-connect", f"localhost:{port}", "-CAfile", site.server.cert,
            "-verify_return_error", "-ign_eof", "-crlf", *upgrade, text="a LOGOUT\nQUIT\n", ok=(0, 1),
        )  # fmt: skip
        assert "Verify return code: 0 (ok)" in said and greeting in said, said


def test_alpine_reads_the_inbox(site: Site) -> None:
    alpine = need("alpine", "alpine")
    rc = config(
        site,
        ".pinerc",
        f"inbox-path={{localhost:{site.server.imaps}/ssl/novalidate-cert/user=alice}}INBOX\n"
        "feature-list=quit-without-confirm\n",
    )
    with Terminal(site, f"{alpine} -p {rc} -i") as terminal:
        answered: set[str] = set()

        def shows_the_index() -> bool:
            screen = terminal.screen()
            answers = {
                "Preserve password": ["n"],
                "PASSWORD": ["secret", "Enter"],
                "folder collection": ["e"],
                "Exit this greeting": ["e"],
            }
            for question, keys in answers.items():
                if question in screen and question not in answered:
                    answered.add(question)
                    terminal.keys(*keys)
                    break
            return "message 10" in screen

        terminal.until(shows_the_index)
