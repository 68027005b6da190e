"""Several sessions work on one mailbox, in every order that there is: whatever happens, each client's picture is right.

`--interleavings N` sets how many orders are tried; a failure names its seed, `--interleaving-seed SEED` runs it again.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.engine import Backend, Engine
from harness.green import Scheduler
from harness.stores import STORES, maildir_maker
from harness.strict_client import Known, Step, StrictClient, silent_change
from harness.waiting import WaitingAccount
from hypothesis import given, settings
from hypothesis import strategies as st
from support.descriptors import LetGo

from greenmail.storage.memory import MemoryStore

FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "Work")
Choose = Callable[[int], int]
Act = Callable[[StrictClient, Choose], object]


def _flags(choose: Choose) -> frozenset[str]:
    return frozenset(flag for flag in FLAGS if choose(2))


def _range(client: StrictClient, choose: Choose) -> range:
    """Some messages that the client knows; none if there are none."""
    count = len(client.messages)
    if not count:
        return range(0)
    first = choose(count) + 1
    return range(first, first + choose(count - first + 1) + 1)


def _set(numbers: range) -> str:
    return f"{numbers[0]}:{numbers[-1]}"


def store(client: StrictClient, choose: Choose) -> object:
    numbers, action, flags = _range(client, choose), ("+", "-", "")[choose(3)], _flags(choose)
    if not numbers:
        return None
    words = " ".join(sorted(flags))
    if choose(2):
        step = Step(f"STORE {_set(numbers)} {action}FLAGS ({words})")
    else:
        step = Step(f"STORE {_set(numbers)} {action}FLAGS.SILENT ({words})", silent_change(numbers, action, flags))
    return client.do(step)


def _uids(client: StrictClient, choose: Choose) -> str:
    known = [item.uid for item in client.messages if item.uid is not None] or [1]
    return f"{known[choose(len(known))]}:{known[choose(len(known))] + choose(2)}"


def uid_store(client: StrictClient, choose: Choose) -> object:
    words = " ".join(sorted(_flags(choose)))
    return client.do(Step(f"UID STORE {_uids(client, choose)} {('+', '-', '')[choose(3)]}FLAGS ({words})"))


def delete(client: StrictClient, choose: Choose) -> object:
    numbers = _range(client, choose)
    if not numbers:
        return None
    believe = silent_change(numbers, "+", frozenset({"\\Deleted"}))
    return client.do(Step(f"STORE {_set(numbers)} +FLAGS.SILENT (\\Deleted)", believe), Step("EXPUNGE"))


def expunge(client: StrictClient, choose: Choose) -> object:
    return client.do(Step("EXPUNGE" if choose(2) else f"UID EXPUNGE {_uids(client, choose)}"))


def append(client: StrictClient, choose: Choose) -> object:
    return client.do(Step("APPEND INBOX (\\Flagged) {5+}\r\nA: b\n"))


def copy(client: StrictClient, choose: Choose) -> object:
    verb, target = ("COPY", "MOVE")[choose(2)], ("INBOX", "other")[choose(2)]
    if choose(2):
        return client.do(Step(f"UID {verb} {_uids(client, choose)} {target}"))
    numbers = _range(client, choose)
    return client.do(Step(f"{verb} {_set(numbers)} {target}")) if numbers else None


def fetch(client: StrictClient, choose: Choose) -> object:
    numbers = _range(client, choose)
    return client.do(Step(f"FETCH {_set(numbers)} (UID FLAGS)")) if numbers else None


def noop(client: StrictClient, choose: Choose) -> object:
    return client.do(*[Step("NOOP")] * (1 + choose(2)))


def idle(client: StrictClient, choose: Choose) -> object:
    return client.idle(choose(6))


def reselect(client: StrictClient, choose: Choose) -> object:
    """Close or leave, and come back."""
    client.do(Step(("CLOSE", "UNSELECT")[choose(2)], list.clear))
    return client.do(Step("SELECT INBOX"))


ACTS: tuple[Act, ...] = (store, store, uid_store, delete, expunge, append, copy, fetch, fetch, noop, idle, reselect)


def waiting_backend(scheduler: Scheduler) -> Backend:
    account = MemoryStore(now=scheduler.clock.now).open_account("alice")
    waiting = WaitingAccount(account, scheduler)
    return Backend(lambda: waiting, account)


def play(choose: Choose, make_backend: Callable[[Scheduler], Backend] = waiting_backend, acts: int = 5) -> int:
    """One interleaving: clients with random commands, then a final NOOP, then the comparison. How often it switched."""
    scheduler = Scheduler()
    engine = Engine(scheduler, make_backend(scheduler))
    engine.fill("INBOX", 4)
    engine.fill("other", 1)
    clients = [StrictClient(name, engine.login(), scheduler) for name in "abc"[: 2 + choose(2)]]
    failures: list[BaseException] = []

    def life(client: StrictClient) -> Callable[[], None]:
        def run() -> None:
            try:
                client.do(Step("SELECT INBOX"), Step("FETCH 1:* (UID FLAGS)"))
                for _ in range(acts):
                    ACTS[choose(len(ACTS))](client, choose)
            except BaseException as error:
                failures.append(error)

        return run

    scheduler.eager, scheduler.choose = True, choose
    tasks = [scheduler.spawn(life(client)) for client in clients]
    scheduler.run()
    assert all(task.dead for task in tasks), "somebody waits for ever\n" + _report(clients)
    assert not failures, _report(clients) + f"\n{failures[0]}"
    scheduler.eager = False
    for session in engine.sessions:
        assert session.account is not None, "a session ended:\n" + _report(clients)
    finish(engine, clients)
    return scheduler.switches


def finish(engine: Engine, clients: list[StrictClient]) -> None:
    """Each client's picture is the mailbox, and no message is \\Recent to two."""
    for client in clients:
        failures: list[BaseException] = []

        def last(client: StrictClient = client, failures: list[BaseException] = failures) -> None:
            try:
                client.do(Step("NOOP"))
                before = [Known(item.uid, item.flags, item.recent) for item in client.messages]
                client.do(Step("FETCH 1:* (UID FLAGS)"))
                for old, new in zip(before, client.messages, strict=True):
                    assert old.uid in (None, new.uid) and old.flags in (None, new.flags), (old, new)
            except BaseException as error:
                failures.append(error)

        task = engine.scheduler.spawn(last)
        engine.scheduler.run()
        assert task.dead, "somebody waits for ever\n" + _report(clients)
        assert not failures, _report(clients) + f"\n{failures[0]}"
    mailbox = engine.backend.outside.open("INBOX")
    mailbox.look()
    truth = [(uid, mailbox.table.flags_of(row)) for row, uid in enumerate(mailbox.table.uids)]
    for client in clients:
        assert [(item.uid, item.flags) for item in client.messages] == truth, _report(clients)
    recent = [item.uid for client in clients for item in client.messages if item.recent]
    assert len(recent) == len(set(recent)), f"{recent} are recent\n" + _report(clients)


def _report(clients: list[StrictClient]) -> str:
    return "\n".join(line for client in clients for line in [f"--- {client.name}", *client.answers])


@pytest.mark.timeout(600)  # one long computation
def test_interleavings_by_seed(pytestconfig: pytest.Config) -> None:
    seed = pytestconfig.getoption("--interleaving-seed")
    seeds = [seed] if seed is not None else range(pytestconfig.getoption("--interleavings"))
    switches = 0
    for number in seeds:
        try:
            switches += play(random.Random(number).randrange)
        except AssertionError as error:
            raise AssertionError(f"--interleaving-seed {number}\n{error}") from error
    assert switches > 20 * len(seeds), "hardly anything was interleaved"


def test_interleavings_on_a_maildir(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The real store, with its own locks, batches and looks: fewer orders, since each of them syncs files."""
    for number in range(max(60, pytestconfig.getoption("--interleavings") // 50)):
        try:
            play(random.Random(number).randrange, maildir_maker(tmp_path / str(number)), acts=4)
        except AssertionError as error:
            raise AssertionError(f"seed {number}\n{error}") from error


@pytest.mark.parametrize("store", STORES)
def test_opposite_moves_lose_nothing(store: str, tmp_path: Path, let_go: LetGo) -> None:
    """Design 3a: locks of one mailbox at a time. Two sessions move all they have to each other's mailbox, and back."""
    for number in range(25):
        scheduler = Scheduler()
        engine = Engine(scheduler, STORES[store](tmp_path / str(number))(scheduler))
        engine.fill("INBOX", 3)
        engine.fill("other", 3)
        wires = {"INBOX": engine.select("INBOX"), "other": engine.select("other")}
        scheduler.eager, scheduler.choose = True, random.Random(number).randrange
        for name, wire in wires.items():
            target = "other" if name == "INBOX" else "INBOX"
            wire.feed(b"a NOOP\r\n" + f"b UID MOVE 1:* {target}\r\nc UID COPY 1:* {target}\r\nd NOOP\r\n".encode() * 2)
        scheduler.run()
        answers = [wire.take() for wire in wires.values()]
        assert [answer.count(b"d OK NOOP") for answer in answers] == [2, 2], answers
        subjects = set()
        for name in wires:
            mailbox = engine.backend.outside.open(name)
            mailbox.look()
            for uid in mailbox.table.uids:
                subjects.add(mailbox.content(uid).read().partition(b"Subject: ")[2].split(b"\r\n")[0])
        assert subjects == {b"Message %d" % k for k in range(1, 7)}, (number, answers)
        let_go()


@settings(max_examples=150)
@given(st.lists(st.integers(0, 59), max_size=300))
def test_interleavings_by_hypothesis(numbers: list[int]) -> None:
    """The same, with orders that hypothesis can make small."""
    rest = iter(numbers)
    play(lambda count: next(rest, 0) % count)


def test_a_wrong_view_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients are strict: a server that tells EXPUNGE while a FETCH runs, or forgets one change, does not pass."""
    from greenmail.imap.view import NO_NEWS, View  # only here: to be broken

    news = View.news

    def forgetful(view: View, may_expunge: bool) -> object:
        if view.mailbox.modseq != view.told and not view.pending and len(view.uids) % 3 == 2:
            view.told = view.mailbox.modseq
            return NO_NEWS
        return news(view, may_expunge)

    for broken in (forgetful, lambda view, may_expunge: news(view, True)):
        monkeypatch.setattr(View, "news", broken)
        with pytest.raises(AssertionError):
            for number in range(300):
                play(random.Random(number).randrange)
