"""LIST, LSUB and XLIST: RFC 9051 6.3.9, RFC 3501 6.3.9, RFC 5258 5, RFC 5819 3, RFC 6154 5."""

import pytest
from harness.bare import account_with, say, session_for
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.commands.listing import ListQuery, parse_list, parse_lsub
from greenmail.imap.cursor import Cursor
from greenmail.storage.api import Namespace

FRUIT = (
    "Fruit",
    "Fruit/Apple",
    "Fruit/Banana",
    "Fruit/Peach",
    "Tofu",
    "Vegetable",
    "Vegetable/Broccoli",
    "Vegetable/Corn",
)
TWO = (
    "foo2",
    "foo2/bar1",
    "foo2/bar2",
    "baz2",
    "baz2/bar2",
    "baz2/bar22",
    "baz2/bar222",
    "eps2",
    "eps2/mamba",
    "qux2/bar2",
)
TWO_SUBSCRIBED = ("foo2/bar1", "foo2/bar2", "baz2/bar2", "baz2/bar22", "baz2/bar222", "eps2", "eps2/mamba", "qux2/bar2")


def account(names, subscribed=(), gone=(), **options):
    """An account; `gone` are names that are subscribed and do not exist any more."""
    made = account_with(*names, *(name for name in gone if name not in names), **options)
    for name in (*subscribed, *gone):
        made.subscribe(name)
    for name in gone:
        made.delete(name)
    return made


def fruit():
    return account(FRUIT, ("INBOX", "Fruit/Banana", "Vegetable", "Vegetable/Broccoli"), ("Fruit/Peach",))


def listed(made, command, *enabled):
    """The LIST lines of the answer, each as attributes and rest; their order is not ours to promise."""
    lines = say(session_for(made, *enabled), command)
    assert lines.pop() == "OK"
    found = {}
    for line in lines:
        kind, attributes, rest = line[2:].replace("(", "|", 1).replace(")", "|", 1).split("|", 2)
        assert rest not in found, "at most one answer a name"
        found[rest.removeprefix(' "/" ')] = (kind.strip(), set(attributes.split()))
    return found


def attributes(made, command, *enabled):
    return {name: " ".join(sorted(value[1])) for name, value in listed(made, command, *enabled).items()}


def test_example_1_everything():
    names = attributes(fruit(), 'LIST "" "*"')
    assert list(names) == [
        "INBOX",
        "Fruit",
        "Fruit/Apple",
        "Fruit/Banana",
        "Tofu",
        "Vegetable",
        "Vegetable/Broccoli",
        "Vegetable/Corn",
    ]
    assert names["Fruit"] == "\\HasChildren"
    assert names["Tofu"] == "\\HasNoChildren"


def test_example_2_subscribed():
    assert attributes(fruit(), 'LIST (SUBSCRIBED) "" "*"') == {
        "INBOX": "\\Subscribed",
        "Fruit/Banana": "\\Subscribed",
        "Fruit/Peach": "\\NonExistent \\Subscribed",
        "Vegetable": "\\Subscribed",
        "Vegetable/Broccoli": "\\Subscribed",
    }


@pytest.mark.parametrize("selection", ["()", "(REMOTE)"])
def test_example_3_and_4_children(selection):
    assert attributes(fruit(), f'LIST {selection} "" "%" RETURN (CHILDREN)') == {
        "INBOX": "\\HasNoChildren",
        "Fruit": "\\HasChildren",
        "Tofu": "\\HasNoChildren",
        "Vegetable": "\\HasChildren",
    }


def test_example_5_remote_changes_nothing_else():
    made = fruit()
    assert attributes(made, 'LIST (REMOTE SUBSCRIBED) "" "*"') == attributes(made, 'LIST (SUBSCRIBED) "" "*"')


def test_example_6_subscribed_as_return_option():
    assert attributes(fruit(), 'LIST (REMOTE) "" "*" RETURN (SUBSCRIBED)') == {
        "INBOX": "\\Subscribed",
        "Fruit": "",
        "Fruit/Apple": "",
        "Fruit/Banana": "\\Subscribed",
        "Tofu": "",
        "Vegetable": "\\Subscribed",
        "Vegetable/Broccoli": "\\Subscribed",
        "Vegetable/Corn": "",
    }


def test_several_patterns():
    # RFC 5258 5, example 7
    made = account(("Drafts", "Sent/March2004", "Sent/December2003", "Sent/August2004", "Other"))
    assert set(attributes(made, 'LIST "" ("INBOX" "Drafts" "Sent/%")')) == {
        "INBOX",
        "Drafts",
        "Sent/March2004",
        "Sent/December2003",
        "Sent/August2004",
    }


FOO = ("Foo", "Foo/Bar", "Foo/Baz", "Moo")


@pytest.mark.parametrize(
    "names, subscribed, command, expected",
    [
        # RFC 9051 6.3.9.8, example 7
        (
            FOO,
            (),
            'LIST "" "%" RETURN (CHILDREN)',
            {"INBOX": "\\HasNoChildren", "Foo": "\\HasChildren", "Moo": "\\HasNoChildren"},
        ),
        (FOO, ("Foo/Baz",), 'LIST (SUBSCRIBED) "" "*"', {"Foo/Baz": "\\Subscribed"}),
        (FOO, ("Foo/Baz",), 'LIST (SUBSCRIBED) "" "%"', {}),
        (FOO, ("Foo/Baz",), 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"', {'Foo ("CHILDINFO" ("SUBSCRIBED"))': ""}),
        (
            FOO,
            ("Foo/Baz", "Foo"),
            'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"',
            {'Foo ("CHILDINFO" ("SUBSCRIBED"))': "\\Subscribed"},
        ),
        (
            ("Foo/Baz", "Moo"),
            ("Foo/Baz",),
            'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"',
            {'Foo ("CHILDINFO" ("SUBSCRIBED"))': "\\HasChildren \\NonExistent"},
        ),
        (FOO, (), 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"', {}),
        (
            FOO,
            ("Foo", "Moo"),
            'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%" RETURN (CHILDREN)',
            {"Foo": "\\HasChildren \\Subscribed", "Moo": "\\HasNoChildren \\Subscribed"},
        ),
        # example 8
        (
            TWO,
            TWO_SUBSCRIBED,
            'LIST (RECURSIVEMATCH SUBSCRIBED) "" "*2"',
            {
                'foo2 ("CHILDINFO" ("SUBSCRIBED"))': "",
                "foo2/bar2": "\\Subscribed",
                "baz2/bar2": "\\Subscribed",
                "baz2/bar22": "\\Subscribed",
                "baz2/bar222": "\\Subscribed",
                'eps2 ("CHILDINFO" ("SUBSCRIBED"))': "\\Subscribed",
                "qux2/bar2": "\\Subscribed",
            },
        ),
    ],
)
def test_examples_7_and_8(names, subscribed, command, expected):
    assert attributes(account(names, subscribed), command) == expected


def test_example_9_a_subscribed_name_that_is_gone():
    made = account(("foo",), gone=("foo/bar",))
    assert attributes(made, 'LIST "" ("foo")') == {"foo": ""}
    assert attributes(made, 'LIST (SUBSCRIBED) "" "foo/*"') == {"foo/bar": "\\NonExistent \\Subscribed"}
    assert attributes(made, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" foo RETURN (CHILDREN)') == {
        'foo ("CHILDINFO" ("SUBSCRIBED"))': "\\HasNoChildren"
    }


def test_a_missing_parent_of_a_subscribed_name_that_is_gone():
    # RFC 9051 6.3.9.6, the line "no, no, yes" of the table
    made = account((), gone=("foo/bar",))
    assert attributes(made, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"') == {
        'foo ("CHILDINFO" ("SUBSCRIBED"))': "\\NonExistent"
    }


def test_example_10_missing_parents():
    made = account(("music/rock",))
    assert attributes(made, 'LIST () "" %') == {"INBOX": "", "music": "\\HasChildren \\NonExistent"}
    assert attributes(made, 'LIST "" (% music/rock)')["music/rock"] == ""
    # RFC 3501 7.2.2 knows \Noselect only
    assert attributes(made, 'LIST "" %') == {"INBOX": "\\HasNoChildren", "music": "\\HasChildren \\Noselect"}
    assert attributes(made, 'LIST "" %', "IMAP4REV2")["music"] == "\\HasChildren \\NonExistent"


def test_example_11_status():
    made = account(("foo", "foo/y", "bar/x"), ("INBOX", "foo/y"))
    session = session_for(made)
    assert say(session, 'LIST "" % RETURN (STATUS (MESSAGES UNSEEN))') == [
        '* LIST () "/" INBOX',
        "* STATUS INBOX (MESSAGES 0 UNSEEN 0)",
        '* LIST (\\NonExistent \\HasChildren) "/" bar',
        '* LIST () "/" foo',
        "* STATUS foo (MESSAGES 0 UNSEEN 0)",
        "OK",
    ]
    assert say(session, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" % RETURN (STATUS (MESSAGES))') == [
        '* LIST (\\Subscribed) "/" INBOX',
        "* STATUS INBOX (MESSAGES 0)",
        '* LIST () "/" foo ("CHILDINFO" ("SUBSCRIBED"))',
        "OK",
    ]


def test_special_use():
    # RFC 6154 5.1, 5.2
    made = account_with("ToDo", "Projects/x", "SentMail", "MyDrafts", SentMail="\\Sent", MyDrafts="\\Drafts")
    assert attributes(made, 'LIST "" "%"') == {
        "INBOX": "\\HasNoChildren",
        "ToDo": "\\HasNoChildren",
        "Projects": "\\HasChildren \\Noselect",
        "SentMail": "\\HasNoChildren \\Sent",
        "MyDrafts": "\\Drafts \\HasNoChildren",
    }
    assert attributes(made, 'LIST "" "%" RETURN (SPECIAL-USE)')["SentMail"] == "\\Sent"
    assert attributes(made, 'LIST () "" "%"')["SentMail"] == ""
    assert attributes(made, 'LIST () "" "%"', "IMAP4REV2")["SentMail"] == "\\Sent"
    assert attributes(made, 'LIST (SPECIAL-USE) "" "*"') == {"SentMail": "\\Sent", "MyDrafts": "\\Drafts"}
    made.subscribe("SentMail")
    made.subscribe("ToDo")
    assert attributes(made, 'LIST (SPECIAL-USE SUBSCRIBED) "" "*"') == {"SentMail": "\\Sent \\Subscribed"}


def test_special_use_below():
    made = account_with("Mail/Sent", **{"Mail/Sent": "\\Sent"})
    assert attributes(made, 'LIST (SPECIAL-USE RECURSIVEMATCH) "" "%"') == {
        'Mail ("CHILDINFO" ("SPECIAL-USE"))': "\\HasChildren \\NonExistent"
    }


def test_each_special_use_is_told_once():
    # iOS 18 shows no folders at all otherwise
    made = account_with("A", "B", A="\\Sent", B="\\Sent")
    assert attributes(made, 'LIST "" *') == {
        "INBOX": "\\HasNoChildren",
        "A": "\\HasNoChildren \\Sent",
        "B": "\\HasNoChildren",
    }


@pytest.mark.parametrize(
    "command, expected",
    [
        ('LIST "" ""', ['* LIST (\\Noselect) "/" ""', "OK"]),  # RFC 9051 6.3.9.8
        ('LIST "foo/bar" ""', ['* LIST (\\Noselect) "/" ""', "OK"]),
        ('LIST "#shared/x" ""', ['* LIST (\\Noselect) "/" "#shared/"', "OK"]),
        ('LSUB "" ""', ['* LSUB (\\Noselect) "/" ""', "OK"]),
        ('XLIST "" ""', ['* XLIST (\\Noselect) "/" ""', "OK"]),
        ('LIST () "" ""', ["OK"]),  # RFC 9051 6.3.9: no special meaning in the extended syntax
        ('LIST "" ("")', ["OK"]),
        ('LIST "" ("" INBOX)', ['* LIST () "/" INBOX', "OK"]),
        ('LIST "" "" RETURN ()', ["OK"]),
    ],
)
def test_the_empty_pattern(command, expected):
    made = account_with()
    made.shared = (Namespace("#shared/", "/"),)
    assert say(session_for(made), command) == expected


@pytest.mark.parametrize(
    "reference, pattern, expected",
    [
        ("Fruit/", "%", {"Fruit/Apple", "Fruit/Banana"}),
        ("Fruit/", "B*", {"Fruit/Banana"}),
        ("Fruit", "/A%", {"Fruit/Apple"}),
        ("Fru", "it", {"Fruit"}),
        ("nowhere/", "*", set()),
        ("Fruit/", "#news.*", set()),  # "#" breaks out
        ("&broken", "*", set()),
        ("", "&AOk*", set()),  # silently ignored, RFC 9051 6.3.9
        ("", "inbox", {"INBOX"}),
        ("INBOX", "", set()),
    ],
)
def test_references(reference, pattern, expected):
    assert set(attributes(fruit(), f'LIST () "{reference}" "{pattern}"')) == expected


@pytest.mark.parametrize(
    "command, expected",
    [
        ('LSUB "" *', ["INBOX", "Fruit/Banana", "Vegetable", "Vegetable/Broccoli", "Fruit/Peach"]),
        ('LSUB "" "%"', ["INBOX", "Vegetable", "Fruit"]),
        ('LSUB "Fruit/" "%"', ["Fruit/Banana", "Fruit/Peach"]),
        ('LSUB "" "x*"', []),
    ],
)
def test_lsub(command, expected):
    found = listed(fruit(), command)
    assert list(found) == expected
    for name, (kind, flags) in found.items():
        # RFC 3501 6.3.9: what "%" finds only because something below is subscribed is \Noselect
        assert (kind, flags) == ("LSUB", {"\\Noselect"} if name == "Fruit" else set())


def test_xlist_is_list_with_inbox_marked():
    made = account_with("Sent", Sent="\\Sent")
    assert say(session_for(made), 'XLIST "" "*"') == [
        '* XLIST (\\HasNoChildren \\Inbox) "/" INBOX',
        '* XLIST (\\HasNoChildren \\Sent) "/" Sent',
        "OK",
    ]


def test_names_and_separator_on_the_wire():
    made = account_with("Entwürfe", "foo bar", 'a"b', separator=".")
    assert say(session_for(made), 'LIST () "" *')[:-1] == [
        '* LIST () "." INBOX',
        '* LIST () "." Entw&APw-rfe',
        '* LIST () "." "a\\"b"',
        '* LIST () "." "foo bar"',
    ]
    assert '* LIST () "." "Entwürfe"' in say(session_for(made, "IMAP4REV2"), 'LIST () "" *')
    assert '* LIST () "." "Entwürfe"' in say(session_for(made, "UTF8=ACCEPT"), 'LIST () "" "Entw*"')


@pytest.mark.parametrize(
    "text, expected",
    [
        (b' "" *', ListQuery("", ("*",))),
        (b" ~/Mail/ %", ListQuery("~/Mail/", ("%",))),
        (b' () "" *', ListQuery("", ("*",), extended=True)),
        (
            b' (subscribed remote SUBSCRIBED) "" *',
            ListQuery("", ("*",), frozenset({"SUBSCRIBED", "REMOTE"}), extended=True),
        ),
        (b' "" (a "b" {1}\r\nc)', ListQuery("", ("a", "b", "c"), extended=True)),
        (b' "" a return ()', ListQuery("", ("a",), extended=True)),
        (
            b' "" a RETURN (CHILDREN STATUS (messages UNSEEN MESSAGES) SUBSCRIBED)',
            ListQuery(
                "",
                ("a",),
                returns=frozenset({"CHILDREN", "STATUS", "SUBSCRIBED"}),
                status=("MESSAGES", "UNSEEN"),
                extended=True,
            ),
        ),
    ],
)
def test_parse_list(text, expected):
    cur = Cursor(text)
    assert parse_list(cur, False) == expected
    cur.end()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b' ""',
        b' "" *x(',
        b'"" *',
        b' (RECURSIVEMATCH) "" *',  # RFC 9051 6.3.9.1
        b' (REMOTE RECURSIVEMATCH) "" *',
        b' (UNKNOWN) "" *',
        b' (SUBSCRIBED  REMOTE) "" *',
        b' (SUBSCRIBED "" *',
        b' "" ()',
        b' "" (a b',
        b' "" * RETURN',
        b' "" * RETURN CHILDREN',
        b' "" * RETURN (UNKNOWN)',
        b' "" * RETURN (STATUS)',
        b' "" * RETURN (STATUS ())',
        b' "" * ',
        b' "" * FOO (CHILDREN)',
        b' "" (' + b"a " * 600 + b"a)",
    ],
)
def test_what_is_no_list(text):
    cur = Cursor(text)
    with pytest.raises(BadSyntax):
        parse_list(cur, False)
        cur.end()


def test_unknown_status_items_are_bad():
    with pytest.raises(BadSyntax):
        say(session_for(account_with()), 'LIST "" * RETURN (STATUS (WEATHER))')


@given(
    st.one_of(
        st.binary(),
        st.lists(st.sampled_from([b" ", b"(", b")", b'""', b"*", b"RETURN", b"STATUS", b"SUBSCRIBED"])).map(b"".join),
    )
)
def test_any_octets_give_a_query_or_bad_syntax(text):
    for rule in (parse_list, parse_lsub):
        try:
            rule(Cursor(text), False)
        except BadSyntax:
            pass


names = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)
selections = st.sampled_from(["()", "(SUBSCRIBED)", "(SUBSCRIBED RECURSIVEMATCH)", "(REMOTE)", "(SPECIAL-USE)"])


@given(st.sets(names), st.sets(names), st.sampled_from(["*", "%", "a", "a/%", "%/b", "*b"]), selections)
def test_general_principles(exist, subscribed, pattern, selection):
    """RFC 9051 6.3.9.3, 6.3.9.6: who may be told, and what CHILDINFO means."""
    made = account_with(*sorted(exist | subscribed))
    for name in subscribed:
        made.subscribe(name)
    for name in sorted(subscribed - exist):
        made.delete(name)
    found = attributes(made, f'LIST {selection} "" "{pattern}"')
    plain = {name.partition(" ")[0]: name for name in found}
    if "SUBSCRIBED" in selection and "RECURSIVE" not in selection:
        everything = attributes(made, 'LIST (SUBSCRIBED) "" "*"')
        assert set(everything) == subscribed
        assert set(plain) <= subscribed
    if "RECURSIVE" in selection:
        for name, whole in plain.items():
            below = {other for other in subscribed if other.startswith(name + "/")}
            assert ("CHILDINFO" in whole) == bool(below)
            assert name in subscribed or below
    for name, flags in found.items():
        base = name.partition(" ")[0]
        assert ("\\NonExistent" in flags) == (base not in exist and base != "INBOX")
