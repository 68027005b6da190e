"""What the accounts of one worker share; above all its mailbox objects.

There is one object for each mailbox, shared by its sessions, and a few are kept warm. An object is found by device and
inode of its directory. It is in use while somebody has not closed it; afterwards it stays for whoever comes next, until
the objects that nobody uses take more memory or number more than they may. One whose sessions all wait for news is
parked (`parked.py`).
"""

import os
import resource
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable

from greenmail.errors import StorageError
from greenmail.message.unpacked import Kept
from greenmail.runtime import Runtime
from greenmail.storage.answers import SHARE, Answers, Room
from greenmail.storage.filesystem import Files
from greenmail.storage.lock_rules import LockRules
from greenmail.storage.locks import Owner
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_box import Box, Place
from greenmail.storage.maildir_name import UniqueNames
from greenmail.storage.quota import Maildirsize

Identity = tuple[int, int]

_SHARE_RESTING = 32  # of `cache-memory`, for mailboxes that rest and are not parked yet
_LEAST_WARM = 100  # objects that nobody uses ...
_MOST_WARM = 20_000
_DESCRIPTORS = 12  # ... of which each may have four descriptors: they may take a third of the process's


class SharedMailboxes:
    """See the module's text."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._room = Room(memory // SHARE)
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        is_limited = allowed != resource.RLIM_INFINITY
        self._most_warm = min(max(_LEAST_WARM, allowed // _DESCRIPTORS), _MOST_WARM) if is_limited else _MOST_WARM
        self._weights: dict[int, int] = {}  # of every object, by id(): octets, as of its opening or its last close
        self._weight = 0
        self._used: dict[Identity, MaildirMailbox] = {}
        self._warm: OrderedDict[Identity, MaildirMailbox] = OrderedDict()
        self._resting: OrderedDict[int, tuple[MaildirMailbox, float]] = OrderedDict()  # by id(): since when
        self.begins_to_rest: Callable[[], None] = _nothing  # told when one does and no other did

    def get(self, identity: Identity, place: Place, make: Callable[[], Box]) -> MaildirMailbox:
        """A reference to the mailbox in `place`; `make` opens it if there is no object that still stands for it."""
        mailbox = self._find(identity, place)
        if mailbox is not None:
            return mailbox
        box, is_ours = make(), False
        try:
            # Others ran meanwhile: perhaps one of them made the object.
            mailbox = self._find(box.identity, place)
            is_ours = mailbox is None
        finally:
            if not is_ours:
                box.close()
        if mailbox is None:
            mailbox = MaildirMailbox(box, self, Answers(self._room))
            mailbox.references = 1
            self._used[box.identity] = mailbox
            self._weigh(mailbox, mailbox.memory())
            self._shrink()
        return mailbox

    def _find(self, identity: Identity, place: Place) -> MaildirMailbox | None:
        """A reference to the object that stands for the mailbox, if there is one."""
        while (mailbox := self._used.get(identity) or self._warm.get(identity)) is not None:
            self._warm.pop(identity, None)
            self._used[identity] = mailbox
            mailbox.references += 1  # if it is parked it is woken, and others run meanwhile: they must not give it up
            is_right = False
            try:
                is_right = not mailbox.is_gone and self._stands_for(mailbox, place) and not mailbox.is_gone
                if not is_right:
                    # Sessions that have it open learn that it is gone when they look.
                    self._forget(mailbox)
            finally:
                if not is_right:
                    self.released(mailbox)
            if is_right:
                return mailbox
        return None

    def _stands_for(self, mailbox: MaildirMailbox, place: Place) -> bool:
        """Whether the object is good for this place: it is there, or at another name that still leads there."""
        known = mailbox.place
        if known == place:
            return True
        if known.directory == place.directory or known.control != known.directory:
            return False
        try:
            mailbox.box.check()
        except StorageError:
            return False
        return True

    def _forget(self, mailbox: MaildirMailbox) -> None:
        identity = mailbox.identity
        if self._used.get(identity) is mailbox:
            del self._used[identity]
        if self._warm.get(identity) is mailbox:
            del self._warm[identity]
        mailbox.leave()
        if mailbox.references == 0:
            self._weigh(mailbox, 0)
            mailbox.give_up()

    def _weigh(self, mailbox: MaildirMailbox, octets: int) -> None:
        """What this object takes up from now on; 0: it is given up."""
        self._weight += octets - self._weights.pop(id(mailbox), 0)
        if octets:
            self._weights[id(mailbox)] = octets
        else:
            mailbox.answers.forget()

    def leave(self, path: bytes) -> None:
        """`path` leads elsewhere from now on, or nowhere."""
        for mailbox in [*self._used.values(), *self._warm.values()]:
            if mailbox.place.directory == path:
                self._forget(mailbox)

    def released(self, mailbox: MaildirMailbox) -> None:
        """One reference less."""
        if mailbox.references == 0:
            return
        mailbox.references -= 1
        if mailbox.references:
            self.rested(mailbox)
            return
        identity = mailbox.identity
        self._resting.pop(id(mailbox), None)
        if self._used.get(identity) is not mailbox:  # it was given up while in use
            self._weigh(mailbox, 0)
            mailbox.give_up()
            return
        del self._used[identity]
        self._warm[identity] = mailbox
        mailbox.rest()
        self._weigh(mailbox, mailbox.memory())
        self._shrink()

    def rested(self, mailbox: MaildirMailbox) -> None:
        """A reference began or ceased to rest, or went: those that all rest are parked some time later."""
        self._resting.pop(id(mailbox), None)
        if mailbox.may_park:
            if not self._resting:
                self.begins_to_rest()
            self._resting[id(mailbox)] = mailbox, time.monotonic()

    def changed(self, mailbox: MaildirMailbox) -> None:
        """It was parked or woken."""
        self._weigh(mailbox, mailbox.memory())
        self._shrink()

    @property
    def is_any_resting(self) -> bool:
        """Whether there may be something to `park`, now or later."""
        return bool(self._resting)

    def park(self, after: float, breathe: Callable[[], None]) -> int:
        """Park the mailboxes whose sessions have all rested for `after` seconds; how many were.

        When thousands of clients come at once the first rest while the last log in. Memory that is used once does not
        go back to the system for long: so of those that rest, only some may be in memory.
        """
        latest, count = time.monotonic() - after, 0
        surplus = sum(self._weights.get(id(mailbox), 0) for mailbox, _ in self._resting.values())
        surplus -= self._memory // _SHARE_RESTING
        for key, (mailbox, since) in list(self._resting.items()):
            if since > latest and surplus <= 0:
                break
            if self._resting.pop(key, None) is None:  # somebody came while others were parked
                continue
            surplus -= self._weights.get(id(mailbox), 0)
            if mailbox.park():
                count += 1
            self.rested(mailbox)
            breathe()
        return count

    def _shrink(self) -> None:
        """Give up what nobody uses, oldest first, until all objects (also those in use) take no more than they may."""
        while self._warm and (len(self._warm) > self._most_warm or self._weight + self._room.octets > self._memory):
            _, mailbox = self._warm.popitem(last=False)
            self._weigh(mailbox, 0)
            try:
                mailbox.save_facts()
            finally:
                mailbox.leave()
                mailbox.give_up()

    def usage(self) -> dict[str, int]:
        """Octets in memory, and how many they may be; mailboxes that are in use, and that nobody uses."""
        octets = self._weight + self._room.octets
        return {"octets": octets, "limit": self._memory, "used": len(self._used), "warm": len(self._warm)}

    def close(self) -> None:
        """Give up every object that nobody uses."""
        self._memory = -1
        self._shrink()


def _nothing() -> None:
    return None


class Shared:
    """What all accounts of one worker work with."""

    def __init__(self, runtime: Runtime, cache_memory: int, files: Files | None) -> None:
        # Assertions for tests and for people who look for a bug.
        self.rules = LockRules(runtime) if os.environ.get("GREENMAIL_DEBUG") else None
        self.runtime = self.rules.runtime(runtime) if self.rules else runtime
        self.files = (files or Files()).through(self.rules.call) if self.rules else files or Files()
        self.mailboxes = SharedMailboxes(cache_memory)
        self.unpacked = Kept()
        self._unique: dict[str, UniqueNames] = {}
        self._owners: dict[str, Owner] = {}
        self._quotas: weakref.WeakValueDictionary[bytes, Maildirsize] = weakref.WeakValueDictionary()

    def owner(self, host: str) -> Owner:
        """Who takes the locks of this process's mailboxes."""
        owner = self._owners.get(host)
        if owner is None or owner.pid != os.getpid():
            owner = self._owners[host] = Owner.this_process(host)
        return owner

    def unique_names(self, host: str) -> UniqueNames:
        """One maker of names for the whole process: two could make the same name."""
        return self._unique.setdefault(host, UniqueNames(host, self.runtime.now))

    def quota(self, control: bytes) -> Maildirsize:
        """The one object for the file in this directory: mailboxes opened before have the newest settings, too."""
        return self._quotas.setdefault(control, Maildirsize(self.files, self.runtime, control))
