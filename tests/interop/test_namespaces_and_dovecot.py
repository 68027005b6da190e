"""Several namespaces: what Dovecot 2.3 answers and what GreenMail answers on the same mail. RFC 2342."""

import contextlib
import imaplib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import dovecot
from support import server as greenmail
from support.interop_site import make_box
from support.wire_client import Imap, flat, unverified

pytestmark = pytest.mark.interop

DOVECOT = """
mail_location = maildir:{place}/home/%u/Maildir
mail_plugins = acl
protocol imap {{
  mail_plugins = acl imap_acl
}}
plugin {{
  acl = vfile
  acl_shared_dict = file:{place}/shared.db
}}
namespace pub {{
  type = public
  separator = /
  prefix = Public/
  location = maildir:{place}/public:INDEX={place}/index/%u/public
  subscriptions = no
}}
namespace sh {{
  type = shared
  separator = /
  prefix = shared/%%u/
  location = maildir:{place}/home/%%u/Maildir:INDEX={place}/index/%u/shared/%%u
  subscriptions = no
  list = children
}}
namespace arch {{
  separator = /
  prefix = Archive/
  location = maildir:{place}/archive/%u
}}
{alias}
"""
ALIAS = """
namespace compat {
  separator = .
  prefix = INBOX.
  alias_for =
  hidden = yes
  list = no
}
"""


@dataclass
class Shared:
    """Mail of alice, bob and carol, some of it shared, a public root and an archive; served by each server in turn."""

    place: Path
    count: int = 0
    imaps: int = 0  # of GreenMail

    def __post_init__(self) -> None:
        for user in ("alice", "bob", "carol"):
            maildir = self.place / "home" / user / "Maildir"
            for name in ("", ".Sent", ".Work", ".Work.Deep"):
                make_box(maildir, name)
            for number in (1, 2):
                self.deliver(maildir / ".Work", number)
        home, public = self.place / "home", self.place / "public"
        (home / "bob/Maildir/.Work/dovecot-acl").write_text("user=alice lrwst\n")
        (home / "bob/Maildir/.Work.Deep/dovecot-acl").write_text("user=alice lr\n")
        (home / "carol/Maildir/dovecot-acl").write_text("user=alice lrs\n")
        (home / "carol/Maildir/.Work/dovecot-acl").write_text("user=bob lr\n")
        for name in (".News", ".News.Old", ".Quiet"):
            make_box(public, name)
        (public / ".News/dovecot-acl").write_text("anyone lrwstipe\n")
        (public / ".News/dovecot-shared").touch()
        self.deliver(public / ".News", 1)
        make_box(self.place / "archive" / "alice", ".2020")
        (self.place / "index").mkdir()
        lines = "".join(f"shared/shared-boxes/user/alice/{owner}\n1\n" for owner in ("bob", "carol"))
        (self.place / "shared.db").write_text(lines)

    def deliver(self, box: Path, number: int) -> None:
        name = f"{1704300000 + number}.{number}.mx:2,{'S' if number == 1 else ''}"
        (box / "cur" / name).write_bytes(b"From: a@example.org\nSubject: %d\n\nhello\n" % number)

    @contextlib.contextmanager
    def dovecot(self, alias: bool = True) -> Iterator[Imap]:
        self.count += 1
        where = self.place / f"dovecot{self.count}"
        text = DOVECOT.format(place=self.place, alias=ALIAS if alias else "")
        dovecot.give(self.place)
        with dovecot.start(where, self.place / "home", location=text) as server, Imap(server.imap).login() as client:
            yield client

    @contextlib.contextmanager
    def greenmail(self, alias: bool = True) -> Iterator[Imap]:
        self.count += 1
        dovecot.give(self.place)
        namespaces = [
            {"type": "shared", "prefix": "shared/%u/", "list": "children"},
            {"type": "public", "prefix": "Public/", "mail-path": f"{self.place}/public"},
            {"prefix": "Archive/", "mail-path": f"{self.place}/archive/%u"},
        ]
        if alias:
            old = {"prefix": "INBOX.", "separator": ".", "alias-for": "", "hidden": True, "list": False}
            namespaces.append(old)  # type: ignore[arg-type]  # a table of settings
        with greenmail.start(
            self.place / f"run{self.count}", f"{self.place}/home/%u/Maildir",
            passwd="".join(f"{user}:{{PLAIN}}secret\n" for user in ("alice", "bob", "carol")),
            user=dovecot.OWNER, group=dovecot.OWNER, run_path=str(self.place / f"sockets{self.count}"),
            namespaces=namespaces, special_use={},
        ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
            self.imaps = server.imaps
            yield client


@pytest.fixture
def shared(place: Path) -> Shared:
    return Shared(place)


def answer(client: Imap, command: str) -> tuple[bytes, list[bytes]]:
    """OK or NO, and what was said, in an order and a spelling that servers may choose themselves."""
    tagged, untagged = client.command(command)
    lines = sorted(_plain(flat(parts)) for parts in untagged)
    return tagged.split(b" ")[0], [line for line in lines if not line.startswith(b"* OK")]


def _plain(line: bytes) -> bytes:
    line = (
        line.replace(b"\\NonExistent", b"\\Noselect")
        .replace(b'"Public/"', b"Public/")
        .replace(b'"shared/"', b"shared/")
    )
    status = re.fullmatch(rb"(\* STATUS \S+ )\((.*)\)", line)
    if status is None:
        return line
    items = sorted(re.findall(rb"[A-Z]+ [0-9]+", status[2]))
    return status[1] + b" ".join(items)


NAMES = [
    "INBOX", "Work", "INBOX.Work", "inbox.Work.Deep",  "INBOX.Nothing", "INBOX.", "Public", "Public/News",
    "Public/News/Old", "Public/Quiet", "Public/Nothing", "Public/INBOX", "Public/", "shared", "shared/bob",
    "shared/bob/Work", "shared/bob/Work/Deep", "shared/bob/Sent", "shared/bob/INBOX", "shared/carol",
    "shared/carol/INBOX", "shared/carol/Work", "shared/nobody", "shared/nobody/Work", "shared/alice",
    "shared/alice/Work", "Archive", "Archive/2020", "Archive/INBOX", "Archive/Nothing",
]  # fmt: skip
COMMANDS = [
    "NAMESPACE",
    *(f'LIST "" {pattern}' for pattern in (
        "*", "%", "Public/%", "Public", "Pub*", "P%", "shared/%", "shared/*", "shared/%/%", "INBOX.*", "INBOX.%",
        "INBOX*", "INBOX", "I%", "INBOX.Work", "Archive*", "Archive/%", "Nothing*",
    )),
    'LIST "INBOX." %', 'LIST "Public/" %', 'LIST "INBOX" *', 'LIST "shared/" ""', 'LIST "Public/News" ""',
    'LIST "" (INBOX.% Public/%)',
    *(f"STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)" for name in NAMES),
    "MYRIGHTS Public/News", "MYRIGHTS shared/bob/Work", "MYRIGHTS shared/carol", "MYRIGHTS INBOX.Work",
    "MYRIGHTS Public/Quiet", "MYRIGHTS shared/bob",
]  # fmt: skip


def test_both_servers_give_the_same_answers(shared: Shared) -> None:
    with shared.dovecot() as client:
        client.command("SELECT Public/News")  # makes what STATUS tells of
        client.command("UNSELECT")
        theirs = {command: answer(client, command) for command in COMMANDS}
    with shared.greenmail() as client:
        ours = {command: answer(client, command) for command in COMMANDS}
    assert ours == theirs


def test_both_servers_refuse_the_same(shared: Shared) -> None:
    commands = [
        "CREATE Public/New", "CREATE shared/bob/New", "CREATE shared/nobody/New", "CREATE shared/New", "CREATE shared",
        "CREATE Public", "CREATE INBOX.a/b", "DELETE Public", "DELETE Public/News",
        "RENAME Work Public/Work", "RENAME Work shared/bob/W", "RENAME shared/bob/Work W",
        "SUBSCRIBE Public/Nothing", "SELECT shared/bob", "SELECT Public/Quiet", "SETACL shared/bob/Work bob lr",
        "GETACL shared/bob/Work",
    ]  # fmt: skip
    for server in (shared.dovecot, shared.greenmail):
        with server() as client:
            assert {command: answer(client, command)[0] for command in commands} == dict.fromkeys(commands, b"NO")
            assert answer(client, "STATUS Work (MESSAGES)") == (b"OK", [b"* STATUS Work MESSAGES 2"])


def test_subscriptions_of_one_server_are_those_of_the_other(shared: Shared) -> None:
    """formats.md 3.2. Without the alias: beside one, Dovecot 2.3.19 throws the lines of other namespaces away."""
    first = ["Public/News", "shared/bob/Work/Deep", "Work", "Archive/2020"]
    with shared.dovecot(alias=False) as client:
        for name in first:
            assert answer(client, f"SUBSCRIBE {name}")[0] == b"OK"
    with shared.greenmail(alias=False) as client:
        assert _subscribed(client) == sorted(first)
        for command in ("SUBSCRIBE shared/carol", "SUBSCRIBE shared/bob/Work", "UNSUBSCRIBE Public/News"):
            assert answer(client, command)[0] == b"OK"
        ours = _subscribed(client)
    with shared.dovecot(alias=False) as client:
        assert _subscribed(client) == ours == sorted([*first[1:], "shared/carol", "shared/bob/Work"])
        assert answer(client, "UNSUBSCRIBE shared/carol")[0] == b"OK"
    with shared.greenmail(alias=False) as client:
        assert _subscribed(client) == sorted([*first[1:], "shared/bob/Work"])


def _subscribed(client: Imap) -> list[str]:
    _, untagged = client.command('LSUB "" *')
    return sorted(flat(parts).decode().split(" ")[-1] for parts in untagged)


def test_mail_moves_between_namespaces_and_the_other_server_finds_it(shared: Shared) -> None:
    with shared.greenmail() as client:
        client.command("SELECT Work")
        assert client.command("COPY 1:2 Public/News")[0].startswith(b"OK [COPYUID")
        assert client.command("MOVE 1 INBOX.Sent")[0].startswith(b"OK")
        client.command("SELECT Public/News")
        client.command("STORE 3 +FLAGS (\\Seen \\Flagged)")
        assert answer(client, "FETCH 1:* FLAGS")[1] == [
            b"* 1 FETCH (FLAGS (\\Recent))", b"* 2 FETCH (FLAGS (\\Seen \\Recent))",
            b"* 3 FETCH (FLAGS (\\Flagged \\Seen \\Recent))",
        ]  # fmt: skip
    with shared.dovecot() as client:
        assert answer(client, "STATUS Public/News (MESSAGES)")[1] == [b"* STATUS Public/News MESSAGES 3"]
        assert answer(client, "STATUS Sent (MESSAGES)")[1] == [b"* STATUS Sent MESSAGES 1"]
        client.command("EXAMINE Public/News")
        assert b"\\Flagged" in answer(client, "FETCH 3 FLAGS")[1][0]
        assert b"\\Seen" not in b"".join(answer(client, "FETCH 1:* FLAGS")[1]), (
            "that was alice's own, of another server"
        )


def test_clients_with_the_old_prefix_go_on_to_work(shared: Shared) -> None:
    """As Thunderbird with "IMAP server directory: INBOX." and IMAPClient with its folder names from the old server."""
    imapclient = pytest.importorskip("imapclient", reason="PyPI: imapclient")
    with (
        shared.greenmail(),
        imapclient.IMAPClient("127.0.0.1", shared.imaps, ssl_context=unverified()) as client,
        imaplib.IMAP4_SSL("127.0.0.1", shared.imaps, ssl_context=unverified()) as other,
    ):
        client.login("alice", "secret")
        other.login("alice", "secret")
        names = [(separator, name) for _, separator, name in client.list_folders("INBOX.", "%")]
        assert sorted(names) == [(b".", "INBOX.Sent"), (b".", "INBOX.Work")]
        client.create_folder("INBOX.Neu")
        client.subscribe_folder("INBOX.Neu")
        assert [name for _, _, name in client.list_sub_folders("INBOX.", "*")] == ["INBOX.Neu"]
        client.append("INBOX.Neu", b"Subject: x\r\n\r\nhello\r\n", [imapclient.SEEN])
        assert client.select_folder("INBOX.Neu")[b"EXISTS"] == 1
        assert other.select("Neu")[1] == [b"1"]
        other.store("1", "+FLAGS", "\\Flagged")
        client.noop()
        assert {imapclient.FLAGGED, imapclient.SEEN} <= set(client.get_flags([1])[1])
        client.select_folder("INBOX")
        other.select("INBOX")
        client.delete_folder("INBOX.Neu")
        assert other.list('""', "Neu")[1] == [None]
        assert client.namespace().other[0] == ("shared/", "/")
