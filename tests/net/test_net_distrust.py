"""What a compromised or starved process says, and who else may write where the server puts things."""

import selectors
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenmail.auth.penalties import BanRule
from greenmail.config import Config
from greenmail.net import auth_socket, control, register
from greenmail.net.children import Identity
from greenmail.net.control import Control
from greenmail.net.family import Child, Family, Kind
from greenmail.net.register import decode, encode
from greenmail.net.tls import CannotStart
from greenmail.net.work import Clock, Pool


def heard(kind: Kind, message: dict[str, Any], descriptors: list[int]) -> tuple[Family, list[dict[str, Any]], bytes]:
    """A family with one child that says something: what was carried, and what the child was answered."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    family, carried = Family(1, BanRule()), []
    family.carry = lambda child, message, descriptor: carried.append(message) or ""
    with ours, theirs:
        ours.setblocking(False)
        socket.send_fds(theirs, [encode(message)], descriptors)
        theirs.setblocking(False)
        assert family.read(Child(kind, 0, 1, ours, 1, 0.0, 0.0)) is True
        try:
            return family, carried, theirs.recv(register.LARGEST)
        except BlockingIOError:
            return family, carried, b""


def test_a_number_beyond_all_bounds_does_not_end_the_parent() -> None:
    heard(Kind.WORKER, {"op": "poll", "n": 1, "user": "alice", "delay": 10**400}, [])


@pytest.mark.parametrize("kind", list(Kind))
def test_only_workers_pass_sessions_on(kind: Kind) -> None:
    """A process of one user's mail that was taken over must not begin sessions of other users."""
    _, carried, answer = heard(kind, {"op": "carry", "n": 1, "session": {}, "ends": {}}, [0])
    assert bool(carried) is (kind is Kind.WORKER)
    assert ("deny" in decode(answer)) is (kind is not Kind.WORKER)


def test_a_session_goes_to_a_process_of_its_workers_own_generation() -> None:
    """That one ends with the worker: in a later one nobody would tell the client to go."""
    family, alice, bob = Family(1, BanRule()), Identity(1001, 1001), Identity(1002, 1002)
    with socket.socket() as control:
        old, new, other = (
            Child(Kind.OWNER, pid, pid, control, generation, 0.0, 0.0, identity=identity)
            for pid, generation, identity in ((1, 1, alice), (2, 2, alice), (3, 2, bob))
        )
        family.children = {child.pid: child for child in (old, new, other)}
        assert [family.owner(alice, generation) for generation in (1, 2, 3)] == [old, new, None]
        assert family.owner(bob, 1) is None
        old.leaving = True
        assert family.owner(alice, 1) is None, "it takes no more"


def test_a_question_that_takes_too_long_is_given_up() -> None:
    gate = threading.Event()
    pool = Pool("database", 1, Clock())
    began = time.monotonic()
    try:
        for _ in range(4):  # also who waits for a thread, and who waits for room in the queue
            with pytest.raises(TimeoutError):
                pool.run_within(0.05, gate.wait, 3)
        assert time.monotonic() - began < 2
    finally:
        gate.set()
        pool.close()


# --- sockets that root makes in directories of others ---


def test_what_is_put_in_the_place_of_the_socket_gets_neither_owner_nor_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postfix's directory is Postfix's: it could put a link there as soon as the socket is bound."""
    victim, path = tmp_path / "victim", tmp_path / "auth"
    victim.write_text("private")
    victim.chmod(0o600)
    bind = socket.socket.bind

    def bind_and_be_robbed(self: socket.socket, address: Any) -> None:
        bind(self, address)
        path.unlink()
        path.symlink_to(victim)

    monkeypatch.setattr(socket.socket, "bind", bind_and_be_robbed)
    with pytest.raises(CannotStart):
        auth_socket.bind(Config(**{"auth-socket": str(path), "auth-socket-mode": "0666"}), None, None)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_the_socket_has_the_mode_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "auth"
    made = auth_socket.bind(Config(**{"auth-socket": str(path), "auth-socket-mode": "0664"}), None, None)
    assert made is not None
    with made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o664 and stat.S_ISSOCK(path.stat().st_mode)


# --- the control socket ---


def test_who_hangs_up_amid_many_requests_does_not_end_the_parent(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector:
        served = Control(tmp_path, selector, lambda name, wanted, reply: reply.give("x" * (1 << 20)))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / control.NAME))
            served._accept(selectors.EVENT_READ)
            (found,) = served._clients.values()
            found.inbox += b" " * 60_000 + b"\n"
            request = b'{"v": 1, "do": "ping"}\n'
            client.sendall(request + b"y" * 65_000)
        try:
            found.inbox += request + b"y" * (control.LONGEST + 1)
            served._serve(found, selectors.EVENT_READ)
            assert not served._clients
        finally:
            served.end()


# --- a process of an owner ---


OWNER = """
import os, socket, sys
from greenmail.config import Config
from greenmail.net.server import Board
from greenmail.net.worker import Plan, run
control = socket.socket(fileno=int(sys.argv[1]))
os._exit(run(Plan(Config(**{"mail-path": sys.argv[2]}), 0, control, (), {}, Board(), b"secret", is_owner=True)))
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[socket.socket]:
    """The parent's end of the socketpair to such a process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [sys.executable, "-c", OWNER, str(theirs.fileno()), str(tmp_path)]
    with ours, subprocess.Popen(arguments, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        ours.settimeout(10)
        yield ours
        ours.close()
        try:
            assert process.wait(10) == 0, "the end of the parent is its end"
        finally:
            process.kill()


def said(sock: socket.socket, op: str) -> dict[str, Any]:
    while (message := decode(sock.recv(register.LARGEST))).get("op") != op:
        pass
    return message


def test_a_session_whose_socket_was_lost_on_the_way_leaves_the_process_listening(owner: socket.socket) -> None:
    """So it comes where the process has no descriptor left: the kernel drops what was sent along."""
    said(owner, "ready")
    user = {"name": "alice", "home": "", "uid": None, "gid": None, "extra": {}, "master": ""}
    session = {"protocol": "imap", "sid": "1", "user": user, "mechanism": "PLAIN", "tag": "a"}
    session |= {"client": "", "language": ""}
    ends = {"peer": "192.0.2.7", "peer_port": 1, "local": "192.0.2.1", "local_port": 993}
    owner.send(encode({"op": "host", "session": session, "ends": {**ends, "tls_version": "", "tls_cipher": ""}}))
    owner.send(encode({"op": "ask", "n": 1, "what": "who", "with": {}}))
    assert said(owner, "told") == {"op": "told", "n": 1, "items": [], "end": True}
