"""Mail on file systems whose times say less than usual: seconds, FAT's two, a server's clock. `formats.md` 1.8, 7.4."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.descriptors import LetGo

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage import maildir_box
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import FlagAction, FlagChange
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.mounts import Mount, Samples, mount_at, step

from .volume import Volume

SECOND = 1_000_000_000
STALE = 3 * SECOND  # the longest time for which anything may be overlooked

KINDS = [  # step of the clock in ns, its offset in seconds, whether a server has it
    (4_000_000, 0.0, False),
    (SECOND, 0.0, False),
    (2 * SECOND, 0.0, False),
    (1, 0.0, True),
    (SECOND, -3600.0, True),
    (SECOND, 3600.0, True),
    (2 * SECOND, -0.7, True),
    (4_000_000, 0.7, True),
    (2 * SECOND, 90.0, True),
    (4_000_000, -90.0, True),
]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0] / 1e9:g}s{kind[1]:+g}{'-server' if kind[2] else ''}")
def volume(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    step_ns, offset, is_remote = request.param
    monkeypatch.setattr(maildir_box, "mount_of", lambda _: Mount("nfs4" if is_remote else "ext4", "/mail"))
    return Volume(tmp_path / "Maildir", step_ns, offset, is_remote)


def worker(volume: Volume) -> MaildirAccount:
    settings = MaildirSettings(mail_path=str(volume.path), lock_timeout=2.0)
    return MaildirStore(volume.runtime(), files=Files(volume.call)).open_account("alice", settings)


def inbox(volume: Volume) -> MaildirMailbox:
    mailbox = worker(volume).open("INBOX")
    assert isinstance(mailbox, MaildirMailbox)
    return mailbox


def add(*flags: str) -> FlagChange:
    return FlagChange(FlagAction.ADD, frozenset(flags))


class Truth:
    """What has happened to each message, and when."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.changed: dict[str, int] = {}  # base name -> when its file last changed
        self.gone: dict[str, int] = {}
        self.missed: dict[
            tuple[MaildirMailbox, str], tuple[int, int]
        ] = {}  # gone, and still known: first look at that, number of looks
        self.count = 0

    def note(self, base: str) -> None:
        self.changed[base] = self.volume.now_ns

    def cur(self) -> list[str]:
        return sorted(os.listdir(self.volume.path / "cur"))

    def compare(self, mailbox: MaildirMailbox) -> None:
        """Every delivery is known at once, changed flags after three seconds; and that a message is gone, soon."""
        now = self.volume.now_ns
        names = {name.split(":")[0]: name for part in ("new", "cur") for name in os.listdir(self.volume.path / part)}
        index = mailbox.box.index
        known = {os.fsdecode(name).split(":")[0]: row for row, name in enumerate(index.names)}
        assert names.keys() <= known.keys(), "a message was overlooked"
        for base in known.keys() - names.keys():
            if now - self.gone[base] >= STALE:  # must have been missed by now; three looks, and it is certain
                since, looks = self.missed.get((mailbox, base), (now, 0))
                self.missed[mailbox, base] = (since, looks + 1)
                assert now - since < STALE or looks < 3, "a message is long gone"
        for base, name in names.items():
            if now - self.changed[base] < STALE:
                continue
            letters = name.partition(":2,")[2]
            assert ("\\Seen" in index.table.flags_of(known[base])) == ("S" in letters), name
            assert ("\\Flagged" in index.table.flags_of(known[base])) == ("F" in letters), name


def act(truth: Truth, mailboxes: list[MaildirMailbox], draw: random.Random) -> None:
    """One of the things that happen; some of them twice at the same moment."""
    volume, cur = truth.volume, truth.cur()
    match draw.choice(["deliver", "deliver", "flag", "flag", "remove", "store", "claim", "reopen"]):
        case "deliver":
            truth.count += 1
            base = f"{1_700_000_000 + truth.count}.M{truth.count}P1.mx"
            volume.deliver(base)
            truth.note(base)
        case "flag" if cur:
            name = draw.choice(cur)
            base, _, letters = name.partition(":2,")
            letter = draw.choice("FS")
            volume.rename(name, f"{base}:2,{''.join(sorted(set(letters) ^ {letter}))}")
            truth.note(base)
        case "remove" if len(cur) > 3:
            name = draw.choice(cur)
            volume.remove(name)
            truth.gone[name.split(":")[0]] = volume.now_ns
        case "store":
            mailbox = draw.choice(mailboxes)
            mailbox.look()
            if len(mailbox.table):
                uid = draw.choice(mailbox.table.uids)
                base = os.fsdecode(mailbox.box.index.names[mailbox.table.row(uid)]).split(":")[0]
                if uid not in mailbox.store([uid], add("\\Seen")).missing:
                    truth.note(base)
        case "claim":
            draw.choice(mailboxes).claim_recent()
        case "reopen":
            mailboxes[draw.randrange(len(mailboxes))] = inbox(volume)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_overlooked_whatever_the_clock(volume: Volume, seed: int) -> None:
    draw = random.Random(seed)
    truth = Truth(volume)
    mailboxes = [inbox(volume), inbox(volume)]
    uids: dict[str, int] = {}
    for _ in range(70):
        act(truth, mailboxes, draw)
        volume.sleep(draw.choice([0.0, 0.0, 0.001, 0.02, 0.3, 0.9, 1.7, 3.5]))
        if draw.random() < 0.7:
            mailbox = draw.choice(mailboxes)
            mailbox.look()
            truth.compare(mailbox)
            for uid, name in zip(mailbox.table.uids, mailbox.box.index.names, strict=True):
                assert uids.setdefault(os.fsdecode(name).split(":")[0], uid) == uid
    for mailbox in mailboxes:
        for _ in range(5):
            volume.sleep(1.0)
            mailbox.look()
        truth.compare(mailbox)
        assert mailbox.unsure() == float("inf")
    assert list(mailboxes[0].table.uids) == list(mailboxes[1].table.uids)
    assert mailboxes[0].modseq == mailboxes[1].modseq


def test_a_second_delivery_in_the_second_of_our_look(volume: Volume) -> None:
    """Check 45, with any clock."""
    mailbox = inbox(volume)
    for number in range(5):
        volume.deliver(f"170000000{number}.x")
        mailbox.look()
        assert len(mailbox.table) == number + 1


def test_who_idles_is_told_when_to_look_again(volume: Volume) -> None:
    volume.path.joinpath("cur").mkdir(parents=True)
    mailbox = inbox(volume)
    volume.deliver("1700000000.x:2,", "cur")
    mailbox.look()
    volume.rename("1700000000.x:2,", "1700000000.x:2,S")  # in the same step of most clocks
    mailbox.look()
    told = 0.0
    while mailbox.table.flags_of(0) != {"\\Seen"} and told < 3.0:
        volume.sleep(mailbox.unsure())
        told += mailbox.unsure() or 0.1
        mailbox.look()
    assert mailbox.table.flags_of(0) == {"\\Seen"}


def test_what_listings_of_one_second_miss_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where times are fine an unchanged time proves that nobody renamed during a listing; in a second it does not."""
    monkeypatch.setattr(maildir_box, "mount_of", lambda _: Mount("ext4", "/mail"))
    volume = Volume(tmp_path / "Maildir", SECOND, 0.0)
    volume.path.joinpath("cur").mkdir(parents=True)
    mailbox = inbox(volume)
    volume.deliver("1700000000.x:2,", "cur")
    mailbox.look()
    volume.sleep(3.0)
    mailbox.look()
    volume.rename("1700000000.x:2,", "1700000000.x:2,S")
    volume.hidden = {"1700000000.x:2,S"}
    mailbox.look()
    mailbox.look()
    assert len(mailbox.table) == 1
    volume.hidden = set()
    mailbox.look()
    assert list(mailbox.table.uids) == [1] and mailbox.table.flags_of(0) == {"\\Seen"}
    volume.remove("1700000000.x:2,S")
    mailbox.look()
    assert len(mailbox.table) == 1
    for _ in range(3):
        volume.sleep(min(mailbox.unsure(), 2.5) + 0.1)
        mailbox.look()
    assert len(mailbox.table) == 0


def test_what_was_said_to_be_stale_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, let_go: LetGo
) -> None:
    """ESTALE at each system call in turn: a look does without, a change is done or can be done again."""
    monkeypatch.setattr(maildir_box, "mount_of", lambda _: Mount("nfs4", "/mail"))
    struck: dict[str, int] = {}
    at = 0
    while True:
        at += 1
        volume = Volume(tmp_path / str(at), SECOND, 90.0, keeps_open_names=True)
        inbox(volume).close()
        for number in range(3):
            volume.deliver(f"170000000{number}.x")
        volume.count, volume.stale_at = 0, at
        mailbox = inbox(volume)  # reading never fails
        mailbox.look()
        first, second, third = uids = list(mailbox.table.uids)  # not 1, 2, 3 if these were given out and then not kept
        for uid in uids:
            try:
                content = mailbox.content(uid)
            except StorageError as error:
                assert error.reason is Reason.UNAVAILABLE
                content = mailbox.content(uid)
            assert content.read().startswith(b"Subject: hi\r\n")
            content.close()
        for change in (
            mailbox.claim_recent,
            partial(mailbox.store, [first, second], add("\\Deleted")),
            partial(mailbox.expunge, [first]),
        ):
            try:
                change()
            except StorageError as error:
                assert error.reason is Reason.UNAVAILABLE
                change()
        volume.sleep(5.0)
        mailbox.look()
        volume.stale_at = 0
        other = inbox(volume)
        for seen in (mailbox, other):
            assert {uid: set(seen.table.flags_of(row)) for row, uid in enumerate(seen.table.uids)} == {
                second: {"\\Deleted"},
                third: set(),
            }
        if not volume.struck:
            break
        struck[volume.struck] = struck.get(volume.struck, 0) + 1
        mailbox.close()
        other.close()
        let_go()
    assert sum(struck.values()) == at - 1 and {"open", "glance", "rename", "flock", "listdir"} <= struck.keys()


def test_a_journal_that_was_replaced_is_left_although_it_keeps_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildir_box, "mount_of", lambda _: Mount("nfs4", "/mail"))
    volume = Volume(tmp_path / "Maildir", 1, 0.0, keeps_open_names=True)
    one = inbox(volume)
    volume.deliver("1700000000.x:2,", "cur")
    one.look()
    other = inbox(volume)
    assert one.box.index_files is not None
    with one.box.locked():
        one.box.index_files.fold(one.box.index)
    one.store([1], add("\\Seen"))
    other.look()
    assert other.table.flags_of(0) == {"\\Seen"} and other.modseq == one.modseq
    other.store([1], add("\\Flagged"))
    one.look()
    assert one.table.flags_of(0) == {"\\Seen", "\\Flagged"} and other.modseq == one.modseq


# What a file system is


def test_the_mount_of_a_directory_is_known() -> None:
    assert (mount_at("/proc").kind, mount_at("/proc").path) == ("proc", "/proc")
    with pytest.raises(FileNotFoundError):
        mount_at("/nothing/there")


@pytest.mark.parametrize(
    "kind, is_remote",
    [("ext4", False), ("btrfs", False), ("tmpfs", False), ("overlay", False), ("vfat", False), ("nfs", True),
     ("nfs4", True), ("cifs", True), ("9p", True), ("fuse.sshfs", True), ("fuseblk", True), ("virtiofs", True),
     ("something-new", True), ("", True)],
)  # fmt: skip
def test_what_is_not_known_to_be_local_is_not_trusted(kind: str, is_remote: bool) -> None:
    assert Mount(kind, "/mail").is_remote is is_remote


@pytest.mark.parametrize(
    "mtime, expected",
    [(5 * SECOND + 1, 12_000_000), (5 * SECOND + 999_000_000, 12_000_000), (5 * SECOND, 2_012_000_000)],
)
def test_the_step_of_a_time(mtime: int, expected: int) -> None:
    assert step(mtime) == expected


@pytest.mark.parametrize(
    "times, lines",
    [([1, 2, 3, 4], 1), ([1, 1, 1, 1], 0), ([1, 2], 0), ([1, 2, 2.5, 3, 4, 5], 0), ([0.5, 1, 2, 3, 4], 0)],
)
def test_whole_seconds_are_told_once(times: list[float], lines: int, caplog: pytest.LogCaptureFixture) -> None:
    samples = Samples()
    for moment in times:
        samples.add(1, int(moment * SECOND), b"/mail/cur")
    assert caplog.text.count("degraded what=whole-second-times path=b'/mail/cur'") == lines


@pytest.fixture
def small_inodes(tmp_path: Path) -> Iterator[Path]:
    """A real file system that keeps whole seconds: ext4 has no room for more in inodes of 128 octets."""
    image, disk = tmp_path / "disk.img", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    for command in (
        ["mkfs.ext4", "-q", "-I", "128", "-O", "^metadata_csum", str(image)],
        ["mount", "-o", "loop", str(image), str(disk)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is needed to mount a file system with whole-second times")
        if done.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_real_file_system_with_whole_second_times(small_inodes: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel's own times: what is delivered and renamed in the second of our look."""
    path = small_inodes / "Maildir"
    shift = [0.0]
    settings = MaildirSettings(mail_path=str(path))
    real = replace(direct(), sleep=lambda seconds: None, now=lambda: time.time() + shift[0])
    mailbox = MaildirStore(real).open_account("alice", settings).open("INBOX")
    assert isinstance(mailbox, MaildirMailbox) and not mailbox.box.times.is_remote
    for number in range(20):
        (path / "tmp" / "x").write_bytes(b"A: 1\n\none\n")
        os.rename(path / "tmp" / "x", path / "cur" / f"17000000{number:02}.x:2,")
        mailbox.look()
        assert os.stat(path / "cur").st_mtime_ns % SECOND == 0
    os.rename(path / "cur" / "1700000000.x:2,", path / "cur" / "1700000000.x:2,S")
    shift[0] = 3.0
    mailbox.look()
    assert len(mailbox.table) == 20
    assert mailbox.table.flags_of(0) == {"\\Seen"}
