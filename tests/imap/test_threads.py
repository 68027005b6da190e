"""Threads, RFC 5256 BASE.6.4.THREAD: each rule of the algorithms, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.imap.threads import ALGORITHMS, Message, ordered_subject, references, refs, render
from greenmail.message.sort_keys import sort_record, thread_keys

# A mailbox in short: "subject|id|references|day", one message each; nothing is left out at the end.
Mailbox = list[str]


def message(short: str) -> Message:
    subject, message_id, above, day = (part.strip() for part in (short + "|||").split("|")[:4])
    header = f"Subject: {subject}\r\n"
    header += f"Message-ID: <{message_id}@x>\r\n" if message_id else ""
    header += f"References: {' '.join(f'<{one}@x>' for one in above.split())}\r\n" if above else ""
    keys = thread_keys(sort_record((header + "\r\n").encode()))
    return Message(int(day or 0) * 86400, keys.subject, keys.is_reply, keys.message_id, keys.references)


def threads(algorithm: str, mailbox: Mailbox) -> str:
    messages = [message(short) for short in mailbox]
    return b"".join(render(ALGORITHMS[algorithm](messages), range(1, len(messages) + 1))).decode()


@pytest.mark.parametrize(
    "mailbox, expected",
    [
        ([], ""),
        (["a|1||1", "b|2||2"], "(1)(2)"),
        (["a|1||2", "b|2||1"], "(2)(1)"),  # step 4: by date
        (["a|1||1", "b|2||1"], "(1)(2)"),  # then by place
        (["a|1||1", "a|2|1|2", "a|3|1 2|3"], "(1 2 3)"),
        (["a|1||1", "a|2|1|3", "a|3|1|2"], "(1 (3)(2))"),  # step 6
        (["x|2|1|1", "y|3|1|2"], "((1)(2))"),  # a parent that is not there
        (["x|2|1|1"], "(1)"),  # ... of one child only: step 3
        (["x|4|1 2 3|1"], "(1)"),  # dummies above each other
        (["x|4|1 2|1", "y|5|1 3|2"], "((1)(2))"),
        (["x|2|1|2", "x|1||1"], "(2 1)"),  # the parent comes later
        (["x|1|2|1", "y|2|1|2"], "(2 1)"),  # a loop is not made: the link that came first stays
        (["x|1|1|1"], "(1)"),  # no message is above itself
        (["x|1||1", "x|1||2", "y|2|1|3"], "((1 3)(2))"),  # two with one ID: the first has it
        (["x|||1", "y|||2"], "(1)(2)"),  # without IDs
        (["a|3|1 2|1", "b|2||2"], "(2 1)"),
        (["a|3|2|1", "b|2|1|2", "c|1||3"], "(3 2 1)"),
        (["a|1||1", "b|3|1 2|2", "c|2||3"], "(1)(3 2)"),  # 1 (B): the third has no references, so no parent
    ],
)
def test_references(mailbox: Mailbox, expected: str) -> None:
    assert threads("REFERENCES", mailbox) == expected


@pytest.mark.parametrize(
    "mailbox, expected",
    [
        (["lunch|1||1", "Re: lunch|2||2"], "(1 2)"),  # a reply goes below
        (["Re: lunch|1||1", "lunch|2||2"], "(2 1)"),  # whichever comes first
        (["lunch|1||1", "lunch|2||2"], "((1)(2))"),  # two of a kind are siblings
        (["Re: lunch|1||1", "Re: lunch|2||2"], "((1)(2))"),
        (["lunch|1||1", "lunch|2||2", "Re: lunch|3||3"], "((1)(2)(3))"),
        (["Re: lunch|1||1", "Re: lunch|2||2", "lunch|3||3"], "(3 (1)(2))"),
        (["a|2|1|1", "b|3|1|2", "Re: a|4||3"], "((1)(2)(3))"),  # beside the children of a dummy
        (["x|4||1", "x|2|1|2", "b|3|1|3"], "((1)(2)(3))"),
        (["a|2|1|1", "b|3|1|2", "a|5|4|3", "c|6|4|4"], "((1)(2)(3)(4))"),  # two dummies
        (["|1||1", "|2||2"], "(1)(2)"),  # an empty subject joins nothing
        (["Re:|1||1", "Re:|2||2"], "(1)(2)"),
        (["LUNCH|1||1", "re: lunch|2||2"], "(1 2)"),
        (["lunch|1||5", "Re: lunch|2||1"], "(1 2)"),
        (["other|9||2", "lunch|1||1", "Re: lunch|2||3"], "(2 3)(1)"),
        (["lunch|1||1", "b|3||2", "Re: lunch|2||3", "c|4|2|4"], "(1 3 4)(2)"),
    ],
)
def test_references_gathers_subjects(mailbox: Mailbox, expected: str) -> None:
    """Step 5."""
    assert threads("REFERENCES", mailbox) == expected


@pytest.mark.parametrize(
    "mailbox, expected",
    [
        (["a||", "b||", "Re: a||"], "(1 3)(2)"),
        (["a|||3", "Re: a|||2", "a|||1", "b|||2"], "(3 (2)(1))(4)"),
        (["|||1", "b|||0", "|||2"], "(2)(1 3)"),
    ],
)
def test_ordered_subject(mailbox: Mailbox, expected: str) -> None:
    assert threads("ORDEREDSUBJECT", mailbox) == expected


@pytest.mark.parametrize(
    "mailbox, expected",
    [
        (["a|1||1", "b|2||2", "c|3|1|3"], "(2)(1 3)"),  # a thread goes to the end with its newest message
        (["lunch|1||1", "Re: lunch|2||2"], "(1)(2)"),
        (["x|2|1|3", "y|3|1|2", "z|4||1"], "(3)((2)(1))"),
    ],
)
def test_refs(mailbox: Mailbox, expected: str) -> None:
    assert threads("REFS", mailbox) == expected


def test_message_ids_are_compared_without_their_quotes() -> None:
    """RFC 5256: the example of a quoted Message ID."""
    first = thread_keys(sort_record(b'Message-ID: <"01KF8JCEOCBS0045PS"@xxx.yyy.com>\r\n\r\n'))
    second = thread_keys(sort_record(b"In-Reply-To: (some) words <01KF8JCEOCBS0045PS@xxx.yyy.com> a@b <c@d>\r\n\r\n"))
    assert second.references == (first.message_id,)


def test_in_reply_to_counts_only_without_references() -> None:
    header = b"References: <a@x> <b@x>\r\nIn-Reply-To: <c@x>\r\n\r\n"
    assert thread_keys(sort_record(header)).references == (b"<a@x>", b"<b@x>")
    assert thread_keys(sort_record(b"References: nobody\r\nIn-Reply-To: <c@x>\r\n\r\n")).references == (b"<c@x>",)


def test_threads_of_any_depth() -> None:
    mailbox = [f"s|{n}|{n - 1}|{n}" for n in range(1, 3001)]
    assert threads("REFS", mailbox).count("(") == 1


_MAIL = st.builds(
    "{}|{}|{}|{}".format,
    st.sampled_from(["a", "Re: a", "b", "", "Fwd: b"]),
    st.sampled_from(["", *"123456"]),
    st.lists(st.sampled_from("123456789"), max_size=4).map(" ".join),
    st.integers(0, 5),
)


@given(st.lists(_MAIL, max_size=12), st.sampled_from(sorted(ALGORITHMS)))
def test_every_message_is_in_one_thread(mailbox: Mailbox, algorithm: str) -> None:
    text = threads(algorithm, mailbox)
    assert text.count("(") == text.count(")")
    numbers = text.replace("(", " ").replace(")", " ").split()
    assert sorted(map(int, numbers)) == list(range(1, len(mailbox) + 1))


@given(st.lists(_MAIL, max_size=12))
def test_no_child_is_a_dummy_and_no_dummy_has_one_child(mailbox: Mailbox) -> None:
    messages = [message(short) for short in mailbox]
    for forest in (references(messages), refs(messages), ordered_subject(messages)):
        assert all(child < len(messages) for children in forest.children.values() for child in children)
        assert all(len(forest.children[root]) > 1 for root in forest.roots if root >= len(messages))
