"""The Maildir backend on the disk: several workers, their index files, and mailboxes that go under them."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support.maildir_site import ADD, MAIL, REMOVE, Site, body, change, flags, put

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage.api import CacheKind, FlagAction, FlagChange
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

# Mailboxes under open sessions


def rename_by_other(site: Site) -> None:
    site.worker().rename("Box", "Elsewhere")


def delete_by_other(site: Site) -> None:
    site.worker().delete("Box")


def replace_by_other(site: Site) -> None:
    delete_by_other(site)
    site.worker().create("Box")


def replace_by_another_program(site: Site) -> None:
    os.rename(site.path / ".Box", site.path / "..gone")
    for part in ("", "cur", "new", "tmp"):
        (site.path / ".Box" / part).mkdir()


def new_uidlist(site: Site) -> None:
    path = site.path / ".Box" / "dovecot-uidlist"
    path.unlink()
    path.write_text(f"3 V{int(time.time()) + 9} N1 G{'12' * 16}\n")


@pytest.mark.parametrize(
    "how", [rename_by_other, delete_by_other, replace_by_other, replace_by_another_program, new_uidlist]
)
def test_what_took_the_place_of_a_mailbox_is_never_touched(site: Site, how: Callable[[Site], None]) -> None:
    account = site.worker()
    account.create("Box")
    box = account.open("Box")
    assert isinstance(box, MaildirMailbox)
    put(box, "\\Deleted")
    upload = box.upload()
    upload.write(MAIL)
    how(site)
    before = {path for path in (site.path / ".Box").rglob("*") if not path.name.startswith(("greenmail", "dovecot"))}
    for action in (
        lambda: box.store([1], change(ADD, "\\Seen")),
        lambda: box.expunge(None),
        lambda: box.save([upload]),
        lambda: box.claim_recent(),
        lambda: box.look(),
        lambda: box.upload(),
    ):
        with pytest.raises(StorageError) as caught:
            action()
        assert caught.value.reason is Reason.GONE
    upload.abort()
    box.close()
    after = {path for path in (site.path / ".Box").rglob("*") if not path.name.startswith(("greenmail", "dovecot"))}
    assert after <= before
    if how in (replace_by_other, replace_by_another_program):
        again = account.open("Box")
        assert len(again.table) == 0 and again.uidvalidity >= box.uidvalidity and again.mailbox_id != box.mailbox_id


def test_other_workers_see_creates_and_renames(site: Site) -> None:
    one, other = site.worker(), site.worker()
    one.create("A/B")
    other.open("A/B").close()
    one.rename("A", "C")
    assert [folder.name for folder in other.folders()] == ["INBOX", "C", "C/B"]
    with pytest.raises(StorageError):
        other.open("A/B")
    other.open("C/B").close()


# Where things are


def test_control_and_index_paths(site: Site, tmp_path: Path) -> None:
    settings = {"control_path": str(tmp_path / "control"), "index_path": str(tmp_path / "index")}
    account = site.worker(**settings)
    account.create("Box")
    box = account.open("Box")
    assert isinstance(box, MaildirMailbox)
    put(box, "kw")
    account.rename("Box", "Other")
    other = account.open("Other")
    assert list(other.table.uids) == [1] and other.mailbox_id == box.mailbox_id
    again = site.worker(**settings).open("Other")
    assert list(again.table.modseqs) == list(other.table.modseqs)
    assert (tmp_path / "control" / ".Other" / "dovecot-uidlist").exists()
    assert (tmp_path / "index" / box.mailbox_id / "greenmail.log").exists()
    assert not list(site.path.rglob("dovecot-uidlist")) and not list(site.path.rglob("greenmail.log"))


def test_special_use_of_create_is_kept(site: Site) -> None:
    site.worker().create("Mine", ["\\Drafts"])
    account = site.worker(special_use={"Drafts": "\\Drafts"})
    account.create("Drafts")
    uses = {folder.name: folder.special_use for folder in account.folders()}
    assert sum(bool(use) for use in uses.values()) == 1
    account.rename("Mine", "Renamed")
    assert ("\\Drafts",) in {folder.special_use for folder in site.worker().folders() if folder.name == "Renamed"}


def test_auto_create_and_a_missing_root(tmp_path: Path) -> None:
    site = Site(tmp_path / "deep" / "Maildir")
    with pytest.raises(StorageError):
        site.worker(create_mail_path=False)
    account = site.worker(auto_create=("Sent", "Drafts/Old"))
    assert [folder.name for folder in account.folders()] == ["INBOX", "Drafts", "Drafts/Old", "Sent"]
    assert site.path.stat().st_mode & 0o077 == 0
    site.worker(auto_create=("Sent",))


# Index and cache


def modseqs(mailbox: MaildirMailbox) -> list[int]:
    return list(mailbox.table.modseqs)


def test_the_index_keeps_modseqs_expunges_and_recents(site: Site) -> None:
    inbox = site.inbox()
    for _ in range(4):
        put(inbox)
    before = inbox.modseq
    inbox.store([2], change(ADD, "\\Deleted"))
    inbox.expunge(None)
    inbox.claim_recent()
    inbox.fill([1], sizes=True, dates=True)
    again = site.inbox()
    assert modseqs(again) == modseqs(inbox) and again.modseq == inbox.modseq
    assert again.changes(before).expunged == [2]
    assert again.first_recent == again.uidnext == 5


def test_a_fold_under_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenmail.storage.index_files.FOLD_RECORDS", 5)
    one, other, idle = site.inbox(), site.inbox(), site.inbox()
    for number in range(40):
        put(one if number % 3 else other)
        if number % 7 == 0:
            other.store([1], change(ADD if number % 2 else REMOVE, "\\Seen"))
    for mailbox in (one, other, idle):
        mailbox.look()
    assert modseqs(one) == modseqs(other) == modseqs(idle) == modseqs(site.inbox())
    assert len(one.table) == 40


@pytest.mark.parametrize(
    "pattern", ["greenmail.*", "greenmail.index", "greenmail.log", "greenmail.cache", "greenmail.lock"]
)
def test_removing_index_files_under_workers_is_harmless(site: Site, pattern: str) -> None:
    one, other = site.inbox(), site.inbox()
    expected: dict[int, set[str]] = {}
    for number in range(25):
        for path in site.path.glob(pattern):
            if path.is_file():
                path.unlink()
        uid = put(one if number % 2 else other, "kw")
        expected[uid] = {"kw"}
        if number % 4 == 0:
            (other if number % 8 else one).store([uid], change(ADD, "\\Flagged"))
            expected[uid] = {"kw", "\\Flagged"}
        if number % 5 == 0:
            fresh = site.inbox()
            assert flags(fresh) == expected
        one.cache(uid, CacheKind.PREVIEW, b"%d" % uid)
    one.look()
    other.look()
    assert flags(one) == flags(other) == expected
    assert modseqs(one) == modseqs(other) == modseqs(site.inbox())


def test_cached_values_and_sizes_outlive_the_worker(site: Site) -> None:
    site.deliver(name="x")
    inbox = site.inbox()
    inbox.cache(1, CacheKind.ENVELOPE, b"(envelope)")
    inbox.fill([1], sizes=True, dates=True)
    put(inbox)
    again = site.inbox()
    assert again.cached(1, CacheKind.ENVELOPE) == b"(envelope)"
    row = again.last_row(1)
    assert row is not None and row.size == len(MAIL) + 3 and row.date > 0


def test_an_object_that_nobody_uses_is_given_up_when_memory_is_short(site: Site) -> None:
    store = MaildirStore(direct(), cache_memory=0)
    account = store.open_account("alice", MaildirSettings(mail_path=str(site.path)))
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        inbox = account.open("INBOX")
        same = account.open("INBOX")
        assert same is inbox
        put(same)  # type: ignore[arg-type]  # is a MaildirMailbox, as everything of this store
        same.close()
        inbox.look()
        inbox.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_message_renamed_while_it_is_fetched(site: Site) -> None:
    """Formats 1.9: one ENOENT is no expunge."""
    site.deliver(where="cur", name="x:2,")
    inbox = site.inbox()
    site.rename("x:2,", "x:2,F")
    os.utime(site.path / "cur", ns=(0, inbox.box.index.times[2]))
    assert body(inbox, 1) == MAIL.replace(b"\n", b"\r\n")
    (site.path / "cur" / "x:2,F").unlink()
    with pytest.raises(StorageError) as caught:
        inbox.content(1)
    assert caught.value.reason is Reason.EXPUNGED


def uids_of(lines: Iterable[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


def test_the_uidlist_is_tidied_when_most_lines_are_stale(site: Site) -> None:
    inbox = site.inbox()
    for _ in range(8):
        put(inbox, "\\Deleted")
    keep = put(inbox, "kw")
    inbox.expunge(None)
    lines = (site.path / "dovecot-uidlist").read_text().splitlines()
    assert uids_of(lines[1:]) == [keep] and " N10 " in lines[0]


def test_no_keyword_can_be_added_when_letters_and_the_file_beside_them_are_used_up(site: Site) -> None:
    """RFC 9051 7.1: PERMANENTFLAGS has no \\* then."""
    site.deliver(name="1.M1P1.mx:2,", where="cur")
    lettered = [f"letter{number}" for number in range(26)]
    others = [f"other{number}" for number in range(1000)]
    (site.path / "dovecot-keywords").write_text("".join(f"{place} {name}\n" for place, name in enumerate(lettered)))
    (site.path / "greenmail-data").mkdir()
    lines = [f"k {place} {name}" for place, name in enumerate(others[:-1])]
    (site.path / "greenmail-data" / "keywords").write_text("\n".join(["greenmail-keywords 1", *lines, ""]))
    inbox = site.inbox()
    assert inbox.can_add_keywords
    inbox.store([1], FlagChange(FlagAction.ADD, frozenset(others[-1:])))
    assert not inbox.can_add_keywords
    with pytest.raises(StorageError, match="too many keywords"):
        inbox.store([1], FlagChange(FlagAction.ADD, frozenset({"onemore"})))


def test_each_index_that_is_made_anew_is_counted_with_its_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []
    monkeypatch.setattr("greenmail.metrics.index_rebuild", reasons.append)
    site.deliver()

    def reopened() -> list[str]:
        reasons.clear()
        site.inbox().close()
        return list(reasons)

    assert reopened() == ["missing"]
    assert reopened() == []
    (site.path / "greenmail.index").write_bytes(b"x" * 100)
    assert reopened() == ["damaged"]


def test_a_mailbox_that_goes_in_the_midst_of_a_look_is_gone(site: Site) -> None:
    account = site.worker()
    account.create("Box")
    box = account.open("Box")
    path, moved = site.path / ".Box", site.path / "..moved"
    call = site.call

    def renamed_before_it_is_listed(name: str, function: Any, *args: Any) -> Any:
        if name == "listdir" and path.exists():
            os.rename(path, moved)
        return call(name, function, *args)

    assert isinstance(box, MaildirMailbox)
    box.box.files._call = renamed_before_it_is_listed
    with pytest.raises(StorageError) as refused:
        box.look()
    assert moved.exists(), "nothing was listed"
    assert refused.value.reason is Reason.GONE


def test_a_mailbox_that_goes_in_the_midst_of_a_change_is_gone(site: Site) -> None:
    account = site.worker()
    account.create("Box")
    box = account.open("Box")
    put(box, "one")
    path, moved = site.path / ".Box", site.path / "..moved"
    call = site.call

    def renamed_under_the_locks(name: str, function: Any, *args: Any) -> Any:
        if name in ("rename", "link") and b"/cur/" in args[1] and path.exists():
            os.rename(path, moved)
        return call(name, function, *args)

    assert isinstance(box, MaildirMailbox)
    box.look()
    box.box.files._call = renamed_under_the_locks
    with pytest.raises(StorageError) as refused:
        put(box, "two", "\\Seen")
    assert moved.exists(), "nothing was renamed"
    assert refused.value.reason is Reason.GONE


def test_the_line_of_a_message_that_hides_in_the_clocks_tick_stays(site: Site) -> None:
    """Another server put it into `cur/` in the tick of our own change, so that the directory's time does not tell:
    EXPUNGE that tidies the uidlist must not take its UID away. formats.md 7.3."""
    for number in range(4):
        site.deliver(name=f"170000000{number}.M1P1.mx:2,", where="cur")
    inbox = site.inbox()
    inbox.look()
    site.age()
    inbox.look()
    inbox.store([1, 2, 3], change(ADD, "\\Deleted"))
    cur = site.path / "cur"
    before = cur.stat().st_mtime_ns
    site.deliver(name="1700000009.M1P1.other:2,", where="cur")
    os.utime(cur, ns=(before, before))
    with (site.path / "dovecot-uidlist").open("ab") as file:
        file.write(b"9 :1700000009.M1P1.other\n")
    assert inbox.expunge(None) == [1, 2, 3]
    assert (site.path / "dovecot-uidlist").read_bytes().count(b"\n") == 3
    for mailbox in (inbox, site.inbox()):
        site.age()
        mailbox.look()
        assert list(mailbox.table.uids) == [4, 9]
