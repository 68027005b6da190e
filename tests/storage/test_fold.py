"""Folding the journal into a snapshot, where something is in the way."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.maildir_site import ADD, Site, change, flags

from greenmail.runtime import direct
from greenmail.storage import cache, index_files, maildir_change, maildir_index, snapshot
from greenmail.storage.api import FLAGGED, SEEN, CacheKind
from greenmail.storage.maildir import MaildirMailbox


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_a_change_that_could_not_be_written_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Not only errors of the file system: there may be no memory for it, or no thread. Others must not miss it."""
    site = Site(tmp_path / "Maildir")
    site.worker()
    for number in range(6):
        site.deliver(name=f"170000000{number}.M1P1.mx:2,", where="cur")
    mine = site.inbox()
    site.age()
    mine.look()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(maildir_change, "LARGE_CHANGE", 2)
        patched.setattr(snapshot, "write", fail)
        with pytest.raises(error):
            mine.store([1, 2, 3, 4], change(ADD, FLAGGED))
    mine.store([5], change(ADD, FLAGGED))
    other = site.inbox()
    for mailbox in (mine, other):
        mailbox.look()
        assert {uid for uid, known in flags(mailbox).items() if FLAGGED in known} == {1, 2, 3, 4, 5}
    assert (other.modseq, list(other.table.modseqs)) == (mine.modseq, list(mine.table.modseqs))


def test_sets_of_flags_that_are_numbered_anew_while_the_cache_is_tidied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That work lets others run, and who leaves a mailbox has its flags put in order: a snapshot is of one moment."""
    site = Site(tmp_path / "Maildir")
    site.worker()
    for number in range(3):
        site.deliver(name=f"170000000{number}.M1P1.mx:2,", where="cur")
    met: list[int] = []

    def block(function: Callable[..., Any], *args: Any) -> Any:
        if function is cache._write_live:
            met.append(len(mine.table.flag_sets))
            index.compact_flags()
        return function(*args)

    mine = site.worker(replace(direct(), blocking=block)).open("INBOX")
    assert isinstance(mine, MaildirMailbox)
    site.age()
    mine.look()
    index, files = mine.box.index, mine.box.index_files
    assert files is not None and files.cache is not None
    for keyword in ("a", "b", "c"):
        mine.store([1], change(ADD, keyword))
    mine.store([2], change(ADD, FLAGGED))
    for _ in range(3):
        files.cache.put(1, CacheKind.ENVELOPE, b"x" * 40_000)
    monkeypatch.setattr(maildir_index, "_SETS", 1)
    monkeypatch.setattr(index_files, "FOLD_RECORDS", 1)
    mine.store([3], change(ADD, SEEN))
    assert met and met[0] > len(mine.table.flag_sets)
    assert flags(mine) == flags(site.inbox()) == {1: {"a", "b", "c"}, 2: {FLAGGED}, 3: {SEEN}}
