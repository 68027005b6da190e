"""How one mailbox spells its flags, and what a change makes of a set of them. RFC 9051 2.3.2."""

from collections.abc import Iterable

from greenmail.storage.api import SYSTEM_FLAGS, FlagAction, FlagChange, Flags

_SYSTEM = {flag.casefold(): flag for flag in SYSTEM_FLAGS}


class FlagNames:
    """Flags are compared without case; a keyword keeps the spelling in which the mailbox first heard it."""

    def __init__(self, keywords: Iterable[str] = ()) -> None:
        self._names: dict[str, str] = {}
        for keyword in keywords:
            self.learn(keyword)

    def learn(self, keyword: str) -> str:
        """The spelling of `keyword` here, which is its own if it was not known before."""
        return self._names.setdefault(keyword.casefold(), keyword)

    def learn_all(self, keywords: Iterable[str]) -> None:
        for keyword in keywords:
            self.learn(keyword)

    def knows(self, keyword: str) -> bool:
        return keyword.casefold() in self._names

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every keyword known here, in the order of first use."""
        return tuple(self._names.values())

    def spell(self, flags: Iterable[str]) -> tuple[Flags, list[str]]:
        """`flags` in canonical spelling, and the keywords among them that are new here, in order.

        \\Recent and other system flags that do not exist are left out.
        """
        spelled: set[str] = set()
        new: dict[str, str] = {}
        for flag in sorted(flags):
            folded = flag.casefold()
            if flag.startswith("\\"):
                if folded in _SYSTEM:
                    spelled.add(_SYSTEM[folded])
            elif folded in self._names:
                spelled.add(self._names[folded])
            else:
                spelled.add(new.setdefault(folded, flag))
        return frozenset(spelled), list(new.values())


def changed(old: Flags, change: FlagChange) -> Flags:
    """What `change`, spelled canonically, makes of `old`. RFC 9051 6.4.6."""
    if change.action is FlagAction.ADD:
        return old | change.flags
    if change.action is FlagAction.REMOVE:
        return old - change.flags
    return change.flags
