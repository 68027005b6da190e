"""`greenmail shadow` with a real Dovecot as the old server: nothing differs where nothing does, and each planted
difference is named, and nothing else.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shadow.cut import Cut
from shadow.scene import FOLDERS, MESSAGES, PLANTED, START, Line, Scene, mail
from support.server import free_port
from support.wire_client import Imap

from greenmail import cli
from greenmail import config as configuration
from greenmail.cli.account import people
from greenmail.shadow import command, verbs
from greenmail.shadow.kinds import KINDS

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("shadow")]

Run = Callable[..., tuple[int, Any]]


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers(), argparse.ArgumentParser(add_help=False), people)
    return parser.parse_args(["shadow", *arguments])


@pytest.fixture
def run(scene: Scene, capsys: pytest.CaptureFixture[str]) -> Run:
    """The verb with --json, without the wait before a second look: status and document."""

    def run_it(*arguments: str, wait: Callable[[float], None] = lambda seconds: None) -> tuple[int, Any]:
        config = configuration.load(str(scene.greenmail.config))
        status = verbs.shadow(people, config, parsed([*scene.against, "--json", *arguments]), wait)
        return status, json.loads(capsys.readouterr().out)

    return run_it


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody's password is in the environment."""
    monkeypatch.setenv("GREENMAIL_PASSWORD", "secret")


@pytest.fixture(scope="module")
def accounts(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everybody compared, by name; the whole document is under ""."""
    path = tmp_path_factory.mktemp("all") / "passwords"
    path.write_text("# everybody\n\n" + "".join(f"{user}:secret\n" for user in ("same", *PLANTED)))
    config = configuration.load(str(scene.greenmail.config))
    arguments = [*scene.against, *scene.against_pop3, "--json", "--bodies", "all", "--passwords", str(path)]
    with contextlib.redirect_stdout(io.StringIO()) as written:
        status = verbs.shadow(people, config, parsed(arguments), lambda seconds: None)
    document = json.loads(written.getvalue())
    assert document["summary"]["status"] == status == 1
    return {"": document} | {account["account"]: account for account in document["accounts"]}


def lines(account: dict[str, Any]) -> list[Line]:
    """As in PLANTED."""
    assert account["not-compared"] == []
    return [
        (one["kind"], one["mailbox"], one.get("uid") or one.get("number"), one["theirs"], one["ours"])
        for one in account["differences"]
    ]


def test_two_equal_accounts_are_the_same(accounts: dict[str, Any]) -> None:
    same = accounts["same"]
    assert lines(same) == []
    assert same["mailboxes"] == len(FOLDERS) and same["messages"] == same["bodies"] == len(FOLDERS) * MESSAGES


@pytest.mark.parametrize("user", PLANTED)
def test_a_planted_difference_is_named_and_nothing_else(accounts: dict[str, Any], user: str) -> None:
    assert lines(accounts[user]) == PLANTED[user][1]


def test_every_kind_that_clients_notice_is_planted_or_tested_alone() -> None:
    planted = {line[0] for _, expected in PLANTED.values() for line in expected}
    alone = {"separator", "namespace", "pop3-size"}  # test_names.py, test_account.py
    assert {name for name, kind in KINDS.items() if not kind.told_only} == planted | alone


def test_what_the_old_one_offers_and_ours_does_not_is_told(scene: Scene, accounts: dict[str, Any]) -> None:
    told = {one["theirs"] for one in accounts["same"]["information"] if one["kind"] == "capability"}
    with Imap(scene.dovecot.imap).login("same") as theirs, Imap(scene.greenmail.imaps, tls=True).login("same") as ours:
        (offered,), (known,) = (client.lines("CAPABILITY") for client in (theirs, ours))
    # Of how one logs in nothing is told: only Dovecot goes on to say SASL-IR behind the login.
    assert told and told == {name.decode() for name in set(offered.split()) - set(known.split())} - {"SASL-IR"}
    assert accounts[""]["summary"]["accounts-that-differ"] == len(PLANTED)


def test_nothing_is_changed_by_looking(scene: Scene, run: Run, alone: None) -> None:
    new = scene.theirs / "same" / "new" / "1700000100.M100P1.mx"
    for tree in (scene.theirs, scene.ours):
        path = tree / "same" / "new" / new.name
        path.write_bytes(mail(100))
        os.utime(path, (START + 100, START + 100))
        shutil.chown(path, "mail", "mail")
    before = names_of(scene)
    assert run("--user", "same", "--bodies", "all")[0] == 0
    assert names_of(scene) == before
    with Imap(scene.dovecot.imap).login("same") as theirs, Imap(scene.greenmail.imaps, tls=True).login("same") as ours:
        for client in (theirs, ours):
            assert b"* 1 RECENT" in client.lines("SELECT INBOX")
    for tree in (scene.theirs, scene.ours):
        remove_new(tree / "same")


def names_of(scene: Scene) -> list[str]:
    return sorted(str(path) for tree in (scene.theirs, scene.ours) for path in (tree / "same").rglob("*.mx*"))


def remove_new(maildir: Path) -> None:
    for path in maildir.glob("*/1700000100.*"):
        path.unlink()


def test_a_master_user_and_a_greenmail_for_this_time_only_need_no_passwords_of_users(
    scene: Scene, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "master").write_text("master\n")
    master = ["--master", "root", "--master-password-file", str(tmp_path / "master")]
    status, document = run("--start", "--user", "same", *master, *scene.against_pop3)
    assert status == 0, document
    (account,) = document["accounts"]
    assert account["messages"] == len(FOLDERS) * MESSAGES
    status, document = run("--start", "--all-users", "--bodies", "none", *master, "--authzid")
    found = {account["account"]: account for account in document["accounts"]}
    assert list(found) == ["same", *PLANTED, "empty"]
    assert status == 2 and found["empty"]["not-compared"] and not (scene.ours / "empty").exists()
    # Octets, and POP3, were not to be compared this time.
    for user in set(found) - {"same", "body", "uidl", "empty"}:
        expected = [line for line in PLANTED[user][1] if not line[0].startswith("pop3-")]
        assert lines(found[user]) == expected, user
    assert lines(found["body"]) == lines(found["uidl"]) == []


def test_a_wrong_password_is_said_and_the_others_are_compared(scene: Scene, run: Run, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("flags:wrong\nsame:secret\n")
    status, document = run("--passwords", str(tmp_path / "passwords"))
    assert status == 2
    wrong, same = document["accounts"]
    (reason,) = wrong["not-compared"]
    assert reason["mailbox"] is None and "uthentication failed" in reason["text"]
    assert same["messages"] == len(FOLDERS) * MESSAGES and same["not-compared"] == []
    assert "wrong" not in json.dumps(document)


def test_what_is_the_same_after_a_moment_is_no_difference(scene: Scene, run: Run, alone: None) -> None:
    """Somebody at the old server flags a message and makes a folder while both are compared."""
    clients = Imap(scene.dovecot.imap).login("same"), Imap(scene.greenmail.imaps, tls=True).login("same")
    theirs, ours = clients
    changes = ["CREATE Archive/New", "SELECT Archive", "UID STORE 2 +FLAGS (\\Answered)"]
    for change in changes:
        theirs.ok(change)
    waited = []

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        for change in changes:
            ours.ok(change)

    status, document = run("--user", "same", wait=meanwhile)
    (account,) = document["accounts"]
    assert len(waited) == 1 and lines(account) == [] and status == 0
    for client in clients:
        for change in ("UID STORE 2 -FLAGS (\\Answered)", "CLOSE", "DELETE Archive/New"):
            client.ok(change)
        client.close()


def test_what_came_since_a_copy_was_made_is_told_if_it_is_one(scene: Scene, run: Run, alone: None) -> None:
    with Imap(scene.dovecot.imap).login("same") as theirs:
        theirs.ok("APPEND Sent", mail(7).replace(b"\n", b"\r\n"))
        status, document = run("--user", "same")
        assert status == 1
        assert lines(document["accounts"][0]) == [
            ("uidnext", "Sent", None, str(MESSAGES + 2), str(MESSAGES + 1)),
            ("uid-missing", "Sent", MESSAGES + 1, "there", ""),
        ]
        status, document = run("--user", "same", "--copy")
        (account,) = document["accounts"]
        assert status == 0 and lines(account) == []
        assert [one["uid"] for one in account["information"] if one["kind"] == "copy-older"] == [None, MESSAGES + 1]
        theirs.ok("SELECT Sent")
        theirs.ok(f"UID STORE {MESSAGES + 1} +FLAGS (\\Deleted)")
        theirs.ok("EXPUNGE")
    with Imap(scene.greenmail.imaps, tls=True).login("same") as ours:
        ours.ok("APPEND Sent", mail(7).replace(b"\n", b"\r\n"))
        ours.ok("SELECT Sent")
        ours.ok(f"UID STORE {MESSAGES + 1} +FLAGS (\\Deleted)")
        ours.ok("EXPUNGE")
    assert run("--user", "same")[0] == 0


@pytest.mark.parametrize("octets, mailbox", [(100, None), (4_000, "Archive")])
def test_a_server_that_dies_is_named_with_the_mailbox(
    scene: Scene, run: Run, alone: None, octets: int, mailbox: str | None
) -> None:
    with Cut(scene.dovecot.imap, octets) as cut:
        status, document = run("--user", "same", "--against", f"imap://127.0.0.1:{cut.port}", "--bodies", "all")
    assert status == 2
    failures = document["accounts"][0]["not-compared"]
    assert failures[0]["mailbox"] == mailbox and f":{cut.port}" in failures[0]["text"], failures
    assert "it hung up" in failures[0]["text"]
    assert mailbox is None or (failures[1]["mailbox"] is None and "refused" in failures[1]["text"]), failures


def test_a_server_that_is_not_there_is_given_up_after_some_users(
    scene: Scene, run: Run, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    users = [argument for number in range(9) for argument in ("--user", f"user{number}")]
    status, document = run("--against", f"imap://127.0.0.1:{free_port()}", *users)
    assert status == 2 and len(document["accounts"]) == 5


def test_encrypted_connections_and_whom_they_believe(scene: Scene, run: Run, alone: None) -> None:
    """GreenMail stands for both, because it has a certificate here: imaps, STARTTLS, pop3s and STLS."""
    new = scene.greenmail
    imap = {"imaps": f"imaps://localhost:{new.imaps}", "imap": f"imap://localhost:{new.imap}"}
    pop3 = {"pop3s": f"pop3s://127.0.0.1:{new.pop3s}", "pop3": f"pop3://127.0.0.1:{new.pop3}"}
    both = ["--against", imap["imaps"], "--ours", imap["imap"], "--against-pop3", pop3["pop3s"]]
    both += ["--ours-pop3", pop3["pop3"], "--user", "same"]
    for trust in (["--insecure"], ["--ca-file", str(new.cert)]):
        status, document = run(*both, *trust)
        assert status == 0, document
    status, document = run(*both)
    (failure,) = document["accounts"][0]["not-compared"]
    assert status == 2 and "certificate is not believed" in failure["text"] and "--insecure" in failure["text"]
    status, document = run("--against", imap["imap"], "--ours", imap["imap"], "--user", "same")
    (failure,) = document["accounts"][0]["not-compared"]
    assert status == 2 and "certificate is not believed" in failure["text"]
    assert "tls=no" not in new.logged()


def test_the_text_names_everything_and_counts(
    scene: Scene, alone: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("flags\nmissing\nsame\nfolder\n")
    config = configuration.load(str(scene.greenmail.config))
    status = verbs.shadow(people, config, parsed([*scene.against, "--users", str(users)]), lambda seconds: None)
    text = capsys.readouterr().out
    assert status == 1
    for line in (
        "flags  (4 mailboxes, 24 messages)",
        "  differs  Archive: Flags and keywords",
        "             UID 3: theirs \\Seen, ours \\Flagged \\Seen",
        "  differs  INBOX: Messages that GreenMail does not have",
        "             UID 4",
        "  differs  Sent: Mailboxes that GreenMail does not list",
        "             Archive: theirs nothing, ours \\Archive (4)",
    ):
        assert line in text.splitlines(), (line, text)
    assert "same" not in text.split()
    assert text.splitlines()[-1].endswith(": 3 differences in 3 accounts.")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--user", "same"], "no password"),
        ([], "nobody to compare"),
        (["--user", "same", "--ours", "http://x"], "is not imap://"),
        (["--user", "same", "--ours", "imap://ann:pw@x"], "never on the command line"),
        (["--user", "same", "--start", "--ours", "imap://x"], "exclude each other"),
        (["--passwords", "/nonexistent"], "/nonexistent cannot be read"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_said(
    scene: Scene, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.main(["shadow", "-c", str(scene.greenmail.config), *scene.against, *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("greenmail: ") and words in said.err


def test_a_greenmail_for_this_time_only_is_gone_with_who_started_it(scene: Scene, spot: Path) -> None:
    """SIGTERM while the old server does not answer."""
    places = spot / "temporary"
    places.mkdir()
    places.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        against = ["--against", f"imap://127.0.0.1:{silent.getsockname()[1]}", "--user", "same", "--start"]
        process = subprocess.Popen(
            [sys.executable, "-m", "greenmail", "shadow", "-c", str(scene.greenmail.config), *against],
            env=os.environ | {"TMPDIR": str(places), "GREENMAIL_PASSWORD": "secret"},
        )
        with silent.accept()[0]:
            (server,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
            assert b"secret" not in Path(f"/proc/{server}/environ").read_bytes()
            process.terminate()
            assert process.wait(60) == 130
    assert not Path(f"/proc/{server}").exists() and list(places.iterdir()) == []
