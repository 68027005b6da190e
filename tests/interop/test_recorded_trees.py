"""GreenMail's answers on trees written by Dovecot and Courier equal what those servers answered.

Checks 1-9, 12, 13 and 46-49 of `formats.md` 9.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import server as greenmail
from support import trees
from support.wire_client import Imap, Pop3, flat, parse

pytestmark = pytest.mark.interop

IGNORED_FLAGS = {"\\Recent"}
REPAIRED_BY_DOVECOT = {"MISSING_DOMAIN", "MISSING_MAILBOX"}


@dataclass
class Recorded:
    """A running server on a fresh copy of one tree, and what was answered then."""

    server: greenmail.Server
    maildir: Path
    expected: dict[str, Any]
    plain: dict[str, Any]  # what the plain files alone say
    user: str

    def imap(self) -> Imap:
        return Imap(self.server.imaps, tls=True).login(self.user)

    def selectable(self) -> list[str]:
        return [name for name, box in self.plain["mailboxes"].items() if box["selectable"]]


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    where = tmp_path_factory.mktemp("alice")
    maildir = trees.unpack("dovecot", where)
    with greenmail.start(where / "run", str(maildir)) as server:
        yield Recorded(
            server, maildir, trees.expected("dovecot"), trees.expected("dovecot", "expected-noindex.json"), "alice"
        )


@pytest.fixture(scope="module")
def carol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    where = tmp_path_factory.mktemp("carol")
    maildir = trees.unpack("courier", where)
    expected = trees.expected("courier")
    passwd = "carol:{PLAIN}secret\n"
    with greenmail.start(where / "run", str(maildir), passwd, prefix="INBOX.", separator=".") as server:
        yield Recorded(server, maildir, expected, expected, "carol")


def names(lines: list[bytes]) -> dict[str, set[str]]:
    """LIST or LSUB answers: name to attributes."""
    found = {}
    for line in lines:
        tree = parse([line])
        found[str(tree[4])] = {str(attribute) for attribute in tree[2]}
    return found


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


CHILDREN = {"\\HasChildren", "\\HasNoChildren", "\\Noselect"}


def test_check_01_list_gives_every_name_with_children_and_noselect(alice: Recorded) -> None:
    with alice.imap() as client:
        ours = names(client.lines('LIST "" "*"'))
    theirs = names([line.encode("latin-1") for line in alice.plain["list_raw"]])
    assert {name: flags & CHILDREN for name, flags in ours.items()} == {
        name: flags & CHILDREN for name, flags in theirs.items()
    }


def test_check_02_subscriptions_with_the_dangling_one(alice: Recorded) -> None:
    with alice.imap() as client:
        assert set(names(client.lines('LSUB "" "*"'))) == set(
            names([line.encode("latin-1") for line in alice.expected["lsub_raw"]])
        )
        extended = names(client.lines('LIST (SUBSCRIBED) "" "*"'))
    assert set(extended) == set(names([line.encode("latin-1") for line in alice.expected["list_subscribed_raw"]]))
    assert "\\NonExistent" in extended["Doomed"]


def test_check_03_uidvalidity_and_uidnext(alice: Recorded) -> None:
    compare_status(alice)


def compare_status(account: Recorded) -> None:
    with account.imap() as client:
        for name in account.selectable():
            (answer,) = client.ok(f"STATUS {quoted(name)} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
            items = parse(answer)[-1]
            ours = dict(zip(items[::2], items[1::2], strict=True))
            theirs = {key: account.plain["mailboxes"][name]["status"][key] for key in ours}
            assert ours == theirs, name


def messages(account: Recorded, name: str, items: str) -> dict[int, dict[str, Any]]:
    with account.imap() as client:
        client.ok(f"EXAMINE {quoted(name)}")
        return client.fetch(f"1:* ({items})")


def recorded_messages(account: Recorded, name: str) -> dict[int, dict[str, Any]]:
    return {message["UID"]: message for message in account.plain["mailboxes"][name]["messages"]}


def test_check_04_all_uids_with_their_gaps(alice: Recorded) -> None:
    for name in alice.selectable():
        assert set(messages(alice, name, "UID")) == set(recorded_messages(alice, name)), name


def test_check_05_flags_and_keywords(alice: Recorded) -> None:
    compare_flags(alice)


def compare_flags(account: Recorded) -> None:
    for name in account.selectable():
        # Also the keywords that stand in Dovecot's index only: they come along at first contact.
        theirs = {message["UID"]: message for message in account.expected["mailboxes"][name]["messages"]}
        for uid, ours in messages(account, name, "UID FLAGS").items():
            assert set(ours["FLAGS"]) - IGNORED_FLAGS == set(theirs[uid]["FLAGS"]) - IGNORED_FLAGS, (name, uid)


def test_check_06_a_letter_without_name_becomes_a_keyword_that_is_written_down(alice: Recorded, tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    before = (maildir / ".Archive" / "dovecot-keywords").read_text().splitlines()
    with greenmail.start(tmp_path / "run", str(maildir)) as server, Imap(server.imap) as client:
        client.ok("STARTTLS")
    with greenmail.start(tmp_path / "run2", str(maildir)) as server, Imap(server.imaps, tls=True).login() as client:
        client.ok("SELECT Archive")
        assert "unknown-25" in client.fetch("4 (FLAGS)")[4]["FLAGS"]
        client.ok("UID STORE 4 +FLAGS (\\Answered)")
    after = (maildir / ".Archive" / "dovecot-keywords").read_text().splitlines()
    assert after == [*before, "25 unknown-25"]


def test_check_07_sizes_dates_and_bodies(alice: Recorded) -> None:
    compare_bodies(alice)


def compare_bodies(account: Recorded) -> None:
    for name in account.selectable():
        theirs = recorded_messages(account, name)
        for uid, ours in messages(account, name, "UID RFC822.SIZE INTERNALDATE BODY.PEEK[]").items():
            body = (ours["BODY[]"] or "").encode("latin-1")
            assert ours["RFC822.SIZE"] == theirs[uid]["RFC822.SIZE"] == len(body), (name, uid)
            assert same_moment(ours["INTERNALDATE"], theirs[uid]["INTERNALDATE"]), (name, uid)
            assert hashlib.sha256(body).hexdigest() == theirs[uid]["BODY_sha256"], (name, uid)


def same_moment(ours: str, theirs: str) -> bool:
    from datetime import datetime  # here, because this is its only use

    form = "%d-%b-%Y %H:%M:%S %z"
    return datetime.strptime(ours.strip(), form) == datetime.strptime(theirs.strip(), form)


def broken_address(value: Any) -> bool:
    """Whether Dovecot marked an address in this ENVELOPE as broken: its habit, not ours."""
    if isinstance(value, list):
        return any(broken_address(part) for part in value)
    return value in REPAIRED_BY_DOVECOT


def test_check_08_envelope_and_bodystructure(alice: Recorded) -> None:
    compare_structure(alice)


def compare_structure(account: Recorded) -> None:
    skipped = []
    for name in account.selectable():
        theirs = recorded_messages(account, name)
        for uid, ours in messages(account, name, "UID ENVELOPE BODYSTRUCTURE").items():
            if broken_address(theirs[uid]["ENVELOPE"]):
                skipped.append((name, uid))
            else:
                assert ours["ENVELOPE"] == theirs[uid]["ENVELOPE"], (name, uid)
            assert ours["BODYSTRUCTURE"] == theirs[uid]["BODYSTRUCTURE"], (name, uid)
    assert len(skipped) <= 4, skipped


def test_check_09_pop3_uidl_and_list(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    with greenmail.start(tmp_path / "run", str(maildir)) as server, Imap(server.imaps, tls=True).login() as client:
        # The recording listed every mailbox by IMAP first.
        client.ok("EXAMINE INBOX")
        with Pop3(server.pop3s, tls=True).login() as pop:
            assert [line.decode() for line in pop.many("LIST")] == trees.expected("dovecot")["pop3_list"]
            assert [line.decode("latin-1") for line in pop.many("UIDL")] == trees.expected("dovecot")["pop3_uidl"]


def tree_of(maildir: Path) -> set[str]:
    """Every file of `cur` and `new`."""
    return {str(path.relative_to(maildir)) for path in maildir.rglob("*") if path.parent.name in ("cur", "new")}


def test_check_12_examine_and_status_rename_nothing_and_select_moves_new_mail(tmp_path: Path) -> None:
    maildir = trees.unpack("dovecot", tmp_path)
    before = tree_of(maildir)
    new = {path for path in before if path.startswith("new/")}
    assert len(new) == 2
    with greenmail.start(tmp_path / "run", str(maildir)) as server, Imap(server.imaps, tls=True).login() as client:
        client.ok("EXAMINE INBOX")
        client.ok("STATUS Archive (MESSAGES UNSEEN)")
        assert tree_of(maildir) == before
        client.ok("SELECT INBOX")
        assert tree_of(maildir) == before - new | {path.replace("new/", "cur/") + ":2," for path in new}


def test_check_13_a_read_only_copy_can_be_used(place: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: the server has to run as a user who may not write")
    maildir = trees.unpack("dovecot", place)
    for path in (maildir, *maildir.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = tree_of(maildir)
    with (
        greenmail.start(
            place / "run", str(maildir), user="nobody", group="nogroup", run_path=str(place / "sockets")
        ) as server,
        Imap(server.imaps, tls=True).login() as client,
    ):
        assert len(client.lines('LIST "" "*"')) >= 18
        client.ok("SELECT INBOX")
        first = client.fetch("1:* (FLAGS)")
        client.ok("NOOP")
        assert client.fetch("1:* (FLAGS)") == first
        assert set(first) == set(recorded_uids())
        assert client.fetch("1:* (BODY.PEEK[HEADER])")
        answer, _ = client.command("UID STORE 1 +FLAGS (\\Flagged)")
        assert answer.startswith(b"NO"), answer
    assert tree_of(maildir) == before


def recorded_uids() -> list[int]:
    return [message["UID"] for message in trees.expected("dovecot")["mailboxes"]["INBOX"]["messages"]]


def test_check_46_courier_names_uids_and_flags(carol: Recorded) -> None:
    with carol.imap() as client:
        ours = names(client.lines('LIST "" "*"'))
    assert set(ours) == set(names([line.encode("latin-1") for line in carol.expected["list_raw"]]))
    compare_status(carol)
    for name in carol.selectable():
        assert set(messages(carol, name, "UID")) == set(recorded_messages(carol, name)), name
    compare_flags(carol)
    compare_bodies(carol)


def test_check_47_courier_uidl_values_and_order(tmp_path: Path) -> None:
    maildir = trees.unpack("courier", tmp_path)
    passwd = "carol:{PLAIN}secret\n"
    with (
        greenmail.start(tmp_path / "run", str(maildir), passwd, prefix="INBOX.", separator=".") as server,
        Pop3(server.pop3s, tls=True).login("carol") as pop,
    ):
        assert [line.decode() for line in pop.many("LIST")] == trees.expected("courier")["pop3_list"]
        assert [line.decode() for line in pop.many("UIDL")] == trees.expected("courier")["pop3_uidl"]
    records = (maildir / "dovecot-uidlist").read_bytes().splitlines()[1:]
    listed = [record for record in records if b" O" in record]
    assert len(listed) == 13 and all(b" P" in record for record in listed), records
    assert sum(b" W" in record for record in listed) >= 12, "sizes stand in Courier's list for all but the new message"


def test_check_48_utf8_directories_are_selectable_by_their_modified_utf7_names(carol: Recorded) -> None:
    with carol.imap() as client:
        for name in ("INBOX.Archive.2024.M&AOQ-rz", "INBOX.A&-B"):
            client.ok(f'SELECT "{name}"')
        ours = set(names(client.lines('LSUB "" "*"')))
    theirs = names([line.encode("latin-1") for line in carol.expected["lsub_raw"]])
    # Courier adds a parent that is not subscribed even to "*"; RFC 3501 6.3.9 has that for "%" only.
    assert ours == {name for name, attributes in theirs.items() if "\\Noselect" not in attributes}


def test_check_49_keywords_that_stand_only_in_update_files(carol: Recorded) -> None:
    theirs = recorded_messages(carol, "INBOX.ManyKeywords")
    ours = messages(carol, "INBOX.ManyKeywords", "UID FLAGS")
    assert any(len(message["FLAGS"]) >= 20 for message in ours.values())
    for uid, message in ours.items():
        assert set(message["FLAGS"]) - IGNORED_FLAGS == set(theirs[uid]["FLAGS"]) - IGNORED_FLAGS


def test_the_courier_files_are_left_as_they_were(carol: Recorded, tmp_path: Path) -> None:
    fresh = trees.unpack("courier", tmp_path)
    for path in fresh.rglob("courier*"):
        if path.is_file():
            assert (carol.maildir / path.relative_to(fresh)).read_bytes() == path.read_bytes(), path


def test_every_untagged_answer_is_well_formed(alice: Recorded) -> None:
    with alice.imap() as client:
        client.ok("EXAMINE INBOX")
        for parts in client.ok("FETCH 1:* FULL"):
            parse(parts)
            assert flat(parts).startswith(b"* ")
