"""Where a mailbox has its index files below `index-path`.

    index-path "/" guid              ; with `greenmail.place`, which says whose they are
    index-path "/" guid "-" inode    ; of a mailbox with the GUID of another one that is there, too; inode in hex
    greenmail.place = inode HTAB path              ; of the mailbox directory

The GUID goes with the mailbox wherever it is renamed to, or restored from a backup. But who copies a mailbox (`cp -a`)
makes a second one of that GUID, perhaps another user's; with one index the two would show each other's messages. So the
first one says in `greenmail.place` that the directory is its own. If the path that stands there leads to no such inode
any more, the mailbox has been moved by somebody else, and whoever comes with its GUID is taken for it.
"""

import errno
import logging
import secrets

from greenmail.storage.filesystem import Files, Ownership, is_there, ownership

log = logging.getLogger(__name__)

_FILE = b"/greenmail.place"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)

_Where = tuple[int, bytes]


def index_directory(files: Files, root: bytes, guid: bytes, mailbox: bytes) -> bytes:
    """The directory for the index of the mailbox in the directory `mailbox`; claimed, if it is there and can be."""
    plain = root + b"/" + guid
    try:
        mine = files.stat(mailbox)
    except OSError:
        return plain  # whoever asks finds out
    own = b"%b-%x" % (plain, mine.st_ino)
    if is_there(own):
        return own
    identity, where = (mine.st_dev, mine.st_ino), (mine.st_ino, mailbox)
    for _ in range(2):
        found = _read(files, plain)
        if found == where:
            return plain
        if found is not None and _is_another(files, found, identity):
            log.warning("guid-of-two mailbox=%r other=%r guid=%s", mailbox, found[1], guid.decode("latin-1"))
            return own
        try:
            _write(files, plain, where, found is not None)
            return plain
        except FileExistsError:
            continue  # somebody was faster: perhaps the other one
        except OSError as error:
            log.debug("index-place path=%r error=%s", plain, error)
            return plain
    return own


def _read(files: Files, directory: bytes) -> _Where | None:
    try:
        inode, tab, path = files.read_file(directory + _FILE).partition(b"\t")
    except OSError:
        return None
    return (int(inode), path) if tab and inode.isdigit() and len(inode) < 21 else None


def _is_another(files: Files, where: _Where, identity: tuple[int, int]) -> bool:
    """Whether the mailbox that claimed the directory is still there, and not this one by another name."""
    try:
        found = files.stat(where[1])
    except (OSError, ValueError):
        return False
    return found.st_ino == where[0] and (found.st_dev, found.st_ino) != identity


def _write(files: Files, directory: bytes, where: _Where, replaces: bool) -> None:
    """Not synced: an index that is lost is built again. Raises FileExistsError if it was to be the first one."""
    owner: Ownership = ownership(files.stat(directory))
    path = directory + _FILE
    temporary = b"%b.%b.tmp" % (path, secrets.token_hex(8).encode("ascii"))
    descriptor = files.create_exclusive(temporary, owner)
    try:
        try:
            files.write_all(descriptor, b"%d\t%b" % where)
        finally:
            files.close(descriptor)
        if replaces:
            files.rename(temporary, path)
            return
        try:
            files.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            files.rename(temporary, path)
            return
    except OSError:
        files.unlink_quietly(temporary)
        raise
    files.unlink_quietly(temporary)
