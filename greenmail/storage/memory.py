"""A store in memory: the model for tests, and the smallest complete backend.

Nothing here waits, so each method is one step for everybody else. Names are Unicode; `INBOX` in any case is INBOX.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from greenmail.errors import Reason, StorageError
from greenmail.storage.access import Access
from greenmail.storage.acl import Acl, Viewer
from greenmail.storage.api import (
    AclAction,
    AclEntry,
    Folder,
    Mailbox,
    Namespace,
    Quota,
    QuotaLimits,
    Rights,
    Scope,
    is_inbox,
)
from greenmail.storage.memory_mailbox import MemoryMailbox
from greenmail.storage.metadata import PRIVATE, shared_of, weight
from greenmail.storage.quota_rules import OVER_TEXT, Limits, OtherLimits, QuotaRules
from greenmail.storage.url_keys import MemoryUrlKeys

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_NAME = 1000  # characters


class MemoryAccount:
    """One user's mailboxes; see `api.Account`."""

    def __init__(self, user: str, separator: str, special_use: Mapping[str, str], now: Callable[[], float]) -> None:
        self.user = user
        self.owner = user
        self.separator = separator
        self.personal = Namespace("", separator)
        self.more_personal: tuple[Namespace, ...] = ()
        self.other_users: tuple[Namespace, ...] = ()
        self.shared: tuple[Namespace, ...] = ()
        self.mailboxes: dict[str, MemoryMailbox] = {}
        self.quota_rules: QuotaRules | None = None  # None: there is no quota root
        self._special_use: dict[str, tuple[str, ...]] = {name: (use,) for name, use in special_use.items()}
        self._metadata: dict[str, dict[str, bytes]] = {}  # by mailbox; empty name: of the server
        self._subscribed: list[str] = []
        self.url_keys = MemoryUrlKeys()
        self._now = now
        self._last_uidvalidity = 0
        self.acls = MemoryLists()
        self.create("INBOX")

    def _place(self, name: str) -> bytes:
        return _encoded(self._find(name).name)

    @property
    def _access(self) -> Access:
        return Access(Viewer(self.user, self.owner), self.acls, self._place, self.separator)

    def scope(self, text: str) -> Scope:
        return self

    def _canonical(self, name: str) -> str:
        """`name` with INBOX in capitals. Raises CANNOT for a name that no mailbox can have."""
        levels = name.split(self.separator)
        if is_inbox(levels[0]):
            levels[0] = "INBOX"
        if "" in levels or len(name) > MAX_NAME or _CONTROL.search(name):
            raise StorageError(Reason.CANNOT, "No mailbox can have this name.")
        return self.separator.join(levels)

    def _find(self, name: str) -> MemoryMailbox:
        try:
            return self.mailboxes[self._canonical(name)]
        except KeyError:
            raise StorageError(Reason.NOT_FOUND, "There is no such mailbox.") from None

    def _children(self, name: str) -> list[str]:
        return [other for other in self.mailboxes if other.startswith(name + self.separator)]

    def folders(self) -> list[Folder]:
        names = set(self.mailboxes)
        for name in self.mailboxes:
            levels = name.split(self.separator)
            names.update(self.separator.join(levels[:depth]) for depth in range(1, len(levels)))
        names.add("INBOX")
        given: set[str] = set()
        found: list[Folder] = []
        for name in sorted(names, key=lambda name: (name != "INBOX", name)):
            uses = tuple(use for use in self._special_use.get(name, ()) if use not in given)
            uses = uses if name in self.mailboxes else ()
            given.update(uses)
            found.append(Folder(name, name in self.mailboxes, bool(self._children(name)), uses))
        return self._access.visible(found)

    def open(self, name: str, looks: bool = True) -> Mailbox:
        return self._find(name)

    def create(self, name: str, special_use: Iterable[str] = ()) -> str:
        name = self._canonical(name.removesuffix(self.separator))
        if name in self.mailboxes:
            raise StorageError(Reason.EXISTS, "The mailbox exists already.")
        self._admit_mailboxes([name], [])
        self.acls.inherit(name, self.mailboxes, self.separator)
        self._last_uidvalidity = max(self._last_uidvalidity + 1, int(self._now()))
        mailbox = self.mailboxes[name] = MemoryMailbox(name, self._last_uidvalidity, self._now)
        mailbox.admit = self._admit
        uses = tuple(special_use)
        if uses:
            self._special_use[name] = uses
        return mailbox.mailbox_id

    def delete(self, name: str) -> None:
        name = self._canonical(name)
        if name == "INBOX":
            raise StorageError(Reason.CANNOT, "INBOX cannot be deleted.")
        if name not in self.mailboxes and self._children(name):
            raise StorageError(Reason.HAS_CHILDREN, "The name has mailboxes below it and is none itself.")
        self._find(name).leave()
        del self.mailboxes[name]
        self._metadata.pop(name, None)
        self.acls.forget(name)

    def rename(self, old: str, new: str) -> None:
        old, new = self._canonical(old), self._canonical(new.removesuffix(self.separator))
        if old not in self.mailboxes and not self._children(old):
            raise StorageError(Reason.NOT_FOUND, "There is no such mailbox.")
        if new in self.mailboxes:
            raise StorageError(Reason.EXISTS, "The new name is taken.")
        if old == "INBOX":
            self._rename_inbox(new)
            return
        if new.startswith(old + self.separator):
            raise StorageError(Reason.CANNOT, "A mailbox cannot become a part of itself.")
        moved = {name: new + name[len(old) :] for name in [old, *self._children(old)] if name in self.mailboxes}
        if any(name in self.mailboxes for name in moved.values()):
            raise StorageError(Reason.EXISTS, "A mailbox below the new name exists already.")
        self._admit_mailboxes(moved.values(), moved)
        for before, after in moved.items():
            self.mailboxes[after] = self.mailboxes.pop(before).renamed(after)
            self.acls.rename(before, after)
            self._metadata[after] = self._metadata.pop(before, {})
            if before in self._special_use:
                self._special_use[after] = self._special_use.pop(before)

    def _rename_inbox(self, new: str) -> None:
        """The messages move, INBOX and what is below it stay. RFC 9051 6.3.6."""
        self.create(new)
        inbox = self.mailboxes["INBOX"]
        inbox.move(list(inbox.table.uids), self.mailboxes[new])
        self._metadata[new] = dict(self._metadata.get("INBOX", {}))

    def subscriptions(self) -> list[str]:
        return list(self._subscribed)

    def subscribe(self, name: str) -> None:
        name = self._find(name).name
        if name not in self._subscribed:
            self._subscribed.append(name)

    def unsubscribe(self, name: str) -> None:
        name = "INBOX" if is_inbox(name) else name
        if name in self._subscribed:
            self._subscribed.remove(name)

    def _admit(self, name: str, storage: int, messages: int) -> None:
        rules = self.quota_rules
        if rules is None or not rules.enforced or rules.ignores(name, self.separator):
            return
        if storage <= 0 and messages <= 0:
            return
        used = self._used(rules)
        if rules.limits_in(name, self.separator, rules.limits).exceeded_by(used[0] + storage, used[1] + messages):
            raise StorageError(Reason.OVER_QUOTA, OVER_TEXT)

    def _used(self, rules: QuotaRules) -> tuple[int, int]:
        counted = [box for box in self.mailboxes.values() if not rules.ignores(box.name, self.separator)]
        return sum(box.counters().size for box in counted), sum(len(box.table) for box in counted)

    def quota_roots(self, name: str, soft: bool = False) -> list[str]:
        rules = self.quota_rules
        is_one = rules is not None and not rules.ignores(name, self.separator) and not (soft and rules.enforced)
        return [rules.root] if rules is not None and is_one else []

    def quota(self, root: str) -> Quota:
        rules = self.quota_rules
        if rules is None or root != rules.root:
            raise StorageError(Reason.NOT_FOUND, "There is no such quota root.")
        boxes, annotations = rules.others.mailboxes, rules.others.annotations
        return replace(
            rules.quota(rules.limits, *self._used(rules)),
            mailboxes_used=self._number(self.mailboxes) if boxes else 0,
            mailboxes_limit=boxes or None,
            annotations_used=self._annotations() if annotations else 0,
            annotations_limit=annotations or None,
        )

    def set_quota(self, root: str, limits: QuotaLimits) -> None:
        rules = self.quota_rules or QuotaRules()
        if root != rules.root:
            raise StorageError(Reason.NOT_FOUND, f"There is no such quota root; there is {rules.root!r}.")
        counted = Limits(limits.storage or 0, limits.messages or 0)
        others = OtherLimits(limits.mailboxes or 0, limits.annotations or 0)
        self.quota_rules = replace(rules, limits=counted, others=others)

    def _number(self, names: Iterable[str]) -> int:
        rules = self.quota_rules
        return sum(rules is None or not rules.ignores(name, self.separator) for name in names)

    def _annotations(self) -> int:
        return sum(weight(found) for name, found in self._metadata.items() if self._number([name]))

    def _admit_mailboxes(self, come: Iterable[str], go: Iterable[str]) -> None:
        rules, more = self.quota_rules, self._number(come) - self._number(go)
        most = rules.others.mailboxes if rules is not None and rules.enforced else 0
        if most and more > 0 and self._number(self.mailboxes) + more > most:
            raise StorageError(Reason.OVER_QUOTA, "You have as many mailboxes as you may.")

    def _admit_annotations(self, name: str, octets: int) -> None:
        rules = self.quota_rules
        most = rules.others.annotations if rules is not None and rules.enforced else 0
        if most and octets > 0 and self._number([name]) and self._annotations() + octets > most:
            raise StorageError(Reason.OVER_QUOTA, "There is no room left for annotations of mailboxes.")

    def my_rights(self, name: str, seen: os.stat_result | None = None) -> Rights:
        return self._access.my_rights(name, seen)

    def may_create(self, name: str) -> bool:
        return self._access.may_create(name)

    def acl(self, name: str) -> list[AclEntry]:
        return self._access.acl(name)

    def set_acl(self, name: str, identifier: str, action: AclAction, rights: Rights) -> None:
        self._access.set_acl(name, identifier, action, rights)

    def delete_acl(self, name: str, identifier: str) -> None:
        self._access.delete_acl(name, identifier)

    def list_rights(self, name: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
        return self._access.list_rights(name, identifier)

    def metadata(self, name: str) -> dict[str, bytes]:
        found = self._metadata.get(self._find(name).name if name else "", {})
        return dict(found) if self.user == self.owner else shared_of(found)

    def set_metadata(self, name: str, values: Mapping[str, bytes | None], most: int) -> None:
        if self.user != self.owner and any(entry.startswith(PRIVATE) for entry in values):
            raise StorageError(Reason.CANNOT, "You can have no private annotations on this mailbox.")
        name = self._find(name).name if name else ""
        old = self._metadata.get(name, {})
        new = {entry: value for entry, value in {**old, **values}.items() if value is not None}
        if len(new) > max(most, len(old)):
            raise StorageError(Reason.LIMIT, f"There can be no more than {most} annotations here.")
        self._admit_annotations(name, weight(new) - weight(old))
        self._metadata[name] = new
        if name:
            mailbox = self.open(name)
            mailbox.touch()
            mailbox.close()

    def set_special_use(self, name: str, special_use: Iterable[str]) -> None:
        if self.user != self.owner:
            raise StorageError(Reason.CANNOT, "Only a mailbox of your own can have a special use.")
        name, wanted = self._find(name).name if name else "", tuple(special_use)
        for other, uses in self._special_use.items():
            self._special_use[other] = tuple(use for use in uses if use not in wanted)
        if name:
            self._special_use[name] = wanted

    def watched(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        """The store keeps its accounts."""


class MemoryLists:
    """`access.Lists` in memory: a place is the name of a mailbox in UTF-8."""

    def __init__(self) -> None:
        self._acls: dict[bytes, Acl] = {}

    def read(self, place: bytes) -> Acl:
        return self._acls.get(place, Acl())

    def unchanged(self, place: bytes, seen: os.stat_result | None) -> Acl | None:
        return None

    def default(self) -> Acl:
        return Acl()

    def change(self, place: bytes, how: Callable[[Acl], Acl]) -> None:
        self._acls[place] = how(self.read(place))

    def inherit(self, name: str, mailboxes: Iterable[str], separator: str) -> None:
        """A new mailbox gets the list of the nearest one above it. RFC 4314 4 CREATE."""
        self.forget(name)
        above = name
        while above := above.rpartition(separator)[0]:
            if above in mailboxes:
                self._acls[_encoded(name)] = self.read(_encoded(above))
                return

    def rename(self, old: str, new: str) -> None:
        self._acls[_encoded(new)] = self._acls.pop(_encoded(old), Acl())

    def forget(self, name: str) -> None:
        self._acls.pop(_encoded(name), None)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


class MemoryStore:
    """Accounts come into being when they are opened; `special_use` gives names their attribute in each."""

    def __init__(
        self,
        separator: str = "/",
        special_use: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.separator = separator
        self._special_use = dict(special_use or {})
        self._now = now
        self._accounts: dict[str, MemoryAccount] = {}

    def open_account(self, user: str) -> MemoryAccount:
        """The one account of `user`, shared by everybody who asks."""
        if user not in self._accounts:
            self._accounts[user] = MemoryAccount(user, self.separator, self._special_use, self._now)
        return self._accounts[user]
