"""An account for whoever comes without saying who he is: it may be read, and nothing in it changes.

RFC 4505 5 warns of anonymous users who can write, RFC 9208 8 of telling them anything of quotas. So the commands are
not trusted to remember it. Whatever its lists say, here a guest has the rights `l` and `r`; what he opens is sealed;
each method that would change something refuses. Annotations that are one user's own (`/private/`) are not shown.

To a client it is what RFC 9051 6.3.10 has in its second example: nothing of it is personal, all of it is shared.
"""

import os
from collections.abc import Iterable, Mapping
from typing import NoReturn

from greenmail.errors import Reason, StorageError
from greenmail.storage.api import (
    Account,
    AclAction,
    AclEntry,
    Folder,
    Mailbox,
    Namespace,
    Quota,
    QuotaLimits,
    Rights,
)
from greenmail.storage.mounted import MountedMailbox
from greenmail.storage.url_keys import UrlKeys

READING: Rights = frozenset("lr")


class GuestAccount:
    """See `api.Account`: `inner`, to be read."""

    def __init__(self, inner: Account) -> None:
        self._inner = inner
        self.user, self.owner, self.separator = inner.user, inner.owner, inner.separator
        self.personal = inner.personal
        self.more_personal: tuple[Namespace, ...] = ()
        self.other_users: tuple[Namespace, ...] = ()
        self.shared: tuple[Namespace, ...] = ()

    @property
    def url_keys(self) -> UrlKeys:
        """Those of the account, which a guest can use and not change."""
        return _SealedKeys(self._inner.url_keys)

    def scope(self, text: str) -> "GuestAccount":
        """There is one namespace."""
        return self

    def folders(self) -> list[Folder]:
        """All mailboxes with the right `l`."""
        return self._inner.folders()

    def open(self, name: str, looks: bool = True) -> Mailbox:
        """A reference that changes nothing."""
        inner = self._inner.open(name, looks)
        return MountedMailbox(inner.name, inner, None, inner.close, sealed=True)

    def my_rights(self, name: str, seen: os.stat_result | None = None) -> Rights:
        """`l` and `r`, at most."""
        return self._inner.my_rights(name, seen) & READING

    def may_create(self, name: str) -> bool:
        """Nothing."""
        return False

    def subscriptions(self) -> list[str]:
        """What the owner has chosen to show."""
        return self._inner.subscriptions()

    def quota_roots(self, name: str, soft: bool = False) -> list[str]:
        """RFC 9208 8: none that a guest would learn of."""
        return []

    def quota(self, root: str) -> Quota:
        """Likewise."""
        raise StorageError(Reason.NOT_FOUND, "There is no such quota root.")

    def metadata(self, name: str) -> dict[str, bytes]:
        """What is for all."""
        return {entry: value for entry, value in self._inner.metadata(name).items() if entry.startswith("/shared/")}

    def watched(self) -> tuple[str, ...]:
        """As of the account."""
        return self._inner.watched()

    def close(self) -> None:
        """Give back this reference."""
        self._inner.close()

    # What is refused

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        """Is refused."""
        _refuse()

    def delete(self, name: str) -> None:
        """Is refused."""
        _refuse()

    def rename(self, old: str, new: str) -> None:
        """Is refused."""
        _refuse()

    def subscribe(self, name: str) -> None:
        """Is refused."""
        _refuse()

    def unsubscribe(self, name: str) -> None:
        """Is refused."""
        _refuse()

    def set_quota(self, root: str, limits: QuotaLimits) -> None:
        """Is refused."""
        _refuse()

    def acl(self, name: str) -> list[AclEntry]:
        """Who else may do what is nothing for guests."""
        _refuse()

    def set_acl(self, name: str, identifier: str, action: AclAction, rights: Rights) -> None:
        """Is refused."""
        _refuse()

    def delete_acl(self, name: str, identifier: str) -> None:
        """Is refused."""
        _refuse()

    def list_rights(self, name: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
        """Is refused."""
        _refuse()

    def set_metadata(self, name: str, values: Mapping[str, bytes | None], most: int) -> None:
        """Is refused."""
        _refuse()

    def set_special_use(self, name: str, special_use: Iterable[str]) -> None:
        """Is refused."""
        _refuse()


class _SealedKeys:
    """See `UrlKeys`: URLs that the owner has given out are good for guests, too; they give out none."""

    def __init__(self, inner: UrlKeys) -> None:
        self._inner = inner

    def stamp(self) -> object:
        """Of the account's."""
        return self._inner.stamp()

    def get(self, mailbox_id: str) -> bytes | None:
        """The key of a mailbox, if it has one."""
        return self._inner.get(mailbox_id)

    def all(self) -> Mapping[str, bytes]:
        """Every key."""
        return self._inner.all()

    def make(self, mailbox_id: str) -> bytes:
        """Is refused, also where there is one: who has it could authorize URLs in the owner's name."""
        _refuse()

    def reset(self, mailbox_id: str) -> None:
        """Is refused."""
        _refuse()

    def clear(self) -> None:
        """Is refused."""
        _refuse()


def _refuse() -> NoReturn:
    raise StorageError(Reason.NO_PERMISSION, "Who has not said his name may read here, and change nothing.")
