"""Nothing differs between Dovecot and GreenMail on the recorded trees: each with a copy, and both on the same files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import dovecot, trees
from support import server as greenmail

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("shadow")]


def shadow(old: dovecot.Dovecot, new: greenmail.Server, *arguments: str) -> tuple[int, Any]:
    """As an administrator runs it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "greenmail", "shadow", "-c", str(new.config), "--json", "--bodies", "all"),
            *("--against", f"imap://127.0.0.1:{old.imap}", "--against-pop3", f"pop3://127.0.0.1:{old.pop3}"),
            *("--user", "alice", *arguments),
        ],
        capture_output=True, timeout=60, check=False, env=os.environ | {"GREENMAIL_PASSWORD": "secret"},
    )  # fmt: skip
    assert done.stderr == b"", done.stderr
    return done.returncode, json.loads(done.stdout)


def assert_same(answer: tuple[int, Any], messages: int) -> None:
    status, document = answer
    (account,) = document["accounts"]
    assert account["differences"] == account["not-compared"] == []
    assert status == 0
    assert account["messages"] == account["bodies"] == messages


def count(server: str) -> int:
    boxes = trees.expected(server)["mailboxes"].values()
    return sum(len(box["messages"]) for box in boxes if box["selectable"])


def test_dovecots_tree_and_a_copy_of_it(spot: Path) -> None:
    here, there = trees.unpack("dovecot", spot / "copied-a"), trees.unpack("dovecot", spot / "copied-b")
    dovecot.give(there)
    with (
        dovecot.start(spot / "old-copied", here) as old,
        greenmail.start(
            spot / "new-copied", str(there), user=dovecot.OWNER, group=dovecot.OWNER,
            run_path=str(spot / "sockets-copied"),
        ) as new,
    ):  # fmt: skip
        assert_same(shadow(old, new), count("dovecot"))
        assert "rror" not in old.logged()


def test_both_on_the_same_tree_of_dovecot(spot: Path) -> None:
    maildir = trees.unpack("dovecot", spot / "shared")
    with (
        dovecot.start(spot / "old-shared", maildir) as old,
        greenmail.start(
            spot / "new-shared", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER,
            run_path=str(spot / "sockets-shared"), coexistence="dovecot",
        ) as new,
    ):  # fmt: skip
        assert_same(shadow(old, new), count("dovecot"))
        assert_same(shadow(old, new, "--start"), count("dovecot"))
        assert "rror" not in old.logged()


def test_couriers_tree_when_greenmail_has_taken_over(spot: Path) -> None:
    """Dovecot reads what GreenMail made of Courier's files: all but the keywords for which no letters are left."""
    maildir = trees.unpack("courier", spot / "courier")
    dovecot.give(maildir)
    with greenmail.start(
        spot / "new-courier", str(maildir), user=dovecot.OWNER, group=dovecot.OWNER,
        run_path=str(spot / "sockets-courier"), prefix="INBOX.", separator=".", coexistence="dovecot",
    ) as new:  # fmt: skip
        index = [sys.executable, "-m", "greenmail", "index", "-c", str(new.config), "--user", "alice"]
        subprocess.run(index, check=True, capture_output=True, timeout=60)
        with dovecot.start(spot / "old-courier", maildir, separator=".", prefix="INBOX.", location=":UTF-8") as old:
            status, document = shadow(old, new)
    (account,) = document["accounts"]
    assert account["messages"] == account["bodies"] == count("courier") and account["not-compared"] == []
    assert {(one["kind"], one["mailbox"]) for one in account["differences"]} == {("flags", "INBOX.ManyKeywords")}
    for one in account["differences"]:
        assert set(one["theirs"].split()) < set(one["ours"].split()), one
    assert status == 1
