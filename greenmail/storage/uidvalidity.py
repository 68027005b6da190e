"""The counter of UIDVALIDITY values, shared with Dovecot. `formats.md` 3.3.

    dovecot-uidvalidity          8 lower-case hex digits without LF: the value given out last, perhaps a little old
    dovecot-uidvalidity.<8 hex>  empty, mode 0444: its name is the counter

The next value is taken by renaming the second file from v to v+1: of several processes exactly one succeeds, the others
find the file gone and look again. The directory is synced before the value is used: a value that was given to a
mailbox must not come again after a power cut.
"""

import logging
import os
import re
import secrets

from greenmail.storage.filesystem import Files, Ownership, ownership

log = logging.getLogger(__name__)

_NAME = b"dovecot-uidvalidity"
_SUFFIX = re.compile(rb"dovecot-uidvalidity\.([0-9a-f]{8})")
_TEMPORARY = _NAME + b".tmp."
_OLD = 3600.0  # seconds
_ATTEMPTS = 100
_MASK = 0xFFFFFFFF


def next_uidvalidity(files: Files, control: bytes, now: float) -> int:
    """A value that no mailbox of this account ever had; `control`: the root or the control root.

    If the counter cannot be used the time is the value, as Dovecot does.
    """
    try:
        value = _count(files, control, now)
        files.fsync_directory(control)
    except OSError as error:
        log.error("uidvalidity-counter path=%r error=%s", control, error)
        return int(now) & _MASK or 1
    _note(files, control, value)
    return value


def _after(value: int) -> int:
    """The next value; 0 is none."""
    return (value + 1) & _MASK or 1


def _path(control: bytes, value: int) -> bytes:
    return b"%b/%b.%08x" % (control, _NAME, value)


def _count(files: Files, control: bytes, now: float) -> int:
    for _ in range(_ATTEMPTS):
        names = files.listdir(control)
        _tidy(files, control, names, now)
        found = sorted(int(match[1], 16) for name in names if (match := _SUFFIX.fullmatch(name)) is not None)
        if not found:
            value = max(int(now) & _MASK, _after(_read(files, control)))
            if _create(files, control, value):
                return value
            continue
        # Two can be there after a backup was restored: the lower one must not count up to the higher one again.
        for lower in found[:-1]:
            files.unlink_quietly(_path(control, lower))
        try:
            files.rename_first(_path(control, found[-1]), _path(control, _after(found[-1])))
        except FileNotFoundError:
            continue  # another process took this value
        return _after(found[-1])
    raise FileExistsError("others count faster")


def _tidy(files: Files, control: bytes, names: list[bytes], now: float) -> None:
    """Remove what `_note` left behind when it was cut short."""
    for name in names:
        if name.startswith(_TEMPORARY):
            try:
                is_old = now - files.lstat(control + b"/" + name).st_mtime > _OLD
            except FileNotFoundError:
                continue
            if is_old:
                files.unlink_quietly(control + b"/" + name)


def _read(files: Files, control: bytes) -> int:
    try:
        text = files.read_file(control + b"/" + _NAME)
    except FileNotFoundError:
        return 0
    return int(text, 16) if re.fullmatch(rb"[0-9a-f]{8}", text) else 0


def _create(files: Files, control: bytes, value: int) -> bool:
    try:
        files.close(files.create_exclusive(_path(control, value), Ownership(0o444, 0o700, None)))
    except FileExistsError:
        return False
    return True


def _note(files: Files, control: bytes, value: int) -> None:
    """Write down the value as the place where Dovecot begins to look; it looks further if this is old, or no number.

    So nothing is synced: the file may be lost or empty after a power cut.
    """
    # Nobody holds a lock here, so everybody has a name of his own.
    temporary = b"%b/%b%d.%b" % (control, _TEMPORARY, os.getpid(), secrets.token_hex(4).encode("ascii"))
    try:
        descriptor = files.create_exclusive(temporary, ownership(files.stat(control)))
        try:
            try:
                files.write_all(descriptor, b"%08x" % value)
            finally:
                files.close(descriptor)
            files.rename(temporary, control + b"/" + _NAME)
        except OSError:
            files.unlink_quietly(temporary)
            raise
    except OSError as error:
        log.warning("uidvalidity-note path=%r error=%s", control, error)
