"""`run-path`: a directory of ours alone, with a fresh one in it for the value files of the metrics.

Both belong to the parent, which makes every file there (`metrics.prepare`) and gives it to the process that writes to
it. Could the workers' user make files beside them, a link would have root's parent write to what it points to.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenmail.config import Config
from greenmail.net.tls import EX_CONFIG, CannotStart

_PREFIX = "figures-"
_OWNER = "owner"  # locked as long as the server lives


@contextmanager
def figures(config: Config) -> Iterator[str]:
    """A fresh directory, which the workers may read; removed at the end. Raises CannotStart."""
    run = Path(config.run_directory)
    uid, gid = config.owner()
    try:
        _make(run, uid)
        _remove_old(run)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=run))
        owner = os.open(made / _OWNER, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.geteuid() == 0:
            os.chown(made, -1, gid, follow_symlinks=False)
        os.chmod(made, 0o750)
    except OSError as error:
        text = f"run-path: {run}: {error.strerror}; make it a directory that uid {os.geteuid()} may write to"
        raise CannotStart(text, EX_CONFIG) from None
    parent = os.getpid()
    try:
        yield str(made)
    finally:
        if os.getpid() == parent:  # not in a child that comes back through here
            shutil.rmtree(made, ignore_errors=True)
            os.close(owner)


def make_uses(config: Config) -> None:
    """A directory for the times of use of app passwords, in `run-path`: the workers' own. Raises CannotStart.

    The parent makes it, and nothing in it: what is there may be a link.
    """
    if not config.app_passwords_file or config.app_password_use_path:
        return
    made = Path(config.app_password_uses)
    try:
        with contextlib.suppress(FileExistsError):
            made.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(made, *config.owner(), follow_symlinks=False)
    except OSError as error:
        raise CannotStart(f"run-path: {made}: {error.strerror}", EX_CONFIG) from None


def _make(run: Path, uid: int) -> None:
    try:
        run.mkdir(mode=0o755)
        run.chmod(0o755)  # whatever the umask is: the workers must come through
    except FileExistsError:
        # In a directory like /tmp somebody else may have been faster; what they own they may also replace.
        found = run.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid(), uid):
            raise PermissionError(0, "belongs to somebody else") from None


def _remove_old(run: Path) -> None:
    """What servers left behind that were killed: nobody holds their lock."""
    for old in run.glob(f"{_PREFIX}*"):
        try:
            owner = os.open(old / _OWNER, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # being made right now by another server, or gone
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(owner)
