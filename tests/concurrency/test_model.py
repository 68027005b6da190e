"""Random operations of several sessions with random extensions: each client's model is the mailbox after each answer.

Clients enable QRESYNC, CONDSTORE, UIDONLY and IMAP4rev2 as it falls out, use NOTIFY, CONTEXT, SEARCHRES and PARTIAL,
lose their connection, and come back; half of the servers process two messages by one command (MESSAGELIMIT). Once the
sessions take turns, and the model is compared after each answer; once they are interleaved, and it is compared at the
end. `--interleavings N` sets how many seeds there are, `--interleaving-seed SEED` runs one again.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.engine import Backend, Engine
from harness.green import Scheduler
from harness.model_client import ModelClient, may_lag
from harness.stores import STORES, maildir_maker
from harness.strict_client import Known, Step
from harness.waiting import WaitingAccount

from greenmail.imap import news as news_module
from greenmail.imap.view import NO_NEWS, View
from greenmail.storage import history
from greenmail.storage.memory import MemoryStore

MATCHES: dict[str, Callable[[frozenset[str]], bool]] = {
    "ALL": lambda flags: True,
    "UNSEEN": lambda flags: "\\Seen" not in flags,
    "OR FLAGGED KEYWORD Work": lambda flags: bool(flags & {"\\Flagged", "Work"}),
}
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "Work")
EXTENSIONS = ("QRESYNC", "CONDSTORE", "UIDONLY", "IMAP4rev2")
Choose = Callable[[int], int]
Act = Callable[[ModelClient, Choose], object]


def _flags(choose: Choose) -> str:
    return " ".join(flag for flag in FLAGS if choose(2))


def _some(client: ModelClient, choose: Choose) -> tuple[str, str, list[int]] | None:
    """Messages by number or by UID: "UID " or nothing, the set, and the UIDs (0 for unknown ones)."""
    count = len(client.messages)
    if not count:
        return None
    first = choose(count)
    chosen = range(first, first + choose(min(count - first, 3)) + 1)
    uids = [client.messages[place].uid or 0 for place in chosen]
    if not client.uid_only and client.notified != "SELECTED" and choose(2):  # RFC 5465 5.3: numbers change at any time
        return "", f"{chosen[0] + 1}:{chosen[-1] + 1}", uids
    known = [str(uid) for uid in uids if uid]
    return ("UID ", ",".join(known), [uid for uid in uids if uid]) if known else None


def _believe(prefix: str, numbers: str, uids: list[int], action: str, flags: str) -> Callable[[list[Known]], None]:
    """What a client believes after STORE .SILENT; numbers count as they do when the server begins with it."""
    given = frozenset(flags.split())

    def believe(messages: list[Known]) -> None:
        if prefix:
            chosen = [item for item in messages if item.uid in uids]
        else:
            first, last = map(int, numbers.split(":"))
            chosen = messages[first - 1 : last]
        for item in chosen:
            if item.flags is not None:
                item.flags = {"+": item.flags | given, "-": item.flags - given, "": given}[action]

    return believe


def store(client: ModelClient, choose: Choose) -> object:
    some = _some(client, choose)
    if some is None:
        return None
    prefix, numbers, uids = some
    action, flags = ("+", "-", "")[choose(3)], _flags(choose)
    if client.enabled & {"CONDSTORE", "QRESYNC"} and choose(3) == 0 and client.modseq:
        return client.do(Step(f"{prefix}STORE {numbers} (UNCHANGEDSINCE {client.modseq}) {action}FLAGS ({flags})"))
    # What is told at any time may cross a silent change, and one of too many messages is one of some.
    if choose(2) or client.notified or 0 < client.limit < len(uids):
        return client.do(Step(f"{prefix}STORE {numbers} {action}FLAGS ({flags})"))
    believe = _believe(prefix, numbers, uids, action, flags)
    return client.do(Step(f"{prefix}STORE {numbers} {action}FLAGS.SILENT ({flags})", believe))


def delete(client: ModelClient, choose: Choose) -> object:
    some = _some(client, choose)
    if some is None:
        return None
    prefix, numbers, uids = some
    believe = _believe(prefix, numbers, uids, "+", "\\Deleted")
    expunge = f"UID EXPUNGE {numbers}" if prefix and choose(2) else "EXPUNGE"
    if client.notified or 0 < client.limit < len(uids):
        return client.do(Step(f"{prefix}STORE {numbers} +FLAGS (\\Deleted)"), Step(expunge))
    return client.do(Step(f"{prefix}STORE {numbers} +FLAGS.SILENT (\\Deleted)", believe), Step(expunge))


def append(client: ModelClient, choose: Choose) -> object:
    return client.do(Step("APPEND INBOX (\\Flagged) {5+}\r\nA: b\n"))


def copy(client: ModelClient, choose: Choose) -> object:
    some = _some(client, choose)
    verb, target = ("COPY", "MOVE")[choose(2)], ("INBOX", "other")[choose(2)]
    return client.do(Step(f"{some[0]}{verb} {some[1]} {target}")) if some else None


def fetch(client: ModelClient, choose: Choose) -> object:
    """Also an item that marks messages as read, and what needs mod-sequences."""
    some = _some(client, choose)
    if some is None:
        return None
    items = ["(UID FLAGS)", "FLAGS"]
    if client.enabled & {"CONDSTORE", "QRESYNC"}:
        items += ["(MODSEQ)", f"(FLAGS) (CHANGEDSINCE {client.modseq})"]
    if "QRESYNC" in client.enabled and some[0]:
        items.append(f"(FLAGS) (VANISHED CHANGEDSINCE {client.modseq})")
    return client.do(Step(f"{some[0]}FETCH {some[1]} {items[choose(len(items))]}"))


def learn(client: ModelClient, choose: Choose) -> object:
    return client.learn_all()


def search(client: ModelClient, choose: Choose) -> object:
    """Also "$", of which messages may vanish; and UID SEARCH with numbers, which tells no expunge."""
    keys = ["UID SEARCH SEEN", "UID SEARCH RETURN (SAVE) DELETED"]
    if not client.uid_only and client.notified != "SELECTED":
        keys += ["SEARCH UNSEEN"]
        keys += ["UID SEARCH 1:* SEEN"] if client.messages else []
    steps = [Step(keys[choose(len(keys))])]
    if "SAVE" in steps[0].text:
        steps.append(Step("UID FETCH $ (FLAGS)"))
    return client.do(*steps)


def page(client: ModelClient, choose: Choose) -> object:
    """Pages from either end: of what SEARCH finds, and of what FETCH is to answer. RFC 9394."""
    first = 1 + choose(3)
    span = f"{first}:{first + choose(2)}"
    span = span if choose(2) else "-" + span.replace(":", ":-")
    words = [f"UID SEARCH RETURN (PARTIAL {span}) ALL", f"UID FETCH 1:* (UID FLAGS) (PARTIAL {span})"]
    words += [f"UID SEARCH RETURN (PARTIAL {span} SAVE) UNSEEN"]
    return client.do(Step(words[choose(len(words))]))


def follow(client: ModelClient, choose: Choose) -> object:
    """A search with UPDATE, or the end of one."""
    if client.contexts and choose(3) == 0:
        tag = list(client.contexts)[choose(len(client.contexts))]
        client.absorb()
        del client.contexts[tag]  # nothing is told of it any more, an expunge by this command included
        return client.do(Step(f'CANCELUPDATE "{tag}"'))
    if len(client.contexts) >= 4:
        return None
    words = ["UID SEARCH RETURN (UPDATE ALL) ", "UID SORT RETURN (UPDATE ALL) (REVERSE SIZE) UTF-8 "]
    if not client.uid_only and client.notified != "SELECTED":
        words += ["SEARCH RETURN (UPDATE ALL) ", "SORT RETURN (UPDATE ALL) (REVERSE SIZE) UTF-8 "]
    return client.do(Step(words[choose(len(words))] + list(MATCHES)[choose(len(MATCHES))]))


def notify(client: ModelClient, choose: Choose) -> object:
    """Also NONE, some changes, and SET again: then everything is told that came together."""
    selected = ("selected", "selected-delayed")[choose(2)]
    events = "MessageNew (UID FLAGS) MessageExpunge FlagChange"
    ask = Step(f"NOTIFY SET STATUS ({selected} ({events})) (mailboxes other (MessageNew MessageExpunge))")
    if choose(3):
        return client.do(ask)
    return client.do(Step("NOTIFY NONE"), Step("APPEND INBOX {5+}\r\nA: b\n"), Step("NOOP"), ask)


def noop(client: ModelClient, choose: Choose) -> object:
    return client.do(*[Step("NOOP")] * (1 + choose(2)))


def idle(client: ModelClient, choose: Choose) -> object:
    return client.idle(choose(6))


def reselect(client: ModelClient, choose: Choose) -> object:
    """Leave the mailbox in one of three ways, and come back."""
    if choose(3):
        client.do(Step(("CLOSE", "UNSELECT")[choose(2)], list.clear))
        client.do(Step("SELECT INBOX"))
    else:
        client.do(Step("SELECT INBOX", list.clear))
    return client.learn_all()


def lose(client: ModelClient, choose: Choose) -> object:
    words = ("", "NOOP", "EXPUNGE", "UID STORE 1:* +FLAGS (\\Flagged)", "UID MOVE * other")[choose(5)]
    return client.lose_connection(bool(choose(2)), words)


ACTS: tuple[Act, ...] = (
    store, store, store, delete, delete, append, append, copy, fetch, fetch, fetch, learn, search, noop, idle, reselect,
    lose, lose, follow, follow, notify, page, page,
)  # fmt: skip


def compare(engine: Engine, client: ModelClient) -> Callable[[str], None]:
    """Holds the model of `client` against the mailbox as another process sees it."""

    def check(command: str) -> None:
        mailbox = engine.backend.outside.open("INBOX")
        mailbox.look()
        truth = {uid: mailbox.table.flags_of(row) for row, uid in enumerate(mailbox.table.uids)}
        mailbox.close()
        report = f"{client.name}: {command!r}\n{truth}\n{client.messages}\n{client.cache}"
        if command == "resynchronized":  # what is left of the cache is there, and is so
            assert all(truth.get(uid) == item.flags for uid, item in client.cache.items()), report
        if command in ("CLOSE", "UNSELECT"):
            assert not client.messages
            return
        assert len(client.messages) >= len(truth), report
        if may_lag(command):
            known = [item for item in client.messages if item.uid in truth]
        else:
            known = [item for item in client.messages if item.uid is not None]
            assert len(client.messages) == len(truth) and all(item.uid in truth for item in known), report
            for uid, item in zip(truth, client.messages, strict=True):
                assert client.uid_only or item.uid in (None, uid), report
        for item in known:
            assert item.uid is not None and item.flags in (None, truth[item.uid]), report

    return check


def compare_what_is_told(engine: Engine, client: ModelClient) -> None:
    """Holds contexts, and what NOTIFY tells, against the mailboxes; when everybody is silent."""
    if not client.notified:
        return
    client.absorb()
    mailbox = engine.backend.outside.open("INBOX")
    mailbox.look()
    uids = mailbox.table.uids.tolist()
    mailbox.fill(uids, sizes=True)
    table = mailbox.table
    truth = {uid: table.flags_of(row) for row, uid in enumerate(uids)}
    sizes = dict(zip(uids, table.sizes, strict=True))
    mailbox.close()
    report = f"{client.name}: {truth}\n{client.messages}"
    known = [item for item in client.messages if item.uid in (None, *truth) or client.notified == "SELECTED"]
    # With SELECTED-DELAYED those that are expunged may still be there.
    assert len(known) >= len(truth) and (client.notified != "SELECTED" or len(known) == len(truth)), report
    assert all(item.uid is None or item.flags in (None, truth.get(item.uid)) for item in known), report
    for tag, results in client.contexts.items():
        found = [uid for uid in uids if MATCHES[results.keys.rpartition(") ")[2].removeprefix("UTF-8 ")](truth[uid])]
        told = [one if isinstance(one, int) else one.uid for one in results.items]
        if results.is_sorted:
            found.sort(key=lambda uid: (-sizes[uid], uid))
            wrong = [one for one, uid in zip(told, found, strict=True) if one not in (None, uid)]
        else:
            wrong = [one for one in told if one not in (None, *found)]
        assert len(told) == len(found) and not wrong, f"{tag} {results} {found}\n{report}"
    other = engine.backend.outside.open("other")
    other.look()
    counters = other.counters()
    other.close()
    assert client.other is not None
    wanted = {"MESSAGES": counters.messages, "UIDNEXT": counters.uidnext}
    assert {word: client.other[word] for word in wanted} == wanted, report


def waiting_backend(scheduler: Scheduler) -> Backend:
    account = MemoryStore(now=scheduler.clock.now).open_account("alice")
    waiting = WaitingAccount(account, scheduler)
    return Backend(lambda: waiting, account)


def play(
    choose: Choose,
    make_backend: Callable[[Scheduler], Backend],
    acts: int,
    together: bool,
    counts: dict[str, int],
) -> None:
    """One story of two or three clients; `together`: interleaved, and not one after the other."""
    scheduler = Scheduler()
    limit = 2 * choose(2)
    engine = Engine(scheduler, make_backend(scheduler), message_limit=limit)
    engine.fill("INBOX", 4)
    engine.fill("other", 1)
    clients = []
    for name in "abc"[: 2 + choose(2)]:
        enabled = frozenset(word for word in EXTENSIONS if choose(2))
        clients.append(ModelClient(name, engine.connect(), scheduler, engine=engine, enabled=enabled, limit=limit))
        counts[",".join(sorted(enabled))] = counts.get(",".join(sorted(enabled)), 0) + 1

    def acting(client: ModelClient, what: list[Act]) -> None:
        for act in what:
            act(client, choose)
            counts["acts"] = counts.get("acts", 0) + 1

    def begin(client: ModelClient) -> None:
        client.connect()
        client.learn_all()

    _run(scheduler, clients, lambda client: begin(client))
    if together:
        scheduler.eager, scheduler.choose = True, choose
        _run(scheduler, clients, lambda client: acting(client, [ACTS[choose(len(ACTS))] for _ in range(acts)]))
        scheduler.eager = False
    else:
        for client in clients:
            client.check = compare(engine, client)
        for _ in range(acts * len(clients)):
            client = clients[choose(len(clients))]
            _run(scheduler, [client], lambda client: acting(client, [ACTS[choose(len(ACTS))]]))
            for listener in clients:
                _run(scheduler, [listener], lambda client: compare_what_is_told(engine, client))
                counts["told"] = counts.get("told", 0) + bool(listener.notified)
    for client in clients:
        client.check = compare(engine, client)
        _run(scheduler, [client], lambda client: client.do(Step("NOOP")))
        _run(scheduler, [client], ModelClient.learn_all)
        _run(scheduler, [client], lambda client: compare_what_is_told(engine, client))
        _run(scheduler, [client], lambda client: client.lose_connection(with_matches=False))
        for what in ("resynchronized", "limited", "pages"):
            counts[what] = counts.get(what, 0) + getattr(client, what)


def _run(scheduler: Scheduler, clients: list[ModelClient], life: Callable[[ModelClient], object]) -> None:
    """Have these clients do that, all at once, until they are done."""
    failures: list[BaseException] = []

    def guarded(client: ModelClient) -> Callable[[], None]:
        def run() -> None:
            try:
                life(client)
            except BaseException as error:
                failures.append(error)

        return run

    tasks = [scheduler.spawn(guarded(client)) for client in clients]
    scheduler.run()
    report = "\n".join(line for client in clients for line in [f"--- {client.name}", *client.answers])
    assert not failures, f"{report}\n{failures[0]}"
    assert all(task.dead for task in tasks), "somebody waits for ever\n" + report


def _seeds(config: pytest.Config, part: int) -> range:
    seed = config.getoption("--interleaving-seed")
    return range(seed, seed + 1) if seed is not None else range(max(12, config.getoption("--interleavings") // part))


def _play_seeds(
    seeds: range, maker: Callable[[int], Callable[[Scheduler], Backend]], acts: int, together: bool
) -> None:
    counts: dict[str, int] = {}
    for number in seeds:
        try:
            play(random.Random(number).randrange, maker(number), acts, together, counts)
        except AssertionError as error:
            raise AssertionError(f"--interleaving-seed {number}\n{error}") from error
    assert len(seeds) == 1 or counts["resynchronized"] >= len(seeds) // 2, counts
    assert len(seeds) < 100 or min(counts["limited"], counts["pages"]) >= len(seeds) // 10, counts
    print(f"seeds={len(seeds)} {counts}")


def test_model_after_each_answer(pytestconfig: pytest.Config) -> None:
    _play_seeds(_seeds(pytestconfig, 20), lambda number: STORES["memory"](Path()), 8, together=False)


def test_model_of_interleaved_sessions(pytestconfig: pytest.Config) -> None:
    _play_seeds(_seeds(pytestconfig, 20), lambda number: waiting_backend, 6, together=True)


@pytest.mark.parametrize("together", [False, True])
def test_model_on_a_maildir(together: bool, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seeds = _seeds(pytestconfig, 200)
    _play_seeds(seeds, lambda number: maildir_maker(tmp_path / str(number)), 6, together)


def test_model_with_a_short_memory(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    """Expunges from long ago are forgotten: a client that comes back is told of every UID that is not there."""
    monkeypatch.setattr(history, "EXPUNGED_LIMIT", 1)
    monkeypatch.setattr(history, "CHANGED_LIMIT", 2)
    _play_seeds(_seeds(pytestconfig, 30), lambda number: STORES["memory"](Path()), 8, together=False)


def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that forgets a change, one that tells expunges when it may not, and a history without expunges."""
    news = View.news

    def forgetful(view: View, may_expunge: bool) -> object:
        if view.mailbox.modseq != view.told and not view.pending and len(view.uids) % 3 == 2:
            view.told = view.mailbox.modseq
            return NO_NEWS
        return news(view, may_expunge)

    wrong: list[tuple[object, str, object]] = [
        (View, "news", forgetful),
        (View, "news", lambda view, may_expunge: news(view, True)),
        (news_module, "_highest", lambda view: b""),  # an expunge that waits is lost with the connection
        (history.History, "_expunged_after", lambda self, since: []),
        (history.History, "_changed_after", lambda self, since, table: []),
    ]
    for owner, name, value in wrong:
        with monkeypatch.context() as patch, pytest.raises(AssertionError):
            patch.setattr(owner, name, value)
            _play_seeds(range(600), lambda number: STORES["memory"](Path()), 8, together=False)
