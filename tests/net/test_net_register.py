"""Who is logged in: the parent's table, and a worker that must not depend on it."""

import os
import socket

import gevent
import gevent.socket
import pytest

from greenmail.auth.penalties import BanRule
from greenmail.net import register as register_module
from greenmail.net import tls
from greenmail.net.family import Child, Family, Kind
from greenmail.net.register import Register, RegisterClient, Seats, decode, encode


def login(register, pid, number, user="alice"):
    return register.handle(pid, {"n": number, "op": "login", "user": user, "address": "192.0.2.7", "protocol": "imap"})


def test_a_user_has_so_many_sessions_and_no_more_over_all_workers():
    register = Register(2)
    assert login(register, 1, 1) == {"n": 1}
    assert login(register, 2, 1) == {"n": 1, "tight": True}
    assert "at most 2" in login(register, 1, 2)["deny"]
    assert login(register, 1, 3, "bob") == {"n": 3}
    assert register.handle(2, {"n": 1, "op": "logout"}) is None
    assert login(register, 1, 4) == {"n": 4, "tight": True}
    assert sorted(entry.user for _, entry in register.who()) == ["alice", "alice", "bob"]


def test_a_logout_of_nobody_changes_nothing():
    register = Register(1)
    register.handle(1, {"n": 9, "op": "logout"})
    login(register, 1, 1)
    register.handle(1, {"n": 1, "op": "logout"})
    register.handle(1, {"n": 1, "op": "logout"})
    assert login(register, 1, 2) == {"n": 2, "tight": True}
    assert "deny" in login(register, 1, 3)


def test_the_end_of_a_worker_gives_its_seats_back():
    register = Register(2)
    login(register, 1, 1)
    login(register, 1, 2)
    register.release(1)
    register.release(1)
    assert register.who() == []
    assert login(register, 2, 1) == {"n": 1}


def poll(register, user="alice", delay=60):
    return register.handle(1, {"n": 5, "op": "poll", "user": user, "delay": delay})["wait"]


def test_who_looked_for_mail_waits_and_nobody_else(monkeypatch):
    """RFC 2449 6.5; a try that came too soon does not make it longer."""
    clock = [100.0]
    monkeypatch.setattr(register_module.time, "monotonic", lambda: clock[0])
    register = Register(1)
    assert poll(register) == 0
    clock[0] += 20
    assert poll(register) == 40
    assert poll(register, "bob") == 0
    clock[0] += 40
    assert poll(register) == 0
    assert poll(register) == 60


def test_who_was_not_let_in_need_not_wait():
    register = Register(1)
    assert poll(register) == 0
    assert register.handle(1, {"n": 6, "op": "unpoll", "user": "alice"}) is None
    assert register.handle(1, {"n": 7, "op": "unpoll", "user": "alice"}) is None
    assert poll(register) == 0
    assert poll(register) > 0
    assert register.who() == []


def test_those_who_need_not_wait_any_more_are_forgotten(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(register_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(register_module, "_POLLS", 3)
    register = Register(1)
    for user in "abc":
        assert poll(register, user) == 0
        clock[0] += 30
    assert poll(register, "d") == 0
    assert poll(register, "c") == 30
    assert set(register._polls) == {"c", "d"}


def test_many_who_wait_are_not_all_looked_at_in_each_login(monkeypatch):
    monkeypatch.setattr(register_module, "_POLLS", 8)
    register = Register(1)
    looks = 0
    for number in range(64):
        before = register._polls
        assert poll(register, f"u{number}") == 0
        looks += register._polls is not before
    assert len(register._polls) == 64 and looks <= 4


class Parent:
    """The other end, on this thread's loop: answers when told to."""

    def __init__(self, per_user=1):
        self.register = Register(per_user)
        self.sock, theirs = gevent.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.client = RegisterClient(theirs, timeout=0.2)
        self.theirs = theirs
        self.held = []
        self.heard = []
        self.hold = False
        self.reader = gevent.spawn(self.read)
        self.worker = gevent.spawn(self.hear)

    def read(self):
        while data := self.sock.recv(65536):
            self.heard.append(decode(data)["op"])
            if self.hold:
                self.held.append(data)
            else:
                self.answer(data)

    def answer(self, data):
        found = self.register.handle(1, decode(data))
        if found is not None:
            self.sock.send(encode(found))

    def hear(self):
        while data := self.theirs.recv(65536):
            self.client.answered(decode(data))

    def go_on(self):
        self.hold = False
        held, self.held = self.held, []
        for data in held:
            self.answer(data)
        gevent.sleep(0.02)


@pytest.fixture
def parent():
    yield from made_parent(1)


def made_parent(per_user):
    made = Parent(per_user)
    yield made
    gevent.killall([made.reader, made.worker])
    made.sock.close()
    made.theirs.close()


@pytest.fixture
def small():
    yield from made_parent(2)


@pytest.fixture
def roomy():
    yield from made_parent(8)


def enter(parent, user="alice"):
    return parent.client.login(user, "192.0.2.7", "imap")


def leave(parent, user="alice"):
    parent.client.logout(user, "192.0.2.7", "imap")
    gevent.sleep(0.02)


def test_a_login_asks_and_is_answered(parent):
    assert enter(parent) is None
    assert "too many" in enter(parent)
    leave(parent)
    assert enter(parent) is None
    assert len(parent.register.who()) == 1


def test_who_is_back_at_once_finds_his_seat(roomy, monkeypatch):
    monkeypatch.setattr(register_module, "KEPT", 60.0)
    client = roomy.client
    assert enter(roomy) is None
    for _ in range(5):
        client.logout("alice", "192.0.2.7", "imap")
        assert enter(roomy) is None
    assert enter(roomy) is None  # another one of the same user has a seat of his own
    assert len(roomy.register.who()) == 2
    client.logout("alice", "192.0.2.7", "imap")
    assert enter(roomy, "bob") is None  # it is kept for nobody else
    assert client.login("alice", "192.0.2.7", "pop3") is None
    assert roomy.heard == ["login"] * 4


def test_a_seat_is_given_back_when_nobody_comes_and_the_register_is_right_then(roomy):
    assert enter(roomy) is None
    assert enter(roomy) is None
    roomy.client.logout("alice", "192.0.2.7", "imap")
    roomy.client.logout("alice", "192.0.2.7", "imap")
    with gevent.Timeout(10):
        while roomy.register.who():
            gevent.sleep(0.001)
    assert roomy.heard == ["login", "login", "logout", "logout"]
    assert enter(roomy) is None


def test_nobody_is_denied_for_a_seat_that_is_only_kept(small):
    """It was loose when it was given, and then the user came up to his limit within a moment, from elsewhere."""
    client = small.client
    assert client.login("alice", "192.0.2.7", "imap") is None
    client.logout("alice", "192.0.2.7", "imap")
    assert client.login("alice", "192.0.2.8", "imap") is None
    assert client.login("alice", "192.0.2.9", "imap") is None
    assert "too many" in client.login("alice", "192.0.2.7", "imap")
    assert len(small.register.who()) == 2


def test_who_has_more_than_half_of_his_seats_gives_his_back_at_once(parent, monkeypatch):
    monkeypatch.setattr(register_module, "KEPT", 60.0)
    assert enter(parent) is None
    leave(parent)
    assert parent.heard == ["login", "logout"]


def test_a_seat_is_kept_from_when_it_was_left_last(monkeypatch):
    clock, given_up, key = [100.0], [], ("alice", "192.0.2.7", "imap")
    monkeypatch.setattr(register_module.time, "monotonic", lambda: clock[0])
    seats = Seats(given_up.append)
    seats.may_wait(7)
    for _ in range(3):
        seats.leave(key, 7)
        clock[0] += 0.7 * register_module.KEPT
        seats._ring()
        assert seats.take(key) == 7 and seats.take(key) is None
    seats.leave(key, 7)
    clock[0] += 1.1 * register_module.KEPT
    seats._ring()
    assert given_up == [7] and seats.take(key) is None
    assert not (seats._heard or seats._left or seats._until or seats._order) and seats._timer is None


def test_what_the_parent_said_long_ago_does_not_count(monkeypatch):
    clock, given_up, key = [100.0], [], ("alice", "192.0.2.7", "imap")
    monkeypatch.setattr(register_module.time, "monotonic", lambda: clock[0])
    seats = Seats(given_up.append)
    for number in (7, 8, 9):
        seats.may_wait(number)
        clock[0] += 0.6 * register_module.FRESH
    assert set(seats._heard) == {8, 9}
    for number in (7, 8, 9):
        seats.leave(key, number)
    assert given_up == [7, 8]
    assert seats.take(key) == 9


def test_what_the_parent_does_not_read_waits_and_comes_in_order():
    ours, theirs = gevent.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client = RegisterClient(theirs)
    for number in range(2000):
        client.say({"n": number, "op": "logout"})  # at once, whoever reads
    assert 0 < len(client._late) < 2000
    with gevent.Timeout(10):
        assert [decode(ours.recv(65536))["n"] for _ in range(2000)] == list(range(2000))
    assert not client._late
    ours.close()
    client.say({"n": 1, "op": "logout"})  # the parent is gone: nobody is told, nothing is raised
    assert not client._late
    theirs.close()


def test_a_session_is_not_passed_on_by_a_parent_that_does_not_read():
    """Two who wait for room in one socket would be one too many: nothing would ever be said again."""
    ours, theirs = gevent.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client = RegisterClient(theirs)
    for number in range(2000):
        client.say({"n": number, "op": "logout"})
    carried = gevent.spawn(client.carry, {"session": {}}, ours.fileno())
    gevent.sleep(0.01)
    client.say({"n": 2000, "op": "logout"})
    with gevent.Timeout(10):
        assert carried.get()
        said = [decode(ours.recv(65536)) for _ in range(2001)]
    assert [message["n"] for message in said] == list(range(2001))
    assert not client._late
    ours.close()
    theirs.close()


def test_a_denied_login_has_nothing_to_give_back(parent):
    assert enter(parent) is None
    assert enter(parent)
    leave(parent)
    leave(parent)
    assert parent.register.who() == []
    assert enter(parent) is None


def test_without_an_answer_the_login_goes_on_and_leaves_properly_later(parent, caplog):
    parent.hold = True
    assert enter(parent) is None
    assert "register-timeout" in caplog.text
    parent.go_on()
    assert len(parent.register.who()) == 1
    leave(parent)
    assert parent.register.who() == []


def test_a_denial_that_comes_late_takes_nobody_elses_seat(parent):
    assert enter(parent) is None
    parent.hold = True
    assert enter(parent) is None  # goes on, although it will be denied
    parent.go_on()
    leave(parent)
    assert parent.register.who() == []
    leave(parent)
    assert enter(parent) is None
    assert len(parent.register.who()) == 1


def test_a_parent_that_is_gone_stops_nobody(parent):
    parent.reader.kill()
    parent.sock.close()
    assert enter(parent) is None
    leave(parent)


def test_a_renewed_certificate_is_sent_again_when_there_was_no_room(pki):
    cert, key = pki
    material = tls.read(tls.Pair(str(cert), str(key)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    family = Family(1, BanRule())
    family.children[5] = Child(Kind.WORKER, 0, 5, ours, 1, 0.0, 0.0)
    filled = 0
    with theirs, ours:
        while True:
            try:
                ours.send(b"x" * 1000)
                filled += 1
            except BlockingIOError:
                break
        family.hand_out(material)
        for _ in range(filled):
            assert theirs.recv(2000) == b"x" * 1000
        family.hand_out_late()
        data, descriptors, _, _ = socket.recv_fds(theirs, 2000, 2)
        assert decode(data)["cert"] == str(cert)
        assert [os.pread(number, 1 << 20, 0) for number in descriptors] == [material.certificates, material.key]
        for number in descriptors:
            os.close(number)
        family.hand_out_late()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


@pytest.mark.parametrize(
    "data",
    [b"[" * 60000, b"{", b"[]", b"5", b"null", b"{}", b'{"op": "login"}', b'{"op": [], "n": 1}', b"\xff",
     b'{"op": "login", "n": [], "user": {}, "address": 1, "protocol": 2}'],
)  # fmt: skip
def test_nothing_that_a_worker_says_ends_the_parent(data):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    child = Child(Kind.WORKER, 0, 1, ours, 1, 0.0, 0.0)
    with theirs, ours:
        theirs.send(data)
        assert Family(1, BanRule()).read(child) is True


def test_a_poll_asks_and_is_answered_and_a_silent_parent_lets_everybody_in(parent):
    assert parent.client.poll("alice", 60) == 0
    assert 59 < parent.client.poll("alice", 60) <= 60
    parent.hold = True
    assert parent.client.poll("alice", 60) == 0
    parent.go_on()  # what comes late is for nobody
    assert 59 < parent.client.poll("alice", 60) <= 60
