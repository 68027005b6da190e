"""`greenmail index --fts`."""

from pathlib import Path

import pytest
from doctor.spool import build, write

from greenmail import cli


def site(directory: Path, *settings: str) -> Path:
    (directory / "ann").mkdir()
    build(directory / "ann" / "Maildir")
    write(directory / "users", "ann:{PLAIN}x\nbob:{PLAIN}x::::::userdb_full_text_search=no\n")
    lines = [f"mail-path: {directory}/%n/Maildir", "passwd-file: users", *settings]
    write(directory / "g.yaml", "\n".join(lines) + "\n")
    return directory


def call(directory: Path, *arguments: str) -> int:
    return cli.main(["index", "--fts", *arguments, "-c", str(directory / "g.yaml")])


def test_the_index_is_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site(tmp_path, "full-text-search: true")
    assert call(tmp_path, "--user", "ann") == 0
    assert capsys.readouterr().out == "1 account: the index of 3 mailboxes with 9 messages is complete\n"
    [path] = (tmp_path / "ann" / "Maildir" / "greenmail-fulltext").glob("*.sqlite")
    before = path.read_bytes()
    assert call(tmp_path, "--user", "ann") == 0
    assert path.read_bytes() == before


def test_it_is_filled_only_where_it_is_switched_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site(tmp_path)
    assert call(tmp_path, "--user", "ann") == 1
    assert "full-text-search is off for this account" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.sqlite"))


def test_a_user_may_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site(tmp_path, "full-text-search: true")
    (tmp_path / "bob").mkdir()
    build(tmp_path / "bob" / "Maildir")
    assert call(tmp_path, "--user", "bob") == 1
    assert "bob" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.sqlite"))


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    site(tmp_path, "full-text-search: true")
    assert call(tmp_path, "--user", "ann") == 0
    directory = tmp_path / "ann" / "Maildir" / "greenmail-fulltext"
    (directory / "1.sqlite").write_bytes(b"no database" * 1000)
    assert call(tmp_path, "--user", "ann") == 0
    assert [path.name for path in directory.glob("*.sqlite")] == ["2.sqlite"]
    assert (directory / "2.sqlite").read_bytes().startswith(b"SQLite format 3")
