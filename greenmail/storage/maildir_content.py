"""One message opened: its size as it is known, and what its file tells besides."""

import logging
import os
from collections import OrderedDict
from collections.abc import Sequence

from greenmail.message.content import SMALL, Checkpoints, FileContent
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_measure import Fact
from greenmail.storage.maildir_name import base_name, disk_size_of

log = logging.getLogger(__name__)

_INLINE_SIZE = 262144  # octets of a message that are counted here; larger ones in the pool
_POINTS = 16  # messages whose line-end checkpoints are kept for the next slice


class Contents:
    """The messages of one mailbox."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: OrderedDict[int, Checkpoints] = OrderedDict()

    def forget(self) -> None:
        """What is kept for the next slices."""
        self._points.clear()

    def open(self, box: Box, uid: int, descriptor: int) -> tuple[FileContent, Sequence[Fact]]:
        """The octets of the message, whose file is open, and what came to be known of it."""
        index = box.index
        found = os.fstat(descriptor)
        disk = found.st_size
        row = index.table.row(uid)
        size, claimed, date, name = -1, -1, -1, b""
        if row >= 0:
            name = index.names[row]
            in_name = disk_size_of(base_name(name))
            size = index.table.sizes[row]
            # Without S in the name our own count, or the uidlist's, is of this very file: files do not change.
            claimed = disk if in_name is None else in_name
            date = int(found.st_mtime) if index.table.dates[row] < 0 else -1
        points = self._points.get(uid)
        unpacking = box.context.unpacking(name)
        made_of = descriptor, size, claimed, points, unpacking, found
        # In the pool if a large file has to be read for its size.
        is_long_work = disk > _INLINE_SIZE and points is None and (size < 0 or claimed != disk)
        content = box.offload(True, FileContent, *made_of) if is_long_work else FileContent(*made_of)
        assert isinstance(content, FileContent)
        if not content.is_compressed:
            if row >= 0 and claimed != disk:
                log.warning("wrong-size mailbox=%r uid=%d name=%r", box.name, uid, name)
            if disk > SMALL:
                self._keep_points(uid, content.checkpoints)
        is_news = row >= 0 and (content.size != size or date >= 0)
        return content, [(uid, content.size, date)] if is_news else ()

    def _keep_points(self, uid: int, points: Checkpoints) -> None:
        """For the next slice of the message."""
        self._points[uid] = points
        while len(self._points) > _POINTS:
            self._points.popitem(last=False)
