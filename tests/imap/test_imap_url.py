"""`imap.imap_url`: the URLs of RFC 5092, RFC 4467 and RFC 4469; what was written is read, and no octets are a bug."""

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.errors import BadSyntax
from greenmail.imap.grammar import MAX_NUMBER64
from greenmail.imap.imap_url import Access, Authorization, ImapUrl, Server, imap_url, shown
from greenmail.imap.section import WHOLE, Partial, Section, SectionText

TOKEN = "91354a473744909de610943775f92038"
JOES = "imap://joe@example.com/INBOX/;uid=20/;section=1.2"
JOE = Server("example.com", "joe")
RUMP = f"{JOES};urlauth=submit+fred"
LEAP = "imap://joe@h/a/;uid=1;expire=2016-12-31t23:59:60z;urlauth=AuthUser"
PART = Section((1, 2))
HEADER = Section((), SectionText.HEADER)


@pytest.mark.parametrize(
    "text, expected",
    [
        # RFC 5092 9
        (
            "imap://minbari.example.org/gray-council;UIDVALIDITY=385759045/;UID=20/;PARTIAL=0.1024",
            ImapUrl(Server("minbari.example.org"), "gray-council", 385759045, 20, WHOLE, Partial(0, 1024)),
        ),
        (
            "imap://psicorp.example.org/~peter/%E6%97%A5%E6%9C%AC%E8%AA%9E/%E5%8F%B0%E5%8C%97",
            ImapUrl(Server("psicorp.example.org"), "~peter/日本語/台北"),
        ),
        (
            "imap://;AUTH=GSSAPI@minbari.example.org/gray-council/;uid=20/;section=1.2",
            ImapUrl(Server("minbari.example.org", auth="GSSAPI"), "gray-council", None, 20, PART),
        ),
        (
            "imap://;AUTH=*@minbari.example.org/gray%20council?SUBJECT%20shadows",
            ImapUrl(Server("minbari.example.org", auth="*"), "gray council"),
        ),
        (
            "imap://john;AUTH=*@minbari.example.org/babylon5/personel?charset%20UTF-8%20SUBJECT%20%7B14+%7D%0D%0A%D0%98",
            ImapUrl(Server("minbari.example.org", "john", auth="*"), "babylon5/personel"),
        ),
        # RFC 5092 9.1
        ("/foo/;UID=20/..", ImapUrl(mailbox="foo")),
        (";UID=20", ImapUrl(uid=20)),
        ("/..;UIDVALIDITY=385759045/;UID=20", ImapUrl(mailbox="..", uidvalidity=385759045, uid=20)),
        # RFC 5092 4, 3.2
        ("imap://example.org", ImapUrl(Server("example.org"))),
        ("IMAP://EXAMPLE.org:143/", ImapUrl(Server("example.org", port=143))),
        ("imap://j%40oe@[2001:db8::1]:993/", ImapUrl(Server("[2001:db8::1]", "j@oe", 993))),
        ("//joe@example.com/INBOX", ImapUrl(JOE, "INBOX")),
        # RFC 4469 A
        (
            "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
            ImapUrl(None, "Drafts", 385759045, 20, HEADER),
        ),
        (
            "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME",
            ImapUrl(None, "Drafts", 385759045, 20, Section((1,), SectionText.MIME)),
        ),
        (
            "/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9",
            ImapUrl(None, "INBOX", 785799047, 113330, Section((1, 5, 9))),
        ),
        ("/inbox/;uid=1", ImapUrl(mailbox="INBOX", uid=1)),
        ("/a/./b/../c/;uid=1", ImapUrl(mailbox="a/c", uid=1)),
        ("/a%2F%2E%2E%2Fb/;uid=1", ImapUrl(mailbox="a/../b", uid=1)),
        (
            "/a/;UID=1/;SECTION=1.HEADER.FIELDS%20(To%20%22X]Y%22)/;PARTIAL=3".replace("]", "%5D"),
            ImapUrl(
                None,
                "a",
                None,
                1,
                Section((1,), SectionText.HEADER_FIELDS, (b"To", b"X]Y")),
                Partial(3, MAX_NUMBER64),
            ),
        ),
        # RFC 4467 BASE.6.3.GENURLAUTH
        (JOES, ImapUrl(JOE, "INBOX", None, 20, PART)),
        (
            RUMP,
            ImapUrl(JOE, "INBOX", None, 20, PART, None, Authorization(Access.SUBMIT, "fred", None, RUMP)),
        ),
        (
            f"{JOES};urlauth=submit+fred:internal:{TOKEN}",
            ImapUrl(
                JOE,
                "INBOX",
                None,
                20,
                PART,
                None,
                Authorization(Access.SUBMIT, "fred", None, RUMP, "INTERNAL", TOKEN),
            ),
        ),
        (
            f"{JOES};EXPIRE=2002-10-02T10:00:00.05-01:30;URLAUTH=anonymous:X-1.2:{TOKEN}",
            ImapUrl(
                JOE,
                "INBOX",
                None,
                20,
                PART,
                None,
                Authorization(
                    Access.ANONYMOUS,
                    "",
                    1033558200.0,
                    f"{JOES};EXPIRE=2002-10-02T10:00:00.05-01:30;URLAUTH=anonymous",
                    "X-1.2",
                    TOKEN,
                ),
            ),
        ),
        (
            LEAP,
            ImapUrl(
                Server("h", "joe"),
                "a",
                None,
                1,
                WHOLE,
                None,
                Authorization(Access.AUTHUSER, "", 1483228799.0, LEAP),
            ),
        ),
    ],
)
def test_a_url_is_taken_apart(text: str, expected: ImapUrl) -> None:
    assert imap_url(text.encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "INBOX/;UID=1",
        "foo",
        ";SECTION=1",
        "/;UID=1",
        "imap:///INBOX",
        "imap://@h/INBOX",
        "http://h/INBOX/;UID=1",
        "imap://joe@/INBOX",
        "imap://h:1:2/INBOX",
        "imap://h:654321/INBOX",
        "imap://a@b@c/INBOX",
        "/INBOX;UID=1",
        "/INBOX/;UID=0",
        "/INBOX/;UID=01",
        "/INBOX/;UID=4294967296",
        "/INBOX/;UID=1,2",
        "/INBOX/;UID=*",
        "/INBOX;UIDVALIDITY=0/;UID=1",
        "/INBOX/;UIDVALIDITY=1/;UID=1x",
        "/INBOX/;UID=1/;UID=2",
        "/INBOX/;UID=1;SECTION=1",
        "/INBOX/;SECTION=1/;UID=1",
        "/INBOX/;UID=1/;SECTION=",
        "/INBOX/;UID=1/;SECTION=0",
        "/INBOX/;UID=1/;SECTION=1]",
        "/INBOX/;UID=1/;SECTION=1%5D%5B2",
        "/INBOX/;UID=1/;SECTION=MIME",
        "/INBOX/;UID=1/;PARTIAL=1.0",
        "/INBOX/;UID=1/;PARTIAL=",
        "/INBOX/;UID=1/;PARTIAL=99999999999999999999",
        "/INBOX/;UID=1/;PARTIAL=9223372036854775808",
        "/INBOX/;UID=1/;PARTIAL=1.-2",
        "/INBOX/;UID=1/;FOO=1",
        "/INBOX/;UID",
        "/INBOX/;UID=1/",
        "/INBOX/;UID=1?ALL",
        "/in box/;UID=1",
        "/in%box/;UID=1",
        "/in%4/;UID=1",
        "imap://joe%4@example.org/INBOX/;UID=1",
        "/in%FFbox/;UID=1",
        "/in%00box/;UID=1",
        "/in%0Abox/;UID=1",
        "/é/;UID=1",
        "/INBOX;EXPIRE=2002-10-02T10:00:00Z;URLAUTH=anonymous",
        "/INBOX/;UID=1;EXPIRE=2002-10-02T10:00:00Z",
        "/INBOX/;UID=1;EXPIRE=2002-10-02;URLAUTH=anonymous",
        "/INBOX/;UID=1;EXPIRE=2002-13-02T10:00:00Z;URLAUTH=anonymous",
        "/INBOX/;UID=1;EXPIRE=2002-10-02T10:00:61Z;URLAUTH=anonymous",
        "/INBOX/;UID=1;EXPIRE=0000-10-02T10:00:00Z;URLAUTH=anonymous",
        "/INBOX/;UID=1;EXPIRE=2002-10-02T10:00:00+24:00;URLAUTH=anonymous",
        "/INBOX/;UID=1;URLAUTH=",
        "/INBOX/;UID=1;URLAUTH=user",
        "/INBOX/;UID=1;URLAUTH=user+",
        "/INBOX/;UID=1;URLAUTH=x+y",
        "/INBOX/;UID=1;URLAUTH=anonymous+joe",
        "/INBOX/;UID=1;URLAUTH=anonymous:internal:12",
        "/INBOX/;UID=1;URLAUTH=anonymous:",
        f"/INBOX/;UID=1;URLAUTH=anonymous:in_t:{TOKEN}",
        f"/INBOX/;UID=1;URLAUTH=anonymous:internal:{TOKEN}g",
        f"/INBOX/;UID=1;URLAUTH=anonymous;EXPIRE=2002-10-02T10:00:00Z:internal:{TOKEN}",
        "/" + "x" * 8192,
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(BadSyntax):
        imap_url(text.encode())


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(
    lambda name: name.upper() != "INBOX" and not any(part in (".", "..") for part in name.split("/"))
)
NUMBERS = st.integers(1, 0xFFFFFFFF)
SECTIONS = st.builds(
    Section,
    st.lists(NUMBERS, max_size=4).map(tuple),
    st.sampled_from([SectionText.CONTENT, SectionText.HEADER, SectionText.TEXT]),
    st.just(()),
)
PARTIALS = st.builds(Partial, st.integers(0, MAX_NUMBER64), st.integers(1, MAX_NUMBER64))
SERVERS = st.builds(
    Server, st.text(string.ascii_lowercase, min_size=1), NAMES, st.none() | st.integers(0, 65535), st.just("")
)
URLS = st.builds(ImapUrl, st.none() | SERVERS, NAMES, st.none() | NUMBERS, NUMBERS, SECTIONS, st.none() | PARTIALS)


def written(url: ImapUrl) -> str:
    """As a client writes it."""
    text = ""
    if url.server is not None:
        port = "" if url.server.port is None else f":{url.server.port}"
        text = f"imap://{quote(url.server.user, safe='')}@{url.server.host}{port}"
    text += "/" + quote(url.mailbox, safe="")
    if url.uidvalidity is not None:
        text += f";UIDVALIDITY={url.uidvalidity}"
    text += f"/;UID={url.uid}"
    if url.section != WHOLE:
        words = [*map(str, url.section.part), *([url.section.text.value] if url.section.text.value else [])]
        text += f"/;SECTION={'.'.join(words)}"
    if url.partial is not None:
        text += f"/;PARTIAL={url.partial.origin}.{url.partial.length}"
    return text


@given(URLS)
def test_what_is_written_is_read(url: ImapUrl) -> None:
    assert imap_url(written(url).encode()) == url


@given(
    URLS, st.integers(0, 400), st.sampled_from([b"", b"/", b";", b"%", b"..", b"]", b":", b"@", b"=", b"\xff", b"\0"])
)
def test_any_octets_are_a_url_or_bad_syntax(url: ImapUrl, place: int, put: bytes) -> None:
    octets = written(url).encode()
    place %= len(octets)
    for damaged in (octets[:place] + put + octets[place:], octets[:place] + put + octets[place + 1 :]):
        try:
            found = imap_url(damaged)
        except BadSyntax:
            continue
        assert found.uid >= 0 and "\0" not in found.mailbox


def test_a_url_in_a_response_code_ends_nothing() -> None:
    """RFC 4469 5, url-resp-text: neither "]" nor a line end, nor what is no TEXT-CHAR."""
    assert shown(b'/a]b\\c\r\n\0\x7f\xe9 d"') == '/a%5Db%5Cc%0D%0A%00%7F%E9 d"'
