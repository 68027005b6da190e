"""Prometheus scrapes us, and every metric moves when a client does something."""

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from support.interop_site import Site, need
from support.server import free_port, wait_for_port
from support.wire_client import Imap, Pop3

pytestmark = [pytest.mark.interop]


def values(page: str) -> dict[str, float]:
    """Sample name with labels to value."""
    found = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def test_promtool_finds_nothing_to_complain_about(site: Site) -> None:
    promtool = need("promtool", "prometheus")
    with site.imap() as client:
        client.ok("SELECT INBOX")
        client.ok("FETCH 1:* FLAGS")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=site.server.scrape(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stdout + done.stderr


def test_two_workers_with_three_logins_each_show_six(site: Site) -> None:
    def logins() -> float:
        return sum(v for n, v in values(site.server.scrape()).items() if re.match(r"greenmail_logins_total\{", n))

    before = logins()
    clients = [site.imap() for _ in range(6)]
    assert logins() == before + 6
    for client in clients:
        client.close()


def test_commands_connections_octets_and_failures_are_counted(site: Site) -> None:
    before = values(site.server.scrape())
    with site.imap() as client:
        client.ok("SELECT INBOX")
        client.ok("FETCH 1:* BODY.PEEK[]")
        client.command("NONSENSE")
        client.send(b"i IDLE\r\n")
        assert client.line().startswith(b"+")
        idle = values(site.server.scrape())
        client.send(b"DONE\r\n")
        while not client.line().startswith(b"i "):
            pass
    with Imap(site.server.imaps, tls=True) as client:
        assert client.command("LOGIN alice wrong")[0].startswith(b"NO")
    with Pop3(site.server.pop3s, tls=True).login() as pop:
        pop.many("UIDL")
    after = values(site.server.scrape())
    moved = {re.sub(r"\{.*", "", name) for name, value in after.items() if value != before.get(name, 0.0)}
    expected = {"greenmail_connections_total", "greenmail_logins_total", "greenmail_commands_total"}
    assert expected <= moved, sorted(moved)
    assert any("octets" in name or "bytes" in name for name in moved), sorted(moved)
    assert any("idle" in name and value == 1 for name, value in idle.items()), sorted(idle)


def asked(url: str) -> list[dict[str, list[str]]]:
    """The result of a query to Prometheus."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return list(json.load(answer)["data"]["result"])


def test_prometheus_scrapes_the_server(site: Site, tmp_path: Path) -> None:
    prometheus = need("prometheus", "prometheus")
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"- {{job_name: greenmail, static_configs: [{{targets: ['127.0.0.1:{site.server.metrics}']}}]}}\n"
    )
    log = tmp_path / "prometheus.log"
    with site.imap(), log.open("wb") as sink:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=sink,
            stderr=sink,
        )
        try:
            wait_for_port(port, process, log)
            query = urllib.parse.quote('sum(greenmail_logins_total{job="greenmail"})')
            deadline = time.monotonic() + 40
            while True:
                result = []
                with contextlib.suppress(urllib.error.HTTPError):  # 503 until Prometheus is ready
                    result = asked(f"http://127.0.0.1:{port}/api/v1/query?query={query}")
                if result:
                    break
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.2)  # Prometheus scrapes once a second and tells nobody
            assert float(result[0]["value"][1]) >= 1
        finally:
            process.terminate()
            process.wait(20)
            shutil.rmtree(tmp_path / "tsdb", ignore_errors=True)


def test_healthz_answers(site: Site) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.server.metrics}/healthz", timeout=10) as answer:
        assert answer.status == 200
