"""`--json` everywhere: each verb that tells something tells it to programs, too, as one JSON document."""

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenmail import cli
from greenmail.cli import files

# What these write is for something else than a person already.
WITHOUT = {
    "top": "a screen; `status --json` is for programs",
    "import-config": "a configuration",
    "completion": "a script",
}


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each verb that does something, with its parser."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield name.strip(), parser
    for action in below:
        for word, inner in action.choices.items():
            yield from leaves(inner, f"{name} {word}")


VERBS = list(leaves(cli.parser()))


@pytest.mark.parametrize("name, parser", VERBS, ids=[name for name, _ in VERBS])
def test_every_verb_has_it(name: str, parser: argparse.ArgumentParser) -> None:
    options = {option for action in parser._actions for option in action.option_strings}
    assert ("--json" in options) is (name not in WITHOUT)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a verb with --json and gives what it said."""
    (tmp_path / "users").write_text("anna:{PLAIN}secret\n")
    for part in ("cur", "new", "tmp"):
        (tmp_path / "mail/anna" / part).mkdir(parents=True)
    (tmp_path / "mail/anna/cur/1700000000.M1P1.host:2,").write_text("Subject: one\n\nx\n")
    settings = {
        "passwd-file": str(tmp_path / "users"), "mail-path": f"{tmp_path}/mail/%u", "run-path": str(tmp_path / "run"),
        "app-passwords-file": str(tmp_path / "app-passwords"), "bind-port": 0,
    }  # fmt: skip
    (tmp_path / "imap.yaml").write_text(json.dumps(settings))

    def run(*words: str) -> Any:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
        assert cli.main([*words, "--json", "-c", str(tmp_path / "imap.yaml")]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def test_users(told: Any, tmp_path: Path) -> None:
    bob = {"name": "bob", "path": str(tmp_path / "users")}
    assert told("user", "add", "bob", "--password-stdin", "--scheme", "SCRAM-SHA-256") == bob
    assert told("user", "passwd", "bob", "--password-stdin", "--scheme", "SCRAM-SHA-256") == bob
    assert [one["name"] for one in told("user", "list")] == ["anna", "bob"]
    assert told("user", "delete", "bob") == bob
    assert list(files.table(str(tmp_path / "users")).entries) == ["anna"]


def test_app_passwords(told: Any) -> None:
    assert told("user", "app-password", "add", "anna", "phone")["password"]
    assert told("user", "app-password", "revoke", "anna", "phone") == {"user": "anna", "name": "phone"}
    assert told("user", "app-password", "list") == []


def test_what_is_stored_of_a_password(told: Any) -> None:
    found = told("pw", "--password-stdin", "--scheme", "SCRAM-SHA-256")
    assert found["scheme"] == "SCRAM-SHA-256" and found["stored"].startswith("{SCRAM-SHA-256}")


@pytest.mark.parametrize("verb", ["resync", "index", "to-courier"])
def test_index_files(told: Any, verb: str) -> None:
    assert told(verb, "--user", "anna") == {"accounts": 1, "mailboxes": 1, "messages": 1, "failures": []}
