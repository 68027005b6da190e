"""What is done for many messages at once does what is done for each, and no more than it has to."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.maildir_site import ADD, Site, change, flags, put

from greenmail.message import turn
from greenmail.storage import maildir_slices
from greenmail.storage.api import DELETED, FLAGGED, SEEN
from greenmail.storage.maildir_change import Change
from greenmail.storage.maildir_index import Index
from greenmail.storage.maildir_name import base_name, is_message, only_messages, uid_order
from greenmail.storage.maildir_slices import base_names, in_uid_order
from greenmail.storage.uidlist_format import check_base, check_bases

NAMES = st.lists(st.text(st.sampled_from("a.:\n\r,2S\0é"), max_size=4).map(os.fsencode), max_size=6)
ENDINGS = st.sampled_from([b"", b".a", b".b", b".M3", b".M20", b".M3.x", b"x"])
BASES = st.lists(st.tuples(st.integers(1, 3), ENDINGS).map(lambda pair: b"170000000%d%b" % pair), unique=True)


@given(NAMES)
def test_names_that_can_be_messages(names: list[bytes]) -> None:
    assert only_messages(names) == [name for name in names if is_message(name)]


@given(NAMES)
def test_base_names(names: list[bytes]) -> None:
    assert base_names(names) == [base_name(name) for name in names]


@given(BASES)
def test_runs_of_one_second(bases: list[bytes]) -> None:
    assert in_uid_order(bases) == sorted(bases, key=uid_order)


def is_good(check: Callable[[], None]) -> bool:
    try:
        check()
    except ValueError:
        return False
    return True


@given(st.lists(st.sampled_from([b"a", b"b,S=1", b"", b"a:", b"a/b", b"/", b"a\n", b"\r"]), max_size=5))
def test_names_for_the_uidlist(bases: Sequence[bytes]) -> None:
    assert is_good(lambda: check_bases(bases)) == all(is_good(lambda base=base: check_base(base)) for base in bases)


def test_messages_that_came_as_columns() -> None:
    files = [(b"a:2,S", False), (b"b\xff", True), (b"c:2,T", False), (b"d:2,S", False)]
    sets = [frozenset({SEEN}), frozenset(), frozenset({DELETED}), frozenset({SEEN})]
    one, many = Change(), Change()
    for uid, (name, is_new), some in zip(range(5, 9), files, sets, strict=True):
        one.came(uid, name, is_new, some, (uid * 10, -1))
    many.came_all(range(5, 9), files, sets, [50, 60, 70, 80])
    left, right = Index(), Index()
    left.apply(one.batch(99))
    right.apply(many.batch(99))
    assert left.snapshot() == right.snapshot() and left.new_names == right.new_names == {b"b\xff": 6}
    assert (right.unseen, right.deleted, right.octets) == (left.unseen, left.deleted, left.octets) == (2, 1, 260)


@pytest.mark.parametrize("others", [0, 30])
def test_the_first_look_lists_each_directory_once(tmp_path: Path, others: int) -> None:
    """And takes no directory, link or dot file for a message, nor two files for one."""
    site = Site(tmp_path / "Maildir")
    site.worker().close()
    wanted = [site.deliver(where="cur" if number % 2 else "new") for number in range(4 + others)]
    (site.path / "cur" / "directory").mkdir()
    (site.path / "cur" / "link").symlink_to("nowhere")
    (site.path / "cur" / ".hidden").touch()
    site.calls.clear()
    inbox = site.inbox()
    looks = [name for name, path in site.calls if path == os.fsencode(f"{site.path}/cur/")]
    assert looks.count("scandir") == 1 and "listdir" not in looks
    assert inbox.box.index.names == [os.fsencode(name) for name in wanted]
    twin = f"{wanted[1]}:2,S"  # the same base name a second time
    (site.path / "cur" / twin).write_bytes(b"another")
    (site.path / "cur" / f"{wanted[3]}:2,F").mkdir()
    for name in ("dovecot-uidlist", "greenmail.index", "greenmail.log"):
        (site.path / name).unlink()
    again = site.inbox()
    assert len(again.table) == 5 + others == len(set(map(base_name, again.box.index.names)))


def test_a_file_without_a_base_name_gets_one_at_the_first_look(tmp_path: Path) -> None:
    site = Site(tmp_path / "Maildir")
    site.worker().close()
    site.deliver(where="cur")
    site.deliver(name=":2,S", where="cur")
    assert len(site.inbox().table) == 2 and site.names("new") != []


@pytest.mark.parametrize("is_counted", [False, True])
def test_expunge_asks_for_sizes_only_where_somebody_counts(tmp_path: Path, is_counted: bool) -> None:
    site = Site(tmp_path / "Maildir")
    site.worker().close()
    for _ in range(250):
        site.deliver(b"x" * 7, where="cur")
    if is_counted:
        (site.path / "maildirsize").write_bytes(b"0S\n1750 250\n")
    inbox = site.inbox()
    inbox.store(list(inbox.table.uids), change(ADD, DELETED))
    inbox.store([250], change(ADD, FLAGGED))
    put(inbox)
    site.calls.clear()
    assert len(inbox.expunge(None)) == 250
    asked = sum(name == "lstat" and b"/cur/" in path for name, path in site.calls if isinstance(path, bytes))
    assert asked == (250 if is_counted else 0)
    # What the uidlist has too much is left out once, not each time that it is a quarter.
    assert sum(name == "rename" and b"uidlist" in path for name, path in site.calls if isinstance(path, bytes)) == 1
    if is_counted:
        lines = (site.path / "maildirsize").read_text().splitlines()[2:]
        assert sum(int(line.split()[0]) for line in lines) == 18 - 1750
    assert list(flags(inbox)) == [251] and len((site.path / "dovecot-uidlist").read_bytes().splitlines()) == 2


def test_rights_are_asked_for_again_while_the_directory_changes(tmp_path: Path) -> None:
    """A lock that comes and goes is no list; a list beside it is noticed at once."""
    site = Site(tmp_path / "Maildir")
    account = site.worker()
    account.create("A")
    folder = site.path / ".A"
    assert "w" in account.my_rights("A")
    for number in range(3):
        (folder / f"lock{number}").touch()
        site.calls.clear()
        assert "w" in account.my_rights("A")
        assert [name for name, _ in site.calls] == ["stat"] * 3
    (folder / "dovecot-acl").write_text("owner lra\n")
    assert account.my_rights("A") == frozenset("lra")
    (folder / "dovecot-acl").unlink()
    assert "w" in account.my_rights("A")
    (folder / "courierimapacl").write_text("owner lr\n")
    assert "w" not in account.my_rights("A")


def test_very_many_names_are_put_in_order_with_rests_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop gets the interpreter for longer than one system call of its own; few names need none."""
    rests: list[float] = []
    monkeypatch.setattr(turn.time, "sleep", rests.append)
    few = [b"%010d.%d" % (number % 977, number) for number in range(turn._MANY - 1)]
    many = few + [name + b"x" for name in few]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(maildir_slices.in_octet_order, few).result() == sorted(few) and not rests
        assert pool.submit(maildir_slices.in_octet_order, many).result() == sorted(many)
    assert len(rests) >= len(few) // maildir_slices.SLICE
    rests.clear()
    assert maildir_slices.in_octet_order(many) == sorted(many) and not rests, "the event loop itself never rests"
