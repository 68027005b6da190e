"""Repairs and rebuilding under a server that has the mailboxes open: no UID, flag, keyword or body changes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor.spool import base, body, write

from greenmail.doctor import undo
from greenmail.doctor.audit import Run, audit
from greenmail.doctor.repair import repair
from greenmail.doctor.restore import Means, restore
from greenmail.doctor.resync import rebuild
from greenmail.doctor.target import Target
from greenmail.runtime import direct
from greenmail.storage.api import Mailbox
from greenmail.storage.locks import Waiting
from greenmail.storage.maildir_store import MaildirStore

SECOND = base("", 2)


@pytest.fixture
def live(target: Target) -> Iterator[Mailbox]:
    """INBOX as a server has it open."""
    account = MaildirStore(direct()).open_account(target.name, target.settings)
    mailbox = account.open("INBOX")
    yield mailbox
    mailbox.close()
    account.close()


def state(mailbox: Mailbox) -> dict[int, tuple[bytes, tuple[str, ...]]]:
    """UID -> body and flags."""
    mailbox.look()
    found = {}
    for row, uid in enumerate(mailbox.table.uids):
        content = mailbox.content(uid)
        found[uid] = (content.read(), tuple(sorted(mailbox.table.flags_of(row))))
        content.close()
    return found


def wrong_size(root: Path) -> None:
    """Planted before the server opens it."""
    unique = SECOND.split(",", 1)[0]
    os.rename(root / f"cur/{SECOND}:2,S", root / f"cur/{unique},S=1,W=2:2,S")
    data = (root / "dovecot-uidlist").read_text().replace(SECOND, f"{unique},S=1,W=2")
    write(root / "dovecot-uidlist", data)


@pytest.fixture
def planted(maildir: Path) -> Path:
    wrong_size(maildir)
    return maildir


def test_corrected_sizes_are_no_news_for_a_server_but_a_name(
    planted: Path, run: Run, target: Target, live: Mailbox
) -> None:
    before, modseq = state(live), live.modseq
    log = undo.UndoLog(str(planted.parent / "undo"), run.call)
    assert repair(run, target, log, audit(run, target).findings) == []
    log.close()
    assert not audit(run, target).findings
    assert state(live) == before
    assert live.changes(modseq).expunged == []
    fields = (planted / "dovecot-uidlist").read_text().splitlines()[2]
    assert fields.startswith(f"2 G{SECOND.split(',', 1)[0]},S=1,W=2 :")
    descriptor, records = undo.read(log.path)
    assert restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records).left == []
    os.close(descriptor)
    assert state(live) == before
    assert live.changes(modseq).expunged == []


def test_a_message_that_got_flags_since_keeps_them_when_its_name_comes_back(
    planted: Path, run: Run, target: Target
) -> None:
    log = undo.UndoLog(str(planted.parent / "undo"), run.call)
    repair(run, target, log, audit(run, target).findings)
    log.close()
    (path,) = (planted / "cur").glob(f"{SECOND.split(',', 1)[0]}*")
    path.rename(str(path) + "T")
    descriptor, records = undo.read(log.path)
    result = restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records)
    os.close(descriptor)
    assert result.left == []
    assert (planted / f"cur/{SECOND.split(',', 1)[0]},S=1,W=2:2,ST").exists()


def test_newer_uids_are_worth_more_than_the_old_list(maildir: Path, run: Run, target: Target) -> None:
    write(maildir / "new/1700000100.x.mx", b"Subject: x\n\nx\n")
    log = undo.UndoLog(str(maildir.parent / "undo"), run.call)
    repair(run, target, log, audit(run, target).findings)
    log.close()
    with (maildir / "dovecot-uidlist").open("a") as file:
        file.write("7 :1700000200.y.mx\n")
    after = (maildir / "dovecot-uidlist").read_bytes()
    descriptor, records = undo.read(log.path)
    result = restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records)
    os.close(descriptor)
    assert len(result.left) == 1
    assert (maildir / "dovecot-uidlist").read_bytes() == after


def test_uids_that_an_undone_repair_gave_out_do_not_come_again(maildir: Path, run: Run, target: Target) -> None:
    write(maildir / "new/1700000100.x.mx", b"Subject: x\n\nx\n")
    log = undo.UndoLog(str(maildir.parent / "undo"), run.call)
    found = [finding for finding in audit(run, target).findings if finding.kind == "no-uid"]
    repair(run, target, log, found)
    log.close()
    descriptor, records = undo.read(log.path)
    restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records)
    os.close(descriptor)
    account = MaildirStore(direct()).open_account(target.name, target.settings)
    mailbox = account.open("INBOX")
    assert list(mailbox.table.uids) == [1, 2, 3, 4, 5, 7]


def test_an_undo_log_that_breaks_off_undoes_what_it_tells(planted: Path, run: Run, target: Target) -> None:
    log = undo.UndoLog(str(planted.parent / "undo"), run.call)
    repair(run, target, log, audit(run, target).findings)
    log.close()
    whole = Path(log.path).read_bytes()
    lines = whole.splitlines(keepends=True)
    # Killed after the names were changed, before the UID list was.
    at = next(number for number, line in enumerate(lines) if b'"rename"' in line)
    Path(log.path).write_bytes(b"".join(lines[: at + 1]) + lines[at + 1][:5])
    (path,) = (planted / "cur").glob(f"{SECOND.split(',', 1)[0]}*")
    descriptor, records = undo.read(log.path)
    restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records)
    os.close(descriptor)
    assert not path.exists()
    assert (planted / f"cur/{SECOND.split(',', 1)[0]},S=1,W=2:2,S").exists()


@pytest.mark.parametrize("anew", [True, False])
def test_the_index_is_rebuilt_under_a_server_that_goes_on(
    maildir: Path, run: Run, target: Target, live: Mailbox, anew: bool
) -> None:
    before, modseq = state(live), live.modseq
    steps: list[tuple[str, int]] = []
    with (maildir / "greenmail.index").open("rb") as old:  # open, so that no other file gets its inode
        mailboxes, messages, failures = rebuild(run, target, anew, lambda *step: steps.append(step))
        assert (maildir / "greenmail.index").stat().st_ino != os.fstat(old.fileno()).st_ino
    assert (mailboxes, messages, failures) == (3, 9, [])
    assert ("INBOX", 5) in steps
    assert state(live) == before
    assert live.modseq >= modseq
    write(maildir / "new/1700000100.x.mx", body("", 9))
    assert state(live).keys() - before.keys() == {6}


def test_a_damaged_index_is_made_anew(maildir: Path, run: Run, target: Target) -> None:
    rebuild(run, target, True, lambda *_: None)
    data = bytearray((maildir / "greenmail.index").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (maildir / "greenmail.index").write_bytes(data)
    assert rebuild(run, target, True, lambda *_: None) == (3, 9, [])
    account = MaildirStore(direct()).open_account(target.name, target.settings)
    assert list(account.open("INBOX").table.uids) == [1, 2, 3, 4, 5]
    assert body("", 1).replace(b"\n", b"\r\n") == account.open("INBOX").content(1).read()
