"""The server as a whole: processes, signals, limits. Each test starts a real one on the loopback."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.running import PATIENCE, ROOT_ONLY, Client, alive, children, ready, trusting, until, value, workers


def test_no_module_patches_anything():
    code = (
        "import pkgutil, importlib, greenmail, threading, socket, ssl, select, time, subprocess, queue\n"
        "for module in pkgutil.walk_packages(greenmail.__path__, 'greenmail.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "from gevent import monkey\n"
        "assert not monkey.saved, monkey.saved\n"
        "from gevent._hub_local import get_hub_if_exists\n"
        "assert get_hub_if_exists() is None\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_two_workers_share_the_connections_and_their_counters_add_up(serve):
    server = ready(serve())
    counter = 'greenmail_connections_total{protocol="imap",tls="yes"}'
    before = value(server, counter)
    clients = [Client(server.imaps, trusting(server)) for _ in range(24)]
    # Who is free takes the next one: beside other work on the machine one of them may be so for a while, and alone.
    while len(clients) < 500 and not all(map(has_some, workers(server))):
        clients.append(Client(server.imaps, trusting(server)))
    assert all(client.greeting.startswith(b"* OK") for client in clients)
    assert value(server, counter) == before + len(clients)
    assert value(server, 'greenmail_open_connections{protocol="imap"}') == len(clients)
    assert value(server, 'greenmail_tls_handshakes_total{protocol="imap",result="ok"}') == len(clients)
    assert all(map(has_some, workers(server)))
    for client in clients:
        client.close()
    until(lambda: value(server, 'greenmail_open_connections{protocol="imap"}') == 0, "the end of all connections")


def has_some(pid):
    return sum("socket:" in target for target in descriptors(pid)) > 5


def descriptors(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def test_the_parent_has_one_thread_and_the_workers_have_what_they_need(serve):
    server = ready(serve(fresh=True))
    assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 1
    for pid in workers(server):
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Umask:\t0000" in status
        limit = next(row for row in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in row)
        soft, hard = limit.split()[3:5]
        assert soft == hard


@ROOT_ONLY
def test_figures_work_under_a_narrow_umask_and_workers_cannot_make_files_beside_them(serve_others):
    """Root's parent writes there, too: a link that a worker makes must not be able to stand in its way."""
    server = ready(serve_others(workers=1, user="12345", enter=lambda: os.umask(0o077)))
    (before,) = workers(server)
    os.kill(before, signal.SIGKILL)
    until(lambda: workers(server) not in ([], [before]), "a new worker")
    Client(server.imap).close()
    until(lambda: value(server, 'greenmail_process_restarts_total{process="worker"}') == 1, "the count of the dead")
    until(lambda: value(server, 'greenmail_connections_total{protocol="imap",tls="no"}') >= 1, "the count")
    (figures,) = (server.directory / "run").glob("figures-*")
    assert figures.stat().st_uid == 0
    assert not figures.stat().st_mode & 0o022
    assert "figures-off" not in server.logged()


@ROOT_ONLY
def test_workers_drop_their_privileges_and_keep_no_group(serve_others):
    server = ready(serve_others(user="nobody", fresh=True))
    for pid in workers(server):
        status = dict(
            row.split(":\t", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in row
        )
        assert set(status["Uid"].split()) != {"0"}
        assert "0" not in status["Uid"].split()
        assert "0" not in status["Gid"].split()
        assert status["Groups"].split() in ([], [status["Gid"].split()[0]])
    client = Client(server.imaps, trusting(server))  # the key is root's alone
    assert client.greeting.startswith(b"* OK")
    assert "greenmail_connections_total" in server.scrape()
    client.close()


def test_sigterm_says_bye_and_ends(serve):
    server = ready(serve())
    imap, pop3 = Client(server.imaps, trusting(server)), Client(server.pop3)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert imap.line().startswith(b"* BYE")
    assert imap.line() == b""
    assert pop3.line() == b""
    assert server.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun < 10  # nobody used up the grace of 15 s
    assert not list((server.directory / "run").glob("figures-*"))


def test_sigterm_waits_for_a_command_until_the_grace_is_over(serve):
    server = ready(serve(stop_grace=1, allow_plain_text=True))
    client = Client(server.imap)
    client.sock.sendall(b"a AUTHENTICATE PLAIN\r\n")
    assert client.line().startswith(b"+")
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun >= 0.9
    assert "stop-grace-over sessions=1" in server.logged()


def test_a_killed_worker_comes_back_and_its_counters_stay(serve):
    server = ready(serve(workers=1))
    Client(server.imap).close()
    counted = value(server, 'greenmail_connections_total{protocol="imap",tls="no"}')
    before = until(lambda: workers(server), "a worker")
    os.kill(before[0], signal.SIGKILL)
    until(lambda: workers(server) not in ([], before), "a new worker")
    client = Client(server.imap)
    assert client.greeting.startswith(b"* OK")
    assert value(server, 'greenmail_process_restarts_total{process="worker"}') == 1
    assert value(server, 'greenmail_connections_total{protocol="imap",tls="no"}') > counted
    assert value(server, 'greenmail_open_connections{protocol="imap"}') == 1
    client.close()


def test_a_killed_parent_leaves_no_process_behind(serve):
    server = ready(serve(stop_grace=1, fresh=True))
    client = Client(server.imap)
    pids = children(server.process.pid)
    assert len(pids) == 3
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    assert client.line().startswith(b"* BYE")
    for pid in pids:
        until(lambda pid=pid: not alive(pid), f"the end of {pid}")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.imap), 5)


@pytest.mark.slow
def test_a_stopped_worker_is_killed_after_its_grace(serve):
    server = ready(serve(workers=1, stop_grace=1))
    os.kill(workers(server)[0], signal.SIGSTOP)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    assert "killed pid=" in server.logged()


def test_a_second_sigterm_ends_at_once(serve):
    server = ready(serve(allow_plain_text=True))
    client = Client(server.imap)
    client.sock.sendall(b"a AUTHENTICATE PLAIN\r\n")
    client.line()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in server.logged(), "the drain")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0


@pytest.mark.slow
def test_silent_clients_of_the_metrics_port_do_not_keep_others_out(serve):
    server = ready(serve(workers=1))
    silent = [socket.create_connection(("127.0.0.1", server.metrics), PATIENCE) for _ in range(70)]
    assert urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/healthz", timeout=PATIENCE).status == 200
    assert "Traceback" not in server.logged()
    for sock in silent:
        sock.close()


# --- Hostile clients ---


def test_garbage_on_every_port_leaves_one_line_each_and_no_traceback(serve):
    server = ready(serve())
    before = server.logged().count("tls-failed")
    for port in (server.imap, server.imaps, server.pop3, server.pop3s):
        for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 4, b"\x16\x03\x01" + bytes(100), b""):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(data)
                sock.settimeout(PATIENCE)
                with contextlib.suppress(OSError):  # it may have been closed by the server already
                    sock.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while sock.recv(4096):
                        pass
    until(lambda: server.logged().count("tls-failed") == before + 8, "one line for each")
    assert "Traceback" not in server.logged()
    assert Client(server.imaps, trusting(server)).greeting.startswith(b"* OK")


def test_a_silent_client_of_a_tls_port_is_dropped(serve):
    server = ready(serve(timeout_handshake=1))
    with socket.create_connection(("127.0.0.1", server.imaps), PATIENCE) as sock:
        sock.settimeout(PATIENCE)
        assert sock.recv(100) == b""
    assert value(server, 'greenmail_tls_handshakes_total{protocol="imap",result="timeout"}') == 1


def test_starttls_takes_no_command_from_before(serve):
    server = ready(serve())
    client = Client(server.imap)
    client.sock.sendall(b"a STARTTLS\r\nb NOOP\r\n")
    assert client.line().startswith(b"a OK")
    secure = trusting(server).wrap_socket(client.sock, server_hostname="localhost")
    secure.sendall(b"c NOOP\r\n")
    assert secure.recv(1000).startswith(b"c OK")  # and not b


# --- Limits ---


def test_max_connections_counts_over_all_workers(serve):
    server = ready(serve(max_connections=4))
    clients = [Client(server.imap) for _ in range(4)]
    assert Client(server.imap).greeting.startswith(b"* BYE [LIMIT]")
    assert Client(server.pop3).greeting.startswith(b"-ERR [SYS/TEMP]")
    assert Client(server.imaps, trusting(server)).greeting.startswith(b"* BYE [LIMIT]")
    clients.pop().close()
    until(lambda: Client(server.imap).greeting.startswith(b"* OK"), "a free place")
    for pid in workers(server):  # their connections are gone with them
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers(server)) == 2, "new workers")
    assert Client(server.imap).greeting.startswith(b"* OK")
    assert server.scrape().count("greenmail_refused_total{") >= 2


def test_max_connections_per_user_counts_over_all_workers(serve):
    server = ready(serve(max_connections_per_user=3, allow_plain_text=True))
    clients = [Client(server.imap) for _ in range(3)]
    assert all(client.login().startswith(b"a OK") for client in clients)
    one_more = Client(server.imap)
    assert any(b"LIMIT" in line for line in one_more.ask(b"a LOGIN alice secret"))
    pop3 = Client(server.pop3)
    pop3.ask(b"USER alice")
    assert pop3.ask(b"PASS secret")[0].startswith(b"-ERR")
    assert clients.pop().ask(b"b LOGOUT")[-1].startswith(b"b OK")
    until(lambda: Client(server.imap).login().startswith(b"a OK"), "a free seat")
    for pid in workers(server):
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers(server)) == 2, "new workers")
    assert Client(server.imap).login().startswith(b"a OK")
