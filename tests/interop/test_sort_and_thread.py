"""SORT and THREAD answer as Dovecot 2.3 does, on the same mail: any headers, any order."""

import os
import random
import re
from pathlib import Path

import pytest
from support.in_turns import Site
from support.interop_site import make_box
from support.wire_client import Imap

pytestmark = pytest.mark.interop

KEYS = ("ARRIVAL", "CC", "DATE", "DISPLAYFROM", "DISPLAYTO", "FROM", "SIZE", "SUBJECT", "TO")
_SUBJECTS = (
    "lunch", "Re: lunch", "Fwd: lunch", "[list] lunch", "Re: [list] lunch (fwd)", "dinner", "re: Dinner",
    "[Fwd: dinner]", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Re: =?iso-8859-1?Q?Gr=FC=DFe?=", "", "  two   spaces ", "Re:",
    "[a] [b]", "Zebra", "apple", "_x",
)  # fmt: skip
_PEOPLE = (
    "alice@example.org", "Bob <zoe@example.org>", '"Anna, the first" <anna@example.org>', "zoe@b.org",
    "=?utf-8?B?w4RyZ2Vy?= <x@y.org>", "ALICE@other.org", "undisclosed: ;", "", "<bare@example.org>", "a@b (Comment)",
)  # fmt: skip


def _mail(generator: random.Random, number: int, minute: int) -> bytes:
    """A message with any header fields, or without them; a tree of replies among them."""
    lines = []

    def some(name: str, value: str, often: float = 0.9) -> None:
        if generator.random() < often:
            lines.append(f"{name}: {value}")

    day, hour = generator.randint(1, 3), generator.randint(0, 23)
    some(
        "Date",
        f"{day} Mar 2024 {hour:02}:{minute:02}:00 {generator.choice(['+0000', '-0800', '+0530', 'EST', ''])}".rstrip(),
    )
    some("Subject", generator.choice(_SUBJECTS))
    for field in ("From", "To", "Cc"):
        some(field, ", ".join(generator.sample(_PEOPLE, generator.randint(1, 2))).strip(", "))
    some("Message-ID", f"<m{generator.choice([number, number, number, 3])}@x>")
    above = [f"<m{generator.randint(1, 45)}@x>" for _ in range(generator.randint(1, 3))]
    some("References", " ".join(above), 0.4)
    some("In-Reply-To", f"{above[0]} of yesterday", 0.3)
    return "\r\n".join([*lines, "", "x" * generator.randint(1, 2000), ""]).encode()


@pytest.fixture(params=[(1, True), (2, False)], ids=["ties", "no-ties"])
def site(request: pytest.FixtureRequest, place: Path) -> Site:
    seed, has_ties = request.param
    generator = random.Random(seed)
    maildir = place / "Maildir"
    make_box(maildir, "")
    for number in range(1, 41):
        name = f"{1709280000 + generator.randint(0, 200000)}.M{number}P1.host"
        (maildir / "cur" / f"{name}:2,").write_bytes(_mail(generator, number, 0 if has_ties else number))
        when = 1709280030 + generator.randint(0, 3000) * 60  # at another second than any Date
        os.utime(maildir / "cur" / f"{name}:2,", (when, when))
    return Site(place, maildir)


def _answers(client: Imap, has_ties: bool) -> dict[str, bytes]:
    generator = random.Random(7)
    client.ok("SELECT INBOX")
    criteria = [*KEYS, *(f"REVERSE {key}" for key in KEYS)]
    criteria += [" ".join(generator.sample(criteria, 3)) for _ in range(10)]
    commands = [f"UID SORT ({each}) UTF-8 ALL" for each in criteria]
    commands += [
        f"UID THREAD {each} UTF-8 {which}"
        for each in ("REFERENCES", "ORDEREDSUBJECT", "REFS")
        for which in ("ALL", "2:30")
    ]
    commands += [
        "SORT RETURN (ALL COUNT) (SUBJECT) UTF-8 ALL", "SORT RETURN (MIN MAX) (REVERSE DATE) UTF-8 3:30",
        "UID SORT RETURN () (SIZE) US-ASCII ALL",
    ]  # fmt: skip
    answers = {}
    for command in commands:
        lines = client.lines(command)
        answers[command] = re.sub(
            rb'\(TAG "[^"]*"\)', b"", b"\n".join(line for line in lines if line.startswith(b"* "))
        )
    return answers


def test_as_dovecot_answers(site: Site, request: pytest.FixtureRequest) -> None:
    _, has_ties = request.node.callspec.params["site"]
    with site.dovecot() as client:
        theirs = _answers(client, has_ties)
    with site.greenmail() as client:
        ours = _answers(client, has_ties)
        again = _answers(client, has_ties)
    assert ours == theirs
    assert again == ours
