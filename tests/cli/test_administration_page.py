"""Every command of docs/administration.md does what it is shown for, against a real server."""

import imaplib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as servers
from support.server import Server

from greenmail import cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/administration.md"
MAIL = b"From: anna@example.org\nSubject: %b\n\nbody\n"


def commands() -> list[str]:
    """In the order of the page."""
    return re.findall(r"^    (greenmail .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("page")
    inbox = place / "mail/alice"
    for part in ("cur", "new", "tmp"):
        (inbox / part).mkdir(parents=True)
    for number in (1, 2, 3):
        (inbox / f"cur/170000000{number}.M{number}.host:2,").write_bytes(MAIL % str(number).encode())
    (inbox / "maildirsize").write_text("100000S\n300 3\n")
    with servers.start(place / "site", str(place / "mail/%u"), workers=1, allow_plain_text=True) as running:
        yield running


def test_every_command_of_the_page_works(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = _client(server)
    for command in commands():
        words = shlex.split(command)[1:]
        if "SESSION" in words:
            ids = re.findall(r" login sid=(\w+) ", server.logged())
            words = [ids[-1] if word == "SESSION" else word for word in words]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
        configured = [] if words[0] in {"completion", "pw"} else ["-c", str(server.config)]
        assert cli.main([*words, *configured]) == 0, (command, capsys.readouterr().err)
        if words[0] == "kick":
            client.shutdown()
            client = _client(server)  # for what is shown next
    assert server.process.wait(20) == 0
    client.shutdown()


def _client(server: Server) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", server.imap, timeout=20)
    client.login("alice", "secret")
    client.select("INBOX")
    return client


def test_the_page_shows_every_verb() -> None:
    """Those of other pages left out."""
    shown = {command.split()[1] for command in commands()} | {"top"}
    assert shown >= {
        "status", "who", "kick", "explain", "trace", "check-config", "reload", "stop", "user", "auth", "pw", "mailbox",
        "search", "fetch", "flags", "expunge", "quota", "completion",
    }  # fmt: skip
    assert "`greenmail top`" in PAGE.read_text(encoding="utf-8")
