"""Messages in the mailboxes of others: they come and go, and \\Seen may be each reader's own."""

import os
from pathlib import Path

import pytest
from support.namespaces import OWN, Spool, refusal, shown

from greenmail.errors import Reason
from greenmail.storage import snapshot
from greenmail.storage.api import SEEN, FlagAction, FlagChange, Mailbox
from greenmail.storage.filesystem import Files, ownership
from greenmail.storage.namespace_names import Kind, OwnSeen, Space
from greenmail.storage.quota_rules import Limits, QuotaRules

ADD, REMOVE, REPLACE = FlagAction.ADD, FlagAction.REMOVE, FlagAction.REPLACE


FLAGGED, DELETED = "\\Flagged", "\\Deleted"


def subjects(mailbox: Mailbox) -> list[bytes]:
    mailbox.look()
    return [mailbox.content(uid).header().split(b"\r\n")[1] for uid in mailbox.table.uids]


def test_messages_go_from_one_namespace_to_another(spool: Spool) -> None:
    account = spool.worker().account()
    work, inbox, theirs = account.open("Work"), account.open("INBOX"), account.open("shared/bob/Work")
    assert theirs.copy([1, 2], inbox) == [(1, 1), (2, 2)]
    assert shown(inbox) == {1: {SEEN}, 2: frozenset()}
    assert inbox.move([1, 2], work) == [(1, 1), (2, 2)]
    assert subjects(work) == subjects(theirs) and len(inbox.table) == 0


def test_the_owner_sees_what_a_reader_changes(spool: Spool) -> None:
    worker = spool.worker()
    theirs, own = worker.account().open("shared/bob/Work"), worker.account("bob").open("Work")
    theirs.store([2], FlagChange(ADD, frozenset({FLAGGED})))
    assert shown(own)[2] == {FLAGGED}
    assert own.name == "Work" and theirs.name == "shared/bob/Work"


# Private \Seen


def test_seen_is_each_readers_own_where_dovecot_shared_says_so(spool: Spool) -> None:
    """The letter on disk says nothing, and stays."""
    worker = spool.worker()
    alice, carol = worker.account().open("Public/News"), worker.account("carol").open("Public/News")
    assert shown(alice) == {1: frozenset(), 2: frozenset()}
    assert not alice.tracks_modseq and worker.account().open("Work").tracks_modseq
    done = alice.store([1, 2], FlagChange(ADD, frozenset({"\\seen", FLAGGED})))
    assert done.changed == [1, 2]
    assert shown(alice) == {1: {SEEN, FLAGGED}, 2: {SEEN, FLAGGED}}
    assert shown(carol) == {1: {FLAGGED}, 2: {FLAGGED}}
    assert (alice.counters().unseen, carol.counters().unseen) == (0, 2)
    names = [path.name for path in (spool.public / ".News" / "cur").iterdir()]
    assert sorted(name.partition(":2,")[2] for name in names) == ["F", "FS"]


@pytest.mark.parametrize(
    "change, ours, disk",
    [
        (FlagChange(REPLACE, frozenset({FLAGGED})), {FLAGGED}, "FS"),
        (FlagChange(REPLACE, frozenset({SEEN})), {SEEN}, "S"),
        (FlagChange(REPLACE, frozenset()), set(), "S"),
        (FlagChange(REMOVE, frozenset({SEEN, DELETED})), set(), "S"),
        (FlagChange(REMOVE, frozenset({DELETED})), {SEEN}, "S"),
        (FlagChange(ADD, frozenset({FLAGGED})), {SEEN, DELETED, FLAGGED}, "FST"),
    ],
)
def test_store_parts_seen_from_the_rest(spool: Spool, change: FlagChange, ours: set[str], disk: str) -> None:
    alice = spool.worker().account().open("Public/News")
    alice.store([1], FlagChange(ADD, frozenset({SEEN, DELETED})))
    alice.store([1], change)
    assert shown(alice)[1] == ours
    names = [path.name for path in (spool.public / ".News" / "cur").iterdir() if ".M1P" in path.name]
    assert [name.partition(":2,")[2] for name in names] == [disk]
    assert shown(spool.worker().account().open("Public/News"))[1] == ours, "on disk, for every other worker"


def test_what_is_watched_is_there_before_anything_was_seen(spool: Spool) -> None:
    """Else the first \\Seen of another worker would make no event here."""
    assert Path(spool.worker().account().open("Public/News").watched()[-1]).is_dir()


def test_another_worker_learns_of_it(spool: Spool) -> None:
    here, there = (spool.worker().account().open("Public/News") for _ in range(2))
    before = there.modseq
    here.store([2], FlagChange(ADD, frozenset({SEEN})))
    there.look()
    assert there.changes(before).changed == [2]
    assert there.last_row(2).flags == {SEEN}  # type: ignore[union-attr]  # it is there
    assert here.watched()[-1] == str(spool.home("alice") / "greenmail-data" / "seen")


def test_sessions_of_a_reader_share_the_table_and_are_told(spool: Spool) -> None:
    account = spool.worker().account()
    one, other = account.open("Public/News"), account.open("Public/News")
    assert one.table is other.table
    told: list[int] = []
    cancel = other.subscribe(lambda: told.append(1))
    one.store([2], FlagChange(ADD, frozenset({SEEN})))
    assert told
    cancel()
    one.close()
    one.close()  # a second time does nothing
    assert shown(other) == {1: frozenset(), 2: {SEEN}}
    other.close()
    assert shown(account.open("Public/News")) == {1: frozenset(), 2: {SEEN}}


def test_new_and_expunged_messages(spool: Spool) -> None:
    worker = spool.worker()
    alice, carol = worker.account().open("Public/News"), worker.account("carol").open("Public/News")
    alice.store([1], FlagChange(ADD, frozenset({SEEN})))
    before = alice.modseq
    spool.deliver(spool.public / ".News", 3)
    carol.store([1], FlagChange(ADD, frozenset({DELETED})))
    assert carol.expunge(None) == [1]
    assert shown(alice) == {2: frozenset(), 3: frozenset()}
    changes = alice.changes(before)
    assert (changes.expunged, changes.changed) == ([1], [3])
    assert alice.last_row(1).flags >= {SEEN}  # type: ignore[union-attr]  # remembered
    assert (alice.counters().messages, alice.counters().unseen, alice.uidnext) == (2, 2, 4)


def test_copies_carry_what_the_reader_has_seen(spool: Spool) -> None:
    account = spool.worker().account()
    news, inbox, theirs = account.open("Public/News"), account.open("INBOX"), account.open("shared/bob/Work")
    news.store([2], FlagChange(ADD, frozenset({SEEN})))
    assert news.copy([1, 2], inbox) == [(1, 1), (2, 2)]
    assert shown(inbox) == {1: frozenset(), 2: {SEEN}}
    assert theirs.copy([1, 2], news) == [(1, 3), (2, 4)]
    assert shown(news) == {1: frozenset(), 2: {SEEN}, 3: {SEEN}, 4: frozenset()}
    assert shown(spool.worker().account("carol").open("Public/News"))[3] == frozenset()
    assert news.move([2], inbox) == [(2, 3)] and shown(inbox)[3] == {SEEN}


def test_appended_with_seen(spool: Spool) -> None:
    account = spool.worker().account()
    news = account.open("Public/News")
    upload = news.upload()
    upload.write(b"Subject: x\r\n\r\n")
    upload.flags = frozenset({SEEN, FLAGGED})
    assert news.save([upload]) == [3]
    assert shown(news)[3] == {SEEN, FLAGGED}
    assert shown(spool.worker().account("carol").open("Public/News"))[3] == {FLAGGED}


def test_seen_can_be_marked_where_nothing_else_can(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox of a file system that is read-only to us."""
    monkeypatch.setattr("os.access", lambda path, *_, **__: b"public" not in path)
    news = spool.worker().account().open("Public/News")
    assert not news.read_only
    news.store([1], FlagChange(ADD, frozenset({SEEN})))
    assert shown(news)[1] == {SEEN}
    assert refusal(lambda: news.store([1], FlagChange(ADD, frozenset({FLAGGED})))) is Reason.READ_ONLY


def test_private_seen_by_setting(spool: Spool) -> None:
    spool.spaces = (OWN, Space(Kind.SHARED, "shared/%u/", subscriptions=False, own_seen=OwnSeen.YES))
    theirs = spool.worker().account().open("shared/bob/Work")
    assert shown(theirs) == {1: frozenset(), 2: frozenset()}
    spool.spaces = (OWN, Space(Kind.PUBLIC, "Public/", subscriptions=False, own_seen=OwnSeen.NO))
    assert shown(spool.worker().account().open("Public/News")) == {1: {SEEN}, 2: frozenset()}


# What others do meanwhile, or on purpose


def test_a_private_seen_of_a_mailbox_that_is_gone_is_refused(spool: Spool) -> None:
    (spool.home("bob") / ".Work" / "dovecot-shared").touch()
    mailbox = spool.worker().account().open("shared/bob/Work")
    spool.worker().account("bob").delete("Work")
    assert refusal(lambda: mailbox.store([2], FlagChange(ADD, frozenset({SEEN})))) is Reason.GONE


def test_no_owner_names_files_of_his_readers(spool: Spool) -> None:
    """The reader's own file is called by the mailbox_id, which stands in files that belong to the owner."""
    (spool.home("bob") / ".Work" / "dovecot-shared").touch()
    spool.worker().account("bob").open("Work").close()
    path = os.fsencode(spool.home("bob") / ".Work" / "greenmail.index")
    saved = snapshot.read(Files(), path)
    assert saved is not None
    saved.meta["mailbox_id"] = "../../dovecot-keywords"
    snapshot.write(Files(), path, saved, ownership(os.stat(path)))
    own = spool.home("alice") / "dovecot-keywords"
    own.write_text("0 precious\n")
    (spool.home("alice") / "greenmail-data" / "seen").mkdir(parents=True)
    mailbox = spool.worker().account().open("shared/bob/Work")
    mailbox.store([2], FlagChange(ADD, frozenset({SEEN})))
    assert own.read_text() == "0 precious\n"
    assert [file.name for file in (spool.home("alice") / "greenmail-data" / "seen").iterdir()] == [mailbox.mailbox_id]


@pytest.mark.parametrize("source, target", [("shared/bob/Work", "Work"), ("Work", "shared/bob/Work")])
def test_who_moves_into_another_account_needs_room_there(spool: Spool, source: str, target: str) -> None:
    """What moves within one quota root takes up no more of it; of another one it does."""
    spool.settings["quota"] = QuotaRules(Limits(messages=3))
    spool.deliver(spool.home("alice") / ".Work", 3)
    spool.deliver(spool.home("alice") / ".Work", 4)
    account = spool.worker().account()
    old, new = account.open(source), account.open(target)
    assert refusal(lambda: old.move([1, 2], new)) is Reason.OVER_QUOTA
    assert (len(shown(old)), len(shown(new))) == (2, 2)
    assert len(old.move([1], new)) == 1
