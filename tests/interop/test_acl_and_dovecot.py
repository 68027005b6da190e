"""Access control lists, and Dovecot 2.3 on the same Maildir: checks 11 and 30 of `formats.md` 9, and who may what."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import dovecot, trees
from support import server as greenmail
from support.wire_client import Imap, flat
from support.wire_client import parse as parse_answer

from greenmail.storage.acl import Viewer, parse

pytestmark = pytest.mark.interop

PLUGIN = """
mail_plugins = acl
protocol imap {
  mail_plugins = acl imap_acl
}
plugin {
  acl = vfile
  acl_anyone = allow
  acl_groups = friends,team
}
"""
PUBLIC = """
namespace {{
  type = public
  separator = /
  prefix = Public/
  location = maildir:{root}
  subscriptions = no
  list = yes
}}
"""
GROUPS = frozenset({"friends", "team"})


@contextlib.contextmanager
def by_dovecot(place: Path, maildir: Path, extra: str = "") -> Iterator[Imap]:
    with dovecot.start(place, maildir, extra=PLUGIN + extra) as server, Imap(server.imap).login() as client:
        yield client


@contextlib.contextmanager
def by_greenmail(place: Path, maildir: Path) -> Iterator[Imap]:
    dovecot.give(maildir)
    with greenmail.start(
        place / "run", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER, run_path=str(place / "sockets")
    ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
        yield client


def acl(client: Imap, name: str) -> dict[str, frozenset[str]]:
    """Identifiers and rights as GETACL tells them."""
    answer, lines = client.command(f"GETACL {name}")
    assert answer.startswith(b"OK"), answer
    words = [word.encode("latin-1").decode() for word in parse_answer(lines[0])[3:]]
    return {who: frozenset(letters) for who, letters in zip(words[::2], words[1::2], strict=True)}


def rights(client: Imap, name: str) -> frozenset[str] | None:
    """What MYRIGHTS tells, without the obsolete letters; None: there is no such mailbox."""
    answer, lines = client.command(f"MYRIGHTS {name}")
    if answer.startswith(b"NO [NONEXISTENT]"):
        return None
    return frozenset(flat(lines[0]).decode().split()[-1]) - frozenset('cd"')


def test_check_11_getacl_of_the_recorded_tree(place: Path) -> None:
    maildir = trees.unpack("dovecot", place)
    every = frozenset("lrwstipekxacd")
    expected = {"bob": frozenset("lrs"), "carol": every, "-dave": frozenset("w"), "alice": every}
    with by_greenmail(place, maildir) as client:
        assert acl(client, "A&-B") == expected
        assert rights(client, "A&-B") == every - frozenset("cd")
        assert acl(client, "Sent") == {"alice": every}
    with by_dovecot(place / "dovecot", maildir) as client:
        assert acl(client, "A&-B") == expected


CHANGES = (
    "SETACL Archive bob lrs",
    'SETACL Archive "john doe" lrwi',
    "SETACL Archive -bob s",
    'SETACL Archive "-john doe" +i',
    "SETACL Archive $team lrk",
    'SETACL Archive !$banned ""',
    "SETACL Archive anyone l",
    "SETACL Archive alice -p",
    "SETACL Archive authenticated +r",
    "SETACL Archive -anyone x",
    "SETACL Archive bob +x",
    "SETACL Archive gone l",
    "DELETEACL Archive gone",
    'SETACL Archive "quo\\"te\\\\d" l',
    "SETACL Archive {5+}\r\nGr\u00fcn lr",
)


def test_check_30_dovecot_reads_what_setacl_wrote_and_the_other_way(place: Path) -> None:
    maildir = trees.unpack("dovecot", place)
    path = maildir / ".Archive" / "dovecot-acl"
    path.write_bytes(b"# ours\n\nuser=old name lr\n".replace(b"user=old name", b'"user=old name"'))
    with by_greenmail(place, maildir) as client:
        for change in CHANGES:
            client.ok(change.encode())
        ours = acl(client, "Archive")
        mine = rights(client, "Archive")
        client.ok("CREATE Archive/New/Below")
    data = path.read_bytes()
    assert data.startswith(b"# ours\n\n") and b'\n"user=old name" lr\n' in data
    assert (maildir / ".Archive.New.Below" / "dovecot-acl").read_bytes() == data
    assert not (maildir / ".Archive" / "dovecot-acl.lock").exists() and not (maildir / "dovecot-acl-list").exists()
    with by_dovecot(place / "dovecot", maildir) as client:
        assert acl(client, "Archive") == ours
        assert rights(client, "Archive") == mine == frozenset("lrwstiekxa")
        for change in ("SETACL Archive bob w", 'DELETEACL Archive "-john doe"', 'SETACL Archive "new one" lr'):
            client.ok(change)
        theirs = acl(client, "Archive")
    assert theirs["bob"] == frozenset("w") and "-john doe" not in theirs
    with by_greenmail(place / "again", maildir) as client:
        assert acl(client, "Archive") == theirs


WHO = (
    "anyone", "authenticated", "owner", "user=alice", "user=bob", "group=friends", "group=team", "group=others",
    "group-override=friends", "group-override=team", "user=carol d",
)  # fmt: skip


def random_list(draw: random.Random) -> str:
    lines = []
    for _ in range(draw.randint(0, 6)):
        who = draw.choice(("", "", "-")) + draw.choice(WHO)
        letters = "".join(draw.sample("lrwstipekxa", draw.randint(0, 11)))
        quoted = f'"{who}"' if " " in who else who
        lines.append(f"{quoted} {letters}{draw.choice(('', '', ' :foo', ' :lookup,read'))}\n")
    return "".join(lines)


def test_both_servers_give_the_same_rights(place: Path) -> None:
    """Lists drawn at random, in the user's own mail and in a public namespace."""
    draw = random.Random(20261122)
    lists = {f"X{number}": random_list(draw) for number in range(100)}
    maildir, public = place / "Maildir", place / "public"
    for root in (maildir, public):
        for part in ("cur", "new", "tmp"):
            (root / part).mkdir(parents=True)
        for name, text in lists.items():
            (root / f".{name}").mkdir()
            for part in ("cur", "new", "tmp"):
                (root / f".{name}" / part).mkdir()
            (root / f".{name}" / "dovecot-acl").write_text(text)
    dovecot.give(public)
    with by_dovecot(place / "dovecot", maildir, PUBLIC.format(root=public)) as client:
        for prefix, owner in (("", "alice"), ("Public/", "")):
            viewer = Viewer("alice", owner, GROUPS)
            for name, text in lists.items():
                ours = parse(text.encode()).my_rights(viewer)
                theirs = rights(client, prefix + name)
                assert (theirs or frozenset()) == (ours if ours != {"p"} else frozenset()), (prefix, text)
