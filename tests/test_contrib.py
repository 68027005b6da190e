"""What is in contrib/ fits the server: metrics, labels and values are those that it has, the log's line is found."""

import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenmail import log, metrics_labels
from greenmail.auth.failures import Failures, refused_login

ROOT = Path(__file__).parent.parent
CONTRIB = ROOT / "contrib"
RULES = CONTRIB / "prometheus/greenmail-rules.yml"
DASHBOARD = CONTRIB / "grafana/greenmail.json"

ENDINGS = {
    "counter": ("_total",),
    "gauge": ("",),
    "setting": ("",),
    "latency": ("_bucket", "_sum", "_count"),
    "lag": ("_bucket", "_sum", "_count"),
}
FOREIGN_LABELS = {"job", "instance"}  # what Prometheus adds
SERIES = re.compile(r"\bgreenmail_\w+(?:\{[^}]*\})?|\bup\{[^}]*\}")
MATCHER = re.compile(r'(\w+) *(?:=~|!~|!=|=) *"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on) *\(([^)]*)\)")


def known() -> dict[str, set[str]]:
    """Each name on /metrics, and its labels."""
    found = {}
    for kind, _, name, _, labels in metrics_labels.TABLE:
        for ending in ENDINGS[kind]:
            found[name + ending] = {*labels, *(["le"] if ending == "_bucket" else [])}
    return found


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str, str]]:
    """Where it is, the expression, and the text that fills in its labels."""
    for rule in rules():
        yield rule["alert"], rule["expr"], " ".join(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"], " ".join(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], ""


def faults(expr: str, shown: str) -> Iterator[str]:
    """What the server does not have; `shown` are the labels that a legend or a message wants of the result."""
    have = known() | {"up": set()}
    labels = set(FOREIGN_LABELS)
    for series in SERIES.findall(expr):
        name, _, matchers = series.partition("{")
        if name not in have:
            yield f"{name} is no metric"
        labels |= have.get(name, set())
        for label, value in MATCHER.findall(matchers):
            if label in FOREIGN_LABELS:
                continue
            if label not in have.get(name, ()):
                yield f"{name} has no label {label}"
            yield from (f"no {label} {word!r} of {name}" for word in value.split("|") if not is_said(word))
    groups = {label for group in GROUPING.findall(expr) for label in re.findall(r"\w+", group)}
    yield from (f"no metric here has the label {label} to group by" for label in sorted(groups - labels))
    left = groups if re.search(r"\b(?:sum|min|max)\b", expr) else labels
    yield from (f"{{{{{label}}}}} is not there" for label in shown.split() if label not in left)


SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "greenmail").rglob("*.py")))


def is_said(word: str) -> bool:
    """Whether the server has this word for a value of a label; results are the words of answers in lower case."""
    return f'"{word}"' in SOURCE or f'"{word.upper()}"' in SOURCE


def test_alerts_and_panels_ask_for_what_the_server_counts() -> None:
    for where, expr, shown in expressions():
        assert SERIES.search(expr), where
        assert not list(faults(expr, shown)), where


@pytest.mark.parametrize(
    "expr, shown, fault",
    [
        ("rate(greenmail_login_total[5m])", "", "greenmail_login_total is no metric"),
        ("rate(greenmail_logins[5m])", "", "greenmail_logins is no metric"),
        ('greenmail_logins_total{outcome="ok"}', "", "greenmail_logins_total has no label outcome"),
        ('greenmail_logins_total{result=~"ok|nope"}', "", "no result 'nope' of greenmail_logins_total"),
        ("sum by (user) (greenmail_logins_total)", "", "no metric here has the label user to group by"),
        ("sum by (result) (greenmail_logins_total)", "protocol", "{{protocol}} is not there"),
    ],
)
def test_what_the_server_does_not_have_is_found(expr: str, shown: str, fault: str) -> None:
    assert list(faults(expr, shown)) == [fault]


def test_every_metric_is_in_the_dashboard_or_left_out_for_a_reason() -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    missing = {name for _, _, name, _, _ in metrics_labels.TABLE if name not in text}
    assert missing == {
        "greenmail_connections",  # logins and handshakes tell it better
        "greenmail_worker_pool_size",  # a setting
    }


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    tests = (RULES.parent / "greenmail-rules.test.yml").read_text(encoding="utf-8")
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule
        assert rule["annotations"]["summary"], rule
        assert re.search(rf"\b{rule['alert']}\b", tests), f"{rule['alert']} has no test"
        assert re.search(rf"\b{rule['alert']}\b", page), f"{rule['alert']} is not in docs/monitoring.md"


def test_panels_have_a_place_a_unit_and_a_source() -> None:
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        title, place = panel["title"], panel["gridPos"]
        assert place["x"] + place["w"] <= 24, title
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"], title
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]), title
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert panel["type"] != "timeseries" or all(legends), title
        assert len(set(legends)) == len(legends), title
    for one, other in combinations([(panel["gridPos"], panel["title"]) for panel in board["panels"]], 2):
        (a, first), (b, second) = one, other
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, (first, second)
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "job", "instance"}


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_rules_and_each_alert_comes_when_it_should() -> None:
    run("promtool", "check", "rules", RULES)
    run("promtool", "test", "rules", RULES.parent / "greenmail-rules.test.yml")


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    exprs = [re.sub(r"\$__\w+", "5m", expr) for _, expr, _ in expressions()]
    records = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}), encoding="utf-8")
    run("promtool", "check", "rules", path)


# --- fail2ban ---

FAIL2BAN = CONTRIB / "fail2ban"
# What guessers call themselves to have somebody else banned.
LOGINS = (
    "bob",
    "x>, rip=9.9.9.9, lip=",
    "rip=9.9.9.9",
    "a\nb",
    "\u202e",
    "x" * 300,
    "",
    'a"b\\c',
    '"}',
    "Jürgen",
    "{}",
)


def lines(address: str, login: str) -> list[str]:
    """A failed login as each `log-format` and `log-path` has it, and as others hand it on."""
    said = refused_login(Failures("imap", 3, 11.6, login, "PLAIN", address, "192.0.2.1", login == "bob", "0a1"))
    record = logging.LogRecord("greenmail.auth.logins", logging.WARNING, "", 0, "%s", (said,), None)
    record.levelname = "warn"
    syslog = f"{time.strftime('%b %d %H:%M:%S')} mail greenmail[4711]: "
    text, bare, as_json = (formatter.format(record) for formatter in (log.Text(), log.Text(bare=True), log.Json()))
    return [text, as_json, syslog + bare, syslog + text, syslog + as_json]


def innocent(address: str) -> list[str]:
    """Lines that have a failed login's words, and are none."""
    said = refused_login(Failures("imap", 3, 1, "bob", "PLAIN", address, "192.0.2.1", True, "0a1"))
    record = logging.LogRecord("greenmail", logging.WARNING, "", 0, "login refused user=%r", (said,), None)
    record.levelname = "warn"
    return [log.Text().format(record), log.Json().format(record), f"Nov 22 22:20:19 mail other[1]: x greenmail: {said}"]


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_the_filter_finds_each_failed_login_and_nobody_else(tmp_path: Path) -> None:
    addresses = ("192.0.2.7", "2001:db8::7")
    guilty = [line for address in addresses for login in LOGINS for line in lines(address, login)]
    path = tmp_path / "log"
    path.write_text("\n".join([*guilty, *innocent("203.0.113.9"), ""]), encoding="utf-8")
    found = run("fail2ban-regex", "-o", "ip", path, FAIL2BAN / "filter.d/greenmail.conf").split()
    assert found == [address for address in addresses for _ in range(len(guilty) // 2)]


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_the_times_of_the_log_are_not_taken_for_local_ones(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("\n".join(lines("192.0.2.7", "bob")[:2]) + "\n", encoding="utf-8")
    wanted = FAIL2BAN / "filter.d/greenmail.conf"
    found = run("env", "TZ=Asia/Tokyo", "fail2ban-regex", "-o", "<time>", path, wanted).split()
    assert len(found) == 2 and all(abs(float(moment) - time.time()) < 100 for moment in found), found


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("fail2ban-client") is None, reason="fail2ban is not installed")
def test_fail2ban_takes_the_jail(tmp_path: Path) -> None:
    shutil.copytree("/etc/fail2ban", tmp_path / "etc")
    shutil.copytree(FAIL2BAN, tmp_path / "etc", dirs_exist_ok=True)
    read = run("fail2ban-client", "-c", tmp_path / "etc", "-d")
    assert "['add', 'greenmail', 'systemd']" in read
    assert "['set', 'greenmail', 'addjournalmatch', '_SYSTEMD_UNIT=greenmail.service']" in read
    assert "'imap,imaps,pop3,pop3s'" in read


# --- Postfix and maildrop ---

POSTFIX = CONTRIB / "postfix"


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("postconf") is None, reason="postconf is not installed (Debian: postfix)")
def test_postfix_takes_the_lines(tmp_path: Path) -> None:
    main = (POSTFIX / "main.cf").read_text(encoding="utf-8")
    # The lines that are to be tried instead are taken with the others.
    main = re.sub(r"^#(maildrop_\w+ =)", r"\1", main, flags=re.MULTILINE)
    (tmp_path / "main.cf").write_text(f"compatibility_level = 3.6\n{main}", encoding="utf-8")
    shutil.copy(POSTFIX / "master.cf", tmp_path)
    shutil.copy(POSTFIX / "vmailbox", tmp_path)
    done = subprocess.run(["postconf", "-c", tmp_path, "-n"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr  # an unknown parameter would be a warning
    assert "virtual_transport = virtual" in done.stdout.splitlines()
    service = run("postconf", "-c", tmp_path, "-M", "maildrop/unix")
    assert service.split()[:2] == ["maildrop", "unix"] and "mailfilter ${nexthop} ${user}" in service
    run("postmap", "-c", tmp_path, f"hash:{tmp_path}/vmailbox")
    asked = run("postmap", "-c", tmp_path, "-q", "alice@example.org", f"hash:{tmp_path}/vmailbox")
    assert asked == "example.org/alice/Maildir/\n"


@pytest.fixture
def mailfilter(tmp_path: Path) -> Path:
    """The filter, for mail below `tmp_path`: alice has a Maildir, bob one with .Junk, carol none."""
    for box in ("alice/Maildir", "bob/Maildir", "bob/Maildir/.Junk"):
        for part in ("cur", "new", "tmp"):
            (tmp_path / "example.org" / box / part).mkdir(parents=True)
    (tmp_path / "example.org/carol").mkdir()
    path = tmp_path / "mailfilter"
    path.write_text((POSTFIX / "mailfilter").read_text(encoding="utf-8").replace("/var/vmail", str(tmp_path)))
    path.chmod(0o600)
    return path


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("maildrop") is None, reason="maildrop is not installed")
@pytest.mark.parametrize(
    "domain, user, header, status, where",
    [
        ("example.org", "alice", "", 0, "alice/Maildir/new"),
        ("example.org", "alice", "X-Spam-Flag: YES\n", 0, "alice/Maildir/new"),
        ("example.org", "bob", "", 0, "bob/Maildir/new"),
        ("example.org", "bob", "X-Spam-Flag: YES\n", 0, "bob/Maildir/.Junk/new"),
        ("example.org", "carol", "", 75, ""),  # waits; no mbox is made
        ("example.org", "carol", "X-Spam-Flag: YES\n", 75, ""),
        ("example.org", "nobody", "", 75, ""),
        ("example.org", "../example.org/alice", "", 67, ""),
        ("example.org", "..", "", 67, ""),
        ("..", "alice", "", 67, ""),
        (".", "alice", "", 67, ""),
        ("", "alice", "", 75, ""),
    ],
)
def test_maildrop_delivers_into_the_maildir_or_not_at_all(
    tmp_path: Path, mailfilter: Path, domain: str, user: str, header: str, status: int, where: str
) -> None:
    message = f"From: ann@example.org\nSubject: hello\n{header}\nhello\n"
    done = subprocess.run(
        ["maildrop", mailfilter, domain, user], input=message, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    made = [path.relative_to(tmp_path / "example.org").parent for path in (tmp_path / "example.org").rglob("*.*,S=*")]
    assert [str(path) for path in made] == ([where] if where else [])
    assert not any(path.is_file() for path in (tmp_path / "example.org").glob("*/*"))
