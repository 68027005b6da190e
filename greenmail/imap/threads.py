"""Threads of messages: RFC 5256 3, BASE.6.4.THREAD, and draft-ietf-morg-inthread for REFS. Values only.

Messages are numbers from 0 in mailbox order; a message that must be there and is not (a dummy) has a number behind
them. The steps of REFERENCES have the numbers of the RFC. Nothing here recurses: a thread may be as deep as it likes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from greenmail.imap.ancestry import NOBODY, Ancestry
from greenmail.imap.slices import in_order


class Message(NamedTuple):
    """What a message is threaded by."""

    sent: int  # seconds since 1970, RFC 5256 2.2
    subject: bytes  # base subject, in the form that is compared
    is_reply: bool
    message_id: bytes = b""  # empty: none that is valid
    references: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Forest:
    """`roots` in order, and `children` of each in order. A node at or above `count` is a dummy; only roots are such."""

    count: int
    roots: list[int]
    children: dict[int, list[int]]


def ordered_subject(messages: Sequence[Message]) -> Forest:
    """ORDEREDSUBJECT: one thread a base subject, its first message above all the others."""
    order = in_order(range(len(messages)), lambda node: (messages[node].subject, messages[node].sent))
    threads: list[list[int]] = []
    for node in order:
        if threads and messages[threads[-1][0]].subject == messages[node].subject:
            threads[-1].append(node)
        else:
            threads.append([node])
    threads = in_order(threads, lambda thread: (messages[thread[0]].sent, thread[0]))
    children = {thread[0]: thread[1:] for thread in threads if len(thread) > 1}
    return Forest(len(messages), [thread[0] for thread in threads], children)


def references(messages: Sequence[Message]) -> Forest:
    """REFERENCES: ancestry by Message IDs, then threads with one base subject are put together."""
    forest = _linked(messages)
    dates = [message.sent for message in messages]
    _sort_roots(forest, _first_date(forest, dates))
    _Subjects(messages, forest).merge()
    _sort_siblings(forest, dates)
    _sort_roots(forest, _first_date(forest, dates))
    return forest


def refs(messages: Sequence[Message]) -> Forest:
    """REFS: ancestry by Message IDs alone; the thread with the newest message comes last.

    Newest by the sent date, as Dovecot has it, which made REFS known; the draft would have INTERNALDATE.
    """
    forest = _linked(messages)
    _sort_siblings(forest, [message.sent for message in messages])
    latest = {}
    for root in forest.roots:
        nodes = [node for node in _below(forest.children, root) if node < forest.count]
        first = root if root < forest.count else forest.children[root][0]
        latest[root] = (max(messages[node].sent for node in nodes), first)
    forest.roots = in_order(forest.roots, latest.__getitem__)
    return forest


ALGORITHMS: dict[str, Callable[[Sequence[Message]], Forest]] = {
    "ORDEREDSUBJECT": ordered_subject,
    "REFERENCES": references,
    "REFS": refs,
}


def _linked(messages: Sequence[Message]) -> Forest:
    """Steps 1 to 3."""
    parents = _parents(messages)
    children: dict[int, list[int]] = {}
    roots: list[int] = []
    for node, parent in enumerate(parents):
        if parent == NOBODY:
            roots.append(node)
        else:
            children.setdefault(parent, []).append(node)
    return _pruned(len(messages), roots, children)


def _parents(messages: Sequence[Message]) -> list[int]:
    """Step 1: for each message, and for each dummy behind them, its parent."""
    nodes: dict[bytes, int] = {}
    for node, message in enumerate(messages):
        if message.message_id:
            nodes.setdefault(message.message_id, node)  # of several with one ID the first has it
    tree = Ancestry(len(messages))

    def node_of(message_id: bytes) -> int:
        node = nodes.get(message_id)
        if node is None:
            node = nodes[message_id] = tree.add()
        return node

    parents = tree.parents
    for node, message in enumerate(messages):
        previous = NOBODY
        for reference in message.references:  # 1 (A)
            current = node_of(reference)
            if previous != NOBODY and parents[current] == NOBODY:
                tree.put(current, previous)
            previous = current
        tree.free(node)  # 1 (B)
        if previous != NOBODY:
            tree.put(node, previous)
    return parents


def _pruned(count: int, roots: list[int], children: dict[int, list[int]]) -> Forest:
    """Step 3: only dummies at the top that have several children stay."""
    kept: dict[int, list[int]] = {}
    top: list[int] = []
    for root in roots:
        for node in reversed(list(_below(children, root))):  # children before their parents
            found: list[int] = []
            for child in children.get(node, ()):
                if child < count:
                    found.append(child)
                else:
                    more = kept.pop(child, [])
                    if len(more) > len(found):  # siblings are sorted later: so a long list is not copied
                        found, more = more, found
                    found += more
            if found:
                kept[node] = found
        if root < count:
            top.append(root)
        elif len(kept.get(root, ())) == 1:
            top += kept.pop(root)
        elif root in kept:
            top.append(root)
    return Forest(count, top, kept)


def _below(children: dict[int, list[int]], root: int) -> Iterator[int]:
    """`root` and all that is below it, parents first."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(children.get(node, ()))


def _first_date(forest: Forest, dates: Sequence[int]) -> Callable[[int], tuple[int, int]]:
    """By what a sibling is sorted: its date, or that of a dummy's first child; then its place in the mailbox."""

    def key(node: int) -> tuple[int, int]:
        if node >= forest.count:
            return min((dates[child], child) for child in forest.children[node])
        return dates[node], node

    return key


def _sort_roots(forest: Forest, key: Callable[[int], tuple[int, int]]) -> None:
    """Step 4, and the last of step 6. Dummies have their children sorted first."""
    for root in forest.roots:
        if root >= forest.count:
            forest.children[root] = in_order(forest.children[root], key)
    forest.roots = in_order(forest.roots, key)


def _sort_siblings(forest: Forest, dates: Sequence[int]) -> None:
    """Step 6, without the top: no dummy is among them, so the order in which sets are sorted makes no difference."""
    for siblings in forest.children.values():
        if len(siblings) > 1:
            siblings[:] = in_order(siblings, lambda node: (dates[node], node))


class _Subjects:
    """Step 5: threads with one base subject become one."""

    def __init__(self, messages: Sequence[Message], forest: Forest) -> None:
        self._messages = messages
        self._forest = forest
        self._table: dict[bytes, int] = {}
        self._next = max([forest.count - 1, *forest.roots]) + 1  # the number of the next dummy
        self._replaced: dict[int, int] = {}  # a root, and the dummy that has its place now

    def merge(self) -> None:
        """5 (B), then 5 (C)."""
        for root in self._forest.roots:
            self._enter(root)
        gone = {root for root in self._forest.roots if self._merged(root)}
        self._forest.roots = [self._replaced.get(root, root) for root in self._forest.roots if root not in gone]

    def _message(self, root: int) -> Message:
        """The message that speaks for a thread: its first, or a dummy's first child."""
        return self._messages[root if root < self._forest.count else self._forest.children[root][0]]

    def _is_dummy(self, root: int) -> bool:
        return root >= self._forest.count

    def _is_reply(self, root: int) -> bool:
        return not self._is_dummy(root) and self._messages[root].is_reply

    def _enter(self, root: int) -> None:
        subject = self._message(root).subject
        if not subject:
            return
        entry = self._table.get(subject)
        if entry is None or self._speaks_better(root, entry):
            self._table[subject] = root

    def _speaks_better(self, root: int, entry: int) -> bool:
        """5 (B) (iv)."""
        is_original = self._is_reply(entry) and not self._is_reply(root)
        return not self._is_dummy(entry) and (self._is_dummy(root) or is_original)

    def _merged(self, root: int) -> bool:
        """Put `root` below, or beside, the one in the table; False if it stays at the top."""
        subject = self._message(root).subject
        entry = self._table[subject] if subject else root
        if entry == root or root in self._replaced:  # in the latter case it is below the entry already
            return False
        children = self._forest.children
        if self._is_dummy(entry) and self._is_dummy(root):
            children[entry] += children.pop(root)
        elif self._is_dummy(entry) or (self._is_reply(root) and not self._is_reply(entry)):
            children.setdefault(entry, []).append(root)
        else:
            dummy, self._next = self._next, self._next + 1
            children[dummy] = [entry, root]
            self._table[subject] = dummy
            self._replaced[entry] = dummy
        return True


def render(forest: Forest, numbers: Sequence[int]) -> Iterator[bytes]:
    """thread-list of each thread: `(3 6 (4 23)(44 7 96))`; `numbers` are what the client knows the messages by."""
    for root in forest.roots:
        pieces: list[bytes] = []
        waiting: list[int | bytes] = [b")", root, b"("]
        while waiting:
            item = waiting.pop()
            if isinstance(item, bytes):
                pieces.append(item)
                continue
            if item < forest.count:
                pieces.append(b"%d" % numbers[item])
            children = forest.children.get(item, ())
            if len(children) == 1:
                pieces.append(b" ")
                waiting.append(children[0])
            elif children:
                if item < forest.count:
                    pieces.append(b" ")
                for child in reversed(children):
                    waiting += (b")", child, b"(")
        yield b"".join(pieces)
