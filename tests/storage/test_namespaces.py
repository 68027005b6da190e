"""Accounts made of several: the user's own mail under two names, others', nobody's. RFC 2342."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.namespaces import ALIAS, OWN, PUBLIC, SHARED, Spool, shown

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage import snapshot
from greenmail.storage.api import ALL_RIGHTS, SEEN, FlagAction, FlagChange, Mailbox
from greenmail.storage.filesystem import Files, ownership
from greenmail.storage.maildir_namespaces import MaildirMails
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.mounted import MountedMailbox
from greenmail.storage.namespace_names import Kind, Listed, OwnSeen, Space
from greenmail.storage.namespaces import NamespacesAccount
from greenmail.storage.quota_rules import Limits, QuotaRules

ADD, REMOVE, REPLACE = FlagAction.ADD, FlagAction.REMOVE, FlagAction.REPLACE
FLAGGED, DELETED = "\\Flagged", "\\Deleted"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Of bob, alice sees Work; of carol, INBOX; of the public mailboxes, News."""
    found = Spool(tmp_path)
    bob, carol = found.home("bob"), found.home("carol")
    found.box(found.home("alice") / ".Work")
    found.deliver(found.box(bob / ".Work", "user=alice lrwstipekxa\n"), 1, "S")
    found.deliver(bob / ".Work", 2)
    found.box(bob / ".Work.Deep", "user=alice lr\n")
    found.box(bob / ".Secret")
    found.box(carol, "user=alice lrs\n")
    found.deliver(found.box(found.public / ".News", "anyone lrwstipe\n", shared=True), 1, "S")
    found.deliver(found.public / ".News", 2)
    found.box(found.public / ".Quiet")
    return found


@pytest.fixture
def account(spool: Spool) -> NamespacesAccount:
    return spool.worker().account()


def listed(account: NamespacesAccount) -> list[str]:
    return [folder.name if folder.selectable else f"({folder.name})" for folder in account.folders()]


def refusal(work: object) -> Reason:
    with pytest.raises(StorageError) as caught:
        work()  # type: ignore[operator]  # any callable
    return caught.value.reason


# Names


def test_what_is_listed(account: NamespacesAccount) -> None:
    assert listed(account) == [
        "INBOX", "(Archive)", "(Public)", "Public/News", "Work", "(shared)", "(shared/bob)", "shared/bob/Work",
        "shared/bob/Work/Deep", "shared/carol",
    ]  # fmt: skip


def test_children_of_mailboxes_of_every_namespace(account: NamespacesAccount) -> None:
    assert {folder.name for folder in account.folders() if folder.has_children} == {
        "Public", "shared", "shared/bob", "shared/bob/Work",
    }  # fmt: skip


def test_an_alias_is_listed_to_who_asks_for_it(account: NamespacesAccount) -> None:
    account.create("Work/Deep")
    scope = account.scope("INBOX.")
    names = [folder.name for folder in scope.folders() if folder.selectable]
    assert names == ["INBOX.Work", "INBOX.Work.Deep"]
    assert scope.separator == "."
    assert account.scope("inbox.W") is scope
    assert account.scope("INBOX") is account is account.scope("Work") is account.scope("")


def test_namespaces_that_are_told(account: NamespacesAccount) -> None:
    assert (account.personal.prefix, [space.prefix for space in account.more_personal]) == ("", ["Archive/"])
    assert [space.prefix for space in account.other_users] == ["shared/"]
    assert [space.prefix for space in account.shared] == ["Public/"]


def test_both_names_lead_to_one_mailbox(account: NamespacesAccount) -> None:
    """One object, so one index and one set of sessions to tell of changes."""
    one, other = account.open("Work"), account.open("INBOX.Work")
    assert isinstance(one, MountedMailbox) and isinstance(other, MountedMailbox)
    assert one.inner is other.inner
    assert one.name == other.name == "Work"
    assert account.open("INBOX.INBOX").name == "INBOX"


def test_an_alias_works_in_every_command(account: NamespacesAccount) -> None:
    account.create("INBOX.a.b.")
    assert "a/b" in listed(account)
    account.rename("INBOX.a.b", "c")
    account.rename("c", "INBOX.d")
    account.subscribe("INBOX.d")
    assert account.subscriptions() == ["d"]
    assert account.scope("INBOX.").subscriptions() == ["INBOX.d"]
    account.unsubscribe("INBOX.d")
    account.delete("INBOX.d")
    assert account.subscriptions() == [] and "d" not in listed(account)


@pytest.mark.parametrize(
    "name",
    [
        "shared/bob/Nothing", "shared/nobody", "shared/nobody/Work", "shared/alice/Work", "shared/alice",
        "shared", "shared/", "Public", "Public/", "Public/INBOX", "Public/Nothing", "INBOX.", "INBOX.Nothing",
        "shared/../bob", "shared/..", "shared/./Work", "Public/../News", "Archive", "Archive/INBOX",
    ],
)  # fmt: skip
def test_what_is_not_there(account: NamespacesAccount, name: str) -> None:
    assert refusal(lambda: account.open(name)) is Reason.NOT_FOUND
    assert refusal(lambda: account.my_rights(name)) is Reason.NOT_FOUND


def test_no_name_leads_out_of_a_root(account: NamespacesAccount, spool: Spool) -> None:
    for name in ("Public/../../etc", "shared/bob/../carol", "Archive//x", "INBOX.../x", "Public/a.b"):
        assert refusal(lambda name=name: account.create(name)) is Reason.CANNOT  # type: ignore[misc]  # bound at once
    assert sorted(path.name for path in spool.path.iterdir()) == ["archive", "home", "public"]


@pytest.mark.parametrize("name", ["shared", "shared/x/", "shared//y"])
def test_nothing_can_be_made_among_the_users(account: NamespacesAccount, name: str) -> None:
    assert refusal(lambda: account.create(name)) in (Reason.CANNOT, Reason.NOT_FOUND)
    assert not account.may_create(name)


def test_rename_stays_within_an_account(account: NamespacesAccount) -> None:
    """As Dovecot: NO [CANNOT]. Messages can be moved."""
    for old, new in (
        ("Work", "Archive/Work"),
        ("Work", "shared/bob/W"),
        ("shared/bob/Work", "W"),
        ("INBOX", "Archive/I"),
    ):
        assert refusal(lambda old=old, new=new: account.rename(old, new)) is Reason.CANNOT  # type: ignore[misc]  # as above
    account.rename("shared/bob/Work", "shared/bob/Done")
    assert "shared/bob/Done/Deep" in listed(account)


def test_a_namespace_hides_what_lies_under_its_prefix(spool: Spool) -> None:
    spool.box(spool.home("alice") / ".Public.Mine")
    account = spool.worker().account()
    assert "Public/Mine" not in listed(account)
    assert refusal(lambda: account.open("Public/Mine")) is Reason.NOT_FOUND


def test_a_missing_public_root_has_no_mailboxes(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "public").rename(tmp_path / "elsewhere")
    account = spool.worker().account()
    assert "INBOX" in listed(account)
    assert refusal(lambda: account.open("Public/News")) is Reason.NOT_FOUND
    assert not (tmp_path / "public").exists()


def test_an_archive_is_made_but_its_root_is_no_mailbox(spool: Spool, tmp_path: Path) -> None:
    account = spool.worker().account()
    account.create("Archive/2020")
    assert (tmp_path / "archive" / "alice" / ".2020" / "cur").is_dir()
    assert "(Archive)" in listed(account)
    spool.box(tmp_path / "archive" / "alice")
    assert "Archive" in listed(spool.worker().account())
    assert spool.worker().account().open("Archive").name == "Archive"


def test_sessions_of_a_user_share_an_account_until_the_user_database_says_something_new(spool: Spool) -> None:
    worker = spool.worker()
    first = worker.account()
    assert worker.account() is first and first.references == 2
    spool.settings = {"lock_timeout": 7.0}
    second = worker.account()
    assert second is not first and worker.account() is second
    first.close()
    first.close()
    assert worker.account() is second
    for _ in range(3):
        second.close()
    assert worker.account() is not second


# Rights


def test_rights(account: NamespacesAccount) -> None:
    assert account.my_rights("Work") == account.my_rights("shared/bob/Work") == ALL_RIGHTS
    assert account.my_rights("shared/carol") == frozenset("lrs")
    assert account.my_rights("Public/Quiet") == frozenset()
    assert account.my_rights("Public/News") == frozenset("lrwstipe")
    assert account.may_create("x") and account.may_create("Archive/x") and account.may_create("shared/bob/Work/x")
    assert not account.may_create("shared/bob/x") and not account.may_create("Public/x")


def test_default_rights_count_where_nothing_is_said(spool: Spool) -> None:
    spool.box(spool.public / ".Carols", "user=carol lr\n")
    spool.spaces = (OWN, Space(Kind.PUBLIC, "Public/", subscriptions=False, default_rights=frozenset("lr")))
    account = spool.worker().account()
    assert account.my_rights("Public/Quiet") == frozenset("lr")
    assert account.my_rights("Public/Carols") == frozenset()
    assert [name for name in listed(account) if name.startswith("Public/")] == ["Public/News", "Public/Quiet"]


def test_nothing_changes_in_a_read_only_namespace(spool: Spool) -> None:
    spool.spaces = (OWN, Space(Kind.PUBLIC, "Public/", subscriptions=False, read_only=True, own_seen=OwnSeen.YES))
    account = spool.worker().account()
    assert account.my_rights("Public/News") == frozenset("lrs")
    for change in (
        lambda: account.create("Public/New"),
        lambda: account.delete("Public/News"),
        lambda: account.rename("Public/News", "Public/Olds"),
    ):
        assert refusal(change) is Reason.READ_ONLY


def test_an_alias_is_as_what_it_stands_for(spool: Spool) -> None:
    spool.spaces = (replace(OWN, read_only=True, own_seen=OwnSeen.YES), ALIAS)
    account = spool.worker().account()
    assert account.my_rights("INBOX.Work") == account.my_rights("Work") == frozenset("lrs")
    assert refusal(lambda: account.delete("INBOX.Work")) is Reason.READ_ONLY
    assert not account.may_create("INBOX.x")
    assert not account.open("INBOX.Work").tracks_modseq


@pytest.mark.parametrize(
    "layout, lists, expected",
    [
        ("maildir++", ["bob/dovecot-acl", "carol/.A.B/courierimapacl"], ["bob", "carol"]),
        ("maildir++", ["bob/.A/cur/dovecot-acl", "carol/dovecot-acl-list"], []),
        ("fs", ["bob/A/B/C/dovecot-acl", "carol/A/cur/dovecot-acl"], ["bob"]),
    ],
)
def test_who_may_share_something(tmp_path: Path, layout: str, lists: list[str], expected: list[str]) -> None:
    spool = Spool(tmp_path, (OWN, SHARED), settings={"layout": layout})
    for path in lists:
        file = spool.path / "home" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("anyone lr\n")
    (spool.home("carol") / "circle").symlink_to(spool.home("carol"))
    mails = MaildirMails(MaildirStore(direct()), "alice", spool.settings_of("alice"), lambda space: [*spool.users, "x"])
    assert mails.owners(SHARED) == expected


# Subscriptions


def test_subscriptions_stand_in_the_users_own_file_as_dovecot_writes_them(spool: Spool) -> None:
    """formats.md 3.2: with the prefix, in a file of version 2."""
    account = spool.worker().account()
    names = ["Work", "Public/News", "shared/bob/Work/Deep", "shared/carol"]
    for name in names:
        account.subscribe(name)
    file = spool.home("alice") / "subscriptions"
    assert file.read_bytes() == b"V\t2\n\nWork\nPublic/News\nshared/bob/Work\tDeep\nshared/carol/INBOX\n"
    assert sorted(account.subscriptions()) == sorted(names)
    assert account.scope("INBOX.").subscriptions() == ["INBOX.Work"]
    for name in names[1:]:
        account.unsubscribe(name)
    assert file.read_bytes() == b"V\t2\n\nWork\n"


def test_subscriptions_of_nested_mailboxes(tmp_path: Path) -> None:
    """As Dovecot 2.3 writes them where INBOX's namespace has LAYOUT=fs and the shared one is Maildir++."""
    nested = (OWN, replace(PUBLIC, disk_separator="/"), SHARED)
    spool = Spool(tmp_path, nested, settings={"layout": "fs"})
    spool.box(spool.home("alice") / "Work" / "Deep")
    spool.box(spool.public / "News" / "Old", "anyone lr\n")
    account = spool.worker().account()
    account.subscribe("Work/Deep")
    account.subscribe("Public/News/Old")
    file = spool.home("alice") / "subscriptions"
    assert file.read_bytes() == b"V\t2\n\nWork\tDeep\nPublic\tNews\tOld\n"
    file.write_bytes(file.read_bytes() + b"shared\tbob\tWork.Deep\n")
    assert account.subscriptions() == ["Work/Deep", "Public/News/Old", "shared/bob/Work/Deep"]


def test_an_old_file_stays_one(spool: Spool) -> None:
    file = spool.home("alice") / "subscriptions"
    file.write_bytes(b"Work\nshared/bob/Work.Deep\n")
    account = spool.worker().account()
    assert account.subscriptions() == ["Work", "shared/bob/Work/Deep"]
    account.subscribe("Public/News")
    assert file.read_bytes() == b"Work\nshared/bob/Work.Deep\nPublic/News\n"


def test_a_subscription_outlives_the_user_it_is_about(spool: Spool) -> None:
    account = spool.worker().account()
    account.subscribe("shared/bob/Work")
    spool.users = ("alice",)
    account = spool.worker().account()
    assert account.subscriptions() == ["shared/bob/Work"]
    account.unsubscribe("shared/bob/Work")
    assert account.subscriptions() == []


def test_subscribe_wants_a_mailbox(account: NamespacesAccount) -> None:
    assert refusal(lambda: account.subscribe("Public/Nothing")) is Reason.NOT_FOUND
    assert refusal(lambda: account.subscribe("shared/nobody/x")) is Reason.NOT_FOUND


def test_a_namespace_can_keep_its_own(spool: Spool, tmp_path: Path) -> None:
    account = spool.worker().account()
    account.create("Archive/2020")
    account.subscribe("Archive/2020")
    assert (tmp_path / "archive" / "alice" / "subscriptions").read_bytes() == b"V\t2\n\n2020\n"
    assert account.subscriptions() == ["Archive/2020"]


# Messages


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


def test_subscriptions_of_an_alias_beside_those_to_a_user_who_is_gone(spool: Spool) -> None:
    account = spool.worker().account()
    account.subscribe("shared/bob/Work")
    account.subscribe("Work")
    spool.users = ("alice",)
    assert spool.worker().account().scope("INBOX.").subscriptions() == ["INBOX.Work"]


def test_subscriptions_of_an_alias_of_what_is_not_there(spool: Spool) -> None:
    archive = Space(Kind.PRIVATE, "Archive/")
    spool.spaces = (OWN, archive, Space(Kind.PRIVATE, "Old/", listed=Listed.NO, alias_for="Archive/"))
    (spool.path / "archive").write_text("no directory")
    scope = spool.worker().account().scope("Old/")
    assert (scope.folders(), scope.subscriptions()) == ([], [])


def test_a_mailbox_that_was_opened_by_another_namespace_first_has_its_own_name(spool: Spool) -> None:
    spaces = (replace(OWN, prefix="INBOX.", separator="."), Space(Kind.PUBLIC, "Bobs.", ".", default_rights=ALL_RIGHTS))
    own_settings = spool.settings_of("bob")

    def settings(space: Space, owner: str) -> MaildirSettings:
        return replace(own_settings(space, owner), mail_path=str(spool.home("bob")))

    account = spool.worker().store.open_account("bob", spaces, settings, lambda space: [])
    assert account.open("Bobs.Work").name == "Bobs.Work"
    assert account.open("inbox.Work").name == "INBOX.Work"
    assert account.open("inbox").name == "INBOX"


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
