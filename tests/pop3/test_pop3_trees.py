"""LIST and UIDL on the recorded trees are those of the servers that wrote them. `formats.md` 9, checks 9 and 47."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.trees import unpack

from greenmail.runtime import direct
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore

from .pop3_host import LOGIN, Host

TREES = Path(__file__).parents[1] / "data" / "maildirs"


@pytest.mark.parametrize(
    "server, answers, settings",
    [
        ("dovecot", "expected.json", {}),
        ("dovecot", "expected-noindex.json", {}),
        ("courier", "expected.json", {"prefix": "INBOX.", "separator": "."}),
    ],
)
def test_list_and_uidl(server: str, answers: str, settings: dict[str, Any], tmp_path: Path) -> None:
    unpack(server, tmp_path)
    expected = json.loads((TREES / server / answers).read_text())
    store = MaildirStore(direct())
    host = Host()
    host.services = replace(
        host.services,
        open_account=lambda user: store.open_account("alice", MaildirSettings(str(tmp_path / "Maildir"), **settings)),
    )
    wire = host.connect()
    host.talk(wire, LOGIN)
    for command in ("list", "uidl"):
        lines = host.talk(wire, f"{command}\r\n".encode()).decode().split("\r\n")
        assert lines[1:-2] == expected[f"pop3_{command}"]
    for line in expected["pop3_list"]:
        number, size = map(int, line.split())
        answer = host.talk(wire, b"RETR %d\r\n" % number)
        assert answer.startswith(b"+OK %d octets\r\n" % size)
        text = (b"\r\n" + answer.partition(b"\r\n")[2][:-3]).replace(b"\r\n.", b"\r\n")[2:]
        # The line end that stands before the last dot is the message's own, or it is none of the message.
        assert len(text) == size or len(text.removesuffix(b"\r\n")) == size
    assert host.talk(wire, b"DELE 1\r\nQUIT\r\n").count(b"+OK") == 2
    wire = host.connect()
    host.talk(wire, LOGIN)
    left = host.talk(wire, b"UIDL\r\n").decode().split("\r\n")[1:-2]
    assert [line.split()[1] for line in left] == [line.split()[1] for line in expected["pop3_uidl"][1:]]
    host.talk(wire, b"QUIT\r\n")
