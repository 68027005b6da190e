"""LIST answers are read back by a grammar of their own, whatever the mailboxes are called. RFC 9051 9, mailbox-list."""

from harness.bare import Sheet, account_with, say, session_for
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.errors import StorageError
from greenmail.imap import grammar, serialize
from greenmail.imap.cursor import Cursor


def mailbox_list(cur):
    """mailbox-list, with mbox-list-extended of RECURSIVEMATCH; attributes and name."""
    cur.open()
    attributes = []
    while not cur.take(b")"):
        if attributes:
            cur.space()
        cur.expect(b"\\")
        attributes.append(grammar.atom(cur))
    cur.space()
    assert grammar.quoted(cur) == b"/"
    cur.space()
    name = grammar.mailbox(cur)
    if cur.take(b" "):
        cur.expect(b'("CHILDINFO" ("SUBSCRIBED"))')
    return attributes, name


def answers(data, utf8):
    cur = Cursor(data, utf8=utf8)
    found = {}
    while not cur.at_end():
        cur.expect(b"* LIST ")
        attributes, name = mailbox_list(cur)
        cur.expect(b"\r\n")
        assert len(set(attributes)) == len(attributes)
        assert name not in found
        found[name] = attributes
    return found


# Every character that a name may have: also wildcards, quotes, "&", NIL, and what is not ASCII.
levels = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\u2028\u2029"), min_size=1, max_size=6
)
names = st.lists(
    levels | st.sampled_from(["NIL", "INBOX", "inbox", "&", "%", "*", "a&-b", '"', "\\", "]"]), min_size=1, max_size=3
)


@settings(deadline=None)
@given(st.lists(names.map("/".join), max_size=6), st.booleans())
def test_every_name_is_told_and_can_be_used_again(wanted, utf8):
    account = account_with()
    for name in wanted:
        try:
            account.create(name)
        except StorageError:
            pass  # exists already, or is INBOX
    session = session_for(account, *(["UTF8=ACCEPT"] if utf8 else []))
    sheet = session.wire
    assert isinstance(sheet, Sheet)
    for command in ('LIST "" *', 'LIST (SUBSCRIBED RECURSIVEMATCH) "" * RETURN (CHILDREN)'):
        say(session, command)
        expected = {folder.name for folder in account.folders()} if "SUBSCRIBED" not in command else set()
        assert set(answers(sheet.written, utf8)) == expected
    for folder in account.folders():
        if folder.selectable:
            line = b"STATUS " + serialize.mailbox(folder.name, utf8) + b" (MESSAGES)"
            assert say(session, line)[-1] == "OK"
