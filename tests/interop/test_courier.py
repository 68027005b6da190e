"""A Maildir that a real Courier made, GreenMail in its place, and Courier again: `formats.md` 6."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import courier
from support import server as greenmail
from support.wire_client import Imap, Pop3, parse

pytestmark = pytest.mark.interop

_MAIL = "From: a@example.org\r\nSubject: %s\r\n\r\nbody of %s\r\n"
_MANY = [f"kw{number:02}" for number in range(40)]


@dataclass
class Seen:
    """Everything that a client can see of an account."""

    folders: dict[str, bool] = field(default_factory=dict)  # name -> whether it can be selected
    subscribed: set[str] = field(default_factory=set)
    boxes: dict[str, tuple[str, str, dict[int, dict[str, Any]]]] = field(default_factory=dict)
    uidl: list[bytes] = field(default_factory=list)
    sizes: list[bytes] = field(default_factory=list)


def _listed(client: Imap, command: str) -> dict[str, list[str]]:
    return {tree[-1]: tree[2] for tree in map(parse, client.ok(command)) if tree[1] in ("LIST", "LSUB")}


def look(client: Imap, pop: Pop3) -> Seen:
    seen = Seen()
    for name, attributes in _listed(client, 'LIST "" "*"').items():
        seen.folders[name] = "\\Noselect" not in attributes and "\\NonExistent" not in attributes
    # A parent that is not subscribed is `\Noselect`; RFC 3501 6.3.9 has that for "%" alone, and Courier for "*" too.
    seen.subscribed = {n for n, found in _listed(client, 'LSUB "" "*"').items() if "\\Noselect" not in found}
    for name in [name for name, selectable in seen.folders.items() if selectable]:
        ((*_, values),) = [parse(parts) for parts in client.ok(f'STATUS "{name}" (UIDVALIDITY UIDNEXT)')]
        status = dict(zip(values[::2], values[1::2], strict=True))
        client.ok(f'EXAMINE "{name}"')
        messages = client.fetch("1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        for items in messages.values():
            items["FLAGS"] = sorted(set(items["FLAGS"]) - {"\\Recent"})
            items["INTERNALDATE"] = items["INTERNALDATE"].strip().zfill(26)  # Courier writes 06-Jan, not " 6-Jan"
        seen.boxes[name] = (str(status["UIDVALIDITY"]), str(status["UIDNEXT"]), messages)
    seen.uidl, seen.sizes = pop.many("UIDL"), pop.many("LIST")
    return seen


@dataclass
class Site:
    maildir: Path
    place: Path
    runs: int = 0

    def courier(self) -> Seen:
        self.runs += 1
        with (
            courier.start(self.place / f"courier{self.runs}", self.maildir) as server,
            Imap(server.imap) as client,
            Pop3(server.pop3) as pop,
        ):
            return look(client, pop)


def _append(client: Imap, box: str, text: str, flags: str = "", date: str = "") -> None:
    dated = f' "{date}"' if date else ""
    client.ok(f'APPEND "{box}" ({flags}){dated}', (_MAIL % (text, text)).encode())


def _deliver(maildir: Path, number: int, text: str) -> None:
    name = f"17040000{number:02}.V801I{number:x}M{number}.mx"
    (maildir / "tmp" / name).write_text((_MAIL % (text, text)).replace("\r\n", "\n"))
    os.utime(maildir / "tmp" / name, (1_704_000_000, 1_704_000_000))
    (maildir / "tmp" / name).rename(maildir / "new" / name)


def _build(maildir: Path, server: courier.Courier) -> None:
    with Imap(server.imap) as client:
        for name in ("Sent", "M&AOQ-rz", "A&-B", "foo bar", "Archive.2024", "Many", "Empty"):
            client.ok(f'CREATE "INBOX.{name}"')
        for name in ("INBOX", "INBOX.Sent", "INBOX.M&AOQ-rz", "INBOX.A&-B", "INBOX.foo bar", "INBOX.Archive.2024"):
            client.ok(f'SUBSCRIBE "{name}"')
        client.ok("SELECT INBOX")
        for number in (3, 1, 2):  # Courier's POP3 has them in the order of names, IMAP in that of arrival
            _deliver(maildir, number, f"delivered {number}")
            client.ok("NOOP")
        for number in range(4, 9):
            flags = ("", "\\Seen", "\\Seen \\Flagged", "\\Answered", "\\Draft")[number - 4]
            _append(client, "INBOX", f"appended {number}", flags, f"{number:02}-Jan-2024 10:00:00 +0000")
        client.ok("NOOP")
        client.ok("STORE 1 +FLAGS (\\Seen $MDNSent NonJunk)")
        client.ok("STORE 2 +FLAGS ($Label1 NonJunk \\Deleted)")
        client.ok("STORE 4 +FLAGS (custom)")
        client.ok("COPY 1,4 INBOX.A&-B")
        client.ok("COPY 5 INBOX.M&AOQ-rz")
        client.ok("COPY 6:8 INBOX.Archive.2024")
        client.ok("EXPUNGE")
        client.ok("STORE 7 +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")  # the highest UID is gone: UIDNEXT tells of it
        _append(client, "INBOX.Many", "one")
        _append(client, "INBOX.Many", "two")
        client.ok("SELECT INBOX.Many")
        client.ok(f"STORE 1 +FLAGS ({' '.join(_MANY[:25])})")
        client.ok(f"STORE 2 +FLAGS ({' '.join(_MANY[15:])})")
    with Pop3(server.pop3) as pop:
        assert len(pop.many("UIDL")) == 6
    _deliver(maildir, 9, "delivered after the last look")


@pytest.fixture
def site(place: Path) -> Site:
    maildir = place / "Maildir"
    courier.make_maildir(maildir)
    with courier.start(place / "courier", maildir) as server:
        _build(maildir, server)
    return Site(maildir, place)


def _assert_same(ours: Seen, theirs: Seen) -> None:
    assert (ours.folders, ours.subscribed) == (theirs.folders, theirs.subscribed)
    assert (ours.uidl, ours.sizes) == (theirs.uidl, theirs.sizes)
    for name, box in theirs.boxes.items():
        assert ours.boxes[name][:2] == box[:2], name
        assert ours.boxes[name][2].keys() == box[2].keys(), name
        for uid, message in box[2].items():
            assert ours.boxes[name][2][uid] == message, (name, uid)


def _serve(site: Site) -> Any:
    return greenmail.start(site.place / "run", str(site.maildir), prefix="INBOX.", separator=".", workers=1)


def test_what_courier_made_is_what_greenmail_serves(site: Site) -> None:
    theirs = site.courier()
    assert theirs.boxes["INBOX"][1] == "10" and len(theirs.boxes["INBOX"][2]) == 7
    assert len(theirs.boxes["INBOX.Many"][2][2]["FLAGS"]) == 25
    with (
        _serve(site) as server,
        Imap(server.imaps, tls=True).login() as client,
        Pop3(server.pop3s, tls=True).login() as pop,
    ):
        ours = look(client, pop)
    _assert_same(ours, theirs)


def _change(client: Imap) -> None:
    """What clients do while GreenMail serves; a message comes and goes, so that its UID must not come again."""
    client.ok("SELECT INBOX")
    client.ok("UID STORE 1 -FLAGS (\\Seen NonJunk)")
    client.ok("UID STORE 3 +FLAGS (\\Flagged fresh)")
    client.ok("UID STORE 4 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    _append(client, "INBOX", "came 10", "\\Seen")
    _append(client, "INBOX", "came 11", "fresh")
    client.ok("UID STORE 10 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    client.ok('CREATE "INBOX.New &- old"')
    client.ok('CREATE "INBOX.M&AOQ-rz.Tag"')
    client.ok('SUBSCRIBE "INBOX.M&AOQ-rz.Tag"')
    client.ok('UNSUBSCRIBE "INBOX.Sent"')
    client.ok('UID MOVE 6 "INBOX.New &- old"')
    client.ok('SELECT "INBOX.Many"')
    client.ok(f"STORE 1 -FLAGS ({_MANY[0]})")
    client.ok(f"STORE 1 +FLAGS ({_MANY[39]})")


def _ids(seen: Seen) -> set[bytes]:
    return {line.split()[1] for line in seen.uidl}


def test_after_to_courier_it_goes_on_with_the_same_uids_keywords_and_subscriptions(site: Site) -> None:
    before = site.courier()
    with _serve(site) as server:
        with Imap(server.imaps, tls=True).login() as client:
            _change(client)
            with Pop3(server.pop3s, tls=True).login() as pop:
                ours = look(client, pop)
        config = server.config
    command = [sys.executable, "-m", "greenmail", "to-courier", "--user", "alice", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    messages = sum(len(found) for _, _, found in ours.boxes.values())
    assert f"tell of {len(ours.boxes)} mailboxes with {messages} messages\n" in done.stdout, done.stdout
    after = site.courier()
    known = _ids(ours) & _ids(before)
    assert len(known) == 5 and known <= _ids(after)
    ours.uidl, ours.sizes = after.uidl, after.sizes  # what came since has no id of Courier's, who lists by name
    _assert_same(after, ours)
    # And GreenMail once more, after mail that came to Courier.
    with courier.start(site.place / "more", site.maildir) as server, Imap(server.imap) as client:
        client.ok("NOOP")  # reads the second line of the greeting
        _append(client, "INBOX", "came 12", "\\Answered")
    theirs = site.courier()
    assert theirs.boxes["INBOX"][1] == "13"
    with (
        _serve(site) as again,
        Imap(again.imaps, tls=True).login() as client,
        Pop3(again.pop3s, tls=True).login() as pop,
    ):
        _assert_same(look(client, pop), theirs)
