"""Sessions that sleep: no green thread is with them, and the client cannot tell."""

import contextlib
import itertools
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gevent
import gevent.socket
import pytest
from harness.engine import PASSWORD, USER, Engine, memory_backend
from harness.green import Scheduler

from greenmail import log as logs
from greenmail import metrics
from greenmail.errors import Disconnected
from greenmail.imap.execute import Serving
from greenmail.imap.session import Session
from greenmail.net import watch
from greenmail.net.figures import Figures
from greenmail.net.server import Acceptor, Board, Connections, Crowds, Service, Talk
from greenmail.net.stream import Stream
from greenmail.net.watch import SessionWatch, Watcher
from greenmail.net.watch_places import SessionPlaces, SharedPlaces
from greenmail.net.work import Clock
from greenmail.runtime import Dormant, Wake, direct
from greenmail.storage.maildir_store import MaildirStore

SELECTED = f"a LOGIN {USER} {PASSWORD}\r\nb SELECT INBOX\r\n".encode()
NOTIFY = b"c NOTIFY SET (selected (MessageNew MessageExpunge))\r\n"


@dataclass
class House:
    """A worker's connections, with mail in memory; sessions sleep at once."""

    loop: Any
    engine: Engine
    watcher: Watcher
    connections: Connections
    naps: int = 0
    is_asleep: bool = False

    def arrive(self) -> Any:
        """A client."""
        client, accepted, address = self.loop.connected()
        gevent.spawn(self.connections.run, self._service(), accepted, address)
        return client

    def _service(self) -> Service:
        means: dict[str, Any] = {"watch": self._watch, "places": self._places}
        shared = replace(self.loop.shared, quiet=0.0, trusts=lambda address: True, **means)
        return Service("imap", False, False, shared, self._begin, b"* BYE full\r\n")

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """A port at which clients are taken in as in a worker."""
        with gevent.socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            acceptor = Acceptor(listener, self._service(), self.connections)
            acceptor.start()
            try:
                yield listener.getsockname()[1]
            finally:
                acceptor.stop()

    def _watch(self, stream: Stream, mailbox: Any, places: Any) -> SessionWatch:
        return SessionWatch(stream, self.watcher, mailbox, places)

    def _places(self) -> SessionPlaces:
        return SessionPlaces(SharedPlaces(self.watcher))

    def _begin(self, stream: Stream) -> Talk:
        stream.session = Session(stream, self.engine.services, "s")
        serving = Serving(stream.session)

        def go_on() -> Dormant | None:
            self.is_asleep = False
            dormant = serving.go_on()
            self.is_asleep = dormant is not None
            self.naps += self.is_asleep
            return dormant

        return go_on

    def slept(self) -> None:
        """Return when the session sleeps."""
        until(lambda: self.is_asleep)


def until(is_so: Callable[[], bool]) -> None:
    """Let others run until it is so."""
    with gevent.Timeout(10):
        while not is_so():
            gevent.sleep(0.001)


def heard(client: Any, end: bytes) -> bytes:
    """What the server says, up to and with `end`."""
    found = b""
    while end not in found:
        data = client.recv(4096)
        assert data, found
        found += data
    return found


@pytest.fixture
def house(loop: Any) -> Iterator[House]:
    engine = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    engine.services = replace(engine.services, runtime=direct())
    watcher = Watcher(60.0)
    connections = Connections(Board(), 0, 100, Crowds(0, lambda address: False))
    yield House(loop, engine, watcher, connections)
    connections.drain()
    connections.none_left.wait(20)
    watcher.close()


@pytest.mark.parametrize("more", [b"d IDLE\r\n", NOTIFY, NOTIFY + b"d IDLE\r\n"])
def test_news_wake_a_session(house: House, more: bytes) -> None:
    client = house.arrive()
    client.sendall(SELECTED + more)
    heard(client, b"+ idling" if b"IDLE" in more else b"c OK")
    for number in (1, 2):
        house.slept()
        house.engine.fill("INBOX", 1)
        assert b"* %d EXISTS\r\n" % number in heard(client, b"EXISTS\r\n")


@pytest.mark.parametrize("pieces", [(b"DONE\r\n",), (b"DONE\r\ne NOOP\r\n",), (b"DO", b"NE\r\n"), (b"d", b"one\n")])
def test_done_wakes_a_session(house: House, pieces: tuple[bytes, ...]) -> None:
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    for piece in pieces:
        client.sendall(piece)
        gevent.sleep(0.01)
    assert b"d OK IDLE completed" in heard(client, b"e OK" if b"NOOP" in pieces[0] else b"completed\r\n")


def test_a_session_that_waits_for_the_next_command_sleeps(house: House) -> None:
    client = house.arrive()
    client.sendall(SELECTED)
    for number in itertools.islice(itertools.count(), 3):
        house.slept()
        client.sendall(b"\r\nn%d NOOP\r\n" % number)
        heard(client, b"n%d OK" % number)
    assert house.naps >= 3


def test_who_came_through_a_listener_is_there_when_he_wakes(house: House) -> None:
    """gevent closes the socket of a connection whose green thread has ended."""
    with house.listening() as port, gevent.socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(SELECTED)
        for number in range(2):
            house.slept()
            client.sendall(b"n%d NOOP\r\n" % number)
            heard(client, b"n%d OK" % number)


def test_nobody_sleeps_before_the_login_or_in_the_midst_of_a_command(house: House) -> None:
    client = house.arrive()
    heard(client, b"ready\r\n")
    for piece in (b"x ", b"NOOP\r\ny AUTHENTICATE PLAIN\r\n", b"AGFsaWNlAHNlY3JldA==\r\nz APPEND INBOX {3}\r\n"):
        client.sendall(piece)
        gevent.sleep(0.01)
    assert b"y OK" in heard(client, b"+ OK\r\n")
    before = house.naps
    client.sendall(b"ab")
    gevent.sleep(0.01)
    assert house.naps == before
    client.sendall(b"c\r\n")
    assert b"z OK" in heard(client, b"z OK")


def test_a_session_that_sleeps_is_told_that_the_worker_ends(house: House) -> None:
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    house.connections.drain()
    heard(client, b"* BYE the end\r\n")
    assert client.recv(10) == b""
    until(lambda: not len(house.connections))
    assert not house.engine.seats.entries, "the seat was not given back"


def test_news_do_not_put_off_the_end(house: House) -> None:
    """After an overflow of events sessions look within a second; until then they hear of other things."""
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    (stream,) = house.connections.streams()
    stream.drain()
    stream.interrupt(60.0)
    with gevent.Timeout(10):
        heard(client, b"* BYE the end\r\n")


def test_a_client_that_goes_while_its_session_sleeps(house: House) -> None:
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    client.close()
    until(lambda: not len(house.connections))
    assert not house.engine.seats.entries, "the seat was not given back"


@pytest.mark.parametrize("command, limit", [(b"", "timeout_authenticated"), (NOTIFY, "timeout_authenticated"),
                                            (b"d IDLE\r\n", "timeout_idle")])  # fmt: skip
def test_a_sleep_ends_with_the_patience(house: House, command: bytes, limit: str) -> None:
    """News do not make it begin anew: only what the client says."""
    services = house.engine.services
    house.engine.services = replace(services, limits=replace(services.limits, **{limit: 0.6}))
    client = house.arrive()
    client.sendall(SELECTED + command)
    house.slept()
    for _ in range(3):
        house.engine.fill("INBOX", 1)
        gevent.sleep(0.1)
    with gevent.Timeout(5):
        assert b"Autologout" in heard(client, b"Autologout")
    until(lambda: not len(house.connections))


@pytest.mark.parametrize("command, then", [(b"", b"d NOOP\r\n"), (b"d IDLE\r\n", b"DONE\r\n")])
@pytest.mark.parametrize("step", [1e6, -1e6])
def test_the_clock_may_be_set(house: House, command: bytes, then: bytes, step: float) -> None:
    """Nobody has waited for longer, nor may anybody for ever, because it says another time now."""
    shift = [0.0]
    runtime = replace(direct(), now=lambda: time.time() + shift[0])
    limits = replace(house.engine.services.limits, idle_keepalive=0.05)
    house.engine.services = replace(house.engine.services, runtime=runtime, limits=limits)
    client = house.arrive()
    client.sendall(SELECTED + command)
    house.slept()
    shift[0] = step
    if command:
        heard(client, b"Still here\r\n")
        house.engine.fill("INBOX", 1)
        heard(client, b"EXISTS\r\n")
        heard(client, b"Still here\r\n")
    client.sendall(then)
    with gevent.Timeout(10):
        assert b"Autologout" not in heard(client, b"completed\r\n").rpartition(b"b OK")[2]
        client.sendall(b"e NOOP\r\n")
        assert b"e OK" in heard(client, b"e OK")


def test_patience_begins_anew_behind_an_idle_that_slept(house: House) -> None:
    services = house.engine.services
    house.engine.services = replace(services, limits=replace(services.limits, timeout_authenticated=0.3))
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    client.sendall(b"DONE\r\n")
    with gevent.Timeout(5):
        assert b"Autologout" in heard(client, b"Autologout")
    until(lambda: not len(house.connections))


def test_a_session_is_woken_once_whatever_comes_together(house: House) -> None:
    """Two green threads with one connection would take each other's octets."""
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    (stream,) = house.connections.streams()
    awakenings = []
    stream.woken, rested = lambda: awakenings.append(rested()), stream.woken
    assert stream._sleep is not None
    stream._sleep._over(False)
    stream.interrupt(0.0)  # news, in the same turn of the loop
    until(lambda: bool(awakenings))
    gevent.sleep(0.01)
    assert len(awakenings) == 1 and house.naps == 2
    client.sendall(b"DONE\r\n")
    assert b"d OK" in heard(client, b"completed\r\n")


def test_news_that_come_as_a_session_falls_asleep_are_not_lost(loop: Any) -> None:
    """They are told in the turn of the loop in which the time of quiet is over."""
    _, stream = loop.pair(quiet=0.02)
    turns = gevent.get_hub().loop
    news = turns.timer(0.01)
    news.start(stream.interrupt)
    turns.run_callback(time.sleep, 0.05)  # a turn that takes so long: both timers end with it
    assert stream.rest(5.0, may_sleep=True) is Wake.CHANGED
    news.close()


def test_signs_of_life_go_on(house: House) -> None:
    services = house.engine.services
    house.engine.services = replace(services, limits=replace(services.limits, idle_keepalive=0.03))
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    for _ in range(5):
        heard(client, b"* OK Still here\r\n")
    assert house.naps == 1, "who only says that he is here is not woken"


def test_octets_of_signs_of_life_are_counted_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sleeps is not looked at for the figures."""
    sent: list[int] = []
    monkeypatch.setattr(metrics, "octets", lambda protocol, received, more: sent.append(more))
    services = house.engine.services
    house.engine.services = replace(services, limits=replace(services.limits, idle_keepalive=0.03))
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"* OK Still here\r\n")
    heard(client, b"* OK Still here\r\n")
    assert sent[-1] == len(b"* OK Still here\r\n")


def test_a_timed_look_wakes_nobody_where_nothing_happened_for_certain(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SLOW_LOOK", 0.02)
    client = house.arrive()
    mailbox = house.engine.backend.outside.open("INBOX")
    looks: list[bool] = []
    is_certain = True

    def is_unchanged() -> bool:
        looks.append(is_certain)
        return is_certain

    mailbox.is_unchanged = is_unchanged
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    until(lambda: len(looks) > 5)
    assert house.naps == 1
    is_certain = False
    until(lambda: house.naps > 1)


def test_sleep_over_tls_and_behind_compression(house: House) -> None:
    client = house.arrive()
    heard(client, b"ready\r\n")
    client.sendall(b"s STARTTLS\r\n")
    heard(client, b"s OK")
    client = house.loop.trusting().wrap_socket(client, server_hostname="localhost")
    client.sendall(SELECTED + b"c COMPRESS DEFLATE\r\n")
    heard(client, b"c OK")
    pack, unpack = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)

    def said(end: bytes) -> bytes:
        found = b""
        while end not in found:
            found += unpack.decompress(client.recv(4096))
        return found

    client.sendall(pack.compress(b"d IDLE\r\n") + pack.flush(zlib.Z_SYNC_FLUSH))
    said(b"+ idling")
    house.slept()
    house.engine.fill("INBOX", 1)
    said(b"* 1 EXISTS\r\n")
    house.slept()
    client.sendall(pack.compress(b"DONE\r\n") + pack.flush(zlib.Z_SYNC_FLUSH))
    said(b"d OK")


def test_a_mailbox_rests_while_its_sessions_sleep(house: House) -> None:
    """And no longer: a session that works must not find its mailbox given up."""
    client = house.arrive()
    mailbox = house.engine.backend.outside.open("INBOX")
    rested: list[bool] = []
    mailbox.resting = rested.append
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    assert sum(1 if one else -1 for one in rested) == 1
    client.sendall(b"DONE\r\n")
    heard(client, b"d OK")
    assert sum(1 if one else -1 for one in rested) == 0


def test_what_ends_in_an_engine_ends_the_connection(house: House) -> None:
    """Whatever it raises, also behind a sleep."""
    calls = [Dormant(0.001), Disconnected("gone")]

    def go_on() -> Dormant | None:
        answer = calls.pop(0)
        if isinstance(answer, Dormant):
            return answer
        raise answer

    house._begin = lambda stream: go_on  # type: ignore[method-assign] # an engine of this test
    client = house.arrive()
    assert client.recv(10) == b""
    until(lambda: not len(house.connections))
    assert not calls


@pytest.mark.parametrize("sign", [lambda: 1 / 0, lambda: (1, 1.0)])
def test_a_sign_of_life_that_fails_wakes_the_session(house: House, sign: Any) -> None:
    """It is asked for on the loop, where nobody else would call the engine again."""
    sleep = Dormant(0.001)
    sleep.sign = sign
    calls: list[Dormant | None] = [sleep, None]
    house._begin = lambda stream: lambda: calls.pop(0)  # type: ignore[method-assign] # an engine of this test
    client = house.arrive()
    with gevent.Timeout(10):
        assert client.recv(10) == b""
    until(lambda: not len(house.connections))
    assert not calls


def test_who_sleeps_is_counted_and_what_he_did_is_told_once(house: House) -> None:
    figures = Figures(house.connections, MaildirStore(direct()), Clock(), logs.Recent())
    client = house.arrive()
    client.sendall(SELECTED + b"d IDLE\r\n")
    heard(client, b"+ idling")
    house.slept()
    samples = [figures.sample() for _ in range(2)]
    assert [(one["sessions"]["imap"], one["idle"]) for one in samples] == [(1, 1)] * 2
    assert [len(one["users"]) for one in samples] == [1, 0]
    assert house.connections.stirred() == [], "who sleeps on is not looked at again"
    client.sendall(b"DONE\r\n")
    heard(client, b"d OK")
    house.slept()
    sample = figures.sample()
    assert (sample["sessions"]["imap"], sample["idle"], len(sample["users"])) == (1, 0, 1)
    client.close()
    until(lambda: not len(house.connections))
    sample = figures.sample()
    assert (sample["sessions"]["imap"], sample["idle"], house.connections.stirred()) == (0, 0, [])
