"""Where the directories of one account are.

root       `mail-path`: the mailboxes, and INBOX unless `inbox-path` is set
inbox      `inbox-path`
control    `control-path`: uidlists and their kind, one directory a mailbox, and what the account has one of
index      `index-path`: index files, one directory a mailbox GUID

With `layout` fs the directories of mailboxes lie one below the other, also in the control root, which does without
`mailbox-directory`; INBOX is there in INBOX.
"""

import hashlib
import logging
import os

from greenmail.errors import Reason, StorageError
from greenmail.storage.filesystem import Files, ownership, refusing, sync_names
from greenmail.storage.index_place import index_directory
from greenmail.storage.maildir_box import Place
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.mounts import COARSE_NS
from greenmail.storage.presence import is_directory
from greenmail.storage.uidlist import Uidlist

log = logging.getLogger(__name__)

_PARTS = (b"tmp", b"new", b"cur")
_Prints = tuple[tuple[int, int, int, int], ...]  # of directories: device, inode, both times
_HIDDEN_DATA = b"/cur/.greenmail-data"  # names with a dot in front are no messages


def _path(setting: str) -> bytes:
    return os.fsencode(setting.rstrip("/"))


class Places:
    """See the module's text. `control` and `index` are empty if they are not set."""

    __slots__ = ("_files", "_prints", "control", "inbox", "index", "inner", "is_nested", "root")

    def __init__(self, files: Files, settings: MaildirSettings) -> None:
        self._files = files
        self._prints: _Prints | None = None  # of before `prepare`; None: they would prove nothing
        self.root = _path(settings.mail_path) or b"/"
        self.is_nested = settings.layout == "fs"
        self.inner = os.fsencode(settings.mailbox_directory) if self.is_nested else b""
        own = self.root + b"/INBOX/" + self.inner if self.inner else self.root
        self.inbox = _path(settings.inbox_path) or own
        self.control = _path(settings.control_path)
        self.index = _path(settings.index_path)

    @property
    def common(self) -> bytes:
        """The directory of what an account has one of."""
        return self.control or self.root

    @property
    def hidden(self) -> bytes:
        """Where a directory is no mailbox's for anybody; in a nested layout it may not be there yet."""
        return self.root + b"/" + (self.inner or b"tmp") if self.is_nested else self.root

    def of(self, directory: bytes, is_inbox: bool = False) -> Place:
        """The place of the mailbox in this directory."""
        control = directory
        if self.control:
            control = self.control + b"/" + self._control_entry(directory, is_inbox)
        return Place(directory, control, self.index, is_inbox, self._data_of(directory))

    def _data_of(self, directory: bytes) -> bytes:
        """Where a directory in the mailbox's would be taken for a mailbox below it, it hides in `cur`."""
        return directory + _HIDDEN_DATA if self.is_nested and not self.inner and not self.control else b""

    @property
    def data(self) -> bytes:
        """`greenmail-data` of the account."""
        if not self.is_nested or self.control:
            return self.common + b"/greenmail-data"
        return self.root + _HIDDEN_DATA if self.inbox == self.root else self.inbox + b"/greenmail-data"

    @property
    def text(self) -> bytes:
        """`greenmail-fulltext` of the account; below an `index-path` it says whose, as accounts may share that."""
        if not self.index:
            above, _, name = self.data.rpartition(b"/")
            return above + b"/" + name.replace(b"data", b"fulltext")
        whose = hashlib.sha256(os.path.realpath(self.root)).hexdigest()[:16]
        return self.index + b"/greenmail-fulltext-" + whose.encode("ascii")

    def _control_entry(self, directory: bytes, is_inbox: bool) -> bytes:
        if is_inbox:  # as Dovecot has it, also with INBOX elsewhere
            return b"INBOX" if self.is_nested else b".INBOX"
        if not self.is_nested:
            return os.path.basename(directory)
        below = directory[len(self.root) + 1 :]
        return below.removesuffix(b"/" + self.inner) if self.inner else below

    def index_of(self, place: Place) -> bytes:
        """Where the index files of a mailbox are, if that is not its own directory."""
        if not place.index_root:
            return b""
        uidlist = Uidlist(self._files, place.control + b"/dovecot-uidlist")
        uidlist.refresh(locked=False)
        return index_directory(self._files, place.index_root, uidlist.guid, place.directory) if uidlist.guid else b""

    def is_as_prepared(self) -> bool:
        """Whether nothing was made, removed or renamed in these directories since `prepare`, as far as they tell.

        So mailboxes are what they were, and their names in the same encoding. A nested layout's root does not tell.
        """
        return self._prints is not None and not self.is_nested and self._prints == self._looked_at()

    def _looked_at(self) -> "_Prints | None":
        paths = dict.fromkeys(path for path in (self.root, self.inbox, self.control) if path)
        try:
            found = [self._files.stat(path) for path in paths]
        except OSError:
            return None
        return tuple((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_ctime_ns) for one in found)

    def prepare(self, create: bool, now: float) -> None:
        """Root and INBOX are there, or made if `create`: formats.md 2.8. Raises NOT_FOUND."""
        prints = self._looked_at()
        if prints is not None and max(max(times) for _, _, *times in prints) + COARSE_NS <= now * 1e9:
            self._prints = prints  # else the next change could leave them as they are: formats.md 1.8
        with refusing("The mail directory cannot be made"):
            if not create and not is_directory(self._files, self.root):
                raise StorageError(Reason.NOT_FOUND, "There is no mail for this user.")
            wanted = []
            if create:
                wanted += [self.root, self.inbox, *(self.inbox + b"/" + part for part in _PARTS)]
            if self.control:
                wanted.append(self.control)
            self.make(*wanted)

    def make(self, *paths: bytes) -> None:
        """Make directories with all above them that are missing; durable when it returns. Raises OSError."""
        changed: dict[bytes, None] = {}
        for path in paths:
            self._make_one(path, changed)
        for above in changed:
            sync_names(self._files, above)

    def _make_one(self, path: bytes, changed: dict[bytes, None]) -> None:
        """Adds to `changed` in what something was made, also by somebody else just now."""
        if is_directory(self._files, path):
            return
        above = os.path.dirname(path)
        if not is_directory(self._files, above):
            self._make_one(above, changed)
        owner = ownership(self._files.stat(above))
        if path in (self.root, self.control):  # mail is nobody else's, whatever the directory above allows
            owner = type(owner)(0o600, 0o700, None)
        try:
            self._files.make_directory(path, owner)
        except FileExistsError:
            log.debug("made-by-another path=%r", path)
        except PermissionError:
            if path.startswith(self.inbox + b"/"):
                return  # a read-only Maildir without tmp/ can be read all the same
            raise
        changed[above] = None
