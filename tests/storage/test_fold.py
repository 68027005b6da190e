"""The snapshot of a large mailbox is written in the pool: nobody waits for it, and nothing is lost by who looks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.maildir_site import ADD, Site, change, flags

from greenmail.runtime import direct
from greenmail.storage import index_files, snapshot
from greenmail.storage.api import DELETED, FLAGGED


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "Maildir")
    made.worker().close()
    for number in range(6):
        made.deliver(name=f"170000000{number}.M1P1.mx:2,", where="cur")
    return made


@pytest.mark.parametrize(("many", "in_pool"), [(5, True), (6, False)])
def test_who_looks_while_a_snapshot_is_written(
    site: Site, monkeypatch: pytest.MonkeyPatch, many: int, in_pool: bool
) -> None:
    monkeypatch.setattr(index_files, "_MANY", many)
    monkeypatch.setattr(index_files, "FOLD_RECORDS", 1)
    seen: list[Any] = []
    looks: list[Callable[[], None]] = []

    def block(function: Callable[..., Any], *args: Any) -> Any:
        if function is snapshot.write:
            seen.append([look() for look in looks])
        return function(*args)

    account = site.worker(dataclasses.replace(direct(), blocking=block))
    mine, theirs = account.open("INBOX"), account.open("INBOX")
    elsewhere = site.inbox()
    for mailbox in (mine, theirs, elsewhere):
        mailbox.look()
    site.age()

    def look() -> Any:
        theirs.look()
        return flags(theirs)[1], len(theirs.table), theirs.modseq

    looks.append(look)
    seen.clear()
    before = look()
    mine.store([1], change(ADD, FLAGGED))
    after = flags(mine)[1], 6, mine.modseq
    assert after[0] == {FLAGGED}
    # The look under the lock writes its times, and the change follows.
    assert seen == ([[before], [after]] if in_pool else [])
    mine.store([2, 3], change(ADD, DELETED))
    assert mine.expunge(None) == [2, 3]
    for mailbox in (theirs, elsewhere, site.inbox()):
        mailbox.look()
        assert list(mailbox.table.uids) == [1, 4, 5, 6]
        assert mailbox.modseq == mine.modseq
        assert flags(mailbox) == flags(mine)
        assert mailbox.changes(after[2]).expunged == [2, 3]
