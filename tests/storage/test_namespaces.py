"""Accounts made of several: the user's own mail under two names, others', nobody's. RFC 2342."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.namespaces import ALIAS, OWN, PUBLIC, SHARED, Spool, refusal

from greenmail.errors import Reason
from greenmail.runtime import direct
from greenmail.storage.api import ALL_RIGHTS
from greenmail.storage.maildir_namespaces import MaildirMails
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.mounted import MountedMailbox
from greenmail.storage.namespace_names import Kind, Listed, OwnSeen, Space
from greenmail.storage.namespaces import NamespacesAccount


def listed(account: NamespacesAccount) -> list[str]:
    return [folder.name if folder.selectable else f"({folder.name})" for folder in account.folders()]


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
