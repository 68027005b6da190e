"""The MIME scanner: against Dovecot's answers, against stdlib `email`, and against anything."""

import email
import email.message
import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost import least

from greenmail.message.content import to_crlf
from greenmail.message.envelope import Addresses, Envelope, envelope
from greenmail.message.headers import Params
from greenmail.message.search import walk
from greenmail.message.structure import MAX_DEPTH, MAX_PARTS, Part, scan

TREES = Path(__file__).parents[1] / "data" / "maildirs"


def crlf(text: str) -> bytes:
    return text.encode("latin-1").replace(b"\n", b"\r\n")


# --- As Dovecot answers -----------------------------------------------------------------------------------------------


def text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("latin-1")


def params_list(params: Params) -> list[str | None] | None:
    return [text(octets) for pair in params for octets in pair] or None


def address_list(found: Addresses) -> list[list[str | None]] | None:
    return [[text(each.name), text(each.route), text(each.mailbox), text(each.host)] for each in found] or None


def envelope_list(found: Envelope) -> list[Any]:
    people = (found.from_, found.sender, found.reply_to, found.to, found.cc, found.bcc)
    ends = (text(found.in_reply_to), text(found.message_id))
    return [text(found.date), text(found.subject), *map(address_list, people), *ends]


def body_list(part: Part) -> list[Any]:
    disposition = [text(part.disposition), params_list(part.disposition_params)] if part.disposition else None
    tail = [disposition, [text(each) for each in part.languages] or None, text(part.location)]
    if part.is_multipart:
        return [*map(body_list, part.children), text(part.subtype), params_list(part.params), *tail]
    found = [text(part.type), text(part.subtype), params_list(part.params), text(part.content_id)]
    found += [text(part.description), text(part.encoding), part.octets]
    if part.message is not None and part.envelope is not None:
        found += [envelope_list(part.envelope), body_list(part.message), part.lines]
    elif part.is_text:
        found.append(part.lines)
    return [*found, text(part.md5), *tail]


def recorded() -> dict[str, bytes]:
    """The messages of both recorded trees by the hash of their octets as sent."""
    found = {}
    for archive in (TREES / "dovecot" / "alice.tar.gz", TREES / "courier" / "carol.tar.gz"):
        with tarfile.open(archive) as tree:
            for member in tree:
                file = tree.extractfile(member) if "/cur/" in member.name or "/new/" in member.name else None
                if file:
                    data = to_crlf(file.read())
                    found[hashlib.sha256(data).hexdigest()] = data
    return found


def answers(name: str) -> list[tuple[str, dict[str, Any]]]:
    boxes = json.loads((TREES / name).read_text())["mailboxes"]
    return [(f"{box}-{each['UID']}", each) for box in boxes for each in boxes[box].get("messages", ())]


def test_bodystructure_and_envelope_are_dovecots() -> None:
    mail = recorded()
    compared = 0
    for name in ("dovecot/expected.json", "dovecot/expected-noindex.json"):
        for place, answer in answers(name):
            data = mail[answer["BODY_sha256"]]
            assert body_list(scan(data)) == answer["BODYSTRUCTURE"], place
            if "MISSING_" not in json.dumps(answer["ENVELOPE"]):  # Dovecot's habit, see the trees' README
                assert envelope_list(envelope(data)) == answer["ENVELOPE"], place
            compared += 1
    assert compared > 50


def test_envelope_is_couriers_but_for_groups() -> None:
    mail = recorded()
    for place, answer in answers("courier/expected.json"):
        data = mail[answer["BODY_sha256"]]
        if b"undisclosed-recipients:;" not in data and b"group:" not in data:
            assert envelope_list(envelope(data)) == answer["ENVELOPE"], place


# --- Tables -----------------------------------------------------------------------------------------------------------

RFC2046 = crlf(
    """From: Nathaniel Borenstein <nsb@bellcore.com>
To: Ned Freed <ned@innosoft.com>
Subject: Sample message
MIME-Version: 1.0
Content-type: multipart/mixed; boundary="simple boundary"

This is the preamble.

--simple boundary

This is implicitly typed plain US-ASCII text.
It does NOT end with a linebreak.
--simple boundary
Content-type: text/plain; charset=us-ascii

This is explicitly typed plain US-ASCII text.
It DOES end with a linebreak.

--simple boundary--

This is the epilogue.
"""
)


def leaves(part: Part) -> list[Part]:
    return [each for each in walk(part) if not each.children and each.message is None]


def shape(part: Part) -> Any:
    """Nested lists of subtypes."""
    name = part.subtype.decode()
    if part.children:
        return [name, *map(shape, part.children)]
    return [name, shape(part.message)] if part.message else name


def bodies(data: bytes) -> list[bytes]:
    return [data[slice(*each.body)] for each in leaves(scan(data))]


def test_rfc2046_example() -> None:
    """RFC 2046 5.1.1: the line end before a delimiter belongs to the delimiter."""
    assert bodies(RFC2046) == [
        b"This is implicitly typed plain US-ASCII text.\r\nIt does NOT end with a linebreak.",
        b"This is explicitly typed plain US-ASCII text.\r\nIt DOES end with a linebreak.\r\n",
    ]
    first, second = scan(RFC2046).children
    assert RFC2046[slice(*first.header)] == b"\r\n"
    assert RFC2046[slice(*second.header)] == b"Content-type: text/plain; charset=us-ascii\r\n\r\n"
    assert (first.lines, second.lines) == (1, 2)


def multipart(body: str, kind: str = "mixed", boundary: str = "b") -> bytes:
    return crlf(f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{body}")


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", "plain"),
        (b"Content-Type: nonsense\r\n\r\nx", "plain"),  # RFC 2045 5.2
        (b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\ny", ["mixed", "plain"]),  # no boundary
        (multipart("nothing"), ["mixed", "plain"]),  # no part: BODYSTRUCTURE needs one
        (multipart(""), ["mixed", "plain"]),
        (b"Content-Type: multipart/mixed; boundary=b", ["mixed", "plain"]),
        (multipart("--b--\n"), ["mixed", "plain"]),
        (multipart("--b\n"), ["mixed", "plain"]),
        (multipart("--b\n--b\n\n--b"), ["mixed", "plain", "plain", "plain"]),
        (multipart("--b\nContent-Type: text/html\n\nx"), ["mixed", "html"]),  # never closed
        (multipart("--b\n\nx\n--b--\n--b\n\ny"), ["mixed", "plain"]),  # after the end it is no delimiter
        (multipart("--b\n\nx\n --b\n\ny\n--b--"), ["mixed", "plain"]),  # only at the beginning of a line
        (multipart("--b \t\n\nx\n--b-- \n"), ["mixed", "plain"]),  # RFC 2046 5.1.1: padding
        (multipart("--b\n\nSubject: x\n\ny\n--b\nContent-Type: a/b\n\n--b--", "digest"),
         ["digest", ["rfc822", "plain"], "b"]),  # RFC 2046 5.1.5
        (multipart("--b\nContent-Type: multipart/alternative; boundary=bb\n\n--bb\n\nx\n--bb--\n--b\n\ny\n--b--"),
         ["mixed", ["alternative", "plain"], "plain"]),  # the longest boundary counts
        (multipart("--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\nx\n--b\n\ny\n--b--"),
         ["mixed", ["alternative", "plain"], "plain"]),  # RFC 2046 5.1.2: the outer one ends the inner
        (multipart("--b\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--"),
         ["mixed", ["alternative", "plain"], "plain"]),  # the same twice: the innermost counts
        (multipart("--b\nContent-Type: message/rfc822\n\nContent-Type: text/html\n\nz\n--b--"),
         ["mixed", ["rfc822", "html"]]),
        (multipart("--b\nContent-Type: message/rfc822\n\n--b--"), ["mixed", ["rfc822", "plain"]]),
        (b"Content-Type: message/global\r\n\r\nContent-Type: message/partial\r\n\r\n", ["global", "partial"]),
        (b"Content-Type: Multipart/Mixed; Boundary=\"b  \"\r\n\r\n--b\r\n\r\nx\r\n--b--", ["Mixed", "plain"]),
    ],
)  # fmt: skip
def test_shape(data: bytes, expected: Any) -> None:
    assert shape(scan(data)) == expected
    check(data)


def test_fields_of_a_part() -> None:
    part = scan(
        crlf(
            "Content-Type: TEXT/Html; CHARSET=utf-8 (yes)\nContent-Transfer-Encoding: (old) Base64\n"
            "Content-ID: <1@x>\nContent-Description: a\n b\nContent-MD5: Q2hlY2s=\nContent-Location: x.html\n"
            "Content-Disposition: ATTACHMENT; filename=f\nContent-Language: en, de\nContent-Type: image/png\n\nx\n"
        )
    )
    assert (part.type, part.subtype, part.params) == (b"TEXT", b"Html", ((b"CHARSET", b"utf-8"),))
    assert (part.encoding, part.content_id, part.description) == (b"Base64", b"<1@x>", b"a b")
    assert (part.md5, part.location, part.languages) == (b"Q2hlY2s=", b"x.html", (b"en", b"de"))
    assert (part.disposition, part.disposition_params) == (b"ATTACHMENT", ((b"filename", b"f"),))
    assert (part.octets, part.lines, part.is_text, part.param(b"charset")) == (3, 1, True, b"utf-8")


# --- Bombs ------------------------------------------------------------------------------------------------------------


def depth(part: Part) -> int:
    waiting, deepest = [(part, 1)], 0
    while waiting:
        part, level = waiting.pop()
        deepest = max(deepest, level)
        waiting += [(each, level + 1) for each in (*part.children, *([part.message] if part.message else ()))]
    return deepest


@pytest.mark.parametrize(
    "bomb",
    [
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1000)),
        b"Content-Type: message/rfc822\r\n\r\n" * 1000,
        b"".join(b"Content-Type: multipart/digest; boundary=b%d\r\n\r\n--b%d\r\n\r\n" % (n, n) for n in range(1000)),
        b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n" * 9999,
    ],
)  # fmt: skip
def test_nesting_is_bounded_and_what_is_deeper_can_be_fetched(bomb: bytes) -> None:
    root = scan(bomb)
    assert depth(root) <= MAX_DEPTH + 2
    check(bomb)
    assert any(each.subtype == b"octet-stream" for each in walk(root))


def test_parts_are_bounded_and_the_last_has_the_rest() -> None:
    bomb = multipart("--b\n\nx\n" * (MAX_PARTS + 500) + "--b--\n")
    root = scan(bomb)
    assert len(root.children) == MAX_PARTS - 1
    assert root.children[-1].body[1] == len(bomb)


BOMBS: list[Callable[[], bytes]] = [  # made when they are wanted: together they have 50 MB
    lambda: multipart("--b\n\n" + "--a\n" * 2000000),
    lambda: multipart("--b\n\n" + "--\n" * 2000000),
    lambda: (
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(90))
        + b"\r\n--b" * 1500000
    ),
    lambda: b"X: " + b"\r\n y" * 1500000,
    lambda: b"Content-Type: text/plain" + b"; a*1=b" * 500000,
    lambda: b"Content-Type: text/plain" + b"\r\n (((" * 500000,
    lambda: b"Content-Type:" + b' "\\' * 500000,
    lambda: b"Content-Type: message/rfc822\r\n\r\n" * 99 + b"\r\n" + b"line\r\n" * 1000000,
]


@pytest.mark.parametrize("number", range(len(BOMBS)))
def test_work_is_linear(number: int) -> None:
    bomb = BOMBS[number]()
    assert least(lambda: scan(bomb), 4) < 4


@pytest.mark.parametrize("boundary", ["b", "=_1_2-3", "x" * 9000])
@pytest.mark.parametrize("filling", [b"x", b"-", b"\r\n--", b"\r\n"])
def test_a_delimiter_is_found_however_far_it_is(boundary: str, filling: bytes) -> None:
    head = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n' % boundary.encode()
    delimiter = b"\r\n--" + boundary.encode()
    near = max(8192 - len(delimiter), 45)
    for octets in (0, *range(near - 45, near + 20), 8192, 70_000, 1 << 20):
        body = (filling * (octets // len(filling) + 1))[:octets] + b"."
        root = scan(head + delimiter[2:] + b"\r\n\r\n" + body + delimiter + b"\r\n\r\nlast" + delimiter + b"--")
        assert [part.octets for part in root.children] == [len(body), 4]
        assert [part.lines for part in root.children] == [body.count(b"\n"), 0]


# --- Properties -------------------------------------------------------------------------------------------------------


def check(data: bytes) -> Part:
    """What holds for the tree of any octets."""
    root = scan(data)
    assert root.header[0] == 0
    for part in walk(root):
        assert 0 <= part.header[0] <= part.header[1] == part.body[0] <= part.body[1] <= len(data)
        assert part.octets == part.body[1] - part.body[0]
        assert (part.type.lower() == b"multipart") == bool(part.children) or part.type == b"application"
        assert (part.message is None) == (part.envelope is None)
        if part.is_text or part.message:
            assert part.lines == data[slice(*part.body)].count(b"\n")
        if part.message:
            assert (part.message.header[0], part.message.body[1]) == part.body
        for before, after in zip(part.children, part.children[1:], strict=False):
            assert before.body[0] <= after.header[0]
    return root


leaf = st.fixed_dictionaries(
    {
        "type": st.sampled_from([None, "text/plain; charset=utf-8", "text/html", "image/png", "application/x"]),
        "body": st.lists(st.sampled_from(["line", "", "-- ", "--", "From: x", "--other"]), max_size=4).map("\r\n".join),
    }
)
tree: st.SearchStrategy[Any] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from(["mixed", "alternative", "digest"]),
                "parts": st.lists(inner, min_size=1, max_size=4),
                "preamble": st.sampled_from(["", "some words", "two\r\nlines\r\n"]),
                "epilogue": st.sampled_from(["", "\r\n", "\r\nafter\r\n"]),
                "closed": st.booleans(),
            }
        ),
        st.fixed_dictionaries({"message": inner}),
    ),
    max_leaves=12,
)


def write(node: Any, number: list[int], digest: bool = False) -> str:
    """A generated tree as a message."""
    if "message" in node:
        return "Content-Type: message/rfc822\r\n\r\n" + write(node["message"], number)
    if "parts" not in node:
        kind = node["type"] or ("text/plain" if digest else None)
        return (f"Content-Type: {kind}\r\n" if kind else "") + "\r\n" + node["body"]
    number[0] += 1
    boundary = f"=_b'{number[0]}_x"  # none is the beginning of another
    text = f'Content-Type: multipart/{node["kind"]}; boundary="{boundary}"\r\n\r\n{node["preamble"]}'
    for part in node["parts"]:
        lead = "" if text.endswith("\r\n\r\n") and not node["preamble"] and part is node["parts"][0] else "\r\n"
        text += f"{lead}--{boundary}\r\n{write(part, number, node['kind'] == 'digest')}"
    return text + (f"\r\n--{boundary}--{node['epilogue']}" if node["closed"] else "")


def compare(part: Part, oracle: email.message.Message, data: bytes) -> None:
    assert (part.type + b"/" + part.subtype).decode().lower() == oracle.get_content_type()
    inside = oracle.get_payload()
    if isinstance(inside, str):
        assert not part.children
        assert part.message is None
        body = data[slice(*part.body)]
        if part.body[1] == len(data):  # where a delimiter is missing `email` still takes a line end away
            body, inside = body.rstrip(b"\r\n"), inside.rstrip("\r\n")
        assert body == inside.encode("utf-8", "surrogateescape")
    elif part.message is not None:
        compare(part.message, inside[0], data)
    else:
        assert len(part.children) == len(inside)
        for child, other in zip(part.children, inside, strict=True):
            compare(child, other, data)


@settings(deadline=None, max_examples=300)
@given(tree)
def test_tree_and_bodies_are_those_of_the_email_package(node: Any) -> None:
    data = ("Subject: x\r\n" + write(node, [0])).encode()
    compare(check(data), email.message_from_bytes(data), data)


scraps = st.lists(
    st.sampled_from(
        [b"\r\n", b"--", b"a", b"b", b"--a", b"\r\n--a\r\n", b"\r\n--ab--", b"\r\n--b--\r\n", b"\n", b"\r", b"\xff\x00",
         b"Content-Type: multipart/mixed; boundary=a\r\n\r\n", b"Content-Type: multipart/digest; boundary=ab\r\n\r\n",
         b"Content-Type: message/rfc822\r\n\r\n", b"Content-Type: multipart/x; boundary=b\r\n",
         b";", b"Content-Type: text/html\r\n"]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(scraps)
def test_any_scraps_have_a_tree(data: bytes) -> None:
    check(data)


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_any_octets_have_a_tree(data: bytes) -> None:
    check(data)
    check(b"Content-Type: multipart/mixed; boundary=\xff\r\n" + data)
