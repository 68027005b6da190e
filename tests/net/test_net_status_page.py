"""The status page: who may see it, what is on it, and that nothing on it can do harm."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support import server as servers

from greenmail.auth.api import Secret
from greenmail.net import overview, rates
from greenmail.net.admin import Access, Health, application
from greenmail.net.status_page import HEADERS, Story, page

EVIL = "<script>alert(1)</script>\"'&"
TOKEN = "open-sesame"


def sample(at: float, commands: float, **changes: Any) -> dict[str, Any]:
    """What a worker tells."""
    return {
        "at": at, "commands": commands, "logins": 1.0, "failed_logins": 0.0, "received": 100.0, "sent": 5000.0,
        "cpu": at / 10, "buckets": [commands] + [0.0] * 15, "connections": 3, "idle": 1, "memory": 50 << 20,
        "watches": 4.0, "polled": 0.0, "sessions": {"imap": 2, "pop3": 1}, "users": [["anna", 5, 0.5, 0.25, 0.2]],
        "cache": {"octets": 1000, "limit": 1 << 20, "used": 2, "warm": 1}, **changes,
    }  # fmt: skip


@dataclass
class Worker:
    pid: int = 7
    slot: int = 0
    generation: int = 1
    since: float = 0.0
    heard: float = 99.0
    ready: bool = True
    leaving: bool = False
    samples: deque[dict[str, Any]] = field(default_factory=deque)


def status(*workers: Worker, **changes: Any) -> dict[str, Any]:
    found = [overview.worker(worker, 100.0) for worker in workers]
    return {
        "version": "1", "pid": 1, "since": 0.0, "stopping": False, "workers": found, "totals": overview.totals(found)
        | {"users": 2}, "certificates": [], "troubles": [], "traces": [], "listeners": [],
    } | changes  # fmt: skip


def story(*statuses: dict[str, Any]) -> Story:
    found = Story()
    for number, one in enumerate(statuses):
        found.tell(one, 1000.0 + 5 * number)
    return found


def test_rates_and_latencies_come_from_two_samples() -> None:
    one = rates.between(sample(10, 100), sample(70, 700))
    assert (one["commands"], one["cpu"], one["buckets"][0]) == (10, 0.1, 600)
    both = rates.together([one, one])
    assert (both["commands"], both["buckets"][0]) == (20, 1200)
    assert rates.latencies([0.1, 0.2], [50, 50, 0]) == {
        "p50": pytest.approx(0.1), "p95": pytest.approx(0.19), "p99": pytest.approx(0.198)
    }  # fmt: skip
    assert rates.latencies([0.1, 0.2], [0, 0, 4])["p50"] == 0.2
    assert rates.latencies([0.1], []) == {"p50": None, "p95": None, "p99": None}
    assert rates.between(sample(10, 5), sample(10, 9))["commands"] == 0
    assert rates.together([])["commands"] == 0


def test_figures_of_workers_come_together() -> None:
    found = overview.totals(
        [
            overview.worker(Worker(samples=deque([sample(10, 100), sample(20, 200)])), 100),
            overview.worker(Worker(pid=8, samples=deque([sample(10, 100), sample(20, 300)])), 100),
            overview.worker(Worker(pid=9), 100),
        ]
    )
    assert (found["connections"], found["sessions"], found["minute"]["commands"]) == (6, {"imap": 4, "pop3": 2}, 30)
    assert found["busiest"] == [{"user": "anna", "commands": 10, "seconds": 1.0, "computed": 0.5, "slowest": 0.2}]


class _Checker(HTMLParser):
    """Every tag is closed, and none of them loads or runs anything."""

    VOID = frozenset({"meta", "br", "polygon", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "img", "iframe", "object", "form", "a"}
        assert not any(name.startswith("on") or name in {"src", "href", "style"} for name, _ in attrs), attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_everything_that_others_chose_is_escaped() -> None:
    worker = Worker(samples=deque([sample(10, 1), sample(20, 9, users=[[EVIL, 1, 1.0, 1.0, 1.0]])]))
    bad = status(
        worker,
        version=EVIL,
        certificates=[{"path": EVIL, "expires": 5.0}],
        troubles=[{"time": EVIL, "level": EVIL, "pid": EVIL, "text": EVIL}],
    )
    html = page(story(bad, bad), 2000.0).decode()
    checker = _Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert checker.text.count(EVIL) >= 5
    assert "<script" not in html


def test_the_page_tells_what_is_wrong() -> None:
    hung = Worker(heard=10.0, samples=deque([sample(10, 1), sample(20, 9)]))
    html = page(
        story(status(hung, Worker(pid=8, ready=False), certificates=[{"path": "/c", "expires": 2000 + 86400}])), 2000.0
    ).decode()
    assert '<td class="bad">silent for 1m 30s</td>' in html
    assert '<td class="warn">starts</td>' in html
    assert '<td class="bad">1d 0s</td>' in html or '<td class="bad">1d</td>' in html
    assert "The server has not told anything yet." in page(Story(), 1.0).decode()


def test_charts_have_gaps_where_nothing_is_known() -> None:
    busy = status(Worker(samples=deque([sample(10, 1), sample(20, 9)])))
    idle = status(Worker(samples=deque([sample(10, 9), sample(20, 9)])))
    html = page(story(busy, busy, idle, busy, busy, busy), 2000.0).decode()
    charts = dict(re.findall(r"<h3>([^<]*)</h3>(.*?)</section>", html))
    assert charts["99 % of answers within"].count("<polyline") == 2
    assert charts["Commands a second"].count("<polyline") == 1


# --- who may see it ---


def asked(access: Access, path: str = "/", **environ: Any) -> tuple[str, dict[str, str], bytes]:
    answer: list[Any] = []
    around = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost:9143"}
    body = application(Health(), story(status()), access)(around | environ, lambda *args: answer.extend(args))
    return answer[0], dict(answer[1]), b"".join(body)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


ACCESS: list[tuple[dict[str, str], str, str]] = [
    # what comes, without a token set, with one
    ({}, "200", "200"),
    ({"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:9143"}, "200", "200"),
    ({"REMOTE_ADDR": "::ffff:127.0.0.1", "HTTP_HOST": "127.0.0.1"}, "200", "200"),
    ({"REMOTE_ADDR": "192.0.2.7"}, "403", "401"),
    ({"REMOTE_ADDR": ""}, "403", "401"),
    ({"HTTP_HOST": "rebound.example"}, "403", "401"),
    ({"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, "403", "401"),
    ({"HTTP_FORWARDED": "for=192.0.2.7"}, "403", "401"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}, "403", "200"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": basic(TOKEN)}, "403", "200"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}x"}, "403", "401"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": "Bearer "}, "403", "401"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": basic("")}, "403", "401"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": "Basic \xff\xff"}, "403", "401"),
    ({"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": f"Digest {TOKEN}"}, "403", "401"),
]


@pytest.mark.parametrize(("environ", "without", "having"), ACCESS)
@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_who_may_see_it(environ: dict[str, str], without: str, having: str, path: str) -> None:
    assert asked(Access(), path, **environ)[0][:3] == without
    found, headers, body = asked(Access(Secret(TOKEN.encode())), path, **environ)
    assert found[:3] == having
    assert all(headers[name] == value for name, value in HEADERS), "strict headers, whatever is answered"
    assert ("WWW-Authenticate" in headers) == (having == "401")
    assert TOKEN.encode() not in body


def test_it_is_read_only_and_says_what_there_is() -> None:
    assert asked(Access(), REQUEST_METHOD="POST")[0].startswith("405")
    assert asked(Access(), REQUEST_METHOD="HEAD")[2] == b""
    found, _, body = asked(Access(), "/nothing")
    assert found == "404 Not Found" and b"/status.json" in body


# --- the real one ---


@contextlib.contextmanager
def running(place: Path) -> Iterator[servers.Server]:
    (place / "mail").mkdir()
    (place / "token").write_text(TOKEN + "\n")
    settings = {"workers": 1, "status_token_path": str(place / "token")}
    with servers.start(place / "site", str(place / "mail/%u"), **settings) as site:
        yield site


def get(server: servers.Server, path: str, **headers: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{server.metrics}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def test_a_server_has_the_page_and_its_token(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        found = json.loads(get(server, "/status.json"))
        assert len(found["workers"]) == 1 and found["pid"] == server.process.pid
        assert b"<h1>GreenMail" in get(server, "/")
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(server, "/", Host="mail.example.org")
        assert refused.value.code == 401
        assert b"<h1>GreenMail" in get(server, "/", Host="mail.example.org", Authorization=f"Bearer {TOKEN}")
        assert "greenmail_process_resident_memory_bytes" in server.scrape()
        # every worker and the admin process tell what they take
        line = re.compile(r'^greenmail_process_resident_memory_bytes\{process="(\w+)"\} ([0-9.e+]+)', re.MULTILINE)
        sizes = line.findall(server.scrape())
        assert {name for name, size in sizes if float(size) > 10 << 20} >= {"parent", "worker0", "admin1"}


CHROMIUM = shutil.which("chromium")


@pytest.mark.interop
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")
def test_chromium_shows_it_in_light_and_dark_and_on_a_phone(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow, which matplotlib brings, is not installed")
    with running(tmp_path) as server:
        for scheme, background in ((1, (246, 247, 249)), (0, (18, 21, 26))):
            shot = tmp_path / f"{scheme}.png"
            said = _chromium(server, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")
            assert "Content Security Policy" not in said and "Refused" not in said
            with image.open(shot) as opened:
                picture = opened.convert("RGB")
            assert picture.size == (390, 1200)
            # On a phone nothing is wider than the page: its right margin is background from top to bottom.
            assert {picture.getpixel((384, y)) for y in range(1200)} == {background}
            assert len({picture.getpixel((x, 150)) for x in range(390)}) > 1, "there are cards"


def _chromium(server: servers.Server, *options: str) -> str:
    assert CHROMIUM is not None
    fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=390,1200")
    logged = ("--enable-logging=stderr", f"--user-data-dir={server.directory}/chromium")
    address = f"http://127.0.0.1:{server.metrics}/"
    ended = subprocess.run([CHROMIUM, *fixed, *logged, *options, address], capture_output=True, timeout=90, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr
