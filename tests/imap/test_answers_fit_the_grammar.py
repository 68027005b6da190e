"""Whatever a message holds, what FETCH says of it is by the grammar of RFC 9051 9; so are answers about any mailbox."""

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler
from harness.response_grammar import responses
from harness.response_octets import Wrong
from hypothesis import given, settings
from hypothesis import strategies as st

# All that can be said of a message, with parts that are seldom there.
ITEMS = (
    b"(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE BODY[] BODY[HEADER] BODY[TEXT] BODY[1]"
    b" BODY[1.MIME] BODY[1.1] BODY[1.HEADER] BODY[2.TEXT] BODY[]<3.5> BODY[]<99999.5> RFC822 RFC822.HEADER RFC822.TEXT"
    b' BODY[HEADER.FIELDS (SUBJECT "x y" "a]b" NIL)] BODY[HEADER.FIELDS.NOT (FROM)] BINARY[1] BINARY[] BINARY.SIZE[]'
    b" BINARY[1]<1.4>)"
)
names = st.sampled_from(
    [
        b"From", b"To", b"Cc", b"Bcc", b"Sender", b"Reply-To", b"Date", b"Subject", b"Message-ID", b"In-Reply-To",
        b"Content-Type", b"Content-Disposition", b"Content-ID", b"Content-Description", b"Content-Language", b"X",
        b"Content-Transfer-Encoding", b"Content-Location", b"Content-MD5",
    ]
)  # fmt: skip
words = st.sampled_from(
    [
        b"a", b"<a@b>", b'"q \\"x\\" y"', b"(c (d) \\) e)", b",", b";", b":", b"=", b"text/plain", b"multipart/x",
        b"message/rfc822", b"boundary=b", b"name*0=a", b"name*1*=b", b'filename="x\\y"', b"=?utf-8?q?=C3=A9?=", b"\xe9",
        b"\xc3\xa9", b"\0", b"\r", b"\t", b" ", b"\r\n ", b'"', b"\\", b"(", b"<", b"@", b"\x7f", b"base64",
        b"quoted-printable", b"8bit", b"attachment", b"en, de", b"NIL", b"{3}", b"x" * 1100, b"grp: a@b, c@d;", b"[",
    ]
)  # fmt: skip
fields = st.builds(lambda name, value: name + b": " + b"".join(value), names, st.lists(words, max_size=8))
headers = st.lists(fields, max_size=6).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
texts = st.lists(st.one_of(words, st.sampled_from([b"\r\n", b"\r\n--b\r\n", b"\r\n--b--\r\n"])), max_size=12).map(
    b"".join
)
parts = st.recursive(
    st.builds(lambda header, text: header + b"\r\n" + text, headers, texts),
    lambda inner: st.one_of(
        st.builds(lambda header, one: header + b"Content-Type: message/rfc822\r\n\r\n" + one, headers, inner),
        st.builds(
            lambda header, several: (
                header
                + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
                + b"\r\n--b\r\n".join(several)
                + b"\r\n--b--\r\n"
            ),
            headers,
            st.lists(inner, max_size=3),
        ),
    ),
    max_leaves=5,
)
messages = st.one_of(parts, texts, st.binary(max_size=60)).filter(bool)


@settings(max_examples=400, deadline=None)
@given(messages, st.booleans())
def test_whatever_a_message_holds(message, rev2):
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    wire = engine.select()
    if rev2:
        engine.talk(wire, b"e ENABLE IMAP4rev2\r\n")
    engine.talk(wire, b"a APPEND INBOX {%d}\r\n" % len(message))
    engine.talk(wire, message + b"\r\n")
    answer = engine.talk(wire, b"f FETCH 1 " + ITEMS + b"\r\n")
    responses(answer, rev2)
    assert b"SERVERBUG" not in answer
    assert b"\r\nf OK" in answer or b"\r\nf NO [CANNOT]" in answer or b"\r\nf NO [UNKNOWN-CTE]" in answer


@pytest.mark.parametrize(
    "right",
    [
        b"* SEARCH\r\n",
        b"* SEARCH 2 3 6\r\n* SEARCH 2 5 (MODSEQ 917162500)\r\n",
        b"* SORT\r\n",
        b"* SORT 5 3 4 1 2\r\n* SORT 2 3 (MODSEQ 7)\r\n",
        b"* THREAD\r\n",
        b"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n",  # RFC 5256 4
        b"* THREAD (166)(167)(168)(169)(172)((170)(179))(171)(173)((174)(175)(176)(178)(181)(180))\r\n",
        b'* QUOTA "" (STORAGE 10 512)\r\n* QUOTA "#user/alice" ()\r\n',
        b'* QUOTAROOT INBOX "#user/alice" "!partition/sda4"\r\n* QUOTAROOT comp.mail.mime\r\n',
        b'* METADATA "" /shared/comment\r\n* METADATA INBOX /private/a /shared/b\r\n',
    ],
)
def test_what_is_legal_is_taken(right):
    responses(right)


@pytest.mark.parametrize(
    "wrong",
    [
        b'* 1 FETCH (BODY[] "\x80")\r\n',
        b'* 1 FETCH (BODY[] "a\rb")\r\n',
        b"* 1 FETCH (BODY[] {4}\r\nabc)\r\n",
        b"* 1 FETCH (BODY[] {1}\r\n\0)\r\n",
        b"* 0 FETCH (UID 1)\r\n",
        b"* 1 FETCH ()\r\n",
        b"* 1 FETCH (UID 0)\r\n",
        b"* 1 FETCH (FLAGS (\\Seen ))\r\n",
        b"* 1 FETCH (UID 1 )\r\n",
        b'* 1 FETCH (BODY ("message" "rfc822" NIL NIL NIL "7bit" 0))\r\n',
        b'* 1 FETCH (BODY ("text" "plain" ("charset") NIL NIL "7bit" 0 0))\r\n',
        b'* 1 FETCH (BODY ("text" "plain" () NIL NIL "7bit" 0 0))\r\n',
        b'* 1 FETCH (BODY ("text" "plain" NIL NIL NIL NIL 0 0))\r\n',
        b"* 1 FETCH (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL))\r\n",
        b"* 1 FETCH (ENVELOPE (NIL NIL () NIL NIL NIL NIL NIL NIL NIL))\r\n",
        b'* LIST (\\HasChildren \\HasNoChildren) "/" a\r\n',
        b'* LIST () "/" a b\r\n',
        b'* LIST () "/" \xc3\xa9\r\n',
        b"a OK [UIDNEXT 0] x\r\n",
        b"a OK [COPYUID 1 1:2] x\r\n",
        b"a MAYBE x\r\n",
        b"* SEARCH 0\r\n",
        b"* SEARCH \r\n",
        b"* SEARCH (MODSEQ 5)\r\n",
        b"* SORT 0\r\n",
        b"* SORT (MODSEQ 5)\r\n",
        b"* SORT \r\n",
        b"* THREAD \r\n",
        b"* THREAD ()\r\n",
        b"* THREAD (0)\r\n",
        b"* THREAD (1 (2))\r\n",
        b"* THREAD ((1))\r\n",
        b"* THREAD (1 2) (3)\r\n",
        b"* THREAD (1 2 )\r\n",
        b"* QUOTA x (STORAGE 5)\r\n",
        b"* QUOTA x\r\n",
        b"* QUOTAROOT\r\n",
        b"* METADATA x\r\n",
        b'* ESEARCH (TAG "a") ALL \r\n',
        b"* STATUS a (FOO 1)\r\n",
        b"* 3 EXPUNGED\r\n",
        b"OK x\r\n",
    ],
)
def test_the_grammar_finds_what_is_wrong(wrong):
    with pytest.raises(Wrong):
        responses(wrong)
