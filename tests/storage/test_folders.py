"""Names and directories of Maildir++: formats.md 4.1 to 4.4, checks 1, 26 to 28, 48."""

import errno
import json
import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import unpack

from greenmail.errors import Reason, StorageError
from greenmail.storage import mutf7
from greenmail.storage.filesystem import Files
from greenmail.storage.folder_names import Encoding, Layout, detect_encoding, directory, name_of
from greenmail.storage.folders import Folders

DATA = Path(__file__).parent.parent / "data" / "maildirs"
MUTF7, UTF8 = Encoding.MUTF7, Encoding.UTF8
SLASH = Layout(b"/r", "/")
DOT = Layout(b"/r", ".")
COURIER = Layout(b"/r", ".", "INBOX.", UTF8)
ESCAPED = Layout(b"/r", "/", "", UTF8, "\\")


@pytest.mark.parametrize(
    "layout, name, entry",
    [
        (SLASH, "A", b".A"),
        (SLASH, "A/B", b".A.B"),
        (SLASH, "INBOX/Sub", b".INBOX.Sub"),
        (SLASH, "Archive/2024/März", b".Archive.2024.M&AOQ-rz"),
        (SLASH, "A&B", b".A&-B"),
        (SLASH, "foo bar ", b".foo bar "),
        (SLASH, 'a%*"\\#~', b'.a%*"\\#~'),
        (SLASH, "cur", b".cur"),
        (SLASH, "dovecot-uidlist", b".dovecot-uidlist"),
        (DOT, "A.B", b".A.B"),
        (COURIER, "INBOX.März", ".März".encode()),
        (COURIER, "INBOX.A&B.日本語", ".A&B.日本語".encode()),
        (COURIER, "INBOX.INBOX.x", b".INBOX.x"),
        (ESCAPED, "with.dot/sub", b".with\\2edot.sub"),
        (ESCAPED, "~home", b".\\7ehome"),
        (ESCAPED, "a\\b", b".a\\5cb"),
        (Layout(b"/r", ".", "", UTF8, "\\"), "a/b.c", b".a\\2fb.c"),
    ],
)
def test_names_and_directories(layout, name, entry):
    assert directory(layout, name) == b"/r/" + entry
    assert name_of(layout, entry) == name


@pytest.mark.parametrize(
    "layout, name, path",
    [
        (SLASH, "inbox", b"/r"),
        (SLASH, "InBoX/lower", b"/r/.INBOX.lower"),
        (SLASH, "inboxes", b"/r/.inboxes"),
        (COURIER, "iNbOx", b"/r"),
        (COURIER, "inbox.Sent", b"/r/.Sent"),
        (Layout(b"/r", "/", "Mail/"), "Mail/x", b"/r/.x"),
        (Layout(b"/r", "/", "Mail/"), "Inbox", b"/r"),
    ],
)
def test_inbox_has_no_case(layout, name, path):
    assert directory(layout, name) == path


@pytest.mark.parametrize(
    "layout, name",
    [
        (SLASH, ""),
        (SLASH, "a.b"),
        (SLASH, "."),
        (SLASH, ".."),
        (SLASH, "../x"),
        (SLASH, "a/../b"),
        (SLASH, "~root"),
        (SLASH, "/a"),
        (SLASH, "a//b"),
        (SLASH, "a/"),
        (SLASH, "a\tb"),
        (SLASH, "a\0b"),
        (SLASH, "a\x7f"),
        (SLASH, "x" * 255),
        (SLASH, "é" * 120),
        (SLASH, "a/" * 2100 + "b"),
        (SLASH, "a\ud800"),
        (DOT, "a/b"),
        (DOT, "..DOVECOT-TRASHED"),
        (COURIER, "Foo"),
        (Layout(b"/r", "/", "Mail/"), "mail/x"),
        (COURIER, "INBOX.INBOX"),
        (COURIER, "INBOX."),
        (COURIER, "INBOX..a"),
        (ESCAPED, "a//b"),
    ],
)
def test_impossible_names(layout, name):
    with pytest.raises(StorageError) as caught:
        directory(layout, name)
    assert caught.value.reason is Reason.CANNOT


@pytest.mark.parametrize(
    "layout, entry",
    [
        (SLASH, b"Sent"),
        (SLASH, b"."),
        (SLASH, b".."),
        (SLASH, b".a..b"),
        (SLASH, b".trail."),
        (SLASH, b"..DOVECOT-TRASHED"),
        (SLASH, b".INBOX"),
        (SLASH, b".inbox.x"),
        (SLASH, ".März".encode()),
        (SLASH, b".A&B"),
        (SLASH, b".&AGEAYg-"),
        (SLASH, b".lat\xe4in"),
        (SLASH, b".a\nb"),
        (SLASH, b".~x"),
        (COURIER, b".INBOX"),
        (COURIER, b".lat\xe4in"),
        (Layout(b"/r", "^"), b".a^b"),
        (ESCAPED, b".a\\2fb"),  # a level with the separator in it
        (ESCAPED, b".a\\b"),
    ],
)
def test_what_cannot_be_opened_has_no_name(layout, entry):
    assert name_of(layout, entry) is None


@given(st.text("aé./~\\&日 ^", min_size=1, max_size=12), st.sampled_from([SLASH, DOT, COURIER, ESCAPED]))
def test_every_possible_name_comes_back_and_stays_in_the_root(name, layout):
    try:
        path = directory(layout, layout.prefix + name)
    except StorageError:
        return
    entry = path.removeprefix(b"/r/")
    assert b"/" not in entry and entry not in (b".", b"..")
    assert name_of(layout, entry) == layout.prefix + name


@pytest.mark.parametrize(
    "entries, expected",
    [
        ([], MUTF7),
        ([b".Sent", b"cur"], MUTF7),
        ([b".M&AOQ-rz"], MUTF7),
        ([b".A&-B"], MUTF7),
        ([".März".encode(), b".A&B"], UTF8),
        ([b".A&B"], UTF8),
        ([b".A&B", b".A&-B"], MUTF7),
        ([".März".encode(), b".A&-B"], None),
        (["nodot-März".encode(), b".A&-B"], MUTF7),
    ],
)
def test_encoding_is_guessed_unless_both_occur(tmp_path, entries, expected):
    root = os.fsencode(tmp_path)
    for entry in entries:
        os.mkdir(root + b"/" + entry)
    if expected is None:
        with pytest.raises(StorageError) as caught:
            detect_encoding(Files(), root)
        assert caught.value.reason is Reason.CANNOT
    else:
        assert detect_encoding(Files(), root) is expected


@pytest.fixture
def root(tmp_path):
    for name in ("cur", "new", "tmp"):
        (tmp_path / "Maildir" / name).mkdir(parents=True)
    (tmp_path / "Maildir").chmod(0o700)
    return os.fsencode(tmp_path / "Maildir")


def folders(root, **options):
    return Folders(Files(), Layout(root, **options))


def names(account):
    return [folder.name for folder in account.listing()]


def refused(function, *args):
    with pytest.raises(StorageError) as caught:
        function(*args)
    return caught.value.reason


@pytest.mark.parametrize(
    "server, layout, count",
    [("dovecot", {}, 18), ("courier", {"separator": ".", "prefix": "INBOX.", "encoding": UTF8}, 14)],
)
def test_listing_of_the_recorded_trees(tmp_path, server, layout, count):
    unpack(server, tmp_path)
    expected = json.loads((DATA / server / "expected.json").read_text())
    lines = [re.fullmatch(r'\* LIST \((.*)\) "." "?(.*?)"?', line) for line in expected["list_raw"]]
    wanted = {line[2]: set(line[1].split()) - {"\\Marked", "\\UnMarked"} for line in lines}
    found = folders(os.fsencode(tmp_path / "Maildir"), **layout).listing()
    assert {mutf7.encode(folder.name).decode(): (folder.selectable, folder.has_children) for folder in found} == {
        name: ("\\Noselect" not in flags, "\\HasChildren" in flags) for name, flags in wanted.items()
    }
    assert sum(folder.selectable for folder in found) == count
    assert found[0].name == "INBOX"


def test_what_is_listed(root):
    outside = os.path.dirname(root) + b"/outside"
    os.mkdir(outside)
    for entry in (b".A", b".P.child", b".a..b", b"..DOVECOT-TRASHED", b"nodot", b".INBOX"):
        os.mkdir(root + b"/" + entry)
    with open(root + b"/.dotfile", "wb"):
        pass
    os.symlink(b".A", root + b"/.inside")
    os.symlink(outside, root + b"/.outside")
    os.symlink(b"nowhere", root + b"/.dangling")
    assert names(folders(root)) == ["INBOX", "A", "P", "P/child", "inside"]
    assert names(folders(root, follow_symlinks=True)) == ["INBOX", "A", "P", "P/child", "inside", "outside"]
    assert refused(folders(root).find, "outside") is Reason.NOT_FOUND
    assert folders(root).find("inside") == root + b"/.inside"
    assert folders(root).find("INBOX") == root


@pytest.mark.parametrize("mode, directory_mode, file_mode", [(0o700, 0o700, 0o600), (0o770, 0o770, 0o660)])
def test_create(root, mode, directory_mode, file_mode):
    os.chmod(root, mode)
    path = folders(root).create("Grün/Ü/")
    assert path == root + b"/.Gr&APw-n.&ANw-"
    assert sorted(os.listdir(path)) == [b"cur", b"maildirfolder", b"new", b"tmp"]
    assert stat.S_IMODE(os.stat(path + b"/new").st_mode) == directory_mode
    assert stat.S_IMODE(os.stat(path + b"/maildirfolder").st_mode) == file_mode
    assert names(folders(root)) == ["INBOX", "Grün", "Grün/Ü"]
    assert refused(folders(root).create, "Grün/Ü") is Reason.EXISTS
    folders(root).create("Grün")
    assert refused(folders(root).create, "inbox") is Reason.EXISTS
    assert refused(folders(root).create, "a.b") is Reason.CANNOT


def test_a_new_mailbox_has_what_it_is_given_and_what_the_root_has(root):
    account = folders(root)
    for name in (b"/dovecot-shared", b"/dovecot-acl"):
        with open(root + name, "wb"):
            pass
    made = account.create("P", {b"dovecot-acl": b"owner akxeilprwts\n"})
    assert Files().read_file(made + b"/dovecot-acl") == b"owner akxeilprwts\n"
    assert b"dovecot-shared" in os.listdir(account.create("Other"))
    assert b"dovecot-acl" not in os.listdir(account.create("Orphan/child"))


@pytest.mark.parametrize("call", ["open", "fsync", "mkdir"])
def test_a_failed_create_leaves_nothing(root, call):
    seen = []

    def fail(name, function, *args):
        if name == call:
            seen.append(name)
            if len(seen) == 3:
                raise OSError(errno.ENOSPC, "full")
        return function(*args)

    if call == "fsync":
        seen.extend(["one", "two"])  # the last sync comes when the mailbox can be seen: then it stays
    reason = refused(Folders(Files(fail), Layout(root)).create, "A")
    assert reason is Reason.NO_SPACE
    assert names(folders(root)) == ["INBOX"]


def test_delete_keeps_children(root):
    account = folders(root)
    account.create("A")
    account.create("A/B")
    trash = account.delete("A")
    assert names(account) == ["INBOX", "A", "A/B"]
    assert refused(account.find, "A") is Reason.NOT_FOUND
    assert refused(account.delete, "A") is Reason.HAS_CHILDREN
    Files().remove_tree(trash)
    assert sorted(os.listdir(root)) == [b".A.B", b"cur", b"new", b"tmp"]
    account.create("A")
    assert account.listing()[1].selectable


def test_two_deletions_at_a_time(root):
    account = folders(root)
    for name in "ABC":
        account.create(name)
    trash = [account.delete(name) for name in "ABC"]
    assert trash[0] == root + b"/..DOVECOT-TRASHED"
    assert all(os.path.isdir(path) and path.startswith(trash[0]) for path in trash)
    assert names(account) == ["INBOX"]
    account.purge_trash(os.stat(trash[0]).st_ctime + 60)
    assert os.path.isdir(trash[2])
    account.purge_trash(os.stat(trash[0]).st_ctime + 3700)
    account.purge_trash(os.stat(root).st_ctime + 9999)
    assert sorted(os.listdir(root)) == [b"cur", b"new", b"tmp"]


def test_deleting_a_link_leaves_what_it_leads_to(root):
    account = folders(root)
    account.create("A")
    os.symlink(b".A", root + b"/.link")
    assert account.delete("link") == b""
    assert names(account) == ["INBOX", "A"]


@pytest.mark.parametrize(
    "name, reason",
    [("INBOX", Reason.CANNOT), ("inbox", Reason.CANNOT), ("X", Reason.NOT_FOUND), ("..", Reason.NOT_FOUND)],
)
def test_what_cannot_be_deleted(root, name, reason):
    assert refused(folders(root).delete, name) is reason


def test_rename_takes_the_children_along(root):
    account = folders(root)
    for name in ("Archive", "Archive/2024", "Archive/2024/x", "Archive2"):
        account.create(name)
    with open(root + b"/.Archive/dovecot-uidlist", "wb"):
        pass
    assert account.rename("Archive", "Old/New") == [
        ("Archive", "Old/New"),
        ("Archive/2024", "Old/New/2024"),
        ("Archive/2024/x", "Old/New/2024/x"),
    ]
    assert names(account) == ["INBOX", "Archive2", "Old", "Old/New", "Old/New/2024", "Old/New/2024/x"]
    assert os.path.exists(root + b"/.Old.New/dovecot-uidlist")
    assert account.rename("Old", "Top") == [
        ("Old/New", "Top/New"),
        ("Old/New/2024", "Top/New/2024"),
        ("Old/New/2024/x", "Top/New/2024/x"),
    ]


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("A", "B", Reason.EXISTS),
        ("A", "INBOX", Reason.EXISTS),
        ("A", "inbox", Reason.EXISTS),
        ("A", "A", Reason.EXISTS),
        ("A", "C", Reason.EXISTS),  # C/x is in the way of A/x
        ("A", "A/below", Reason.CANNOT),
        ("A", "a.b", Reason.CANNOT),
        ("A", "y" * 254, Reason.CANNOT),  # the child would not fit
        ("INBOX", "B2", Reason.CANNOT),
        ("X", "Y", Reason.NOT_FOUND),
        ("a//b", "Y", Reason.NOT_FOUND),
        ("A", "file", Reason.EXISTS),
    ],
)
def test_what_cannot_be_renamed(root, old, new, reason):
    account = folders(root)
    for name in ("A", "A/x", "B", "C/x"):
        account.create(name)
    with open(root + b"/.file", "wb"):
        pass
    before = sorted(os.listdir(root))
    assert refused(account.rename, old, new) is reason
    assert sorted(os.listdir(root)) == before


def test_a_rename_that_fails_half_way_is_taken_back(root):
    account = folders(root)
    for name in ("A", "A/x", "A/y"):
        account.create(name)
    renamed = []

    def fail(name, function, *args):
        if name == "rename":
            renamed.append(args)
            if len(renamed) == 3:
                raise OSError(errno.EIO, "broken")
        return function(*args)

    assert refused(Folders(Files(fail), Layout(root)).rename, "A", "B") is Reason.UNAVAILABLE
    assert names(account) == ["INBOX", "A", "A/x", "A/y"]
