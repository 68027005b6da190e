"""The mailboxes and annotations of an account against their limits: RFC 9208 5.3, 5.4.

Both are counted when somebody asks, and only where they are limited; there is no file that could be wrong. RFC 9208 5.4
speaks of the annotations of messages (RFC 5257); what is counted here are those of the mailboxes and of the server
(RFC 5464), for there are no others: the octets of their names and values.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from greenmail.errors import Reason, StorageError
from greenmail.runtime import Runtime
from greenmail.storage.api import Folder, Quota
from greenmail.storage.filesystem import Files
from greenmail.storage.metadata import parse, weight
from greenmail.storage.quota import Maildirsize


class QuotaCounts:
    """What one account has beside its messages. Raises OVER_QUOTA, and what listing raises."""

    def __init__(
        self,
        files: Files,
        runtime: Runtime,
        maildirsize: Maildirsize,
        folders: Callable[[], Iterable[Folder]],
        annotations: Callable[[], Sequence[bytes]],
    ) -> None:
        """`folders`: all that there are; `annotations`: the paths of the files that they may be in."""
        self._files, self._runtime = files, runtime
        self._maildirsize = maildirsize
        self._folders, self._annotations = folders, annotations

    def quota(self) -> Quota | None:
        """What is used and allowed of everything; None: there is no quota root."""
        found = self._maildirsize.quota()
        limits = self._maildirsize.others()
        if found is None or not limits:
            return found
        return replace(
            found,
            mailboxes_used=self._number() if limits.mailboxes else 0,
            mailboxes_limit=limits.mailboxes or None,
            annotations_used=self._weigh() if limits.annotations else 0,
            annotations_limit=limits.annotations or None,
        )

    def count_anew(self) -> None:
        """Messages, whatever `maildirsize` says of them."""
        self._maildirsize.count_anew()

    def admit_mailboxes(self, come: Iterable[str], go: Iterable[str] = ()) -> None:
        """Mailboxes of these names are about to be made, others to lose theirs."""
        counts, limit = self._maildirsize.counts, self._limit("mailboxes")
        if not limit:
            return
        more = sum(map(counts, come)) - sum(map(counts, go))
        if more > 0 and self._number() + more > limit:
            raise StorageError(Reason.OVER_QUOTA, f"You have as many mailboxes as you may: {limit}. Delete one first.")

    def admit_annotations(self, octets: int) -> None:
        """Annotations are about to grow by so much."""
        limit = self._limit("annotations")
        if limit and octets > 0 and self._weigh() + octets > limit:
            text = "There is no room left for annotations of mailboxes. Remove some, then try again."
            raise StorageError(Reason.OVER_QUOTA, text)

    def _limit(self, kind: str) -> int:
        limits = self._maildirsize.others()
        if not self._maildirsize.rules.enforced:
            return 0
        return limits.mailboxes if kind == "mailboxes" else limits.annotations

    def _number(self) -> int:
        return sum(folder.selectable and self._maildirsize.counts(folder.name) for folder in self._folders())

    def _weigh(self) -> int:
        found: int = self._runtime.blocking(weigh, self._files, self._annotations())
        return found


def weigh(files: Files, paths: Sequence[bytes]) -> int:
    """In the pool: octets of the annotations in these files; what cannot be read is not counted."""
    octets = 0
    for path in paths:
        try:
            octets += weight(parse(files.read_file(path)) or {})
        except OSError:
            continue  # most mailboxes have none
    return octets
