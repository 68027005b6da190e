"""SIGHUP: what a reload takes, and what it leaves alone. Each test starts a real server on the loopback."""

import json
import os
import signal
import socket
import ssl
import threading
import time

import pytest
from support import server as greenmail
from support.pki import make_certificate
from support.running import Client, alive, children, ready, trusting, until, value, workers


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
    server = ready(serve(workers=1, stop_grace=1, fresh=True))
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
