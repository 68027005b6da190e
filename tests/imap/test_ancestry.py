"""Who is above whom: every way of finding that out gives the same parents, and none takes the square."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cost import least

from greenmail.imap.ancestry import NOBODY, Ancestry
from greenmail.imap.threads import ALGORITHMS, Message

NODES = 12
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, NODES - 1), st.integers(0, NODES - 1)),
        st.tuples(st.just("free"), st.integers(0, NODES - 1), st.just(0)),
        st.tuples(st.just("add"), st.just(0), st.just(0)),
    ),
    max_size=120,
)


def expected(steps: list[tuple[str, int, int]]) -> list[int]:
    """What the words of RFC 5256 say, word by word."""
    parents = [NOBODY] * NODES
    for what, node, parent in steps:
        if what == "add":
            parents.append(NOBODY)
        elif what == "free":
            parents[node] = NOBODY
        elif parents[node] == NOBODY:
            above = parent
            while above not in (NOBODY, node):
                above = parents[above]
            if above == NOBODY:
                parents[node] = parent
    return parents


@given(STEPS, st.integers(0, 200))
def test_parents_however_they_are_found(steps: list[tuple[str, int, int]], enough: int) -> None:
    tree = Ancestry(NODES, enough)
    for what, node, parent in steps:
        if what == "add":
            tree.add()
        elif what == "free":
            tree.free(node)
        elif tree.parents[node] == NOBODY:
            tree.put(node, parent)
    assert tree.parents == expected(steps)


def name(number: int) -> bytes:
    return b"<%d@x>" % number


def chain(length: int, references: int) -> list[Message]:
    """A thread of `length` messages below each other."""
    return [
        Message(number, b"s", False, name(number), tuple(map(name, range(max(0, number - references), number))))
        for number in range(length)
    ]


def asking_about_both_ends(length: int, messages: int) -> list[Message]:
    """Messages that ask 400 times each whether the top of a chain is below its bottom."""
    both = (name(length - 1), name(0)) * 400
    return chain(length, 1) + [Message(0, b"s", False, b"<q%d@x>" % number, both) for number in range(messages)]


def asking_from_elsewhere(length: int, messages: int) -> list[Message]:
    """Messages that take the top of a chain away from one parent and ask about its bottom."""
    asking = [Message(0, b"s", False, b"<q%d@x>" % number, (name(length - 1),)) for number in range(messages)]
    below = [Message(0, b"s", False, b"", (b"<q%d@x>" % number, b"<z%d@x>" % number)) for number in range(messages)]
    return chain(length, 1) + below + asking


def missing(length: int) -> list[Message]:
    """A chain of messages that are not there, each with a child that is."""
    return [
        Message(0, b"s", False, b"", tuple(map(name, range(max(0, number - 1), number + 1))))
        for number in range(length)
    ]


MAILBOXES: dict[str, Callable[[], list[Message]]] = {  # made when they are wanted: they are large
    "chain": lambda: chain(20_000, 1),
    "long references": lambda: chain(5_000, 100),
    "both ends": lambda: asking_about_both_ends(20_000, 20),
    "elsewhere": lambda: asking_from_elsewhere(20_000, 4_000),
    "missing": lambda: missing(60_000),
}


@pytest.mark.parametrize("name", MAILBOXES)
@pytest.mark.parametrize("algorithm", ["REFERENCES", "REFS"])
def test_long_chains_do_not_take_the_square(algorithm: str, name: str) -> None:
    mailbox = MAILBOXES[name]()
    assert least(lambda: ALGORITHMS[algorithm](mailbox), 2.5) < 2.5
    forest = ALGORITHMS[algorithm](mailbox)
    assert len(forest.roots) + sum(map(len, forest.children.values())) >= len(mailbox)
