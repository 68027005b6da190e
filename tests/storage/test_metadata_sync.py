"""Annotations are durable also where another process made their directory, and died before it synced it."""

import os
from pathlib import Path

import pytest

from greenmail.storage.filesystem import Files
from greenmail.storage.locks import Waiting
from greenmail.storage.metadata import FILE, MetadataFile


class Watched(Files):
    """Files of which is known what directories were synced."""

    __slots__ = ("synced",)

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[bytes] = []

    def fsync_directory(self, path: bytes) -> None:
        self.synced.append(path)
        super().fsync_directory(path)


@pytest.mark.interpreted  # a class that is made of `Files`
def test_the_first_file_syncs_what_others_made_above_it(tmp_path: Path) -> None:
    (tmp_path / "greenmail-data").mkdir()
    files = Watched()
    waiting = Waiting(lambda seconds: None, lambda: 0.0, 1.0)
    file = MetadataFile(files, os.fsencode(tmp_path / "greenmail-data"), FILE, waiting)
    file.change({"/shared/comment": b"x"}, 10)
    assert os.fsencode(tmp_path) in files.synced
    files.synced.clear()
    file.change({"/shared/comment": b"y"}, 10)
    assert os.fsencode(tmp_path) not in files.synced, "once is enough"
