"""Previews, RFC 8970 3.3: what they are made of, and that they end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cost import least

from greenmail.message.preview import preview
from greenmail.message.structure import scan


def of(message: str) -> str:
    data = message.replace("\n", "\r\n").encode()
    return preview(lambda start, end: data[start:end], scan(data))


HTML = "Content-Type: text/html\n\n"


@pytest.mark.parametrize(
    "message, expected",
    [
        ("Subject: x\n\nHello,\n\n  how are you?\n", "Hello, how are you?"),
        ("\n", ""),
        ("\n> quoted\nanswer\n> more\n", "answer"),
        ("\n> quoted alone\n", "> quoted alone"),
        ("\ntext\n-- \nname\n", "text"),
        ("\n-- \nname\n", "-- name"),
        ("\n" + "word " * 100, ("word " * 40).rstrip()),
        ("\na\u200b\u00adb\u034fc\n", "abc"),
        ("Content-Type: application/pdf\n\nx", ""),
        ("Content-Type: text/plain\nContent-Disposition: attachment\n\nx", ""),
        ("Content-Type: text/calendar\n\nBEGIN:VCALENDAR", ""),
        ("Content-Type: multipart/encrypted; boundary=b\n\n--b\nContent-Type: application/pgp\n\nV\n--b--", ""),
        ("Content-Type: multipart/alternative; boundary=b\n\n--b\n\nplain\n--b\n" + HTML + "<p>rich\n--b--", "plain"),
        ("Content-Type: multipart/alternative; boundary=b\n\n--b\n\n\n--b\n" + HTML + "<p>rich\n--b--", "rich"),
        ("Content-Type: message/rfc822\n\nSubject: in\n\ninner text\n", "inner text"),
        (HTML + "a<br>b<b>c</b>d<p>e</p>f", "a bcd e f"),
        (HTML + "<table><tr><td>a<td>b<tr><td>c</table>", "a b c"),
        (HTML + "<head><title>t</title><body>shown", "shown"),
        (HTML + "<title>never closed<body>so nothing is shown", ""),
        (HTML + "<style>p { color: red }</style>shown<script>alert('</p>')</script>", "shown"),
        (HTML + "&lt;b&gt; &eacute; &#8364; &nosuch;", "<b> é € &nosuch;"),
        (HTML + "<!-- no -->yes<![CDATA[x]]>", "yes"),
        (HTML + "<p <p <p", ""),
        (HTML + "a &", "a &"),
    ],
)  # fmt: skip
def test_preview(message: str, expected: str) -> None:
    assert of(message) == expected


@given(st.lists(st.sampled_from(["<", ">", "<p", "</p>", "<!--", "-->", "<style>", "&#", "x", "</", "<![", "'"])))
def test_any_html_has_one(pieces: list[str]) -> None:
    found = of(HTML + "".join(pieces))
    assert len(found) <= 200 and "\n" not in found


@pytest.mark.parametrize("piece", ["<", "<!--", "<a ", "</", "&#", "<script>", "<![CDATA[", "<!DOCTYPE", "<a b='"])
def test_long_nonsense_ends(piece: str) -> None:
    of(HTML + piece * 100_000)


@pytest.mark.parametrize(
    "tags",
    [
        "<b id={}><p>",
        "<a href={}><font size={}><div>",
        "<i id={}><object></i></object><p>",
        "<b id={}>",
        "<div>",
        "<ul>",
    ],
)
def test_html_that_multiplies_is_read_as_far_as_it_is_harmless(tags: str) -> None:
    """What is open is begun anew in each paragraph: 32 KB could become 3 million elements, and 1 GB."""
    message = HTML + "shown " + "".join(tags.format(number, number) for number in range(5000))
    assert of(message) == "shown"
    assert least(lambda: of(message), 0.15) < 0.15
