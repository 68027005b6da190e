"""The first listing of a mailbox of whose messages nothing is in memory; part of `maildir_scan`, under the same locks.

Its uidlist may know them: from another server, or from before the index was lost.
"""

from itertools import repeat

from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_first import columns
from greenmail.storage.maildir_name import only_messages
from greenmail.storage.maildir_slices import SLICE, base_names, let_go, messages_of
from greenmail.storage.maildir_twins import Scan


def meet(box: Box, scan: Scan) -> bool:
    """List everything, once: in columns if it is as usual. False if each name is to be compared and classified."""
    index = box.index
    others: list[bytes] = []
    listed: list[list[bytes]] = []
    for path in (box.new_path, box.cur_path):
        try:
            plain, more = box.files.surely(box.files.kinds, path)
        except FileNotFoundError:
            plain, more = [], []
        others += only_messages(more)
        plain += more
        listed.append(plain)
    is_blank = len(index.table.flag_sets) == 1 and not index.history.expunged
    if is_blank and not (others or box.read_only or box.overflow.names):
        scan.first = columns(*listed)
    if scan.first is not None:
        for names in listed:
            let_go(names)
        return True
    return not box.uidlist.has_records and _all_are_unknown(listed, others, scan)


def _all_are_unknown(listed: list[list[bytes]], others: list[bytes], scan: Scan) -> bool:
    """Message by message; False if there are two files for one message, or a name without a base."""
    count = 0
    for names, is_new in zip(listed, (True, False), strict=True):
        messages = messages_of(names)
        count += len(messages)
        for start in range(0, len(messages), SLICE):
            some = messages[start : start + SLICE]
            scan.unknown.update(zip(base_names(some), zip(some, repeat(is_new)), strict=False))
    if b"" in scan.unknown or len(scan.unknown) != count:
        scan.unknown.clear()
        return False
    scan.others = frozenset(others)
    return True
