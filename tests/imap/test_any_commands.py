"""Whatever three clients say to one account: answers are tagged and by the grammar, and nothing is a bug."""

from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.response_grammar import responses
from hypothesis import given, settings
from hypothesis import strategies as st


def one_of(*words):
    return st.sampled_from([word.encode() for word in words])


def joined(*parts):
    return st.tuples(*(st.just(part.encode()) if isinstance(part, str) else part for part in parts)).map(b"".join)


def literal(*bodies):
    return st.sampled_from([b"{%d+}\r\n%b" % (len(body), body) for body in bodies])


names = st.one_of(
    one_of(
        "INBOX",
        "inbox",
        "a",
        "b",
        "a/b",
        "a/b/c",
        "INBOX/x",
        '""',
        '"a//b"',
        "~x",
        "&AOk-",
        "&",
        '"é"',
        '"e\u0301"',
        "a/",
    ),
    one_of('"%"', '"a b"', '"\\""', '".."', "NIL", "#x", "a]", "x" * 300),
    literal(b"a", b"\xff\xfe", b"a\nb", b"a\0b"),
)
patterns = st.one_of(names, one_of("%", "*", "a/%", "%/%", "(% *)", "(a b)", "()", "&AOk*", "*b*c*"))
sets = one_of("1", "1:*", "*", "2,4:3", "$", "5:1,$", "999", "0", "4294967295", "1:4294967295", "")
selection = one_of("", "() ", "(SUBSCRIBED) ", "(SUBSCRIBED RECURSIVEMATCH) ", "(SPECIAL-USE RECURSIVEMATCH) ", "(X) ")
returns = one_of(
    "", " RETURN (CHILDREN)", " RETURN (STATUS (MESSAGES SIZE) SUBSCRIBED)", " RETURN (STATUS (X))", " RETURN"
)
items = one_of(
    "FLAGS",
    "(UID ENVELOPE BODYSTRUCTURE)",
    "BODY[]",
    "(BODY.PEEK[HEADER.FIELDS (SUBJECT X)] RFC822.SIZE)",
    "BODY[1.2.MIME]",
    "BODY[]<9999.1>",
    "BINARY[1]",
    "BINARY.SIZE[1]",
    "RFC822.TEXT",
    "(INTERNALDATE MODSEQ)",
    "ALL",
    "X",
)
keys = one_of(
    "ALL",
    "UNSEEN",
    "RETURN (MIN MAX SAVE) ALL",
    "RETURN (COUNT) NOT SEEN",
    "RETURN (PARTIAL -1:-2 SAVE) ALL",
    "FILTER mine",
    "RETURN (UPDATE CONTEXT COUNT) UNSEEN",
    "RETURN (UPDATE (UID FLAGS)) 1:2",
    "$",
    "UID 1:*",
    "UIDAFTER 1",
    "UIDBEFORE 3 UNSEEN",
    "TEXT Message",
    'HEADER Subject ""',
    "SINCE 1-Jan-2024",
    "OR SEEN (DELETED KEYWORD a)",
    "MODSEQ 1",
    "((((ALL))))",
    "CHARSET X TEXT y",
    "X",
)
flags = one_of("(\\Seen)", "(\\Deleted)", "(a b)", "\\Flagged x", "()", "(\\Recent)", "(\\Seen", "kw")
messages = literal(
    b"From: a\r\n\r\nx",
    b"x\0y",
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
    b"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nz",
    b"",
)
urls = one_of(
    "/INBOX/;UID=1",
    ";UID=1/;SECTION=1.MIME",
    "/b;UIDVALIDITY=1/;UID=2/;SECTION=HEADER/;PARTIAL=1.9",
    "imap://alice@localhost/INBOX/;UID=1",
    "imap://alice@localhost/INBOX/;UID=1;URLAUTH=anonymous",
    '"/a]b"',
    '""',
    "{2+}\r\n/\n",
)
parts = st.one_of(
    joined("URL ", urls), joined("TEXT ", messages), one_of("TEXT ~{3+}\r\n\0\r\n", "UTF8 (~{1+}\r\nx)", "X")
)
catenated = joined("CATENATE (", st.lists(parts, min_size=1, max_size=3).map(b" ".join), ")")
entries = one_of("/private/a", "/shared/a", "/shared/a/b", "/private/specialuse", "/shared/vendor/a", "/shared//", "a")
values = st.one_of(one_of("NIL", '"x"', '""', '"\\\\Sent"', "x", "~{3+}\r\na\0b"), literal(b"x\xe9", b"y\0z", b""))
COMMANDS = st.one_of(
    joined("CREATE ", names, one_of("", " (USE (\\Sent))")),
    joined("DELETE ", names),
    joined("RENAME ", names, " ", names),
    joined(one_of("SUBSCRIBE ", "UNSUBSCRIBE "), names),
    joined("STATUS ", names, one_of(" (MESSAGES RECENT UIDVALIDITY)", " (HIGHESTMODSEQ)", " ()")),
    joined(one_of("LSUB ", "XLIST "), names, " ", patterns),
    joined("LIST ", selection, names, " ", patterns, returns),
    joined(
        one_of("SELECT ", "EXAMINE "),
        names,
        one_of("", " (CONDSTORE)", " (QRESYNC (1704110400 1 1:3))", " (QRESYNC (1704110400 1 (1 1)))"),
    ),
    joined("SETMETADATA ", names, " (", entries, " ", values, one_of(")", "", " /shared/b NIL)")),
    joined("GETMETADATA ", names, one_of(" ", " (DEPTH infinity) ", " (MAXSIZE 1) "), one_of("/private", "/shared/a")),
    joined(
        "APPEND ",
        names,
        one_of("", " (\\Seen kw)", ' " 1-Jan-2024 00:00:00 +0000"'),
        " ",
        st.one_of(messages, catenated),
    ),
    joined(
        one_of("", "UID "),
        "FETCH ",
        sets,
        " ",
        items,
        one_of("", " (CHANGEDSINCE 1)", " (CHANGEDSINCE 1 VANISHED)", " (PARTIAL 2:1)"),
    ),
    joined(one_of("", "UID "), "SEARCH ", keys),
    joined(
        one_of("", "UID "),
        one_of(
            "SORT (REVERSE DATE SUBJECT) UTF-8 ",
            "SORT RETURN (ALL COUNT) (SIZE) UTF-8 ",
            "SORT RETURN (PARTIAL -1:-2 UPDATE) (REVERSE ARRIVAL) UTF-8 ",
            "SORT (X) UTF-8 ",
            "THREAD REFERENCES UTF-8 ",
            "THREAD ORDEREDSUBJECT US-ASCII ",
        ),
        keys,
    ),
    one_of(
        'SETQUOTA "User quota" (MESSAGE 3 MAILBOX 4 ANNOTATION-STORAGE 1)',
        'SETQUOTA "User quota" (STORAGE 0)',
        'SETQUOTA "User quota" ()',
        "SETQUOTA x (MESSAGE 1)",
        'GETQUOTA "User quota"',
        "GETQUOTAROOT INBOX",
        "GETQUOTAROOT a/b",
    ),
    joined(
        one_of("", "UID "), "STORE ", sets, one_of(" ", " (UNCHANGEDSINCE 1) "), one_of("", "+", "-"), "FLAGS ", flags
    ),
    joined(one_of("", "UID "), one_of("COPY ", "MOVE "), sets, " ", names),
    one_of("EXPUNGE", "UID EXPUNGE 1:*", "CLOSE", "UNSELECT", "CHECK", "NOOP", "NAMESPACE", "CAPABILITY"),
    one_of(
        'CANCELUPDATE "a"',
        "NOTIFY NONE",
        "NOTIFY SET (personal (MailboxName SubscriptionChange))",
        "NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (subtree a (MailboxName))",
        "NOTIFY SET (selected-delayed (MessageNew MessageExpunge)) (mailboxes (INBOX b) (MessageNew MessageExpunge))",
        "NOTIFY SET (inboxes (MailboxMetadataChange ServerMetadataChange))",
        "NOTIFY SET (selected (MessageNew))",
    ),
    joined(
        one_of("", "UID "),
        "REPLACE ",
        one_of("1", "9", "*", "0"),
        " ",
        names,
        " ",
        st.one_of(one_of("{4+}\r\na\r\n", "{0+}\r\n", "x"), catenated),
    ),
    joined(
        one_of("URLFETCH ", "URLFETCH (", "GENURLAUTH "),
        urls,
        one_of("", ")", " BINARY)", " INTERNAL", " BODYPARTSTRUCTURE)"),
    ),
    one_of("RESETKEY", "RESETKEY INBOX", "RESETKEY b INTERNAL", "RESETKEY a/b X", "RESETKEY ("),
    one_of("UIDBATCHES 500", "UIDBATCHES 1000 1:2", "UIDBATCHES 2", "GETJMAPACCESS"),
    one_of(
        "ENABLE CONDSTORE",
        "ENABLE QRESYNC",
        "ENABLE UIDONLY",
        "ENABLE IMAP4rev2",
        "ID NIL",
        "IDLE\r\nDONE",
        "LOGIN a b",
        "UID NOOP",
        "LOGOUT",
    ),
    st.binary(max_size=20).map(lambda junk: junk.replace(b"\n", b"").replace(b"{", b"")),
)
damages = st.one_of(
    st.just(lambda command: command),
    st.just(lambda command: command + b")"),
    st.just(lambda command: command.replace(b" ", b"  ", 1)),
    st.just(lambda command: command.upper()),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([0, 2]), st.lists(st.tuples(st.integers(0, 2), COMMANDS, damages), max_size=30))
def test_every_command_has_its_answer_and_none_is_a_bug(message_limit, script):
    scheduler = Scheduler()
    engine = Engine(
        scheduler,
        memory_backend(scheduler),
        max_bad_commands=1000,
        message_limit=message_limit,
        url_hosts=("localhost",),
        quota_set_by="owners",
    )
    engine.fill("INBOX", 3)
    wires = [engine.login() for _ in range(3)]
    sessions = [0, 1, 2]
    for number, (client, command, damage) in enumerate(script):
        if wires[client].closed:
            wires[client] = engine.login()
            sessions[client] = len(engine.sessions) - 1
        tag = b"t%d " % number
        answer = engine.talk(wires[client], tag + damage(command) + b"\r\n")
        assert b"SERVERBUG" not in answer, (command, answer)
        assert b"\r\n" + tag in b"\r\n" + answer, (command, answer)
        assert answer.endswith(b"\r\n")
        responses(answer, engine.sessions[sessions[client]].rev2)
