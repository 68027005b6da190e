"""LAYOUT=fs beside Dovecot 2.3: each reads what the other made, and complains of nothing. `formats.md` 4.5."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import dovecot
from support import server as greenmail
from support.in_turns import mail, state
from support.wire_client import Imap, parse

pytestmark = pytest.mark.interop


@dataclass
class Site:
    """One tree, served by both in turn with the same options."""

    where: Path
    options: dict[str, str]
    separator: str = "/"
    count: int = 0

    @property
    def maildir(self) -> Path:
        return self.where / "mail"

    def path(self, name: str) -> Path:
        return self.where / name

    @contextlib.contextmanager
    def dovecot(self) -> Iterator[Imap]:
        self.count += 1
        dovecot.give(self.where)
        paths = {name.upper(): f"{self.where}/{name}" for name in ("control", "index", "inbox") if name in self.options}
        location = ":LAYOUT=fs" + "".join(f":{name}={path}" for name, path in paths.items())
        location += ":DIRNAME=mBx" * ("inner" in self.options) + ":UTF-8" * ("utf8" in self.options)
        directory = self.where / f"dovecot{self.count}"
        with dovecot.start(directory, self.maildir, separator=self.separator, location=location) as server:
            with Imap(server.imap).login() as client:
                yield client
            complaints = [line for line in server.logged().splitlines() if re.search("Warning|Error|Panic|Fatal", line)]
            assert not complaints, complaints

    @contextlib.contextmanager
    def greenmail(self) -> Iterator[Imap]:
        self.count += 1
        dovecot.give(self.where)
        settings: dict[str, Any] = {
            f"{name}-path": f"{self.where}/{name}" for name in ("control", "inbox") if name in self.options
        }
        settings |= {"mailbox-directory": "mBx"} if "inner" in self.options else {}
        settings["mailbox-names"] = "utf8" if "utf8" in self.options else "mutf7"
        with greenmail.start(
            self.where / f"run{self.count}", str(self.maildir), user=dovecot.OWNER, group=dovecot.OWNER, layout="fs",
            run_path=str(self.where / f"sockets{self.count}"), separator=self.separator, **settings,
        ) as server, Imap(server.imaps, tls=True).login() as client:  # fmt: skip
            yield client


def listed(client: Imap) -> dict[str, bool]:
    """Names, and whether they can be selected."""
    trees = [parse(parts) for parts in client.ok('LIST "" "*"')]
    return {tree[-1]: not {"\\Noselect", "\\NonExistent"} & set(tree[2]) for tree in trees if tree[1] == "LIST"}


def subscribed(client: Imap) -> set[str]:
    return {parse(parts)[-1] for parts in client.ok('LSUB "" "*"')}


def everything(client: Imap) -> dict[str, Any]:
    return {name: state(client, name) for name, is_mailbox in listed(client).items() if is_mailbox}


PLAIN: dict[str, str] = {}
SITES = [
    pytest.param((PLAIN, "/"), id="plain"),
    pytest.param(({"utf8": ""}, "."), id="utf8-and-dots"),
    pytest.param(({"control": "", "index": "", "inbox": ""}, "/"), id="all-elsewhere"),
    pytest.param(({"inner": ""}, "/"), id="dirname"),
    pytest.param(({"inner": "", "control": ""}, "."), id="dirname-and-control"),
]


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, place: Path) -> Site:
    options, separator = request.param
    made = Site(place, options, separator)
    for name in ("mail", *(name for name in ("control", "index", "inbox") if name in options)):
        made.path(name).mkdir()
        made.path(name).chmod(0o700)
    return made


def name_of(site: Site, name: str) -> str:
    return name.replace("/", site.separator)


MADE = ("A", "A/B", "P/Q/R", "M&AOQ-rz/A&-B", "INBOX/x")


def make(site: Site, client: Imap, names: tuple[str, ...] = MADE) -> None:
    for name in names:
        client.ok(f'CREATE "{name_of(site, name)}"')
    for name in ("INBOX", *names):
        client.ok(f'APPEND "{name_of(site, name)}" (\\Seen keyword)', mail("x"))
    client.ok(f'SUBSCRIBE "{name_of(site, "A/B")}"')
    client.ok(f'SUBSCRIBE "{name_of(site, "M&AOQ-rz/A&-B")}"')


def test_greenmail_reads_what_dovecot_made(site: Site) -> None:
    with site.dovecot() as client:
        make(site, client)
        names, before, wanted = listed(client), everything(client), subscribed(client)
    assert len(before) == 6
    with site.greenmail() as client:
        assert listed(client) == names
        assert everything(client) == before
        assert subscribed(client) == wanted
        make(site, client, ("Ours/Too",))
    with site.dovecot() as client:
        assert listed(client) == names | {name_of(site, "Ours"): False, name_of(site, "Ours/Too"): True}
        after = everything(client)
        assert {name: after[name] for name in before if name != "INBOX"} == {
            name: before[name] for name in before if name != "INBOX"
        }
        validities = [validity for validity, _ in after.values()]
        assert len(set(validities)) == len(validities)


def test_dovecot_reads_what_greenmail_made_renamed_and_deleted(site: Site) -> None:
    a, moved, q = (name_of(site, name) for name in ("A", "T/A", "P/Q"))
    with site.greenmail() as client:
        make(site, client)
        client.ok(f'RENAME "{a}" "{moved}"')
        client.ok(f'DELETE "{moved}"')
        client.ok(f'DELETE "{name_of(site, "P/Q/R")}"')
        client.ok(f'DELETE "{q}"')
        names, before, wanted = listed(client), everything(client), subscribed(client)
    inside = name_of(site, "T/A/B")
    assert names == {
        "INBOX": True, name_of(site, "INBOX/x"): True, "P": False, "T": False, moved: False, inside: True,
        "M&AOQ-rz": False, name_of(site, "M&AOQ-rz/A&-B"): True,
    }  # fmt: skip
    with site.dovecot() as client:
        assert listed(client) == names
        assert everything(client) == before
        # Dovecot's LSUB takes away what is not there any more.
        assert subscribed(client) <= wanted
        client.ok(f'RENAME "T" "{name_of(site, "U/V")}"')
        client.ok(f'CREATE "{name_of(site, "U/V/A")}"')
        client.ok('DELETE "P"')
        after, names = everything(client), listed(client)
    with site.greenmail() as client:
        assert listed(client) == names
        assert everything(client) == after
        assert after[name_of(site, "U/V/A/B")] == before[inside]
    assert not [path for path in site.where.rglob("*") if "..greenmail" in path.name]


@pytest.mark.parametrize("name", ["cur", "a/new", "a/tmp/x", "..", "a/../b", ".", "~x", "a//b", "/a"])
def test_names_that_both_refuse(place: Path, name: str) -> None:
    site = Site(place, PLAIN)
    site.maildir.mkdir()
    with site.dovecot() as client:
        assert client.command(f'CREATE "{name}"')[0].startswith(b"NO")
    with site.greenmail() as client:
        assert client.command(f'CREATE "{name}"')[0].startswith(b"NO")
