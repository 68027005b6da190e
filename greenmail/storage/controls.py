"""The control directories of an account whose `control-path` is set: they go where their mailboxes go."""

import logging
import os
from collections.abc import Mapping, Sequence

from greenmail.errors import StorageError
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.folders import Folders
from greenmail.storage.places import Places
from greenmail.storage.trash import set_aside_name

log = logging.getLogger(__name__)


class Controls:
    """Does nothing where there is no control root. Methods raise StorageError."""

    __slots__ = ("_files", "_folders", "_places")

    def __init__(self, files: Files, places: Places, folders: Folders) -> None:
        self._files, self._places, self._folders = files, places, folders

    def set_aside(self, directory: bytes) -> bytes:
        """The mailbox that was in `directory` is no more: its control directory gets a name that is no mailbox's.

        The new path, which is to be removed; empty if there is nothing to remove.
        """
        control = self._places.of(directory).control
        return self._set_aside(control) if control != directory else b""

    def _set_aside(self, control: bytes) -> bytes:
        aside = self._places.control + b"/" + set_aside_name()
        with refusing("The control directory cannot be removed"):
            try:
                self._files.rename(control, aside)
            except FileNotFoundError:
                return b""
        return aside

    def rename(self, pairs: Sequence[tuple[str, str]], directories: Mapping[str, bytes]) -> None:
        """Control directories go with their mailboxes, or these would get new UIDs."""
        if not self._places.control:
            return
        done: list[tuple[bytes, bytes]] = []
        try:
            for old, new in pairs:
                source = self._places.of(directories[old]).control
                target = self._places.of(self._folders.find(new)).control
                if os.path.isdir(source):
                    self._set_aside(target)
                    with refusing("The control directory cannot be renamed"):
                        self._files.rename(source, target)
                    done.append((source, target))
        except StorageError:
            for source, target in reversed(done):
                try:
                    self._files.rename(target, source)
                except OSError as error:
                    log.error("rename-back source=%r target=%r error=%s", target, source, error)
            raise
