"""`storage.url_key_file`: keys that stay, that nobody else can read, and that never come back."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.storage import url_key_file
from greenmail.storage.filesystem import Files
from greenmail.storage.locks import Waiting
from greenmail.storage.url_key_file import UrlKeyFile, parse, render

A, B = "0" * 31 + "a", "0" * 31 + "b"
HEX = "0123456789abcdef"


class Watched(Files):
    """Files of which is known what was synced and renamed, in this order."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def fsync(self, descriptor: int) -> None:
        self.done.append("fsync")
        super().fsync(descriptor)

    def rename(self, source: bytes, target: bytes, status: os.stat_result) -> None:
        self.done.append("rename")
        super().rename(source, target, status)

    def fsync_directory(self, path: bytes) -> None:
        self.done.append(f"fsync {os.path.basename(path).decode()}")
        super().fsync_directory(path)


def key_file(directory: Path, files: Files | None = None) -> UrlKeyFile:
    waiting = Waiting(lambda seconds: None, lambda: 0.0, 1.0)
    return UrlKeyFile(files or Files(), os.fsencode(directory / "greenmail-data"), waiting)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    keys, others = key_file(tmp_path), key_file(tmp_path)
    assert keys.get(A) is None and keys.stamp() == (0, 0, 0)
    assert not (tmp_path / "greenmail-data").exists(), "a question makes nothing"
    made = keys.make(A)
    assert len(made) == 32 and keys.make(A) == others.make(A) == others.get(A) == made
    assert others.make(B) != made and keys.get(A) == made


def test_a_key_that_was_given_up_never_comes_back(tmp_path: Path) -> None:
    keys, others = key_file(tmp_path), key_file(tmp_path)
    first, other = keys.make(A), keys.make(B)
    before = others.stamp()
    keys.reset(A)
    assert others.stamp() != before
    assert others.get(A) not in (None, first) and others.get(B) == other
    keys.reset(A)
    keys.clear()
    assert others.get(A) is None and others.get(B) is None
    assert others.make(A) not in (first, other)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o775, 0o2770, 0o777])
def test_the_file_is_its_owners_alone(mode: int, tmp_path: Path) -> None:
    """However the mail may be read by others."""
    tmp_path.chmod(mode)
    keys = key_file(tmp_path)
    for change in (keys.make, keys.reset, lambda _: keys.clear(), keys.reset):
        change(A)
        found = (tmp_path / "greenmail-data" / "url-keys").stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
    assert os.listdir(tmp_path / "greenmail-data") == ["url-keys"]


@pytest.mark.interpreted  # a class that is made of `Files`
def test_it_is_durable_when_the_method_returns(tmp_path: Path) -> None:
    files = Watched()
    key_file(tmp_path, files).make(A)
    above = tmp_path.name
    assert files.done == [f"fsync {above}", "fsync", "fsync", "rename", "fsync greenmail-data", "fsync"]


def test_an_account_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        key_file(tmp_path / "missing").make(A)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"1",
        b"2\n",
        b"1\nx\n",
        b"1\n" + A.encode() + b" 00\n",
        render({A: bytes(32)})[:-1],
        render({A: b"x" * 32}).upper(),
    ],
)
def test_a_damaged_file_is_not_used(octets: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may have keys that were given up. RESETKEY alone is the way out."""
    (tmp_path / "greenmail-data").mkdir()
    path = tmp_path / "greenmail-data" / "url-keys"
    path.write_bytes(octets)
    keys = key_file(tmp_path)
    for use in (keys.get, keys.make, keys.reset):
        with pytest.raises(StorageError) as error:
            use(A)
        assert error.value.reason is Reason.CORRUPT
    assert path.read_bytes() == octets and "url-keys path=" in caplog.text
    keys.clear()
    assert keys.get(A) is None and len(keys.make(A)) == 32


def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_key_file, "MOST", 1)
    keys = key_file(tmp_path)
    made = keys.make(A)
    with pytest.raises(StorageError) as error:
        keys.make(B)
    assert error.value.reason is Reason.LIMIT
    keys.reset(A)
    assert keys.get(A) != made
    keys.clear()
    keys.make(B)


@given(st.dictionaries(st.text(HEX, min_size=32, max_size=32), st.binary(min_size=32, max_size=32)))
def test_what_is_written_is_read(keys: dict[str, bytes]) -> None:
    assert parse(render(keys)) == keys


@given(st.binary())
def test_any_octets_are_keys_or_none(octets: bytes) -> None:
    found = parse(b"1\n" + octets)
    assert found is None or all(len(key) == 32 for key in found.values())
