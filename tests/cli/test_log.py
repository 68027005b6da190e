"""Logging: levels, formats, destinations."""

import importlib.util
import json
import logging
import os
import re
import stat
import sys
import syslog
from pathlib import Path

import pytest

from greenmail import log as logs
from greenmail.auth.api import Secret

ROOT = Path(__file__).parents[2]
LOGGER = logging.getLogger("greenmail.here")
LEVELS = ["error", "warn", "info", "debug", "trace"]
NUMBERS = [logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, logs.TRACE]


@pytest.fixture(autouse=True)
def restored():
    """Logging as the test runner had it."""
    root, ours = logging.getLogger(), logging.getLogger("greenmail")
    handlers, level, our_level, raising = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    names = {number: logging.getLevelName(number) for number in NUMBERS}
    for handler in handlers:
        root.removeHandler(handler)  # or setup would close the runner's own
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.raiseExceptions = raising
    for number, name in names.items():
        logging.addLevelName(number, name)


@pytest.mark.parametrize("level", LEVELS)
def test_a12_each_level_shows_itself_and_what_is_graver(tmp_path, level):
    path = tmp_path / "log"
    logs.setup(level, "text", str(path))
    for number in NUMBERS:
        LOGGER.log(number, "event level=%d", number)
    found = [line.split(" ")[1] for line in path.read_text().splitlines()]
    assert found == [f"{name}[{os.getpid()}]" for name in LEVELS[: LEVELS.index(level) + 1]]


def test_text(tmp_path):
    path = tmp_path / "log"
    logs.setup("info", "text", str(path))
    LOGGER.info("login sid=%s user=%r password=%s", "gX2", "bob\r\n", Secret(b"tanstaaf"))
    line = path.read_text()
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info\[\d+\] login sid=gX2 user='bob\\r\\n' password=\*\*\*\n", line
    )


@pytest.mark.parametrize("evil", ["a\nb", "a\r\nb", "\x1b[2J", "a\0", "\x85", "\u2028", "\x9b31m", "\udcff"])
def test_nothing_begins_a_line_or_moves_a_cursor(tmp_path, evil):
    path = tmp_path / "log"
    logs.setup("info", "text", str(path))
    LOGGER.info("event user=%s", evil)
    text = path.read_text()
    assert len(text.splitlines()) == 1
    assert text[:-1].isprintable()


def test_a_traceback_is_indented_below_its_line(tmp_path):
    path = tmp_path / "log"
    logs.setup("error", "text", str(path))
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        LOGGER.exception("bug")
    first, *rest = path.read_text().splitlines()
    assert first.endswith(" bug") and len(rest) > 3
    assert all(line.startswith("    ") for line in rest)


def test_json(tmp_path):
    path = tmp_path / "log"
    logs.setup("debug", "json", str(path))
    LOGGER.warning("imap-login: Disconnected user=<%s>", "ä\n")
    try:
        raise ValueError("x")
    except ValueError:
        LOGGER.exception("bug")
    first, second = map(json.loads, path.read_text().splitlines())
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "warn",
        "pid": os.getpid(),
        "logger": "greenmail.here",
        "event": "imap-login",
        "message": "imap-login: Disconnected user=<ä\n>",
    }
    assert second["event"] == "bug" and "ValueError: x" in second["traceback"]


@pytest.mark.parametrize(
    ("template", "values", "event", "fields"),
    [
        ("stop", (), "stop", {}),
        ("login sid=%s user=%r mech=%s", ("a", "b", "c"), "login", {"sid": "a", "user": "b", "mech": "c"}),
        ("login refused sid=%s user=%r", ("a", "b"), "login-refused", {"sid": "a", "user": "b"}),
        ("fork kind=%s pid=%d%s", ("worker", 7, ""), "fork", {"kind": "worker", "pid": 7}),
        ("hub-held seconds=%.3f at=%s", (0.25, None), "hub-held", {"seconds": 0.25, "at": None}),
        ("reload-refused %s", ("x=1 y=2",), "reload-refused", {}),
        ("part=100%% of=%d", (3,), "", {"of": 3}),
        ("bug in a request request=%r", (b"x",), "bug", {"request": "b'x'"}),
    ],
)
def test_json_has_the_event_and_the_values_by_their_names(tmp_path, template, values, event, fields):
    path = tmp_path / "log"
    logs.setup("debug", "json", str(path))
    LOGGER.info(template, *values)
    line = json.loads(path.read_text())
    assert line.get("fields", {}) == fields
    assert line["event"] == event
    assert line["message"] == template % values


def test_recent_troubles_are_kept_without_failed_logins():
    recent = logs.keep_recent()
    logger = logging.getLogger("greenmail.here")
    logger.warning("disk path=%r", "a\nb")
    logger.info("login sid=%s", "x")
    logger.warning("login limit sid=%s", "x")
    logger.error("bad %s", "y" * 1000)
    found = recent.take()
    assert [line["text"][:20] for line in found] == ["disk path='a\\nb'", "bad " + "y" * 16]
    assert len(found[1]["text"]) == 300 and found[1]["level"] == "error"
    assert recent.take() == []
    for number in range(50):
        logger.warning("line %d", number)
    assert [line["text"] for line in recent.take()] == [f"line {number}" for number in range(30, 50)]
    logging.getLogger("greenmail").removeHandler(recent)


@pytest.mark.generated
def test_the_page_of_events_is_what_the_code_has():
    page = (ROOT / "docs/log-events.md").read_text(encoding="utf-8")
    spec = importlib.util.spec_from_file_location("log_events", ROOT / "tools/log_events.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["log_events"] = module
    spec.loader.exec_module(module)
    events = module.events()
    missing = [name for name in events if f"| `{name}` |" not in page]
    assert missing == [], "run `make docs`"
    assert all(f"`{name}`" in page for name in ("login", "logout", "kicked"))
    for name in re.findall(r"^\| `([a-z0-9-]+)` \| [a-z, ]+ \| [a-z_/]+\.py", page, re.MULTILINE):
        assert name in events, f"{name} is not logged any more: run `make docs`"


def test_a_file_is_opened_anew_when_it_was_rotated_or_removed(tmp_path):
    path = tmp_path / "log"
    logs.setup("info", "text", str(path))
    LOGGER.info("one")
    path.rename(tmp_path / "log.1")
    LOGGER.info("two")
    path.unlink()
    LOGGER.info("three")
    (tmp_path / "log").rename(tmp_path / "log.2")
    path.touch()  # as logrotate's `create` does
    LOGGER.info("four")
    words = {file.name: file.read_text().split()[2:] for file in tmp_path.iterdir()}
    assert words == {"log.1": ["one"], "log.2": ["three"], "log": ["four"]}
    assert stat.S_IMODE((tmp_path / "log.1").stat().st_mode) & 0o007 == 0


def test_a_file_that_cannot_be_opened_anew_goes_on_in_the_old_one(tmp_path):
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "log"
    logs.setup("info", "text", str(path))
    LOGGER.info("one")
    (tmp_path / "logs").rename(tmp_path / "moved")
    LOGGER.info("two")
    assert [line.split()[2] for line in (tmp_path / "moved" / "log").read_text().splitlines()] == ["one", "two"]


def test_each_line_is_one_appending_write(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    logs.setup("info", "text", str(path))
    LOGGER.info("one")
    with path.open("a") as other:
        other.write("between\n")
    LOGGER.info("two")
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["before", "one", "between", "two"]


def test_a_full_disk_stops_nothing():
    logs.setup("info", "text", "/dev/full")
    LOGGER.info("one")


def test_a_place_that_cannot_be_opened_is_told():
    with pytest.raises(OSError, match="No such file"):
        logs.setup("info", "text", "/no/such/directory/log")


def test_standard_error(capfd):
    logs.setup("info", "text", "-")
    LOGGER.info("one")
    LOGGER.debug("two")
    out, err = capfd.readouterr()
    assert out == "" and err.endswith("] one\n")


def test_setting_up_again_replaces_the_destination(tmp_path, capfd):
    logs.setup("info", "text", str(tmp_path / "log"))
    logs.setup("info", "text", "-")
    LOGGER.info("one")
    assert (tmp_path / "log").read_text() == ""
    assert capfd.readouterr().err.endswith("one\n")


def test_libraries_are_heard_from_warnings_on(tmp_path):
    logs.setup("trace", "text", str(tmp_path / "log"))
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble")
    assert [line.split()[2] for line in (tmp_path / "log").read_text().splitlines()] == ["trouble"]


def test_syslog(monkeypatch):
    lines: list[tuple[int, str]] = []
    opened: list[tuple[object, ...]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: lines.append((priority, line)))
    monkeypatch.setattr(syslog, "openlog", lambda *args: opened.append(args))
    logs.setup("trace", "text", "syslog")
    for number in NUMBERS:
        LOGGER.log(number, "event %s", "a\0\nb")
    assert opened == [("greenmail", syslog.LOG_PID, syslog.LOG_MAIL)]
    priorities = [syslog.LOG_ERR, syslog.LOG_WARNING, syslog.LOG_INFO, syslog.LOG_DEBUG, syslog.LOG_DEBUG]
    assert lines == [(priority, "event a\\x00\\x0ab") for priority in priorities]


# ---- root opens the file, others own it ----

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@ROOT_ONLY
def test_a_link_made_by_the_workers_user_is_not_followed(tmp_path):
    """Or root would write to, and give away, what the link points to."""
    (tmp_path / "logs").mkdir()
    os.chown(tmp_path / "logs", 1234, 1234)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / "logs" / "log"
    link.symlink_to(precious)
    os.chown(link, 1234, 1234, follow_symlinks=False)
    with pytest.raises(OSError, match="symbolic link"):
        logs.setup("info", "text", str(link), (1234, 1234))
    link.unlink()
    logs.setup("info", "text", str(link), (1234, 1234))
    LOGGER.info("one")
    link.rename(tmp_path / "logs" / "log.1")
    link.symlink_to(precious)
    os.chown(link, 1234, 1234, follow_symlinks=False)
    LOGGER.info("two")
    assert precious.read_text() == "mine"
    assert precious.stat().st_uid == 0
    assert "two" in (tmp_path / "logs" / "log.1").read_text()


@ROOT_ONLY
def test_a_second_name_of_another_file_is_not_given_away(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    os.link(precious, tmp_path / "log")
    logs.setup("info", "text", str(tmp_path / "log"), (1234, 1234))
    assert precious.stat().st_uid == 0


@ROOT_ONLY
def test_the_administrators_own_link_is_followed_and_new_files_belong_to_the_workers(tmp_path):
    (tmp_path / "log").symlink_to(tmp_path / "real")
    (tmp_path / "real").touch()
    logs.setup("info", "text", str(tmp_path / "log"), (1234, 1234))
    LOGGER.info("one")
    assert "one" in (tmp_path / "real").read_text()
    logs.setup("info", "text", str(tmp_path / "new"), (1234, 1235))
    found = (tmp_path / "new").stat()
    assert (found.st_uid, found.st_gid) == (1234, 1235)


def test_a_silent_process_can_be_told_to_look_whether_its_file_was_rotated(tmp_path):
    path = tmp_path / "log"
    logs.setup("info", "text", str(path))
    path.rename(tmp_path / "log.1")
    logs.look()
    assert path.read_text() == ""
    LOGGER.info("one")
    assert "one" in path.read_text()
    logs.setup("info", "text", "-")
    logs.look()
