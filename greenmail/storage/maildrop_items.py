"""The messages of a maildrop, as POP3 lists them: `formats.md` 8."""

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from greenmail.storage.maildir_name import base_name


@dataclass(frozen=True, slots=True)
class MaildropItem:
    """One message."""

    uid: int
    order: int | None  # uidlist field O
    uidl: str | None  # uidlist field P ("" there has become the base name here), or Courier's list
    base_name: str
    guid: str


class PlainItems:
    """The messages of a maildrop in which none has an order, a unique id or a GUID of its own, in UID order.

    So it is in most, and each item is made when somebody asks for it: tens of thousands of them at every login, of
    which nobody asks for more than the UID, would be most of what a login costs.
    """

    __slots__ = ("_names", "uids")

    def __init__(self, uids: "array[int]", names: Sequence[bytes]) -> None:
        """`names` of the files, side by side with `uids`; both are not to change any more."""
        self.uids = uids
        self._names = names

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, place: int) -> MaildropItem:
        base = os.fsdecode(base_name(self._names[place]))
        return MaildropItem(self.uids[place], None, None, base, base)

    def __iter__(self) -> Iterator[MaildropItem]:
        return map(self.__getitem__, range(len(self.uids)))

    def __eq__(self, other: object) -> bool:
        """As lists of items."""
        return isinstance(other, PlainItems | list) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as of a list
