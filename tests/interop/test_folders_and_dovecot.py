"""Folders, control files, damage and locks, and Dovecot 2.3 afterwards: checks 26-45 of `formats.md` 9."""

import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support import dovecot, trees
from support import server as greenmail
from support.in_turns import Site, body, file_of, mail, names, record, state, uids_of
from support.wire_client import Imap, flat, parse

from greenmail.storage import mutf7

pytestmark = pytest.mark.interop


@pytest.fixture
def site(place: Path) -> Site:
    return Site(place, trees.unpack("dovecot", place))


def listed(client: Imap, command: str = 'LIST "" "*"') -> dict[str, set[str]]:
    trees_ = [parse(parts) for parts in client.ok(command)]
    return {tree[-1]: set(tree[2]) for tree in trees_ if tree[1] in ("LIST", "LSUB")}


def uidvalidity(maildir: Path) -> int:
    header = (maildir / "dovecot-uidlist").read_bytes().partition(b"\n")[0]
    return int(re.search(rb" V(\d+)", header).group(1))  # type: ignore[union-attr]  # every header has it


def states(client: Imap, wanted: list[str]) -> dict[str, Any]:
    return {name: state(client, name) for name in wanted}


# Folders


def test_check_26_create_and_the_counter(site: Site) -> None:
    with site.greenmail() as client:
        client.ok('CREATE "Gr&APw-n/&ANw-"')
        ours = state(client, "Gr&APw-n/&ANw-")[0]
    box = site.maildir / ".Gr&APw-n.&ANw-"
    assert {"cur", "new", "tmp", "maildirfolder"} <= {path.name for path in box.iterdir()}
    assert uidvalidity(box) == ours
    assert (site.maildir / "dovecot-uidvalidity").read_text() == f"{ours:08x}"
    assert (site.maildir / f"dovecot-uidvalidity.{ours:08x}").exists()
    with site.dovecot() as client:
        assert state(client, "Gr&APw-n/&ANw-")[0] == ours
        client.ok("CREATE after")
        theirs = state(client, "after")[0]
    with site.greenmail() as client:
        client.ok("CREATE again")
        assert ours < theirs < state(client, "again")[0]


def test_check_27_delete_keeps_the_children(site: Site) -> None:
    with site.greenmail() as client:
        client.ok("DELETE Archive")
    left = sorted(path.name for path in site.maildir.iterdir() if path.name.startswith((".Archive", "..")))
    assert not (site.maildir / ".Archive").exists()
    trash = [site.maildir / name for name in left if name.startswith("..")]
    assert all(not list(path.iterdir()) for path in trash)
    with site.dovecot() as client:
        assert client.command("SELECT Archive")[0].startswith(b"NO Mailbox doesn't exist")
    for path in site.maildir.glob("dovecot.list.index*"):  # its cache of names does not notice: formats.md 3.7
        path.unlink()
    with site.dovecot() as client:
        found = listed(client)
    assert "\\Noselect" in found["Archive"] and "\\HasChildren" in found["Archive"]
    assert {"Archive/2024", "Archive/2024/M&AOQ-rz"} <= found.keys()


def test_check_28_rename_takes_uids_and_uidvalidity_along(site: Site) -> None:
    boxes = ["Archive", "Archive/2024", "Archive/2024/M&AOQ-rz"]
    with site.dovecot() as client:
        before = states(client, boxes)
    with site.greenmail() as client:
        client.ok("RENAME Archive Old")
    with site.dovecot() as client:
        after = states(client, [name.replace("Archive", "Old") for name in boxes])
        assert not any(name.startswith("Archive") for name in listed(client))
    assert list(after.values()) == list(before.values())


def test_check_29_subscriptions_keep_their_version(site: Site) -> None:
    path = site.maildir / "subscriptions"
    before = path.read_bytes()
    assert before.startswith(b"V\t2\n\n")
    with site.greenmail() as client:
        client.ok('SUBSCRIBE "Many Keywords"')
        assert path.read_bytes() == before + b"Many Keywords\n"
        client.ok("UNSUBSCRIBE Doomed")
        assert path.read_bytes() == before.replace(b"Doomed\n", b"") + b"Many Keywords\n"
        mine = listed(client, 'LSUB "" "*"').keys()
    with site.dovecot() as client:
        assert listed(client, 'LSUB "" "*"').keys() == mine
    path.write_bytes(b"INBOX\nArchive.2024\nnot-there.x\n")  # version 1
    with site.greenmail() as client:
        client.ok("SUBSCRIBE Sent")
        client.ok("UNSUBSCRIBE INBOX")
    assert path.read_bytes() == b"Archive.2024\nnot-there.x\nSent\n"
    with site.dovecot() as client:
        assert listed(client, 'LSUB "" "*"').keys() == {"Archive/2024", "not-there/x", "Sent"}


# What nobody here knows


def plant(box: Path) -> dict[Path, bytes]:
    """Files of other programs, and what they hold."""
    planted = {
        box / "dovecot.mailbox.log": b"\4\0\0\0" + bytes(range(20)),
        box / ".dovecot.sieve": b"keep;\n",
        box / "dovecot-acl": b'owner akxeilprwts\n"user=a b" lr\n-anyone r\n',
        box / "unknown.file": os.urandom(100),
        box / "tmp" / "temp.host.1.abc": b"x",
        box / "extra-directory" / "cur.old": b"\0\r\n",
    }
    for path, data in planted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return planted | {path: path.read_bytes() for path in box.glob("dovecot.index*")}


@pytest.mark.slow
def test_check_31_what_is_unknown_survives_a_thousand_operations(site: Site) -> None:
    path = site.maildir / "dovecot-uidlist"
    lines = path.read_bytes().split(b"\n")
    lines[0] += b" Xunknown-header"
    lines[1] = lines[1].replace(b" :", b" Zodd Qvalue :", 1).replace(b" :", b" :")
    marked = lines[1]
    path.write_bytes(b"\n".join(lines))
    files = plant(site.maildir) | plant(site.maildir / ".Archive")
    chance = random.Random(7)
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        for number in range(1000):
            if number % 10 == 0:  # some of them may be gone when their turn comes
                uids = sorted(set(client.fetch("1:* (UID)")) - {1})
            uid = chance.choice(uids or [2])
            what = chance.choice(["store", "store", "store", "append", "copy", "expunge", "move"])
            if what == "append" or len(uids) < 5:
                client.ok(f"APPEND INBOX (\\Seen kw{number % 3})", mail(str(number)))
                client.ok("NOOP")
            elif what == "store":
                client.ok(f"UID STORE {uid} {chance.choice('+-')}FLAGS (\\Flagged kw{number % 3})")
            elif what == "expunge":
                client.ok(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
                client.ok(f"UID EXPUNGE {uid}")
            else:
                client.ok(f"UID {what} {uid} Archive")
        ours = {name: state(client, name) for name in ("INBOX", "Archive")}
    wrong = [file for file, data in files.items() if not file.exists() or file.read_bytes() != data]
    assert not wrong, wrong
    after = path.read_bytes().split(b"\n")
    assert b"Xunknown-header" in after[0].split(b" ")
    assert after[1].rstrip(b"\r") == marked
    with site.dovecot(may_complain=True) as client:  # of the planted index
        assert {name: state(client, name) for name in ours} == ours


# The way back


def test_check_34_the_way_back_with_doveadm(site: Site) -> None:
    doveadm = shutil.which("doveadm")
    boxes = ["INBOX", "Archive", "Many Keywords", "Sent", "Empty"]
    highest = {}
    with site.greenmail() as client:
        for name in boxes:
            client.ok(f'SELECT "{name}"')
            client.ok(f'APPEND "{name}"', mail("newer"))
            highest[name] = modseq(client, name)
    assert highest["INBOX"] > 39 and highest["Many Keywords"] > 51
    with dovecot.start(site.where / "back", site.maildir) as server:
        for name, number in highest.items():
            command = [doveadm, "-c", str(site.where / "back" / "dovecot.conf"), "mailbox", "update", "-u", "alice"]
            subprocess.run([*command, "--min-highest-modseq", str(number), name], check=True, timeout=30)
        with Imap(server.imap).login() as client:
            for name, number in highest.items():
                assert modseq(client, name) >= number
                client.ok("STORE 1 +FLAGS (\\Flagged)")
                theirs = modseq(client, name)
                assert theirs > number
                highest[name] = theirs
    with site.greenmail() as client:
        for name, number in highest.items():
            assert modseq(client, name) >= number


def modseq(client: Imap, name: str) -> int:
    lines = b"\n".join(client.lines(f'SELECT "{name}" (CONDSTORE)'))
    return int(re.search(rb"HIGHESTMODSEQ (\d+)", lines).group(1))  # type: ignore[union-attr]  # SELECT has it


# Damage


def full_names(box: Path) -> list[bytes]:
    """The records of the uidlist with the last known full names."""
    files = {name.partition(":")[0]: name for part in ("cur", "new") for name in names(box / part)}
    lines = []
    for line in (box / "dovecot-uidlist").read_bytes().split(b"\n")[1:]:
        head, colon, base = line.partition(b":")
        lines.append(head + colon + os.fsencode(files.get(os.fsdecode(base), os.fsdecode(base))))
    return lines


def version_1(box: Path) -> bytes:
    records = [line.partition(b":") for line in (box / "dovecot-uidlist").read_bytes().split(b"\n")[1:] if line]
    body = b"".join(b"%d %b\n" % (int(head.split()[0]), base) for head, _, base in records)
    return b"1 %d 23\n" % uidvalidity(box) + body


def header(box: Path) -> bytes:
    return (box / "dovecot-uidlist").read_bytes().partition(b"\n")[0]


def records(box: Path) -> list[bytes]:
    return (box / "dovecot-uidlist").read_bytes().split(b"\n")[1:-1]


DAMAGE = {
    "check 35, version 1": version_1,
    "check 35, CRLF": lambda box: (box / "dovecot-uidlist").read_bytes().replace(b"\n", b"\r\n"),
    "check 35, no GUID": lambda box: b"\n".join([header(box).rpartition(b" G")[0], *records(box), b""]),
    "check 35, stale lines": lambda box: b"\n".join([header(box), b"2 :stale.one", *records(box), b""]),
    "check 35, full names": lambda box: b"\n".join([header(box), *full_names(box)]),
    "check 36, no LF at the end": lambda box: (box / "dovecot-uidlist").read_bytes()[:-1],
    "check 37, not in order": lambda box: b"\n".join([header(box), *reversed(records(box)), b""]),
    "check 37, doubled lines": lambda box: b"\n".join([header(box), *records(box), *records(box), b""]),
    "check 37, a line of garbage": lambda box: b"\n".join([header(box), *records(box), b"garbage", b""]),
}


def clone(site: Site, name: str, number: int) -> Path:
    """A mailbox like INBOX with a GUID of its own."""
    box = site.maildir / f".{name}"
    box.mkdir()
    for part in ("cur", "new", "tmp"):
        shutil.copytree(site.maildir / part, box / part)
    shutil.copy2(site.maildir / "dovecot-keywords", box)
    guid = re.compile(rb"(?<= G)[0-9a-f]{32}")
    data = (site.maildir / "dovecot-uidlist").read_bytes()
    (box / "dovecot-uidlist").write_bytes(guid.sub(b"%032x" % (0xFEED00 + number), data, count=1))
    return box


def test_checks_35_to_37_a_damaged_uidlist_costs_no_uid(site: Site) -> None:
    with site.greenmail() as client:  # numbers the mail that no server had seen
        before = state(client, "INBOX")
        bodies = {uid: body(client, uid) for uid in before[1]}
    boxes = {f"Damaged{number}": damage for number, damage in enumerate(DAMAGE)}
    for number, (name, damage) in enumerate(boxes.items()):
        box = clone(site, name, number)
        (box / "dovecot-uidlist").write_bytes(DAMAGE[damage](box))
    uids = {}
    with site.greenmail() as client:
        for name, damage in boxes.items():
            assert state(client, name) == before, damage
            client.ok(f"APPEND {name}", mail("after"))
            (uids[name],) = uids_of("APPENDUID", client.answer)
            assert uids[name] > max(before[1]), damage
    with site.dovecot() as client:
        for name, damage in boxes.items():
            validity, flags = state(client, name)
            assert (validity, {known: flags[known] for known in before[1]}) == before, damage
            assert sorted(flags) == [*sorted(before[1]), uids[name]], damage
            assert {known: body(client, known) for known in bodies} == bodies, damage


@pytest.mark.slow
def test_check_38_a_thousand_renames_a_second_expunge_nothing(site: Site) -> None:
    owner = pwd.getpwnam(dovecot.OWNER)
    for number in range(300):
        path = site.maildir / ".Empty" / "cur" / f"1700000000.M{number}P1.mx:2,"
        path.write_bytes(mail(str(number)))
        os.chown(path, owner.pw_uid, owner.pw_gid)
    stop, renamed = threading.Event(), [0]

    def rename() -> None:
        box = site.maildir / ".Empty" / "cur"
        while not stop.is_set():
            for number in range(300):
                for old, new in ((":2,", ":2,S"), (":2,S", ":2,")):
                    base = box / f"1700000000.M{number}P1.mx"
                    os.rename(f"{base}{old}", f"{base}{new}")
                    renamed[0] += 1
                time.sleep(0.0005)  # the other server of this machine needs the processor too

    with site.greenmail() as client:
        client.ok("SELECT Empty")
        thread = threading.Thread(target=rename)
        thread.start()
        start, fetched = time.monotonic(), 0
        try:
            while time.monotonic() - start < 4:
                answers = client.ok("FETCH 1:* (UID BODY.PEEK[])")
                assert not any(b"EXPUNGE" in flat(parts)[:20] for parts in answers)
                bodies = [parts for parts in answers if any(isinstance(part, tuple) for part in parts)]
                assert len(bodies) == 300, [flat(parts)[:80] for parts in answers[:3]]
                fetched += len(bodies)
        finally:
            stop.set()
            thread.join()
        seconds = time.monotonic() - start
        client.ok("NOOP")
        assert len(client.fetch("1:* (FLAGS)")) == 300
    print({"renames a second": round(renamed[0] / seconds), "bodies": fetched, "lost": 0})
    assert renamed[0] / seconds > 1000


def test_check_39_wrong_sizes_in_names_harm_no_reader(site: Site) -> None:
    data = mail("thirty-nine").replace(b"\r\n", b"\n")
    wrong = ["S=5,W=6", f"S={len(data) + 100},W={len(data) + 100}", "S=,W=x", f"S={len(data)},W=1"]
    for number, sizes in enumerate(wrong):
        (site.maildir / ".Empty" / "cur" / f"170000000{number}.x.mx,{sizes}:2,").write_bytes(data)
    with site.greenmail() as client:
        client.ok("SELECT Empty")
        for _ in range(2):
            found = client.fetch("1:* (RFC822.SIZE BODY.PEEK[] BODY.PEEK[TEXT])")
            assert [items["BODY[]"].encode() for items in found.values()] == [mail("thirty-nine")] * 4
        found = client.fetch("1:* (RFC822.SIZE)")
        assert {items["RFC822.SIZE"] for items in found.values()} == {len(mail("thirty-nine"))}


def test_check_40_one_base_name_twice(site: Site) -> None:
    with site.greenmail() as client:
        before = state(client, "Sent")
    box = site.maildir / ".Sent"
    original = file_of(box, max(before[1]))
    twin = original.with_name(original.name.partition(":")[0] + ":2,FT")
    assert twin != original
    twin.write_bytes(original.read_bytes().replace(b"e", b"E"))  # as long as the name says
    bodies = {path.read_bytes().replace(b"\r\n", b"\n") for path in (original, twin)}
    assert len(bodies) == 2
    with site.greenmail() as client:
        _, flags = state(client, "Sent")
        assert len(flags) == len(before[1]) + 1 and before[1].keys() < flags.keys()
        found = {uid: body(client, uid) for uid in flags}
    assert bodies <= {data.replace(b"\r\n", b"\n") for data in found.values()}
    with site.dovecot() as client:
        assert state(client, "Sent")[1].keys() == flags.keys()
        assert {uid: body(client, uid) for uid in flags} == found


# Locks


HOLD = """
    import os, sys, time
    from greenmail.storage.filesystem import Files
    from greenmail.storage.locks import MailboxLock, Owner, Waiting
    owner = Owner.this_process(sys.argv[2])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[3]))
    with MailboxLock(Files(), os.fsencode(sys.argv[1]), owner, Waiting(time.sleep, time.time, 5.0)):
        print("held", flush=True)
        sys.stdin.readline()
"""


def test_killed_inside_the_locked_section_the_next_store_takes_no_time(site: Site) -> None:
    lock = site.maildir / "dovecot-uidlist.lock"
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        client.ok("UID STORE 6 +FLAGS (\\Flagged)")
        owner = pwd.getpwnam(dovecot.OWNER)
        command = [sys.executable, "-c", textwrap.dedent(HOLD), str(site.maildir), socket.gethostname()]
        command += [str(owner.pw_uid), str(owner.pw_gid)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout and holder.stdout.readline() == b"held\n"
            holder.send_signal(signal.SIGKILL)
            holder.wait(10)
        assert lock.exists()
        since = time.monotonic()
        client.ok("UID STORE 6 -FLAGS (\\Flagged)")
        seconds = time.monotonic() - since
    print({"milliseconds": round(seconds * 1000, 1)})
    assert seconds < 0.05 and not lock.exists()


def test_check_41_the_lock_of_a_dead_process_of_this_host(site: Site) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait(10)
    lock = site.maildir / "dovecot-uidlist.lock"
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        lock.write_text(f"{dead.pid}:{socket.gethostname()}")
        since = time.monotonic()
        client.ok("UID STORE 6 +FLAGS (\\Answered)")
        assert time.monotonic() - since < 3.5
    assert not lock.exists()


@pytest.mark.parametrize("content", ["{living}:{host}", "1:host.that.nobody.knows"])
def test_check_41_a_lock_that_may_be_alive_is_left(site: Site, content: str) -> None:
    lock = site.maildir / "dovecot-uidlist.lock"
    dovecot.give(site.maildir)
    with greenmail.start(
        site.where / "run", str(site.maildir), user=dovecot.OWNER, group=dovecot.OWNER, lock_timeout=4,
        run_path=str(site.where / "sockets"),
    ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
        client.ok("SELECT INBOX")
        lock.write_text(content.format(living=os.getpid(), host=socket.gethostname()))
        answer, _ = client.command("UID STORE 6 +FLAGS (\\Answered)")
        assert answer.startswith(b"NO [INUSE]"), answer
        assert lock.exists()
        assert client.fetch("6 (FLAGS)")  # reading needs no lock
        lock.unlink()
        client.ok("UID STORE 6 +FLAGS (\\Answered)")


def test_check_45_two_deliveries_in_one_step_of_the_clock(site: Site) -> None:
    owner = pwd.getpwnam(dovecot.OWNER)
    box = site.maildir / ".Empty"
    with site.greenmail() as client:
        client.ok("SELECT Empty")
        for number in range(50):
            for part in "ab":
                path = box / "tmp" / f"1700000000.M{number}{part}.mx"
                path.write_bytes(mail(f"{number}{part}"))
                os.chown(path, owner.pw_uid, owner.pw_gid)
            (box / "tmp" / f"1700000000.M{number}a.mx").rename(box / "new" / f"1700000000.M{number}a.mx")
            if number % 2:
                client.ok("NOOP")  # a look between the two
            (box / "tmp" / f"1700000000.M{number}b.mx").rename(box / "new" / f"1700000000.M{number}b.mx")
            client.ok("NOOP")
            assert len(client.fetch("1:* (UID)")) == 2 * number + 2
    with site.dovecot() as other:
        ours = {uid: record(box, uid).partition(":")[2] for uid in range(1, 101)}
        assert len(set(ours.values())) == 100
        assert sorted(state(other, "Empty")[1]) == list(range(1, 101))


# From Courier to Dovecot, by way of GreenMail


def test_check_50_what_was_imported_from_courier_is_what_dovecot_lists(place: Path) -> None:
    maildir = trees.unpack("courier", place)
    dovecot.give(maildir)
    with greenmail.start(
        place / "run", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER, separator=".", prefix="INBOX.",
        run_path=str(place / "sockets"),
    ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
        folders, subscribed = set(listed(client)), set(listed(client, 'LSUB "" "*"'))
        ours = states(client, sorted(folders - noselect(client)))
    with (
        dovecot.start(place / "dovecot", maildir, separator=".", prefix="INBOX.", location=":UTF-8") as server2,
        Imap(server2.imap).login() as client,
    ):
        assert set(listed(client)) == folders
        assert set(listed(client, 'LSUB "" "*"')) == subscribed
        theirs = states(client, sorted(ours))
    for name, (validity, flags) in ours.items():
        lettered = {uid: without_overflow(maildir, name, found) for uid, found in flags.items()}
        assert theirs[name] == (validity, lettered), name


def noselect(client: Imap) -> set[str]:
    return {name for name, attributes in listed(client).items() if attributes & {"\\Noselect", "\\NonExistent"}}


def without_overflow(maildir: Path, name: str, flags: set[str]) -> set[str]:
    """Without the keywords that no letter was left for."""
    path = maildir / mutf7.decode(name.removeprefix("INBOX").encode("ascii")) / "dovecot-keywords"
    lines = path.read_text().splitlines() if path.exists() else []
    lettered = {line.split(" ", 1)[1] for line in lines}
    return {flag for flag in flags if flag.startswith("\\") or flag in lettered}
