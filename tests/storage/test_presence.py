"""Whether something is there, and what is no answer to that."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenmail.storage.filesystem import Files
from greenmail.storage.presence import found_at, is_directory, is_link, is_there

Question = Callable[[Files, bytes], Any]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    for name in ("directory", "file", "nothing"):
        (tmp_path / f"to-{name}").symlink_to(name)
    (tmp_path / "around").symlink_to("around")
    return tmp_path


@pytest.mark.parametrize(
    "name, found, directory, link, there",
    [
        ("directory", True, True, False, True),
        ("file", True, False, False, True),
        ("nothing", False, False, False, False),
        ("file/below", False, False, False, False),
        ("to-directory", True, True, True, True),
        ("to-file", True, False, True, True),
        ("to-nothing", False, False, True, True),
        ("around", False, False, True, True),
        ("x" * 300, False, False, False, False),
    ],
)
def test_what_is_there(place: Path, name: str, found: bool, directory: bool, link: bool, there: bool) -> None:
    path, files = os.fsencode(place / name), Files()
    answers = found_at(files, path) is not None, is_directory(files, path), is_link(files, path), is_there(files, path)
    assert answers == (found, directory, link, there)


def failing(code: int, times: int) -> Files:
    """Looks fail so often."""
    left = [None] * times

    def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
        if left:
            left.pop()
            raise OSError(code, os.strerror(code))
        return function(*args)

    return Files(call)


@pytest.mark.parametrize("question", [found_at, is_directory, is_link, is_there])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EMFILE, errno.ETIMEDOUT])
def test_a_disk_that_does_not_answer_is_no_absence(place: Path, question: Question, code: int) -> None:
    with pytest.raises(OSError) as raised:
        question(failing(code, 1), os.fsencode(place / "directory"))
    assert raised.value.errno == code


@pytest.mark.parametrize("times, is_found", [(1, True), (2, False)])
def test_an_absence_counts_when_it_is_said_twice(place: Path, times: int, is_found: bool) -> None:
    assert is_directory(failing(errno.ENOENT, times), os.fsencode(place / "directory")) is is_found
