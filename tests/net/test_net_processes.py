"""The server as a whole: processes, signals, limits, reload. Each test starts a real one on the loopback."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support import server as greenmail
from support.pki import make_certificate

PATIENCE = 40


def until(condition, what):
    """Wait for something that has no event of its own."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen")


@pytest.fixture
def serve(tmp_path):
    """Start a server with these settings; `serve(...)` gives it."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            greenmail.start(tmp_path / "server", str(tmp_path / "mail" / "%u"), **settings)
        )


@pytest.fixture
def serve_others():
    """As `serve`, in a directory that other users than root may come to, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="greenmail-test-") as made, contextlib.ExitStack() as stack:
        os.chmod(made, 0o755)
        yield lambda **settings: stack.enter_context(
            greenmail.start(Path(made, "server"), f"{made}/mail/%u", **settings)
        )


class Client:
    """Lines over a socket."""

    def __init__(self, port, context=None):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.settimeout(PATIENCE)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")
        self.greeting = self.line()

    def line(self):
        return self.file.readline()

    def ask(self, text):
        """Send a line; the lines up to the tagged answer (IMAP) or the first one (POP3)."""
        self.sock.sendall(text + b"\r\n")
        lines = [self.line()]
        while lines[-1].startswith(b"*"):
            lines.append(self.line())
        return lines

    def login(self, user=b"alice"):
        return self.ask(b"a LOGIN " + user + b" secret")[-1]

    def close(self):
        self.file.close()
        self.sock.close()


def trusting(server):
    context = ssl.create_default_context(cafile=str(server.cert))
    context.check_hostname = True
    return context


def workers(server):
    """pids of the workers that live now, by the names that they gave themselves."""
    return children(server.process.pid, "greenmail-worke")


def children(pid, name=""):
    found = []
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    for child in listed:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text().startswith(name):
                found.append(int(child))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ready(server):
    """When all processes are, and the connections are gone by which the start was found out."""
    until(lambda: "ready processes" in server.logged(), "the start")
    until(
        lambda: not any(value(server, f'greenmail_open_connections{{protocol="{name}"}}') for name in ("imap", "pop3")),
        "rest",
    )
    return server


def value(server, name):
    """One value of the metrics page; 0 if it is not there."""
    return sum(float(row.split()[-1]) for row in server.scrape().splitlines() if row.startswith(name + " "))


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
    assert all(client.greeting.startswith(b"* OK") for client in clients)
    assert value(server, counter) == before + 24
    assert value(server, 'greenmail_open_connections{protocol="imap"}') == 24
    assert value(server, 'greenmail_tls_handshakes_total{protocol="imap",result="ok"}') == 24
    for pid in workers(server):
        assert sum("socket:" in target for target in descriptors(pid)) > 5  # it has some of them
    for client in clients:
        client.close()
    until(lambda: value(server, 'greenmail_open_connections{protocol="imap"}') == 0, "the end of all connections")


def descriptors(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def test_the_parent_has_one_thread_and_the_workers_have_what_they_need(serve):
    server = ready(serve())
    assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 1
    for pid in workers(server):
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Umask:\t0000" in status
        limit = next(row for row in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in row)
        soft, hard = limit.split()[3:5]
        assert soft == hard


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


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
    server = ready(serve_others(user="nobody"))
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
    server = ready(serve(stop_grace=1))
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


def test_healthz_tells_of_workers_that_do_not_come_up_and_metrics_go_on(serve):
    server = ready(serve(workers=1))
    url = f"http://127.0.0.1:{server.metrics}/healthz"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.read() == b"ok: 1 of 1 workers answer\n"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/other", timeout=PATIENCE)
    assert caught.value.code == 404
    os.kill(children(server.process.pid, "greenmail-admin")[0], signal.SIGKILL)
    until(lambda: answers(url), "the admin process's return")


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=PATIENCE).read()
    except OSError:
        return b""


def test_without_standard_streams_nothing_else_takes_their_numbers(serve, tmp_path):
    """Else what a library prints would go to a client or into a file of figures."""

    def close_all():
        for number in range(3):
            os.close(number)

    server = ready(serve(workers=1, enter=close_all, log_path=str(tmp_path / "server" / "log")))
    for pid in (server.process.pid, *children(server.process.pid)):
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {os.devnull}
    assert Client(server.imap).greeting.startswith(b"* OK")


@ROOT_ONLY
def test_a_user_database_that_workers_cannot_read_is_told_at_the_start(serve_others):
    server = ready(serve_others(workers=1, user="12345", enter=lambda: os.umask(0o077)))
    passwd = server.directory / "passwd"
    passwd.chmod(0o600)
    os.kill(workers(server)[0], signal.SIGKILL)
    until(lambda: f"passwd-file path='{passwd}' cannot be read by uid=12345" in server.logged(), "the line")


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
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(PATIENCE)
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


# --- Reload ---


def test_sighup_takes_a_new_configuration_without_losing_a_connection(serve):
    server = ready(serve(stop_grace=1))
    old = workers(server)
    failures, count, stop = [], [0], threading.Event()

    def knock():
        while not stop.is_set():
            try:
                client = Client(server.imap)
                if not client.greeting.startswith(b"* "):
                    failures.append(client.greeting)
                client.close()
                count[0] += 1
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=knock)
    thread.start()
    extra = greenmail.free_port()
    settings = json.loads(server.config.read_text())
    settings["server"]["listener"]["more"] = {"bind": [f"127.0.0.1:{extra}"], "protocol": "imap"}
    settings["processes"] = 1
    server.config.write_text(json.dumps(settings))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in server.logged(), "the reload")
    until(lambda: not set(old) & set(workers(server)), "the end of the old workers")
    stop.set()
    thread.join()
    assert failures == []
    assert count[0] > 3
    assert Client(extra).greeting.startswith(b"* OK")
    assert len(workers(server)) == 1


def test_a_port_that_a_reload_gives_up_is_closed_in_every_process(serve):
    """New processes must not inherit it: clients would wait for ever in a queue that nobody empties."""
    server = ready(serve(workers=1, stop_grace=1))
    settings = json.loads(server.config.read_text())
    gone, fresh = server.pop3, greenmail.free_port()
    settings["server"]["listener"]["pop3"]["bind"] = [f"127.0.0.1:{fresh}"]
    figures, settings["metrics-bind"] = server.metrics, f"127.0.0.1:{greenmail.free_port()}"
    (old,) = workers(server)
    server.config.write_text(json.dumps(settings))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in server.logged(), "the reload")
    until(lambda: workers(server) not in ([], [old]) and not alive(old), "the end of the old worker")
    until(lambda: len(children(server.process.pid, "greenmail-admin")) == 1, "the end of the old admin process")
    for port in (gone, figures):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5).close()
    assert Client(fresh).greeting.startswith(b"+OK")


def test_a_listener_may_get_another_name_at_a_reload(serve):
    server = ready(serve(workers=1, stop_grace=1))
    settings = json.loads(server.config.read_text())
    listeners = settings["server"]["listener"]
    listeners["post-office"] = listeners.pop("pop3")
    server.config.write_text(json.dumps(settings))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in server.logged() or "reload-refused" in server.logged(), "the reload")
    assert "reload-refused" not in server.logged()
    assert Client(server.pop3).greeting.startswith(b"+OK")


def test_sighup_with_a_wrong_configuration_changes_nothing(serve):
    server = ready(serve())
    old = workers(server)
    good = server.config.read_text()
    for wrong in (
        good.replace('"processes"', '"prozesse"'),
        good.replace(str(server.cert), "/nowhere"),
        json.dumps({**json.loads(good), "metrics-bind": f"127.0.0.1:{server.imap}"}),
    ):
        seen = server.logged().count("reload-refused")
        server.config.write_text(wrong)
        server.process.send_signal(signal.SIGHUP)
        until(lambda seen=seen: server.logged().count("reload-refused") > seen, "the refusal")
    assert workers(server) == old
    assert Client(server.imap).greeting.startswith(b"* OK")


def test_sighup_takes_a_new_certificate_and_old_connections_go_on_until_they_end(serve, tmp_path):
    server = ready(serve(stop_grace=1))
    before = Client(server.imaps, trusting(server)).sock.getpeercert(True)
    for fresh, old in zip(make_certificate(tmp_path, days=20), make_certificate(server.directory), strict=True):
        os.replace(fresh, old)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in server.logged(), "the reload")
    until(lambda: presented(server) not in (b"", before), "the new certificate")


def test_a_certificate_that_is_not_used_any_more_ends_for_nobody(serve, tmp_path):
    """Or the alarm for the old path would ring months after it was left."""
    server = ready(serve(workers=1, stop_grace=1))
    name = "greenmail_certificate_expiry_timestamp_seconds"
    assert value(server, f'{name}{{path="{server.cert}"}}') > time.time()
    settings = json.loads(server.config.read_text())
    settings["cert-path"], settings["key-path"] = map(str, make_certificate(tmp_path))
    server.config.write_text(json.dumps(settings))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in server.logged(), "the reload")
    assert f'{name}{{path="{server.cert}"}} +Inf' in server.scrape()
    assert value(server, f'{name}{{path="{settings["cert-path"]}"}}') > time.time()


def test_an_account_without_a_place_for_mail_is_in_the_log(serve):
    server = ready(serve(workers=1, allow_plain_text=True, index_path="%h/cache"))
    assert Client(server.imap).login().startswith(b"a NO")
    until(lambda: "account-not-opened user='alice' home=''" in server.logged(), "the line")


def presented(server):
    """The certificate that a new connection gets; nothing if an old worker took it, whose own is trusted no more."""
    try:
        return Client(server.imaps, trusting(server)).sock.getpeercert(True)
    except ssl.SSLCertVerificationError:
        return b""


@pytest.mark.slow
def test_a_hundred_reloads_leave_no_file_more_and_lose_no_count(serve):
    server = ready(serve(workers=1, stop_grace=1))
    Client(server.imap).close()
    counted = value(server, 'greenmail_connections_total{protocol="imap",tls="no"}')
    files = None
    for number in range(1, 101):
        server.process.send_signal(signal.SIGHUP)
        until(lambda number=number: server.logged().count(" reloaded") == number, f"reload {number}")
        until(lambda: len(workers(server)) == 1, "the end of the old worker")
        if number == 3:
            files = until(lambda: settled(server), "the folding")
    until(lambda: settled(server) == files, "the same number of files")
    assert value(server, 'greenmail_connections_total{protocol="imap",tls="no"}') == counted
    assert value(server, 'greenmail_process_restarts_total{process="worker"}') == 0


def settled(server):
    """How many value files there are, when the slots of the dead are folded."""
    (directory,) = (server.directory / "run").glob("figures-*")
    names = [path.name for path in directory.iterdir()]
    slots = {name.removesuffix(".db").rpartition("_")[2] for name in names if name.endswith(".db")}
    living = [slot for slot in slots if slot.startswith(("worker", "admin"))]
    return len(names) if len(living) == 2 and len({slot.rstrip("0123456789") for slot in living}) == 2 else 0


# --- Starting ---


def started(tmp_path, **settings):
    """What a server that cannot start says, and its status."""
    config = tmp_path / "imap.yaml"
    wanted = {"bind-addr": "127.0.0.1", "bind-port": 0, "run-path": str(tmp_path / "run"), **settings}
    config.write_text(json.dumps(wanted))
    done = subprocess.run(
        [sys.executable, "-m", "greenmail", "-c", str(config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done.returncode, [row for row in done.stderr.splitlines() if "cannot-start" in row]


def test_a_port_in_use_is_one_line_and_status_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, lines = started(tmp_path, **{"bind-port": taken.getsockname()[1]})
    assert status == 1
    (line,) = lines
    assert "another program listens there" in line


def test_a_wrong_certificate_is_one_line_and_status_78(tmp_path):
    (tmp_path / "empty").write_text("")
    status, lines = started(
        tmp_path, **{"cert-path": str(tmp_path / "empty"), "key-path": str(tmp_path / "empty"), "bind-port-tls": 0}
    )
    assert status == 78
    (line,) = lines
    assert "there is no PEM certificate" in line


def test_a_run_path_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    status, lines = started(tmp_path, **{"run-path": str(tmp_path / "file" / "run")})
    assert status == 78
    (line,) = lines
    assert "run-path" in line
