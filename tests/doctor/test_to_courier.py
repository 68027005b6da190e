"""`greenmail to-courier`: what was imported from Courier's files stands in those that are written."""

import os
from pathlib import Path

import pytest
from doctor.spool import Clock
from support import trees

from greenmail.doctor.audit import Run
from greenmail.doctor.target import Target
from greenmail.doctor.to_courier import hand_back
from greenmail.pop3.uidl import Format
from greenmail.storage import courier
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.uidlist_format import Parsed, parse


@pytest.fixture
def carol(tmp_path: Path) -> tuple[Path, Path]:
    """Two Maildirs that Courier made; GreenMail serves the second."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    return trees.unpack("courier", tmp_path / "before"), trees.unpack("courier", tmp_path / "after")


def _hand_back(maildir: Path, clock: Clock) -> tuple[int, int]:
    settings = MaildirSettings(str(maildir), separator=".", prefix="INBOX.", lock_host="here")
    target = Target("carol", settings, os.getuid(), os.getgid())
    mailboxes, messages, failures = hand_back(Run(clock.now, clock.sleep, Format()), target, lambda *_: None)
    assert not failures
    return mailboxes, messages


def _database(directory: Path) -> Parsed:
    return parse((directory / "courierimapuiddb").read_bytes())


def test_uids_keywords_pop3_ids_and_subscriptions_are_those_that_courier_had(
    carol: tuple[Path, Path], clock: Clock
) -> None:
    before, after = carol
    databases = {path.parent.relative_to(before) for path in before.rglob("courierimapuiddb")}
    mailboxes, messages = _hand_back(after, clock)
    assert databases and mailboxes >= len(databases) and messages
    for name in databases:
        old, new = _database(before / name), _database(after / name)
        assert new.header.uidvalidity == old.header.uidvalidity and new.header.next_uid >= old.header.next_uid
        assert set(old.uids.items()) <= set(new.uids.items()) and not new.damage
        assert all(uid >= old.header.next_uid for base, uid in new.uids.items() if base not in old.uids)
        mine, theirs = (courier.read_keywords(Files(), os.fsencode(root / name))[1] for root in (after, before))
        assert mine == {base: names for base, names in theirs.items() if base in new.uids}
        assert all(path.name == ":list" for path in (after / name / "courierimapkeywords").glob("*"))
    drops = [courier.parse_maildrop((root / "courierpop3dsizelist").read_bytes()) for root in (before, after)]
    known = {entry.base_name: entry for entry in drops[0].entries}
    assert [entry for entry in drops[1].entries if entry.base_name in known] == list(drops[0].entries)
    (came,) = [entry for entry in drops[1].entries if entry.base_name not in known]
    assert came.uidl == b"UID%d-%d" % (drops[0].next_number, drops[0].uidvalidity)
    assert drops[1].next_number == drops[0].next_number + 1
    subscribed = [
        courier.parse_subscriptions((root / "courierimapsubscribed").read_bytes()) for root in (before, after)
    ]
    assert sorted(subscribed[0]) == sorted(subscribed[1])


def test_greenmail_goes_on_with_its_own_list_until_courier_writes(carol: tuple[Path, Path], clock: Clock) -> None:
    _, maildir = carol
    _hand_back(maildir, clock)
    assert not courier.is_courier(Files(), os.fsencode(maildir))
    uidlist = (maildir / "dovecot-uidlist").read_bytes()
    _hand_back(maildir, clock)
    assert (maildir / "dovecot-uidlist").read_bytes() == uidlist
    (maildir / "courierimapuiddb").write_bytes((maildir / "courierimapuiddb").read_bytes())
    assert courier.is_courier(Files(), os.fsencode(maildir))
