"""The verbs for a user's mail, without a client; also beside one that is connected."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from greenmail import cli

MAIL = b"From: anna@example.org\nSubject: %b\nDate: Mon, 1 Jan 2024 10:00:00 +0000\n\nbody of %b\n"


class Site:
    """alice, with three messages; bob, whose Maildir is not there."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self.capsys = capsys
        self.mail = place / "mail/alice"
        for part in ("cur", "new", "tmp"):
            (self.mail / part).mkdir(parents=True)
        for number, name in enumerate((b"one", b"two", b"three"), 1):
            flags = "S" if number == 1 else ""
            (self.mail / f"cur/170000000{number}.M{number}.host:2,{flags}").write_bytes(MAIL % (name, name))
        (place / "users").write_text("alice:{PLAIN}secret\nbob:{PLAIN}secret::::::nologin=\n")
        self.config = place / "imap.yaml"
        self.config.write_text(
            f"passwd-file: users\nmail-path: {place}/mail/%u\nallow-plain-text: true\nrun-path: {place}\n"
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        """What the verb writes: to standard output, or why it was not done."""
        self.capsys.readouterr()
        found = cli.main([*arguments, "-c", str(self.config)])
        written = self.capsys.readouterr()
        assert found == status, (arguments, written)
        return written.err if status and written.err else written.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def test_mailboxes_are_made_renamed_counted_and_deleted(site: Site) -> None:
    assert site.run("mailbox", "list", "-u", "alice") == "INBOX\n"
    assert site.run("mailbox", "create", "-u", "alice", "Work", "Work/Old") == "made Work\nmade Work/Old\n"
    assert (site.mail / ".Work.Old/cur").is_dir()
    assert site.run("mailbox", "rename", "-u", "alice", "Work/Old", "Past") == "renamed Work/Old to Past\n"
    assert site.run("mailbox", "list", "-u", "alice", "P*", "inbox") == "INBOX\nPast\n"
    (inbox,) = site.json("mailbox", "status", "-u", "alice", "INBOX")
    assert (inbox["messages"], inbox["unseen"], inbox["uidnext"]) == (3, 2, 4)
    assert inbox["size"] == sum(len((MAIL % (n, n)).replace(b"\n", b"\r\n")) for n in (b"one", b"two", b"three"))
    assert "INBOX" in site.run("mailbox", "status", "-u", "alice")
    assert site.run("mailbox", "delete", "-u", "alice", "Past") == "deleted Past\n"
    assert [one["name"] for one in site.json("mailbox", "list", "-u", "alice")] == ["INBOX", "Work"]


def test_messages_are_found_read_flagged_and_removed(site: Site) -> None:
    assert site.run("search", "-u", "alice", "INBOX", "ALL") == "1\n2\n3\n"
    assert site.json("search", "-u", "alice", "INBOX", "UNSEEN", "SUBJECT", "two")["uids"] == [2]
    assert site.run("search", "-u", "alice", "INBOX", 'OR BODY "of one" SUBJECT three') == "1\n3\n"
    text = site.run("fetch", "-u", "alice", "INBOX", "UID", "2")
    assert text.encode() == (MAIL % (b"two", b"two")).replace(b"\n", b"\r\n")
    assert site.run("fetch", "-u", "alice", "INBOX", "UID 3", "--what", "header").endswith("+0000\r\n\r\n")
    assert site.run("flags", "add", "-u", "alice", "flagged,$Junk", "INBOX", "UID 2:3") == "2 of 2 messages changed\n"
    rows = site.json("fetch", "-u", "alice", "INBOX", "ALL", "--what", "flags")
    assert [row["flags"] for row in rows] == [["\\Seen"], ["$Junk", "\\Flagged"], ["$Junk", "\\Flagged"]]
    assert any(name.name.endswith("M2.host:2,Fa") for name in (site.mail / "cur").iterdir())
    site.run("flags", "remove", "-u", "alice", "$Junk", "INBOX", "UID 3")
    site.run("flags", "replace", "-u", "alice", "\\Seen", "INBOX", "UID 2")
    rows = site.json("fetch", "-u", "alice", "INBOX", "ALL", "--what", "flags")
    assert [row["flags"] for row in rows] == [["\\Seen"], ["\\Seen"], ["\\Flagged"]]
    assert site.json("fetch", "-u", "alice", "INBOX", "UID 1:2")[1]["text"].endswith("body of two\r\n")
    assert site.run("expunge", "-u", "alice", "INBOX", "FLAGGED") == "1 message removed\n"
    assert site.json("expunge", "-u", "alice", "INBOX", "UID", "1")["removed"] == [1]
    assert len(list((site.mail / "cur").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mailbox", "list", "-u", "carol"], "there is no user carol"),
        (["mailbox", "list", "-u", "bob"], "bob: "),
        (["mailbox", "list", "-u", "alice", "Nope*"], "there is no such mailbox: Nope*"),
        (["mailbox", "delete", "-u", "alice", "Nope"], "alice: There is no such mailbox"),
        (["mailbox", "delete", "-u", "alice", "INBOX"], "alice: "),
        (["search", "-u", "alice", "INBOX", "NONSENSE"], "'NONSENSE' is no search: unknown search key"),
        (["search", "-u", "alice", "INBOX", "ALL", ")"], "is no search"),
        (["search", "-u", "alice", "Nope", "ALL"], "alice: There is no such mailbox"),
        (["fetch", "-u", "alice", "INBOX", "ALL"], "these are 3 messages"),
        (["flags", "add", "-u", "alice", "\\Nope", "INBOX", "ALL"], "is no flag"),
        (["flags", "add", "-u", "alice", "a b", "INBOX", "ALL"], "is no flag"),
        (["quota", "get", "-u", "alice"], "this user has no quota"),
    ],
)
def test_what_cannot_be_done_is_told(site: Site, arguments: list[str], message: str) -> None:
    before = sorted(path.name for path in (site.mail / "cur").iterdir())
    assert message in site.run(*arguments, status=1)
    assert sorted(path.name for path in (site.mail / "cur").iterdir()) == before
    assert not (site.place / "mail/bob").exists(), "nothing is made by looking"


def test_quota_is_counted_anew_and_its_limits_stay(site: Site) -> None:
    (site.mail / "maildirsize").write_text("100000S,50C\n5000 7\n")
    (quota,) = site.json("quota", "get", "-u", "alice")
    assert (quota["storage_used"], quota["storage_limit"], quota["messages_used"]) == (5000, 100000, 7)
    (quota,) = site.json("quota", "recalc", "-u", "alice")
    octets = sum(path.stat().st_size for path in (site.mail / "cur").iterdir())
    assert quota["messages_used"] == 3 and octets <= quota["storage_used"] <= octets + 30
    assert (site.mail / "maildirsize").read_text().startswith("100000S,50C\n")
    assert " 50  6\n" in site.run("quota", "get", "-u", "alice")
    assert (quota["mailboxes_limit"], quota["annotations_limit"]) == (None, None)
    assert "mailboxes" not in site.run("quota", "get", "-u", "alice"), "it is counted only where it is limited"


def test_quota_of_mailboxes_and_annotations(site: Site) -> None:
    with site.config.open("a") as file:
        file.write("quota-mailboxes: 4\nquota-annotations: 2048\n")
    site.run("mailbox", "create", "-u", "alice", "Work")
    (quota,) = site.json("quota", "get", "-u", "alice")
    assert (quota["mailboxes_used"], quota["mailboxes_limit"]) == (2, 4)
    assert (quota["annotations_used"], quota["annotations_limit"]) == (0, 2048)
    rows = [line.split() for line in site.run("quota", "get", "-u", "alice").splitlines()]
    assert [row[-4:] for row in rows if "mailboxes" in row] == [["mailboxes", "2", "4", "50"]]
    assert [row[-1] for row in rows if "annotations" in row] == ["0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_root_works_as_the_owner_of_the_mail(site: Site) -> None:
    for path in (site.mail, *site.mail.rglob("*")):
        os.chown(path, 4321, 4321)
    for directory in (site.place, *site.place.parents):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o001)
    site.run("mailbox", "create", "-u", "alice", "Work")
    site.run("flags", "add", "-u", "alice", "seen", "INBOX", "ALL")
    assert {path.stat().st_uid for path in site.mail.rglob("*")} == {4321}


def test_auth_test_and_pw(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(octets: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))

    typed(b"secret\n")
    assert site.run("auth", "test", "--password-stdin", "ALICE") == "alice: may log in\n"
    typed(b"wrong\n")
    assert site.run("auth", "test", "--password-stdin", "alice", status=1) == "alice: refused: password mismatch\n"
    typed(b"wrong\n")
    assert "unknown user" in site.run("auth", "test", "--password-stdin", "carol", status=1)
    typed(b"a new one\n")
    stored = site.run("pw", "--password-stdin", "--scheme", "SHA512-CRYPT").strip()
    (site.place / "users").write_text(f"dave:{stored}\n")
    typed(b"a new one\n")
    assert json.loads(site.run("auth", "test", "--json", "--password-stdin", "dave"))["ok"] is True


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for verb in ("doctor", "mailbox", "who", "explain", "top"):
        assert verb in script


def test_every_verb_has_a_description_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        cli.main(["--help"])
    verbs = [
        line.split()[0] for line in capsys.readouterr().out.split("commands:")[1].splitlines() if line[4:5].isalpha()
    ]
    assert len(verbs) >= 25
    for verb in verbs:
        with pytest.raises(SystemExit) as ended:
            cli.main([verb, "--help"])
        assert ended.value.code == 0
        assert f"usage: greenmail {verb}" in capsys.readouterr().out
