"""BODY and TEXT with a full-text index: which messages need be opened at all. RFC 9051 6.4.4.

The index leaves out messages that do not have the text; the others are opened and looked through as without it. So the
answer is the same, whatever the index has and lacks.
"""

from collections.abc import Collection, Sequence

from greenmail import metrics
from greenmail.imap.message_set import selected
from greenmail.imap.search_key import TextKey
from greenmail.imap.session import Session
from greenmail.imap.slices import slices
from greenmail.storage.api import Mailbox
from greenmail.storage.text_index import TextNeedle

FEW = 8  # messages that are opened sooner than the index


class Sieve:
    """What the index says of the BODY and TEXT keys of one command."""

    __slots__ = ("_found", "_session", "_wanted")

    def __init__(self, session: Session, wanted: Sequence[tuple[TextKey, str]]) -> None:
        """`wanted`: each key with its text, decoded and not folded."""
        self._session = session
        self._wanted = wanted
        self._found: dict[TextKey, Collection[int] | None] | None = None

    def left(self, key: TextKey, uids: list[int]) -> list[int]:
        """Those of `uids` that may match, in their order."""
        if len(uids) <= FEW:
            return uids
        if self._found is None:
            self._found = self._ask()
        may = self._found.get(key)
        if may is None:
            return uids
        found: list[int] = []
        for some in slices(uids):
            found += [uid for uid in some if uid in may]
            self._session.breathe()
        return found

    def _ask(self) -> dict[TextKey, Collection[int] | None]:
        """All keys at once, of the whole mailbox: keys may be asked of different messages."""
        view = selected(self._session)
        full_text = self._session.services.full_text
        index = full_text.of(view.mailbox) if full_text is not None else None
        metrics.text_search(index is not None)
        if full_text is None or index is None:
            return {}
        needles = [TextNeedle(text, key.header) for key, text in self._wanted]
        answers = self._session.blocking(index.sift, needles, view.uids)
        if index.is_incomplete:
            full_text.fill(view.mailbox, is_incomplete=True)
        return {key: answer for (key, _), answer in zip(self._wanted, answers, strict=True)}


def changed(session: Session, mailbox: Mailbox) -> None:
    """Messages came into `mailbox`, or it was selected: its index may lack some."""
    if session.services.full_text is not None:
        session.services.full_text.fill(mailbox)
