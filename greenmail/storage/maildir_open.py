"""Opening a Maildir mailbox: from its index files if they are good, else from uidlist and directories.

First contact with a mailbox without a uidlist gives it one: from Courier's files if they are there (`formats.md` 6.4),
else with a fresh UIDVALIDITY.
"""

import hashlib
import logging
import os

from greenmail import metrics
from greenmail.errors import Reason, StorageError
from greenmail.storage import dovecot_index
from greenmail.storage.courier import Imported, import_mailbox, is_courier
from greenmail.storage.filesystem import refusing, sync_names
from greenmail.storage.index_files import IndexFiles
from greenmail.storage.index_place import index_directory
from greenmail.storage.keywords import is_keyword
from greenmail.storage.maildir_box import LARGE_FILE, Box, Context, Place
from greenmail.storage.maildir_data import read_uidnext
from greenmail.storage.maildir_index import Index
from greenmail.storage.maildir_name import base_name, in_cur, letters_of, with_letters
from greenmail.storage.maildir_scan import list_names, look, restore_uidlist, sync
from greenmail.storage.presence import found_at, is_directory
from greenmail.storage.uidlist_file import Refreshed
from greenmail.storage.uidlist_format import new_guid

log = logging.getLogger(__name__)

_CREATE_STEPS = 50
_CREATE_STEP = 0.02  # seconds
_CREATE_AGE = 1.0  # seconds after which a directory without parts is nobody's CREATE
_READ_ONLY = (Reason.READ_ONLY, Reason.NO_PERMISSION)


def open_box(context: Context, place: Place, name: str, proved: tuple[int, int] = (0, 0)) -> Box:
    """The mailbox in `place`, looked at. Raises NOT_FOUND if there is no directory.

    `proved`: times of `new/` and `cur/`, ns, with which this process has seen what the index files tell of them, and
    later than which every change gives other times.
    """
    box = Box(context, place, name)
    is_open = False
    try:
        _begin(box, proved)
        is_open = True
    finally:
        if not is_open:
            box.close()
    return box


def _begin(box: Box, proved: tuple[int, int]) -> None:
    with refusing("The mailbox cannot be opened"):
        _wait_until_made(box)
        why_not = _load(box)
        if why_not:
            metrics.index_rebuild(why_not)
            _build(box)
    times = box.index.times
    for which, time in enumerate(proved):
        if times and time and times[2 * which] == time:
            times[2 * which + 1] = 0
    look(box)


def _wait_until_made(box: Box) -> None:
    """CREATE makes the parts of a mailbox one by one, `cur` last: do not make them under its hands."""
    for _ in range(_CREATE_STEPS):
        if is_directory(box.files, box.cur_path):
            return
        if box.context.runtime.now() - box.files.stat(box.place.directory).st_ctime > _CREATE_AGE:
            return
        box.context.runtime.sleep(_CREATE_STEP)


def _load(box: Box) -> str:
    """Take the index files' word, if they are of this mailbox; no lock, no listing. Else why they are not taken.

    "missing", "damaged" or "foreign", for the metrics.
    """
    box.uidlist.remember(*(read_uidnext(box.files, box.data_path) or (0, 1)))
    place = box.place
    is_made_up = False
    if place.index_root and (_read_uidlist(box) is Refreshed.MISSING or not box.uidlist.guid):
        if not box.read_only:
            return "missing"
        _read_only_uidlist(box)
        is_made_up = True
    index_files = box.index_files = _index_files(box)  # so that its descriptors are given back if something fails
    size = index_files.size()
    index = box.offload(size > LARGE_FILE, index_files.load)
    # Without a uidlist our own index knows the UIDs, also those that Courier never gave.
    is_newer = is_courier(box.files, place.directory, place.control) and _has_uidlist(box)
    if index is None or is_newer:
        index_files.close()
        box.index_files = None
        return "foreign" if is_newer else "damaged" if size else "missing"
    box.index = index
    box.keeps_index = box.read_only and bool(place.index_root)
    if is_made_up:
        box.uidlist.uidvalidity = index.uidvalidity
    box.is_settled = bool(index.times)
    box.uidlist.remember(index.uidvalidity, index.uidnext)
    box.refresh_keywords()
    if index.times[4:] == [*box.uidlist_print(), *box.overflow.print()]:
        return ""
    return "" if _agrees(box) else "foreign"


def _read_uidlist(box: Box) -> Refreshed:
    """What it says now, without a lock; a long one is read in the pool."""
    refreshed: Refreshed = box.offload(box.uidlist_print()[1] > LARGE_FILE, box.refresh_uidlist, False)
    return refreshed


def _has_uidlist(box: Box) -> bool:
    with refusing("the mailbox cannot be opened"):
        return found_at(box.files, box.place.control + b"/dovecot-uidlist") is not None


def _agrees(box: Box) -> bool:
    """Whether the uidlist, which changed since, is still that of the index; what differs is found by listing."""
    refreshed = _read_uidlist(box)
    box.is_settled = False
    if refreshed is Refreshed.MISSING:
        return True
    mine, theirs = box.index.mailbox_id, box.uidlist.guid.decode("latin-1")
    if box.uidlist.uidvalidity == box.index.uidvalidity and theirs in ("", mine):
        return True
    log.warning("index-of-another-mailbox mailbox=%r", box.name)
    assert box.index_files is not None
    box.index_files.close()
    box.index_files, box.index = None, Index()
    return False


def _index_files(box: Box) -> IndexFiles:
    """Of the mailbox with the GUID of its uidlist."""
    place = box.place
    directory = place.directory
    if place.index_root:
        directory = index_directory(box.files, place.index_root, box.uidlist.guid, place.directory)
    runtime = box.context.runtime
    return IndexFiles(box.files, directory, box.ownership, box.times.is_remote, runtime.breathe, runtime.blocking)


def _made_index_files(box: Box) -> IndexFiles:
    """With a directory below `index-path`. Raises OSError."""
    index_files = _index_files(box)
    if box.place.index_root:
        index_files.make_directory(box.ownership)
        # Only one that is there can be claimed; and another mailbox may have been faster.
        index_files = _index_files(box)
        index_files.make_directory(box.ownership)
    return index_files


def _build(box: Box) -> None:
    """Without an index: under the locks, from what the Maildir and the uidlist say."""
    try:
        with box.locked():
            # Nobody else has this object yet: all of it may be done in the pool, and it syncs, however small it is.
            box.context.runtime.blocking(_number_all, box)
    except StorageError as error:
        if error.reason not in _READ_ONLY:
            raise
        box.read_only = True
        _read_only_uidlist(box)
        _identify(box)
        _keep_index(box)
        log.info("read-only mailbox=%r index=%s", box.name, "kept" if box.keeps_index else "none")
        with box.reading():
            _adopt(box)
            sync(box)


def _keep_index(box: Box) -> None:
    """Have index files under `index-path`, if there is one, that can be written where the mailbox cannot."""
    if not box.place.index_root:
        return
    try:
        index_files = _made_index_files(box)
    except OSError as error:
        log.warning("index mailbox=%r not kept error=%s", box.name, error)
        return
    box.index_files = index_files
    box.keeps_index = True


def _adopt(box: Box) -> None:
    """Under the lock of our own index elsewhere: another worker may have made it meanwhile, with numbers of its own."""
    index = box.index_files.load() if box.keeps_index and box.index_files is not None else None
    if index is None or index.mailbox_id != box.uidlist.guid.decode("latin-1"):
        return
    if index.uidvalidity == box.uidlist.uidvalidity or not _has_uidlist(box):
        box.index = index
        box.uidlist.uidvalidity = index.uidvalidity


def _number_all(box: Box) -> None:
    """Under the locks: the first contact."""
    founds = _found(box)
    box.index_files = _made_index_files(box)
    _identify(box)
    sync(box, founds=founds)


def _identify(box: Box) -> None:
    box.index.uidvalidity = box.uidlist.uidvalidity
    box.index.mailbox_id = box.uidlist.guid.decode("latin-1")
    # Every modseq of before the index was lost is lower: the clock went forward. So are Dovecot's, unless it was told
    # to count on from ours, of a clock that was ahead.
    dovecot = dovecot_index.read(box.files, box.place.directory)
    box.index.modseq = dovecot.modseq
    box.index.modseq = box.next_modseq()
    box.index.history.expunged_floor = box.index.modseq
    if dovecot.keywords and not box.read_only:
        _keep_keywords(box, dovecot.keywords)


def _keep_keywords(box: Box, keywords: dict[str, set[int]]) -> None:
    """Keywords that Dovecot has no letter for stand in its index only: at first contact they come to our own file."""
    box.refresh_keywords()
    if box.overflow.names:  # not the first contact: what was taken away since must not come back
        return
    left = [name for name in sorted(keywords) if is_keyword(name) and box.keywords.letter(name) is None]
    beyond: dict[bytes, set[str]] = {}
    for base, uid in box.uidlist.uids.items():
        for name in left:
            if uid in keywords[name]:
                beyond.setdefault(base, set()).add(name)
    if beyond:
        try:
            box.overflow.change(beyond, is_import=True)
        except StorageError as error:  # a full disk: no reason not to open
            log.warning("dovecot-keywords mailbox=%r not imported error=%r", box.name, error.text)


def _found(box: Box) -> bool:
    """Under the locks: make sure of directories and of a uidlist with UIDVALIDITY and GUID.

    True: there was none, and it is still to be written, `maildir_scan.sync`.
    """
    missing = [path for path in (box.tmp_path, box.new_path, box.cur_path) if not is_directory(box.files, path)]
    for path in missing:
        box.files.make_directory(path.rstrip(b"/"), box.ownership)
    refreshed = box.refresh_uidlist(locked=True)
    is_known = box.index.uidvalidity or box.uidlist.uidvalidity
    founds = refreshed is Refreshed.MISSING and not is_known and not _is_courier(box)
    if missing or refreshed is Refreshed.MISSING:
        # Whoever made all this may not have synced it; from now on clients are told what is in it. Where a uidlist is
        # founded in the same directory, that is synced with it.
        if not founds or box.place.control != box.place.directory:
            sync_names(box.files, box.place.directory)
        sync_names(box.files, os.path.dirname(box.place.directory))
    if founds:
        box.uidlist.load(_uidvalidity(box), 1, [])
        box.uidlist.guid = new_guid()
    elif _is_courier(box):
        _import_courier(box)
    elif refreshed is Refreshed.MISSING and box.index.uidvalidity:
        restore_uidlist(box)
        box.uidlist.rewrite()
    elif not box.uidlist.uidvalidity:
        box.uidlist.start(_uidvalidity(box), new_guid())
    elif box.uidlist.must_rewrite or not box.uidlist.guid:
        box.uidlist.rewrite()
    return founds


def _is_courier(box: Box) -> bool:
    return is_courier(box.files, box.place.directory, box.place.control)


def _uidvalidity(box: Box) -> int:
    """A fresh one: also if there is a record of an old one, since nobody knows which message had which UID."""
    return box.context.new_uidvalidity()


def _read_only_uidlist(box: Box) -> None:
    """What is there is used. What is missing is made up, in the same way each time as long as the Maildir is the same.

    RFC 9051 2.3.1.1: UIDVALIDITY grows when UIDs may be others. Files that were added or removed since give other
    numbers, and a later time to their directory.
    """
    _read_uidlist(box)
    validity = min(max(max(box.directory_times()) // 1_000_000_000, 1), (1 << 32) - 1)
    if is_courier(box.files, box.place.directory, box.place.control):
        imported = import_mailbox(box.files, box.place.directory, box.place.is_inbox)
        box.uidlist.load(imported.uidvalidity or validity, imported.next_uid, imported.records)
    elif not box.uidlist.uidvalidity:
        box.uidlist.load(validity, 1, [])
    box.uidlist.guid = box.uidlist.guid or hashlib.md5(box.place.directory, usedforsecurity=False).hexdigest().encode()


def _import_courier(box: Box) -> None:
    imported = import_mailbox(box.files, box.place.directory, box.place.is_inbox)
    log.info("courier-import mailbox=%r messages=%d", box.name, len(imported.records))
    # Letters first, uidlist last: a crash in between leaves Courier's files in charge, and this is done again.
    box.keywords.add(imported.keyword_order)
    _give_letters(box, imported)
    box.uidlist.load(imported.uidvalidity or box.context.new_uidvalidity(), imported.next_uid, imported.records)
    box.uidlist.guid = new_guid()
    box.uidlist.rewrite()


def _give_letters(box: Box, imported: Imported) -> None:
    """Courier keeps keywords beside the names; here they become letters, and what has none goes to our own file."""
    beyond: dict[bytes, frozenset[str]] = {}
    for path, is_new in ((box.new_path, True), (box.cur_path, False)):
        for name in list_names(box.files, path):
            base = base_name(name)
            keywords = imported.keywords.get(base, frozenset())
            letters = {letter for keyword in keywords if (letter := box.keywords.letter(keyword)) is not None}
            left = frozenset(keyword for keyword in keywords if box.keywords.letter(keyword) is None)
            if left:
                beyond[base] = left
            if not letters.issubset(letters_of(name)):
                wanted = with_letters(in_cur(name), letters.union(letters_of(name)))
                box.files.rename(box.path(name, is_new), box.path(wanted, is_new))
    if beyond:
        box.overflow.change(beyond, is_import=True)
