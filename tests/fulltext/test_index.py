"""The index of a Maildir: it leaves out no message that has a text, whatever becomes of it and of the mail."""

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness.engine import deliver, remove
from harness.text_mails import mails, needles
from hypothesis import given, settings

from greenmail.fulltext.database import Database, make
from greenmail.fulltext.lookup import Lookup
from greenmail.fulltext.place import Place
from greenmail.fulltext.service import FullTextService, Means
from greenmail.fulltext.text import storable, text_of
from greenmail.message.collation import INSTALLED, Comparator, widened
from greenmail.message.search import look
from greenmail.message.structure import scan
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import Mailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.text_index import Indexed, TextNeedle
from greenmail.storage.text_place import TextPlace

INDEX = "Maildir/greenmail-fulltext"


class Site:
    """An account with an index, as one worker has it."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.runtime = replace(direct(), sleep=lambda seconds: None)
        given = MaildirSettings(mail_path=str(directory / "Maildir"), full_text_search=True, **settings)  # type: ignore[arg-type] # paths and names
        self.account: MaildirAccount = MaildirStore(self.runtime).open_account("alice", given)
        self.works: list[str] = []
        self.stop_before = -1  # the piece of work before which the process is killed
        self.waiting: list[Callable[[], None]] = []
        self.service = FullTextService(Means(self.runtime, self.work, self.waiting.append))

    def work(self, function: Callable[..., object], *args: object) -> object:
        self.works.append(function.__name__)
        if len(self.works) == self.stop_before:
            raise Killed
        return function(*args)

    def fill(self, name: str = "INBOX", is_incomplete: bool = False) -> None:
        mailbox = self.account.open(name)
        self.service.fill(mailbox, is_incomplete)
        mailbox.close()
        while self.waiting:
            self.waiting.pop()()

    def put(self, *texts: str, name: str = "INBOX") -> list[int]:
        return deliver(self.account, name, [(mail(text), 1_700_000_000) for text in texts])

    def find(self, text: str, name: str = "INBOX", header: bool = False) -> set[int] | None:
        """What is left to be opened; None: everything."""
        mailbox = self.account.open(name)
        try:
            index = self.service.of(mailbox)
            assert index is not None
            found = index.sift([TextNeedle(text, header)], mailbox.table.uids)[0]
            return None if found is None else set(found)
        finally:
            mailbox.close()

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / INDEX).iterdir())

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(next((self.directory / INDEX).glob("*.sqlite"))) as connection:
            return connection.execute(sql).fetchall()


class Killed(BaseException):
    """The process ends here."""


def mail(text: str) -> bytes:
    return b"From: a@example.org\r\nSubject: mail\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.account.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    return Indexed(
        TextPlace(os.fsencode(tmp_path_factory.mktemp("account") / "greenmail-fulltext"), list), "guid", 1, 1, b""
    )


@given(data=mails(), needle=needles())
@settings(max_examples=25)
def test_no_message_that_has_the_text_is_left_out(key: Indexed, data: bytes, needle: str) -> None:
    with (
        Place(key.place.directory, make=True) as place,
        Database(place, place.current() or make(place)) as database,
        database.writing(),
    ):
        number = database.enter(key)
        uid = max(database.covered(number), default=0) + 1
        database.add(number, [(uid, text_of(data))])
    root = scan(data)
    lookup = Lookup(key, lambda directory: pytest.fail("damaged"))
    wanted = [TextNeedle(needle, header) for header in (False, True)]
    for one, found in zip(wanted, lookup.sift(wanted, [uid]), strict=True):
        for comparator in map(Comparator, INSTALLED):
            folded = [comparator.fold(one.text)]
            has = look(lambda start, end: data[start:end], root, folded, one.header, comparator)[0]
            assert found is None or uid in found or not has
        assert (found is None) == (len(storable(widened(one.text))) < 3)


def test_only_messages_with_the_text_are_left(site: Site) -> None:
    one, two, three = site.put("the voice", "an invoice", "nothing")
    site.fill()
    assert site.find("voice") == {one, two}
    assert site.find("INVOICE") == {two}
    assert site.find("nvo vo") == set()
    assert site.find("example.org") == set()
    assert site.find("example.org", header=True) == {one, two, three}
    assert site.find("no") is None  # two characters are not looked for


def test_all_trigrams_without_the_text_are_not_enough(site: Site) -> None:
    site.put("abcd bcde cdef")
    site.fill()
    assert site.find("abcdef") == set()


def test_what_fts5_would_take_for_its_own_syntax_is_text(site: Site) -> None:
    texts = ['say "hello" AND bye', "a NOT b", "x* NEAR(y z)", "{body}: ^x", "100% 'sure'", "back\\slash"]
    uids = site.put(*texts)
    site.fill()
    for uid, text in zip(uids, texts, strict=True):
        assert site.find(text) == {uid}


def test_messages_that_are_not_indexed_are_left_to_be_opened(site: Site) -> None:
    [one] = site.put("voice")
    site.fill()
    two, three = site.put("silence", "noise")
    assert site.find("voice") == {one, two, three}
    site.fill()
    assert site.find("voice") == {one}


def test_filling_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenmail.fulltext.service.BATCH", 2)
    site = Site(tmp_path)
    uids = site.put(*(f"message number{number}" for number in range(9)))
    kills = 0
    while True:
        worker = Site(tmp_path)
        worker.stop_before = kills % 5 + 1
        try:
            worker.fill()
            break
        except Killed:
            kills += 1
        for number, uid in enumerate(uids):
            found = site.find(f"number{number}")
            assert found is None or uid in found
        assert kills < 20
    assert kills >= 3
    assert [site.find(f"number{number}") for number in range(9)] == [{uid} for uid in uids]


def test_two_processes_do_not_fill_at_once(site: Site) -> None:
    site.put("voice")
    site.fill()
    site.put("silence")
    with Place(os.fsencode(site.directory / INDEX)) as place, place.locked() as held:
        assert held
        site.fill()
        assert site.find("silence") == {2}  # not indexed
        assert site.works.count("add") == 1
    site.service = FullTextService(Means(site.runtime, site.work, site.waiting.append))
    site.fill()
    assert site.find("voice") == {1}


def test_what_was_expunged_leaves_the_index(site: Site) -> None:
    uids = site.put(*(f"secret word{number}" for number in range(5)))
    site.fill()
    remove(site.account, "INBOX", uids[1:4])
    site.fill()
    assert site.rows("SELECT id & 0xffffffff FROM message") == [(uids[0],), (uids[4],)]
    assert site.rows("SELECT rowid & 0xffffffff FROM trigram('\"ret\"')") == [(uids[0],), (uids[4],)]
    assert site.rows("SELECT rowid FROM trigram('\"rd2\"')") == []
    assert site.rows("INSERT INTO trigram(trigram) VALUES('integrity-check')") == []
    assert site.find("secret") == {uids[0], uids[4]}


def test_a_uid_that_comes_back_is_indexed_again(site: Site) -> None:
    uids = site.put("first word", "second word", "third word")
    cur = site.directory / "Maildir" / "cur"
    new = site.directory / "Maildir" / "new"
    [path] = [one for one in [*cur.iterdir(), *new.iterdir()] if b"second" in one.read_bytes()]
    aside = site.directory / path.name
    path.rename(aside)
    site.fill()
    aside.rename(path)
    mailbox = site.account.open("INBOX")
    mailbox.look()
    back = list(mailbox.table.uids)
    mailbox.close()
    found = site.find("second")
    assert found is not None
    assert set(back) - set(uids) | ({uids[1]} & set(back)) <= found
    site.fill()
    assert site.find("word") == set(back)


def test_a_renamed_mailbox_keeps_its_rows(site: Site) -> None:
    site.account.create("Old")
    [uid] = site.put("voice", name="Old")
    site.fill("Old")
    site.account.rename("Old", "New")
    assert site.find("voice", "New") == {uid}
    site.put("more", name="New")
    site.fill("New")
    assert site.works.count("add") == 2
    assert len(site.rows("SELECT number FROM mailbox")) == 1


def test_a_deleted_mailbox_leaves_the_index_with_the_next_filling(site: Site) -> None:
    site.account.create("Old")
    site.put("voice", name="Old")
    site.put("other")
    site.fill("Old")
    site.account.delete("Old")
    site.fill()
    assert len(site.rows("SELECT number FROM mailbox")) == 1
    assert len(site.rows("SELECT id FROM message")) == 1
    assert site.rows("SELECT rowid FROM trigram('\"voi\"')") == []


def test_a_copied_mailbox_of_the_same_guid_has_rows_of_its_own(site: Site) -> None:
    site.account.create("One")
    site.put("voice", name="One")
    root = site.directory / "Maildir"
    os.system(f"cp -a {root}/.One {root}/.Two")
    site.fill("One")
    assert site.find("silence", "Two") is None
    site.put("silence", name="Two")
    site.fill("Two")
    assert site.find("silence", "Two") == {2}
    site.put("noise", name="One")
    site.fill("One")
    assert site.find("silence", "One") == set()


def test_another_uidvalidity_is_another_mailbox(site: Site) -> None:
    site.put("voice")
    site.fill()
    site.account.close()
    uidlist = site.directory / "Maildir" / "dovecot-uidlist"
    for path in (site.directory / "Maildir").glob("greenmail.*"):
        path.unlink()
    uidlist.unlink()
    again = Site(site.directory)
    assert again.find("voice") is None
    again.fill()
    assert again.find("voice") == {1}
    assert len(again.rows("SELECT number FROM mailbox")) == 1


@pytest.mark.parametrize("what", ["all", "index", "wal"])
def test_the_index_may_be_deleted_at_any_time(site: Site, what: str) -> None:
    [uid] = site.put("voice")
    site.fill()
    for path in (site.directory / INDEX).iterdir():
        if what == "all" or path.name.endswith({"index": "sqlite", "wal": "-wal"}[what]):
            path.unlink()
    if what == "all":
        (site.directory / INDEX).rmdir()
    assert site.find("voice") in (None, {uid})
    site.service = FullTextService(Means(site.runtime, site.work, site.waiting.append))
    site.fill(is_incomplete=True)
    assert site.find("silence") == set()


def damaged(octets: bytes, dice: random.Random) -> bytes:
    """A file that was damaged somewhere."""
    at = dice.randrange(len(octets))
    match dice.randrange(4):
        case 0:
            return octets[:at]
        case 1:
            return octets[:at] + dice.randbytes(64) + octets[at + 64 :]
        case 2:
            return dice.randbytes(dice.randrange(5000))
        case _:
            return octets[:at] + bytes(4096) + octets[at + 4096 :]


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_index_is_no_error_and_is_made_anew(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    site = Site(tmp_path)
    site.put(*(f"voice {number} {dice.randbytes(300).hex()}" for number in range(8)))
    site.fill()
    [path] = (tmp_path / INDEX).glob("*.sqlite")
    path.write_bytes(damaged(path.read_bytes(), dice))
    for text in ("voice", "silence", "19"):
        site.find(text)
    site.put("silence")
    site.fill(is_incomplete=True)
    site.find("voice")
    for _ in range(3):  # damage that nobody met yet shows in a search
        site.put("noise")
        site.fill(is_incomplete=True)
        site.find("voice")


def test_no_index_is_opened_through_a_link(site: Site, tmp_path: Path) -> None:
    [uid] = site.put("voice")
    site.fill()
    directory = tmp_path / INDEX
    victim = tmp_path / "victim"
    directory.rename(victim)
    directory.symlink_to(victim)
    assert site.find("voice") is None
    site.put("more")
    before = {path.name: path.read_bytes() for path in victim.iterdir()}
    site.fill(is_incomplete=True)
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == before
    directory.unlink()
    directory.mkdir(mode=0o700)
    (directory / "7.sqlite").symlink_to(victim / "1.sqlite")
    (directory / "lock").symlink_to(victim / "lock")
    assert site.find("voice") is None
    site.service = FullTextService(Means(site.runtime, site.work, site.waiting.append))
    site.fill(is_incomplete=True)
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == before
    assert uid == 1


def test_a_directory_that_others_may_write_to_is_not_used(site: Site) -> None:
    site.put("voice")
    (site.directory / INDEX).mkdir(mode=0o700)
    (site.directory / INDEX).chmod(0o777)
    site.fill()
    assert site.files() == []
    assert site.find("voice") is None


def test_only_the_owner_can_read_the_index(site: Site) -> None:
    before = os.umask(0)
    try:
        site.put("voice")
        site.fill()
        assert (site.directory / INDEX).stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in (site.directory / INDEX).iterdir()} == {0o600}
    finally:
        os.umask(before)


def test_accounts_may_share_an_index_path(tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = Site(tmp_path / "a", index_path=index), Site(tmp_path / "b", index_path=index)
    one.put("voice")
    two.put("silence", "voice")
    one.fill()
    two.fill()
    assert (one.find("voice"), two.find("voice")) == ({1}, {2})
    assert len(list((tmp_path / "index").glob("greenmail-fulltext-*"))) == 2


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
def test_it_is_no_mailbox(tmp_path: Path, layout: str) -> None:
    site = Site(tmp_path, layout=layout)
    site.account.create("Box")
    before = [folder.name for folder in site.account.folders()]
    site.put("voice")
    site.fill()
    assert site.find("voice") == {1}
    again = MaildirStore(direct()).open_account("alice", site.account.settings)
    assert [folder.name for folder in again.folders()] == before
    assert mailbox_uids(again.open("INBOX")) == [1]


def mailbox_uids(mailbox: Mailbox) -> list[int]:
    return list(mailbox.table.uids)


def test_a_message_that_is_too_long_is_always_opened(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenmail.fulltext.text.LONGEST", 200)
    long, short = site.put("x" * 300, "voice")
    site.fill()
    assert site.find("silence") == {long}
    assert site.find("voice") == {long, short}
    remove(site.account, "INBOX", [long])
    site.fill()
    assert site.find("silence") == set()


def test_a_large_mailbox_lets_others_have_their_turn(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenmail.fulltext.service._TURN", 16)
    site.account.create("Other")
    site.put(*(f"number{number}" for number in range(40)))
    [uid] = site.put("voice", name="Other")
    large, other = site.account.open("INBOX"), site.account.open("Other")
    site.service.fill(large)
    site.service.fill(other)
    for mailbox in (large, other):
        mailbox.close()
    while site.waiting:
        site.waiting.pop()()
    assert site.works == ["begin", "add", "end", "begin", "add", "end", "begin", "add", "add", "end"]
    assert site.find("voice", "Other") == {uid}
    assert site.find("number39") == {40}


def test_few_mailboxes_are_kept_open_for_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenmail.fulltext.service._MOST_WAITING", 1)
    site.account.create("Other")
    site.put("voice")
    [uid] = site.put("voice", name="Other")
    inbox, other = site.account.open("INBOX"), site.account.open("Other")
    site.service.fill(inbox)
    site.service.fill(other)
    site.waiting.pop()()
    assert site.find("voice", "Other") is None
    site.fill("Other")
    assert site.find("voice", "Other") == {uid}
    inbox.close()
    other.close()
