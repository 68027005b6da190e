"""The corpus: each fault is planted in a sound Maildir, found, mended, and taken back octet for octet."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from doctor.spool import GUID, Clock, base, body, build, picture, write

from greenmail.doctor import undo
from greenmail.doctor.audit import Result, Run, audit
from greenmail.doctor.finding import TITLES, Severity
from greenmail.doctor.repair import repair
from greenmail.doctor.restore import Means, restore
from greenmail.doctor.target import Target
from greenmail.storage.locks import Waiting
from greenmail.storage.save_dates import named
from greenmail.storage.uidlist_format import parse, parse_fields

Plant = Callable[[Path], None]
DAY = 86400.0


def uidlist(old: str, new: str) -> Plant:
    """Replace text in INBOX's UID list."""

    def plant(root: Path) -> None:
        path = root / "dovecot-uidlist"
        data = path.read_text()
        assert old in data
        write(path, data.replace(old, new, 1))

    return plant


def message(name: str, data: bytes = b"Subject: x\n\nx\n") -> Plant:
    """Another file in INBOX."""

    def plant(root: Path) -> None:
        write(root / name, data)
        os.utime(root / name, (1_700_000_100, 1_700_000_100))

    return plant


def renamed(old: str, new: str) -> Plant:
    """Rename something; in the UID list, too, if it is a message."""

    def plant(root: Path) -> None:
        os.rename(root / old, os.fsencode(root) + b"/" + os.fsencode(new))
        if old.startswith("cur/"):
            uidlist(":" + old[4:].partition(":")[0] + "\n", ":" + new[4:].partition(":")[0] + "\n")(root)

    return plant


def folder(name: bytes) -> Plant:
    """A mailbox with one message, under a name that is not the best."""

    def plant(root: Path) -> None:
        build(root.parent / "other")
        os.rename(root.parent / "other" / ".Archive", os.fsencode(root) + b"/" + name)
        # Its mail is counted.
        octets = sum(len(body(".Archive", number)) for number in (1, 2, 3))
        with (root / "maildirsize").open("a") as file:
            file.write(f"{octets} 3\n")

    return plant


def mode(name: str, wanted: int) -> Plant:
    return lambda root: (root / name).chmod(wanted)


FIRST = f"cur/{base('', 1)}:2,Sa"
SECOND = base("", 2)
UNIQUE = SECOND.split(",", 1)[0]
TRUE = SECOND.split(",", 1)[1]

# kind, mailbox, what is planted; the clock goes on by a week before anybody looks.
MENDED = [
    ("uidlist-damaged", "INBOX", uidlist("2 :", "2 no fields:")),
    ("uidlist-damaged", "INBOX", uidlist("\n3 :", "\n\0\0\0\n3 :")),
    ("uidlist-damaged", "INBOX", uidlist("\n4 :", "\n2 :")),
    ("uidlist-damaged", "INBOX", uidlist(f"5 :{base('', 5)}\n", f"5 :{base('', 5)}")),
    ("uidlist-damaged", "INBOX", uidlist(f"5 :{base('', 5)}\n", f"5 :{base('', 4)}\n")),
    ("uidlist-old", "INBOX", uidlist(f" G{GUID}", "")),
    ("uidlist-restored", "INBOX", lambda root: restored(root)),
    ("no-uid", "INBOX", message("new/1700000100.V801I2f00M100001.mx")),
    ("no-uid", "INBOX", message("cur/1700000100.V801I2f00M100001.mx:2,F")),
    ("twins", "INBOX", message(f"cur/{SECOND}:2,F", body("", 2).replace(b"Body", b"Copy"))),
    ("twins", "INBOX", lambda root: os.link(root / FIRST, root / f"new/{base('', 1)}")),
    ("file-name", "INBOX", message("cur/:2,S")),
    ("file-name", "INBOX", message("new/1700000100.x\n.mx")),
    ("wrong-size", "INBOX", renamed(f"cur/{SECOND}:2,S", f"cur/{UNIQUE},S=1,W=2:2,S")),
    ("wrong-size", "INBOX", renamed(f"cur/{SECOND}:2,S", f"cur/{UNIQUE},{TRUE.split(',')[0]},W=9:2,S")),
    ("wrong-size", "INBOX", renamed(f"cur/{SECOND}:2,S", f"cur/{UNIQUE} a b,S=1:2,S")),
    ("letters", "INBOX", message("cur/1700000100.V801I2f00M100001.mx:2,Fz")),
    ("lock", "INBOX", lambda root: write(root / "dovecot-uidlist.lock", "999999999:elsewhere")),
    ("lock", "INBOX", lambda root: write(root / "dovecot-uidlist.lock", "4194304:here")),
    ("lock", "INBOX", lambda root: write(root / "subscriptions.lock", "V\t2")),
    ("lock", "Archive", lambda root: write(root / ".Archive" / "dovecot-keywords.lock", "")),
    ("lock", "INBOX", lambda root: write(root / "dovecot-pop3-session.lock", "7:elsewhere")),
    ("leftover", "INBOX", message("tmp/1700000100.P1.mx", b"half a mess")),
    ("leftover", "Archive", lambda root: write(root / ".Archive" / "dovecot-uidlist.tmp", "3 V1")),
    ("maildirsize", "", lambda root: write(root / "maildirsize", "1000S\n17 1\n-4 0\n")),
    ("maildirsize", "", lambda root: write(root / "maildirsize", b"\0\0\0\0\n12 1\n")),
    ("mailbox-name", "", folder("\u00dcbung".encode().join([b".", b""]))),
    ("mailbox-name", "", folder(b".lat\xe4in")),
    ("mailbox-name", "", folder(b".a..b")),
    ("mailbox-name", "", folder(b".trail.")),
    ("mode", "", mode("dovecot-uidlist", 0o400)),
    ("mode", "", mode("new", 0o500)),
    ("mode", "", mode(FIRST, 0o200)),
]


def restored(root: Path) -> None:
    data = root / "greenmail-data"
    data.mkdir()
    write(data / "uidnext", "1700000000 90\n")


NOTED = [
    ("uidlist-missing", "INBOX", lambda root: lost(root)),
    ("uidlist-damaged", "INBOX", uidlist("3 V1700000000", "3 V")),
    ("not-a-file", "INBOX", lambda root: (root / "cur" / "1700000100.d").mkdir()),
    ("not-a-file", "INBOX", lambda root: (root / "cur" / "1700000100.l").symlink_to("/etc/passwd")),
    ("sync-name", "INBOX", message("cur/1700000100.mx,U=12:2,S")),
    ("empty", "INBOX", message("cur/1700000100.mx:2,S", b"")),
    ("keyword-lines", "INBOX", lambda root: write(root / "dovecot-keywords", "0 $Forwarded\n99 x\n")),
    ("trash-left", "INBOX", lambda root: (root / "..DOVECOT-TRASHED").mkdir()),
    ("not-a-mailbox", "", lambda root: (root / ".ssh").mkdir()),
    ("courier", "INBOX", lambda root: courier(root)),
    ("pop3-renumbered", "INBOX", uidlist("\n2 :", "\n2 ")),
    ("pop3-renumbered", "INBOX", lambda root: old_list(root)),
    ("pop3-format", "INBOX", uidlist("\n3 :", "\n3 PUID3-17:")),
    ("pop3-twice", "INBOX", lambda root: [uidlist("\n3 :", "\n3 Px :")(root), uidlist("\n4 :", "\n4 Px :")(root)][0]),
    ("damaged-message", "INBOX", lambda root: write(root / f"cur/{SECOND}:2,S", gzip.compress(body("", 2))[:-5])),
    ("unreadable", "INBOX", lambda root: [(root / "dovecot-uidlist").unlink(), (root / "dovecot-uidlist").mkdir()][1]),
]


def lost(root: Path) -> None:
    (root / "dovecot-uidlist").unlink()
    write(root / "dovecot.index.log", "")


def courier(root: Path) -> None:
    (root / "dovecot-uidlist").unlink()
    write(root / "courierimapuiddb", f"1 700000000 3\n1 {base('', 1)}\n2 {base('', 2)}\n")


def old_list(root: Path) -> None:
    write(root / "courierpop3dsizelist", f"/3 9 5\n{base('', 1)}:2,S 50 1:5:0\n")


def kinds(result: Result) -> list[tuple[str, str]]:
    return [(finding.kind, finding.mailbox) for finding in result.findings]


def undo_all(run: Run, path: str) -> tuple[int, list[str]]:
    descriptor, records = undo.read(path)
    result = restore(Means(run, Waiting(run.sleep, run.now), "here", descriptor), records)
    os.close(descriptor)
    return result.done, result.left


def test_the_sound_maildir_has_no_fault(run: Run, target: Target) -> None:
    result = audit(run, target)
    assert result.findings == ()
    assert (result.mailboxes, result.messages) == (3, 9)


def test_the_corpus_has_every_kind_but_those_that_need_root_or_a_whole_site() -> None:
    planted = {kind for kind, _, _ in [*MENDED, *NOTED]}
    assert TITLES.keys() - planted == {"owner", "open-to-all", "encoding"}


@pytest.mark.parametrize("kind, mailbox, plant", MENDED)
def test_a_planted_fault_is_found_mended_and_taken_back(
    run: Run, target: Target, maildir: Path, clock: Clock, tmp_path: Path, kind: str, mailbox: str, plant: Plant
) -> None:
    plant(maildir)
    clock.time += 7 * DAY
    before = picture(maildir)
    found = audit(run, target)
    assert (kind, mailbox) in kinds(found)
    assert picture(maildir) == before, "an audit changes nothing"
    log = undo.UndoLog(str(tmp_path / "undo"), run.call)
    failures = repair(run, target, log, found.findings)
    log.close()
    assert failures == []
    after = audit(run, target)
    assert (kind, mailbox) not in kinds(after)
    assert not [finding for finding in after.findings if finding.severity is Severity.ERROR]
    assert picture(maildir) != before or kind == "uidlist-restored"
    done, left = undo_all(run, log.path)
    assert (left, done > 0) == ([], True)
    assert picture(maildir) == before
    assert undo_all(run, log.path)[1] == [], "twice does no harm"
    assert picture(maildir) == before


@pytest.mark.parametrize("kind, mailbox, plant", NOTED)
def test_what_needs_people_is_found_and_left_alone(
    run: Run, target: Target, maildir: Path, clock: Clock, tmp_path: Path, kind: str, mailbox: str, plant: Plant
) -> None:
    plant(maildir)
    clock.time += 7 * DAY
    before = picture(maildir)
    found = [finding for finding in audit(run, target).findings if (finding.kind, finding.mailbox) == (kind, mailbox)]
    assert found
    assert not any(finding.remedy for finding in found)
    assert picture(maildir) == before


def test_everything_at_once_is_mended_and_taken_back(
    run: Run, target: Target, maildir: Path, clock: Clock, tmp_path: Path
) -> None:
    for number in (6, 8, 10, 14, 19, 22, 25):
        MENDED[number][2](maildir)
    clock.time += 7 * DAY
    before = picture(maildir)
    log = undo.UndoLog(str(tmp_path / "undo"), run.call)
    assert repair(run, target, log, audit(run, target).findings) == []
    log.close()
    assert not [finding for finding in audit(run, target).findings if finding.remedy]
    assert undo_all(run, log.path)[1] == []
    assert picture(maildir) == before


def test_a_damaged_uid_list_keeps_every_uid_that_can_be_read(run: Run, target: Target, maildir: Path) -> None:
    MENDED[1][2](maildir)
    log = undo.UndoLog(str(maildir.parent / "undo"), run.call)
    repair(run, target, log, audit(run, target).findings)
    uids = parse((maildir / "dovecot-uidlist").read_bytes())
    assert uids.damage == ()
    assert uids.uids == {base("", number).encode(): number for number in range(1, 6)}


def test_twins_keep_both_bodies_and_the_flags(run: Run, target: Target, maildir: Path) -> None:
    other = body("", 2).replace(b"Body", b"Copy")
    write(maildir / "cur" / f"{SECOND}:2,F", other)
    log = undo.UndoLog(str(maildir.parent / "undo"), run.call)
    repair(run, target, log, audit(run, target).findings)
    found = {path.read_bytes(): path.name for path in (maildir / "cur").iterdir()}
    assert len(found) == 6
    assert {found[other][-1], found[body("", 2)][-1]} == {"F", "S"}
    assert len(parse((maildir / "dovecot-uidlist").read_bytes()).uids) == 6


def test_a_living_lock_is_nobodys_fault(run: Run, target: Target, maildir: Path, clock: Clock) -> None:
    clock.time += 7 * DAY
    write(maildir / "dovecot-uidlist.lock", f"{os.getppid()}:here")
    assert kinds(audit(run, target)) == []


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_messages_have_the_sizes_of_what_is_in_them(
    run: Run, target: Target, maildir: Path, pack: Callable[[bytes], bytes]
) -> None:
    (maildir / "cur" / f"{SECOND}:2,S").write_bytes(pack(body("", 2)))
    assert kinds(audit(run, target)) == []
    assert kinds(audit(replace(run, quick=True), target)) == []


def test_wrong_sizes_of_a_compressed_message_are_corrected(run: Run, target: Target, maildir: Path) -> None:
    renamed(f"cur/{SECOND}:2,S", f"cur/{UNIQUE},S=99,W=100:2,S")(maildir)
    data = gzip.compress(body("", 2))
    (maildir / "cur" / f"{UNIQUE},S=99,W=100:2,S").write_bytes(data)
    assert ("wrong-size", "INBOX") in kinds(audit(run, target))
    log = undo.UndoLog(str(maildir.parent / "undo"), run.call)
    assert repair(run, target, log, audit(run, target).findings) == []
    assert (maildir / "cur" / f"{UNIQUE},{TRUE}:2,S").read_bytes() == data
    assert parse((maildir / "dovecot-uidlist").read_bytes()).uids[f"{UNIQUE},{TRUE}".encode()] == 2


def test_a_damaged_compressed_message_keeps_its_name(run: Run, target: Target, maildir: Path) -> None:
    """Nothing can be said of its sizes: neither with sizes that may be right, nor with others."""
    for sizes in (TRUE, "S=99,W=100"):
        name = f"cur/{UNIQUE},{sizes}:2,S"
        renamed(f"cur/{SECOND}:2,S" if sizes == TRUE else f"cur/{UNIQUE},{TRUE}:2,S", name)(maildir)
        (maildir / name).write_bytes(gzip.compress(body("", 2))[:-5])
        log = undo.UndoLog(str(maildir.parent / f"undo-{sizes}"), run.call)
        findings = audit(run, target).findings
        assert ("damaged-message", "INBOX") in [(one.kind, one.mailbox) for one in findings]
        repair(run, target, log, [one for one in findings if one.kind in ("damaged-message", "wrong-size")])
        assert (maildir / name).exists()


def test_names_that_differ_in_wrong_sizes_alone_stay_two(run: Run, target: Target, maildir: Path) -> None:
    renamed(f"cur/{SECOND}:2,S", f"cur/{UNIQUE},S=1:2,S")(maildir)
    renamed(f"cur/{base('', 3)}:2,S", f"cur/{UNIQUE},S=2:2,F")(maildir)
    log = undo.UndoLog(str(maildir.parent / "undo"), run.call)
    assert repair(run, target, log, audit(run, target).findings) == []
    uids = parse((maildir / "dovecot-uidlist").read_bytes()).uids
    found = {uids[path.name.partition(":")[0].encode()]: path for path in (maildir / "cur").iterdir()}
    assert [found[uid].read_bytes() for uid in (2, 3)] == [body("", 2), body("", 3)]
    assert [found[uid].name[-1] for uid in (2, 3)] == ["S", "F"]
    # One has a name of today: its line tells when it came. Decision 0020.
    came = int(UNIQUE.partition(".")[0])
    named_anew = [uid for uid in (2, 3) if named(found[uid].name.encode()) != came]
    assert [parse_fields(uids.raw(uid))[b"D"] for uid in named_anew] == [b"%d" % came]
