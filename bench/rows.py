"""The workloads W1 to W12, W15 and W17, row by row, as functions of a running server. Only `work` is measured.

*first*: nothing about the mailbox is cached and no session has seen it: each run gets a folder of its own.
*second*: a new session on a mailbox that is known; the same command ran before in another session. *third*: the same
session again.
"""

import itertools
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import corpus
from bench.client import Client, session
from bench.servers import INDEXED, Site

HEADERS = b"FETCH 1:* BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To)]"
ITEMS = b"FETCH 1:* (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE)"
BODY = b"Subject: bench\r\nFrom: a@example.org\r\n\r\n" + b"0123456789abcdef0123456789abcdef0123456789\r\n" * 92
SINCE = b"SEARCH SINCE 3-Jan-2024"


@dataclass(frozen=True)
class Sizes:
    """How much of everything there is."""

    messages: int  # mixed ones, in `Bench` and in INBOX
    large: int  # small ones, in `Large`
    some: int = field(init=False)  # of those commands that take a thousand

    def __post_init__(self) -> None:
        object.__setattr__(self, "some", min(1000, self.messages))

    @property
    def mixed(self) -> Path:
        """Where the mixed messages are."""
        return corpus.cached(True, self.messages)

    @property
    def small(self) -> Path:
        """Where the small ones are."""
        return corpus.cached(False, self.large)


@dataclass
class Run:
    """What `prepare` made for one run."""

    clients: list[Client] = field(default_factory=list)
    folders: list[bytes] = field(default_factory=list)  # to be removed afterwards
    more: Any = None

    def close(self, site: Site) -> None:
        """Log out and tidy up."""
        for client in self.clients:
            client.close()
        for name in self.folders:
            site.remove(name)


@dataclass(frozen=True)
class Row:
    """One measurement."""

    number: str
    case: str
    prepare: Callable[[Site], Run]
    work: Callable[[Site, Run], object]
    goal: float = 0.0  # GreenMail's CPU as a part of Dovecot's; 0: no goal
    peer: str = "dovecot"
    ours: str = "greenmail"
    needs: bytes = b""  # a capability


def clean(site: Site) -> Run:
    """Nothing to prepare."""
    return Run()


def users(count: int) -> Callable[[Site], Run]:
    """So many sessions that are logged in."""
    return lambda site: Run([session(site.imap) for _ in range(count)])


def selected(box: bytes, count: int = 1, tls: bool = False) -> Callable[[Site], Run]:
    """So many sessions that have selected `box`."""

    def prepare(site: Site) -> Run:
        port = site.imaps if tls else site.imap
        return Run([session(port, b"SELECT " + box, tls=tls) for _ in range(count)])

    return prepare


def each(*texts: bytes) -> Callable[[Site, Run], None]:
    """Every client runs these one by one."""

    def work(site: Site, run: Run) -> None:
        for client in run.clients:
            for text in texts:
                client.run(text)

    return work


def unknown(source: Path, count: int) -> Callable[[Site], Run]:
    """A session that has selected a folder which no session has seen."""

    def prepare(site: Site) -> Run:
        name = site.folder(source, count)
        return Run([session(site.imap, b"SELECT " + name)], [name])

    return prepare


def known(number: str, case: str, box: bytes, command: bytes, goals: Sequence[float], several: int) -> list[Row]:
    """Second and third time; `several` sessions or repetitions, for commands that cost next to nothing."""
    noted = f"{number}{case}"

    def warm(site: Site) -> None:
        if noted not in site.notes:
            site.notes[noted] = b"done"
            session(site.imap, b"SELECT " + box, command).close()

    def second(site: Site) -> Run:
        warm(site)
        return selected(box, several)(site)

    def third(site: Site) -> Run:
        return Run([session(site.imap, b"SELECT " + box, command)])

    found = [Row(number, f"{case}, second", second, each(command), goals[0])]
    if len(goals) > 1:
        found.append(Row(number, f"{case}, third", third, each(*[command] * several), goals[1]))
    return found


def series(number: str, case: str, sizes: Sizes, command: bytes, goals: Sequence[float], several: int = 1) -> list[Row]:
    """First, second and, with a third goal, third time of one command over the mixed messages."""
    before = Row(number, f"{case}, first", unknown(sizes.mixed, sizes.messages), each(command), goals[0])
    return [before, *known(number, case, b"Bench", command, goals[1:], several)]


def login(site: Site, run: Run) -> None:
    """W1: one at a time."""
    for _number in range(100):
        session(site.imap).close()


def logins_at_once(site: Site, run: Run) -> None:
    """W1: from fifty threads."""

    def some() -> None:
        for _ in range(4):
            session(site.imap).close()

    threads = [threading.Thread(target=some) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def select_cold(source: Path, count: int) -> Row:
    """W2: the first SELECT of a mailbox by anybody."""

    def prepare(site: Site) -> Run:
        name = site.folder(source, count)
        return Run([session(site.imap)], [name], name)

    return Row("W2", f"{count} cold", prepare, lambda site, run: run.clients[0].run(b"SELECT " + run.more), 1.0)


def selects(box: bytes, count: int) -> list[Row]:
    """W2: twenty of a mailbox that is known."""
    command = b"SELECT " + box

    def warm(site: Site) -> Run:
        if command.decode() not in site.notes:
            site.notes[command.decode()] = b"done"
            session(site.imap, command).close()
        return users(20)(site)

    return [
        select_cold(corpus.cached(box == b"Bench", count), count),
        Row("W2", f"{count} warm, new session", warm, each(command), 0.5),
        Row("W2", f"{count} warm, same session", selected(box), each(*[command] * 20), 1.0),
    ]


def stores(sizes: Sizes) -> list[Row]:
    """W8."""
    every = b"STORE 1:%d " % sizes.some
    spread = range(1, sizes.messages + 1, max(1, sizes.messages // 300))
    single = each(*[b"STORE %d %bFLAGS (\\Flagged)" % (number, sign) for sign in (b"+", b"-") for number in spread])

    def watched(site: Site) -> Run:
        run = selected(b"Bench", 2)(site)
        run.more = run.clients.pop()
        run.more.idle()
        return run

    def ended(site: Site, run: Run) -> None:
        single(site, run)
        run.more.drop()

    both = each(every + b"+FLAGS (\\Answered)", every + b"-FLAGS (\\Answered)")
    return [
        Row("W8", f"STORE 1:{sizes.some} + and -", selected(b"Bench"), both, 0.8),
        Row("W8", f"single, {2 * len(spread)}", selected(b"Bench"), single, 0.2),
        Row("W8", f"single, {2 * len(spread)}, another session idles there", watched, ended, 0.2),
    ]


def appends(count: int) -> list[Row]:
    """W9: into a folder that nobody has selected.

    It stays until the end: for minutes ext4 passes over each inode that was deleted, whenever it makes a file near it.
    """

    def empty(site: Site) -> Run:
        return Run([session(site.imap)], more=site.folder(Path(), 0))

    def one_by_one(site: Site, run: Run) -> None:
        for _ in range(count):
            run.clients[0].run(b"APPEND %b {%d+}\r\n%b" % (run.more, len(BODY), BODY))

    def pipelined(site: Site, run: Run) -> None:
        run.clients[0].pipeline([b"APPEND %b {%d+}\r\n%b" % (run.more, len(BODY), BODY)] * count)

    def together(site: Site, run: Run) -> None:
        for _ in range(count // 100):
            run.clients[0].run(b"APPEND " + run.more + b" {%d+}\r\n%b" % (len(BODY), BODY) * 100)

    return [
        Row("W9", f"{count} one by one", empty, one_by_one, 0.6),
        Row("W9", f"{count} LITERAL+ pipelined", empty, pipelined, needs=b"LITERAL+"),
        Row("W9", f"{count // 100 * 100} MULTIAPPEND by 100", empty, together, needs=b"MULTIAPPEND"),
    ]


def moves(sizes: Sizes) -> list[Row]:
    """W10."""

    def to_copy(site: Site) -> Run:
        run = selected(b"Bench")(site)
        run.folders.append(site.folder(Path(), 0))
        return run

    def to_move(site: Site) -> Run:
        run = unknown(sizes.mixed, sizes.some)(site)
        run.folders.append(site.folder(Path(), 0))
        return run

    def to_expunge(site: Site) -> Run:
        name = site.folder(sizes.small, sizes.some, copy=True)
        client = session(site.imap, b"SELECT " + name, b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
        return Run([client], [name])

    def transfer(verb: bytes) -> Callable[[Site, Run], object]:
        return lambda site, run: run.clients[0].run(b"%b 1:%d %b" % (verb, sizes.some, run.folders[-1]))

    return [
        Row("W10", f"COPY {sizes.some}", to_copy, transfer(b"COPY"), 0.8),
        Row("W10", f"MOVE {sizes.some}", to_move, transfer(b"MOVE"), 0.8, needs=b"MOVE"),
        Row("W10", f"EXPUNGE {sizes.some}", to_expunge, each(b"EXPUNGE"), 1.0),
    ]


def changes(count: int, box: bytes = b"Large") -> list[Row]:
    """W15: ten messages have changed, and it is asked ten times."""

    def change(site: Site) -> tuple[int, int]:
        client = session(site.imap, b"ENABLE QRESYNC" if b"QRESYNC" in site.capabilities else b"ENABLE CONDSTORE")
        answer = client.run(b"SELECT " + box)
        found = [re.search(rb"\[%b (\d+)\]" % name, answer) for name in (b"UIDVALIDITY", b"HIGHESTMODSEQ")]
        spread = b",".join(b"%d" % number for number in range(1, count + 1, count // 10))
        client.run(b"STORE %b +FLAGS.SILENT (\\Draft)" % spread)
        client.run(b"STORE %b -FLAGS.SILENT (\\Draft)" % spread)
        client.close()
        validity, modseq = (int(item[1]) for item in found if item is not None)
        return validity, modseq

    def since(site: Site) -> Run:
        _, modseq = change(site)
        return Run([session(site.imap, b"SELECT %b (CONDSTORE)" % box)], more=modseq)

    def resync(site: Site) -> Run:
        changed = change(site)
        return Run([session(site.imap, b"ENABLE QRESYNC") for _ in range(10)], more=changed)

    def ask(site: Site, run: Run) -> None:
        for _ in range(10):
            run.clients[0].run(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % run.more)

    def select(site: Site, run: Run) -> None:
        for client in run.clients:
            client.run(b"SELECT %b (QRESYNC (%d %d))" % (box, *run.more))

    return [
        Row("W15", f"{count} CHANGEDSINCE", since, ask, 0.3, needs=b"CONDSTORE"),
        Row("W15", f"{count} QRESYNC SELECT", resync, select, 0.1, needs=b"QRESYNC"),
    ]


def pop3(user: bytes, texts: Iterable[bytes]) -> Callable[[Site, Run], None]:
    """W17: a POP3 session; `user` may be left to `prepare`."""

    def work(site: Site, run: Run) -> None:
        with socket.create_connection(("127.0.0.1", site.pop3), timeout=300) as connection:
            file = connection.makefile("rb")
            file.readline()
            for text in (b"USER " + (run.more or user), b"PASS secret", *texts, b"QUIT"):
                connection.sendall(text + b"\r\n")
                line = file.readline()
                assert line.startswith(b"+OK"), (text, line)
                if text.startswith((b"UIDL", b"LIST", b"RETR")):
                    while file.readline() not in (b".\r\n", b""):
                        pass

    return work


def pop3_rows(sizes: Sizes) -> list[Row]:
    """W17: the first time as a user whom nobody knows, then as bench."""

    def stranger(site: Site) -> Run:
        number = int(site.notes.get("pop3", b"0"))
        site.notes["pop3"] = b"%d" % (number + 1)
        user = f"pop{number % 60}"
        shutil.rmtree(site.mail / user, ignore_errors=True)
        corpus.link(sizes.mixed, site.mail / user, sizes.messages)
        return Run(more=user.encode())

    listing = pop3(b"bench", [b"UIDL", b"LIST"])

    def warm(site: Site) -> Run:
        if "pop3 known" not in site.notes:
            site.notes["pop3 known"] = b"done"
            listing(site, Run())
        return Run()

    return [
        Row("W17", f"{sizes.messages} login, UIDL, LIST, first", stranger, listing),
        Row("W17", f"{sizes.messages} login, UIDL, LIST, second", warm, listing, 0.5),
        Row("W17", f"RETR {sizes.some}", warm, pop3(b"bench", [b"RETR %d" % n for n in range(1, sizes.some + 1)]), 0.8),
    ]


def bodies(sizes: Sizes) -> list[Row]:
    """W7, W7T."""
    step = max(1, sizes.messages // sizes.some)
    one_by_one = each(*[b"FETCH %d BODY.PEEK[]" % n for n in range(1, step * sizes.some + 1, step)])
    in_one = each(b"FETCH 1:%d BODY.PEEK[]" % sizes.some)
    found = []
    for number, tls, goals in (("W7", False, (0.8, 1.0)), ("W7T", True, (0.0, 0.0))):
        ready = selected(b"Bench", tls=tls)
        found.append(Row(number, f"{sizes.some} bodies one by one", ready, one_by_one, goals[0]))
        found.append(Row(number, f"{sizes.some} bodies in one", ready, in_one, goals[1]))
    return found


def searches(sizes: Sizes) -> list[Row]:
    """W11, W12."""
    return [
        *series("W11", "UNSEEN", sizes, b"SEARCH UNSEEN", (0.0, 0.3), several=10),
        *series("W11", "FROM", sizes, b"SEARCH FROM judith", (1.0, 0.3)),
        *series("W11", "SUBJECT", sizes, b'SEARCH SUBJECT "idea time"', (1.0, 0.3)),
        *series("W11", "SINCE", sizes, SINCE, (0.0, 0.3)),
        *series("W11", "BODY", sizes, b"SEARCH BODY xyzzy", (0.8, 0.8)),
        *series("W11", "TEXT", sizes, b"SEARCH TEXT xyzzy", (0.8, 0.8)),
        *series("W12", "SORT REVERSE DATE", sizes, b"SORT (REVERSE DATE) UTF-8 ALL", (1.0, 0.5), several=3),
        *series("W12", "THREAD REFERENCES", sizes, b"THREAD REFERENCES UTF-8 ALL", (1.0, 0.5)),
        *known("W12", f"{sizes.large} SORT", b"Large", b"SORT (REVERSE DATE) UTF-8 ALL", (0.5,), 1),
        *known("W12", f"{sizes.large} THREAD", b"Large", b"THREAD REFERENCES UTF-8 ALL", (0.5,), 1),
    ]


def another_word() -> list[Row]:
    """W11 without a result that was kept: each run asks for another word of a mailbox that is known.

    The last two ask a server that has a full-text index; Dovecot has none.
    """
    words = itertools.count()

    def asking(kind: bytes) -> Callable[[Site, Run], None]:
        return lambda site, run: each(b"SEARCH %b xyzzy%d" % (kind, next(words)))(site, run)

    return [
        Row("W11", f"{kind.decode()}, another word", selected(b"Bench"), asking(kind))
        for kind in (b"FROM", b"SUBJECT", b"BODY", b"TEXT")
    ] + [
        Row("W11", f"{kind.decode()} with a full-text index", selected(b"Bench"), asking(kind), 0.05, ours=INDEXED)
        for kind in (b"BODY", b"TEXT")
    ]


def rows(sizes: Sizes, appended: int) -> list[Row]:
    """All rows; `Bench`, `Large` and INBOX of user bench must be there."""
    flags = b"FETCH 1:* (UID FLAGS)"
    return [
        Row("W1", "login and logout, one at a time", clean, login, 0.5, "dovecot-perf"),
        Row("W1", "login and logout, 50 at once", clean, logins_at_once, 0.5, "dovecot-perf"),
        Row("W1", "the same beside Dovecot's defaults", clean, login),
        *selects(b"Bench", sizes.messages),
        *selects(b"Large", sizes.large),
        *series("W3", f"{sizes.messages} UID FLAGS", sizes, flags, (0.5, 0.2, 0.2), several=5),
        *known("W3", f"{sizes.large} UID FLAGS", b"Large", flags, (0.2, 0.2), 1),
        Row("W3T", f"{sizes.messages} UID FLAGS over TLS, x5", selected(b"Bench", tls=True), each(*[flags] * 5)),
        *series("W4", "ENVELOPE and more", sizes, ITEMS, (1.0, 0.15, 0.15)),
        *series("W5", "BODYSTRUCTURE", sizes, b"FETCH 1:* BODYSTRUCTURE", (1.0, 0.6, 0.6)),
        *series("W6", "HEADER.FIELDS", sizes, HEADERS, (1.0, 0.3, 0.3)),
        *bodies(sizes),
        *stores(sizes),
        *appends(appended),
        *moves(sizes),
        *searches(sizes),
        *another_word(),
        *changes(sizes.large),
        *pop3_rows(sizes),
    ]
