"""Who may do what in one account: the methods of `api.Account` about rights, over any keeper of lists."""

import os
from collections.abc import Callable, Iterable
from typing import Protocol

from greenmail.errors import Reason, StorageError
from greenmail.storage.acl import KEPT, Acl, Viewer, grantable
from greenmail.storage.api import AclAction, AclEntry, Folder, Rights

_MOST = 10_000  # names whose place is remembered


class Lists(Protocol):
    """Where the lists are kept; `place` is a mailbox's, as the account names it."""

    def read(self, place: bytes) -> Acl:
        """The list as it is now; one without lines if there is none."""

    def unchanged(self, place: bytes, seen: os.stat_result | None) -> Acl | None:
        """The list that was read before, if one look is enough to know that place and list are still the same.

        `seen`: what a look at the place gave just now.
        """

    def default(self) -> Acl:
        """What counts for those whom a mailbox's own list says nothing of."""

    def change(self, place: bytes, how: Callable[[Acl], Acl]) -> None:
        """Write what `how` makes of the list; on disk when it returns."""


class Access:
    """See the module's text. Methods raise StorageError."""

    __slots__ = ("_find", "_found", "_lists", "_separator", "viewer")

    def __init__(self, viewer: Viewer, lists: Lists, find: Callable[[str], bytes], separator: str) -> None:
        """`find` gives the place of a mailbox; raises NOT_FOUND."""
        self.viewer = viewer
        self._lists, self._find, self._separator = lists, find, separator
        self._found: dict[str, bytes] = {}

    def my_rights(self, name: str, seen: os.stat_result | None = None) -> Rights:
        """What the one who looks may do with this mailbox. Asked with each command: some 5 µs if nothing changed."""
        place = self._found.get(name)
        acl = None if place is None else self._lists.unchanged(place, seen)
        if acl is None:
            place = self._find(name)
            if len(self._found) >= _MOST:
                self._found.clear()
            self._found[name] = place
            acl = self._lists.read(place)
        return self._rights(acl)

    def _rights(self, acl: Acl) -> Rights:
        if not self.viewer.is_owner and not acl.applies_to(self.viewer):
            acl = self._lists.default()
        return acl.my_rights(self.viewer)

    def may_create(self, name: str) -> bool:
        """Whether the right `k` is there on the nearest mailbox above this name, or where there is none."""
        above = self.above(name)
        return "k" in self._rights(Acl() if above is None else self._lists.read(above))

    def above(self, name: str) -> bytes | None:
        """The place of the nearest mailbox above this name, from which a new one has its list; RFC 4314 4 CREATE."""
        above = name.removesuffix(self._separator)
        while above := above.rpartition(self._separator)[0]:
            try:
                return self._find(above)
            except StorageError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
        return None

    def acl(self, name: str) -> list[AclEntry]:
        """As GETACL shows it."""
        return self._lists.read(self._find(name)).entries(self.viewer.owner)

    def set_acl(self, name: str, identifier: str, action: AclAction, rights: Rights) -> None:
        """Change the rights of an identifier."""
        self._change(name, lambda acl: acl.changed(identifier, action, rights, self.viewer.owner))

    def delete_acl(self, name: str, identifier: str) -> None:
        """Remove the entry of an identifier."""
        self._change(name, lambda acl: acl.removed(identifier, self.viewer.owner))

    def _change(self, name: str, how: Callable[[Acl], Acl]) -> None:
        def safely(acl: Acl) -> Acl:
            new = how(acl)
            lost = KEPT & self._rights(acl) - self._rights(new)
            if self.viewer.is_owner and lost:
                raise StorageError(Reason.CANNOT, "By this you would lose your own mailbox.")
            return new

        self._lists.change(self._find(name), safely)

    def list_rights(self, name: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
        """What an identifier always has, and what it can be given."""
        self._find(name)
        return grantable(identifier, self.viewer.owner)

    def visible(self, folders: Iterable[Folder]) -> list[Folder]:
        """Those that the one who looks may see. One that he may not see has no name of its own: it is only a parent.

        RFC 4314 4 LIST: with the right `l` on "A/B" and not on "A", "A" is as if it did not exist.
        """
        every = list(folders)
        hidden = {folder.name for folder in every if folder.selectable and not self._may_see(folder.name)}
        if not hidden:
            return every
        parents = set()
        for folder in every:
            above = folder.name if folder.selectable and folder.name not in hidden else ""
            while above := above.rpartition(self._separator)[0]:
                parents.add(above)
        return [
            Folder(folder.name, is_shown, folder.name in parents, folder.special_use if is_shown else ())
            for folder in every
            if (is_shown := folder.selectable and folder.name not in hidden) or folder.name in parents
        ]

    def _may_see(self, name: str) -> bool:
        try:
            return "l" in self.my_rights(name)
        except StorageError as error:
            if error.reason is Reason.NOT_FOUND:  # it went meanwhile
                return False
            raise
