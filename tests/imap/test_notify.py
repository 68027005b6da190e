"""What NOTIFY asks for, and what a client has been told: RFC 5465 6, 8."""

from collections.abc import Iterator
from typing import NoReturn

import pytest
from harness.engine import Engine, deliver, memory_backend
from harness.green import Scheduler
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax, Disconnected, Reason, StorageError
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.notify_request import EventGroup, Spaces, parse_notify, unsupported, wanted_events
from greenmail.imap.ext.notify_table import EXISTS, SUBSCRIBED, WATCHED, Table, Told
from greenmail.storage.memory import MemoryAccount

PAIR = frozenset({"MessageNew", "MessageExpunge"})
SPACES = Spaces("/", ("",), ("shared/", "public/"))


@pytest.mark.parametrize(
    "text, groups",
    [
        (b" NONE", ()),
        (b" none", ()),
        (b" SET (SELECTED NONE)", (EventGroup("SELECTED"),)),
        (b" set (selected-delayed (messagenew MESSAGEEXPUNGE))", (EventGroup("SELECTED-DELAYED", (), PAIR),)),
        (b" SET (subtree Lists (MailboxName))", (EventGroup("SUBTREE", ("Lists",), frozenset({"MailboxName"})),)),
        (
            b' SET (mailboxes (inbox "A b") (MessageNew MessageExpunge)) (inboxes NONE)',
            (EventGroup("MAILBOXES", ("INBOX", "A b"), PAIR), EventGroup("INBOXES")),
        ),
        (b" SET (personal (x-new))", (EventGroup("PERSONAL", (), frozenset({"x-new"})),)),
        (b' SET (mailboxes ("&bad" B) NONE)', (EventGroup("MAILBOXES", ("B",)),)),  # no name: there is no such mailbox
    ],
)
def test_parse(text: bytes, groups: tuple[EventGroup, ...]) -> None:
    cur = Cursor(text)
    assert parse_notify(cur, False).groups == groups
    cur.end()


def test_status_and_items() -> None:
    request = parse_notify(Cursor(b" SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))"), False)
    assert request.status
    assert len(request.groups[0].items) == 2 and request.groups[0].events == PAIR | {"FlagChange"}


@given(st.binary(max_size=80))
def test_any_octets_are_a_request_or_bad(octets: bytes) -> None:
    for text in (octets, b" SET (" + octets, b" SET (personal (" + octets + b"))"):
        try:
            parse_notify(Cursor(text), False)
        except BadSyntax:
            continue


def test_what_is_not_known_is_found() -> None:
    assert unsupported([EventGroup("PERSONAL", (), frozenset({"AnnotationChange", *PAIR}))])
    assert not unsupported([EventGroup("PERSONAL", (), PAIR), EventGroup("SUBSCRIBED")])


@pytest.mark.parametrize(
    "name, group, subscribed, is_meant",
    [
        ("INBOX", EventGroup("PERSONAL", (), PAIR), False, True),
        ("a/b", EventGroup("INBOXES", (), PAIR), False, True),
        ("shared/bob/x", EventGroup("PERSONAL", (), PAIR), False, False),
        ("shared", EventGroup("PERSONAL", (), PAIR), False, False),  # the root of the namespace
        ("sharedx", EventGroup("PERSONAL", (), PAIR), False, True),
        ("shared/bob/x", EventGroup("SUBSCRIBED", (), PAIR), True, True),
        ("a", EventGroup("SUBSCRIBED", (), PAIR), False, False),
        ("Lists", EventGroup("SUBTREE", ("Lists",), PAIR), False, True),
        ("Lists/a/b", EventGroup("SUBTREE", ("Lists",), PAIR), False, True),
        ("Listsx", EventGroup("SUBTREE", ("Lists",), PAIR), False, False),
        ("Lists/a", EventGroup("MAILBOXES", ("Lists",), PAIR), False, False),
        ("Lists/a", EventGroup("MAILBOXES", ("Lists/%", "*"), PAIR), False, False),  # RFC 5465 6.6: no wildcards
    ],
)
def test_groups(name: str, group: EventGroup, subscribed: bool, is_meant: bool) -> None:
    assert wanted_events([group], SPACES, name, subscribed) == (PAIR if is_meant else frozenset())


@given(st.text("ab/", max_size=8), st.text("ab/", max_size=8), st.sampled_from(["/", ""]))
def test_what_a_name_is_below(name: str, root: str, separator: str) -> None:
    spaces = Spaces(separator, ("",), ())
    assert (root in spaces.roots(name)) == spaces.is_below(name, root)


class Unlisted(frozenset[str]):
    """So many names that nobody should go through them for each mailbox."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("went through all names")


@pytest.mark.parametrize("mailboxes", ["SUBTREE", "MAILBOXES"])
def test_many_names_cost_no_more_than_few(mailboxes: str) -> None:
    group = EventGroup(mailboxes, Unlisted(map(str, range(100))), PAIR)
    assert wanted_events([group], SPACES, "7", False) == PAIR
    assert not wanted_events([group], SPACES, "x/7", False)


@pytest.mark.parametrize("failure", [Disconnected("gone"), MemoryError()])
def test_a_client_that_goes_in_the_midst_leaves_no_registrations(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    wire = made.login()
    places = wire.places()
    monkeypatch.setattr(wire, "places", lambda: places)
    write = wire.write

    def failing(data: bytes) -> None:
        if data.startswith(b"* STATUS"):
            raise failure
        write(data)

    monkeypatch.setattr(wire, "write", failing)
    made.talk(wire, b"a NOTIFY SET STATUS (personal (MessageNew MessageExpunge))\r\n")
    assert not places.names


@pytest.mark.parametrize("broken", ["", "a", "c"])
def test_a_place_that_cannot_be_read_keeps_no_other_back(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`broken` is a mailbox, or the list of them: it is looked at again, and the others are told of at once."""
    made = Engine(scheduler := Scheduler(), memory_backend(scheduler))
    account = made.backend.outside
    assert isinstance(account, MemoryAccount)
    for name in "abc":
        account.create(name)
    wire = made.login()
    made.talk(wire, b"a NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))\r\n")

    def failing(*args: object) -> NoReturn:
        raise StorageError(Reason.UNAVAILABLE, "input/output error")

    def told() -> list[bytes]:
        made.scheduler.run()
        return sorted(line[:10] for line in wire.take().split(b"\r\n") if line)

    with monkeypatch.context() as patch:
        patch.setattr(*((account.mailboxes[broken], "counters") if broken else (account, "folders")), failing)
        for name in "abc":
            deliver(account, name, [(b"Subject: x\r\n\r\n", 1)])
        scheduler.epoch += 1  # the events
        assert told() == [b"* STATUS " + name.encode() for name in "abc" if name != broken]
    made.scheduler.clock.advance(3)
    assert told() == ([b"* STATUS " + broken.encode()] if broken else [])


def test_groups_add_up_but_for_none() -> None:
    groups = [EventGroup("PERSONAL", (), PAIR), EventGroup("SUBTREE", ("a",), frozenset({"MailboxName"}))]
    assert wanted_events(groups, SPACES, "a/b", False) == PAIR | {"MailboxName"}
    assert wanted_events([*groups, EventGroup("MAILBOXES", ("a/b",))], SPACES, "a/b", False) == frozenset()


def test_a_personal_namespace_with_a_prefix() -> None:
    spaces = Spaces(".", ("INBOX.",), ("",))
    assert [spaces.is_personal(name) for name in ("INBOX", "INBOX.a", "other")] == [True, True, False]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.sampled_from((EXISTS, SUBSCRIBED, WATCHED)), st.booleans(), st.integers(0, 9)
        )
    )
)
def test_the_table_is_a_dict_of_rows(steps: list[tuple[str, int, bool, int]]) -> None:
    table, model = Table(), dict[str, list[object]]()
    for name, bit, is_set, number in steps:
        table.put(name, bit, is_set)
        row = model.setdefault(name, [0, Told(), 0])
        row[0] = row[0] | bit if is_set else row[0] & ~bit  # type: ignore[operator] # the first is a number
        if not row[0]:
            del model[name]
        else:
            row[1], row[2] = Told(number, number + 1, 2, 3, 1 << 60), number
        table.tell(name, Told(number, number + 1, 2, 3, 1 << 60))
        table.identify(name, number)
    assert table.names == sorted(model)
    for name in "abcdef":
        bits, told, number = model.get(name, [0, Told(), 0])
        assert (table.told(name), table.identity(name)) == (told, number)
        assert [table.has(name, bit) for bit in (EXISTS, SUBSCRIBED, WATCHED)] == [
            bool(bits & bit)
            for bit in (EXISTS, SUBSCRIBED, WATCHED)  # type: ignore[operator] # as above
        ]
