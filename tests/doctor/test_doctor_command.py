"""The command line: whose mail, exit statuses, text at 80 columns and in a pipe, JSON, owners, and the undo log."""

import contextlib
import io
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor.spool import body, build, picture, write
from rich.console import Console
from support.trees import unpack

from greenmail import cli
from greenmail.doctor.audit import Run, audit
from greenmail.doctor.report import Outcome, Report, write_text
from greenmail.doctor.target import Target
from greenmail.runtime import direct
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.terminal import shown


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two users with sound mail; the configuration is in `g.yaml`."""
    for user in ("ann", "bob"):
        (tmp_path / user).mkdir()
        build(tmp_path / user / "Maildir")
    write(tmp_path / "users", "ann:{PLAIN}x\nbob:{PLAIN}x\nnew:{PLAIN}x\n")
    write(tmp_path / "g.yaml", f"mail-path: {tmp_path}/%n/Maildir\npasswd-file: users\n")
    return tmp_path


def call(site: Path, *arguments: str) -> int:
    return cli.main(["doctor", *arguments, "-c", str(site / "g.yaml")])


def spoil(site: Path, user: str = "bob") -> Path:
    """A stranger's twin in bob's INBOX."""
    root = site / user / "Maildir"
    (old,) = (root / "cur").glob("*.M2P7.*")
    write(root / "cur" / old.name.replace(":2,S", ":2,F"), body("", 2).replace(b"Body", b"Copy"))
    return root


def test_sound_mail_is_one_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(site, "--user", "ann", "--user", "BOB") == 0
    out = capsys.readouterr().out
    assert out.startswith("2 accounts, 6 mailboxes, 18 messages in ")
    assert out.endswith(" s: all is well.\n")


def test_all_users_of_the_passwd_file_are_looked_at(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(site) == 4  # `new` has no mail yet
    out = capsys.readouterr().out
    assert "3 accounts, 6 mailboxes" in out
    assert "cannot be read" in out


def test_the_root_of_a_public_namespace_is_a_maildir_without_inbox(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = site / "public"
    public.mkdir(mode=0o700)
    build(site / "made").rename(public / ".News")
    (public / ".Quiet").mkdir(mode=0o700)  # a directory that is no mailbox does not make it one, nor unmake it
    assert call(site, str(public)) in (0, 3)
    assert "1 account" in capsys.readouterr().out


@pytest.mark.parametrize("inner", ["", "mBx"])
@pytest.mark.parametrize("below", ["", "Maildir"])
def test_nested_directories_are_one_account(
    tmp_path: Path, inner: str, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one for each mailbox, whose own directory would then be looked at in vain."""
    settings = MaildirSettings(str(tmp_path / "ann" / "Maildir"), layout="fs", mailbox_directory=inner)
    account = MaildirStore(direct()).open_account("ann", settings)
    for name in ("Work", "Work/Deep", "New/Old"):
        account.create(name)
        mailbox = account.open(name)
        upload = mailbox.upload()
        upload.write(b"Subject: one\r\n\r\nHello\r\n")
        mailbox.save([upload])
    more = f"mailbox-directory: {inner}\n" if inner else ""
    write(tmp_path / "g.yaml", f"mail-path: {tmp_path}/%n/Maildir\nlayout: fs\n{more}")
    assert call(tmp_path, str(tmp_path / "ann" / below)) == 0
    assert capsys.readouterr().out.startswith("1 account, 4 mailboxes, 3 messages in ")


def test_directories_may_be_maildirs_or_lie_above_them(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(site, str(site / "ann" / "Maildir"), str(site)) == 0
    assert "3 accounts, 9 mailboxes" in capsys.readouterr().out


def users_in_sql(site: Path, more: str = "") -> None:
    """The users of `site`, in a table instead of the passwd-file, with the mail of bob in another place."""
    (site / "bob").rename(site / "robert")
    with contextlib.closing(sqlite3.connect(site / "users.db")) as connection:
        connection.execute("CREATE TABLE users (name, password, mail)")
        connection.execute("INSERT INTO users VALUES ('ann', 'x', NULL)")
        connection.execute("INSERT INTO users VALUES ('bob', 'x', ?)", (f"maildir:{site}/robert/Maildir",))
        connection.commit()
    query = "SELECT password, mail FROM users WHERE name = :user"
    table = f"{{type: sql, url: 'sqlite:///{site}/users.db', query: '{query}'{more}}}"
    write(site / "g.yaml", f"mail-path: {site}/%n/Maildir\nauth: [{table}]\n")


def test_users_of_another_database_are_found_by_name(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users_in_sql(site)
    spoil(site, "robert")
    assert call(site, "--user", "ann") == 0
    assert call(site, "--user", "bob", "--json") != 0
    assert "robert/Maildir" in capsys.readouterr().out
    assert call(site, "--user", "carol") == 1
    assert "there is no user carol in the databases of" in capsys.readouterr().err
    assert cli.main(["resync", "--user", "bob", "-c", str(site / "g.yaml")]) == 0
    assert (site / "robert" / "Maildir" / "greenmail.index").exists()


def test_everybody_is_whom_all_databases_tell(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users_in_sql(site, ", iterate-query: 'SELECT name FROM users ORDER BY name'")
    assert call(site) == 0
    assert capsys.readouterr().out.startswith("2 accounts, 6 mailboxes")


def test_a_database_that_cannot_list_its_users_is_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users_in_sql(site)
    assert call(site) == 1
    assert "there is no list of all users: sql has no iterate-query; name users" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--user", "nobody"], "there is no user nobody in"),
        (["/nowhere"], "/nowhere is not a directory"),
        (["users.d"], "there is no Maildir in"),
        (["--undo", "users"], "this is no undo log of greenmail doctor"),
        (["--undo", "x", "--fix"], "--undo takes the undo log alone"),
        (["--undo", "/nowhere/log"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    (site / "users.d").mkdir()
    monkeypatch.chdir(site)
    assert call(site, *arguments) == 1
    assert said in capsys.readouterr().err


def test_fix_and_undo(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = spoil(site)
    before = picture(root)
    log = str(site / "log")
    assert call(site, str(root)) == 4
    assert "--fix gives each but the first a name of its own" in capsys.readouterr().out
    assert call(site, str(root), "--fix", "--undo-log", log) == 0
    out = capsys.readouterr().out
    assert "  fixed    INBOX: 2 files share 1 base name\n" in out
    assert f"greenmail doctor --undo {log}" in out
    assert os.stat(log).st_mode & 0o777 == 0o600
    assert call(site, str(root)) == 0
    assert call(site, "--undo", log) == 0
    assert capsys.readouterr().out.endswith("changes taken back\n")
    assert picture(root) == before


def test_an_undo_log_is_never_overwritten(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = spoil(site)
    before = picture(root)
    write(site / "log", "precious")
    assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert (site / "log").read_text() == "precious"
    assert picture(root) == before


def test_without_faults_there_is_no_undo_log(site: Path) -> None:
    assert call(site, str(site / "ann"), "--fix", "--undo-log", str(site / "log")) == 0
    assert not (site / "log").exists()


def test_json_is_one_document(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = spoil(site)
    write(root / "cur" / "1700000100.\x1b[31mred.mx:2,S", b"x\n")
    assert call(site, str(root), "--json") == 4
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert document["greenmail-doctor"] == 1
    (account,) = document["accounts"]
    twins = next(finding for finding in account["findings"] if finding["kind"] == "twins")
    assert (twins["severity"], twins["mailbox"], twins["count"], len(twins["items"])) == ("error", "INBOX", 1, 2)
    assert document["summary"]["errors"] == 1
    assert document["undo-log"] is None
    assert call(site, str(root), "--json", "--fix", "--undo-log", str(site / "log")) == 0
    document = json.loads(capsys.readouterr().out)
    assert [f["fixed"] for f in document["accounts"][0]["findings"] if f["kind"] == "twins"] == [True]
    assert document["undo-log"] == str(site / "log")


def test_names_from_disk_cannot_move_the_cursor(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = site / "ann" / "Maildir"
    os.rename(root / ".Archive", os.fsencode(root) + b"/.\x1b]0;x\x07\xff")
    write(root / "cur" / "1700000100.\x1b[31m[red]\u202e.mx:2,S", b"x\n")
    call(site, str(root), "-v")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[31m[red]\\u202e.mx" in out


def test_text_fits_into_80_columns(run: Run, target: Target, maildir: Path) -> None:
    for number in range(20):
        write(maildir / "new" / f"17000001{number:02}.{'long' * 30}.mx", b"x\n")
    (maildir / ".ssh").mkdir()
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, no_color=True, markup=False, highlight=False)
    write_text(Report([Outcome(audit(run, target))], 0.1), console)
    lines = stream.getvalue().splitlines()
    assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line).rstrip()) for line in lines) <= 80
    assert any("and 17 more" in line for line in lines)
    plain = io.StringIO()
    write_text(Report([Outcome(audit(run, target))], 0.1), Console(file=plain, width=80, markup=False))
    assert any("long" * 30 in line for line in plain.getvalue().splitlines()), "a pipe gets whole names"


@pytest.mark.parametrize(
    "raw, text",
    [(b"cur/a b", "cur/a b"), (b"\xff\n", "\\xff\\n"), ("Ü\u2028".encode(), "Ü\\u2028"), ("\udcff", "\\xff")],
)
def test_shown(raw: str | bytes, text: str) -> None:
    assert shown(raw) == text


def test_a_maildir_that_everybody_may_read(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        outside.chmod(0o755)
        root = build(outside / "Maildir")
        root.chmod(0o755)
        assert call(site, str(root)) == 3
        assert "every local user may look into this Maildir" in capsys.readouterr().out
        assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 0
        assert root.stat().st_mode & 0o777 == 0o750
        assert call(site, "--undo", str(site / "log")) == 0
        assert root.stat().st_mode & 0o777 == 0o755
    finally:
        shutil.rmtree(outside)


def test_names_in_two_encodings_become_one(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = site / "ann" / "Maildir"
    (root / ".Übung").mkdir(mode=0o700)
    (root / ".Übung" / "cur").mkdir(mode=0o700)
    before = picture(root)
    assert call(site, str(root)) == 4
    assert "GreenMail does not open this account" in capsys.readouterr().out
    assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 0
    assert (root / ".&ANw-bung" / "cur").is_dir()
    assert call(site, "--undo", str(site / "log")) == 0
    assert picture(root) == before


@pytest.mark.parametrize("server", ["dovecot", "courier"])
def test_recorded_trees_have_no_error(
    tmp_path: Path, site: Path, capsys: pytest.CaptureFixture[str], server: str
) -> None:
    root = unpack(server, tmp_path / server)
    before = picture(root)
    assert call(site, str(root)) in (0, 3)
    assert picture(root) == before
    assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 0, "what is left are notes"
    assert call(site, "--undo", str(site / "log")) == 0
    assert picture(root) == before


@pytest.mark.parametrize("verb, said", [("resync", "is made anew"), ("index", "is complete")])
def test_resync_and_index(site: Path, capsys: pytest.CaptureFixture[str], verb: str, said: str) -> None:
    assert cli.main([verb, "--user", "ann", "-c", str(site / "g.yaml")]) == 0
    assert capsys.readouterr().out == f"1 account: the index of 3 mailboxes with 9 messages {said}\n"
    assert (site / "ann" / "Maildir" / ".Archive" / "greenmail.index").exists()
    assert cli.main([verb, "--user", "new", "-c", str(site / "g.yaml")]) == 1
    assert "not done: new" in capsys.readouterr().err


@pytest.fixture
def strangers_mail() -> Iterator[Path]:
    """A Maildir of another uid, where that uid can get to."""
    outside = Path(tempfile.mkdtemp(dir="/tmp"))
    outside.chmod(0o711)
    root = build(outside / "Maildir")
    for path in [root, *root.rglob("*")]:
        os.chown(path, 4711, 4712)
    yield root
    shutil.rmtree(outside)


if os.getuid() == 0:  # ids can be changed by root alone

    def test_root_works_as_the_owner_of_the_mail(site: Path, strangers_mail: Path) -> None:
        root = strangers_mail
        write(root / "cur" / "1700000100.x.mx:2,z", b"x\n")
        os.chown(root / "cur" / "1700000100.x.mx:2,z", 4711, 4712)
        assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 0
        assert cli.main(["resync", str(root), "-c", str(site / "g.yaml")]) == 0
        assert (root / "greenmail.index").exists()
        assert {(path.stat().st_uid, path.stat().st_gid) for path in root.rglob("*")} == {(4711, 4712)}
        assert os.stat(site / "log").st_uid == 0
        assert os.geteuid() == 0

    def test_root_gives_files_to_the_owner_and_back(site: Path, strangers_mail: Path) -> None:
        root = strangers_mail
        os.chown(root / "dovecot-uidlist", 0, 0)
        os.chown(root / ".Archive" / "cur", 99, 99)
        precious = site / "precious"
        write(precious, "x")
        os.link(precious, root / "cur" / "1700000100.hard.mx:2,S")
        before = picture(root)
        assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 4, "a link is not given away"
        assert (root / "dovecot-uidlist").stat().st_uid == 4711
        assert (root / ".Archive" / "cur").stat().st_gid == 4712
        assert precious.stat().st_uid == 0
        assert call(site, "--undo", str(site / "log")) == 0
        assert picture(root) == before

    def test_root_follows_no_log_of_others(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = spoil(site)
        assert call(site, str(root), "--fix", "--undo-log", str(site / "log")) == 0
        os.chown(site / "log", 4711, 4711)
        assert call(site, "--undo", str(site / "log")) == 1
        assert "root does not follow it" in capsys.readouterr().err


def test_further_private_namespaces_are_looked_at(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root of the user's own beside INBOX's; an alias is no other mail, a root that is not made yet no fault."""
    build(site / "ann" / "Archive")
    build(site / "bob" / "Archive")
    (site / "bob" / "Archive" / "dovecot-uidlist").write_bytes(b"nonsense\n")
    text = (site / "g.yaml").read_text()
    namespaces = (
        '[{type: private, inbox: true}, {type: private, prefix: "old/", alias-for: ""},'
        f' {{type: private, prefix: "Archive/", mail-path: "{site}/%n/Archive"}},'
        f' {{type: private, prefix: "Later/", mail-path: "{site}/%n/Later"}}]'
    )
    write(site / "g.yaml", f"{text}namespaces: {namespaces}\nseparator: /\n")
    assert call(site, "--user", "ann") == 0
    assert capsys.readouterr().out.startswith("2 accounts, ")
    assert call(site, "--user", "bob") == 4
    assert "bob Archive/" in capsys.readouterr().out
