"""Part numbers and offsets: RFC 9051 6.4.5.1."""

from hypothesis import given
from hypothesis import strategies as st

from greenmail.imap.parts import find_part, format_parts, numbered, without_data
from greenmail.message.structure import scan


def entity(content_type: str, body: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\n\r\n".encode() + body


def multipart(subtype: str, boundary: str, *parts: bytes) -> bytes:
    mark = f"--{boundary}".encode()
    inner = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
    return entity(f"multipart/{subtype}; boundary={boundary}", inner + mark + b"--")


# RFC 9051 6.4.5.1: the complex message, part for part.
GIF, OCTETS, PLAIN, RICH = (
    entity(name, b"body of " + name.encode())
    for name in ("image/gif", "application/octet-stream", "text/plain", "text/richtext")
)
INNER3 = b"Subject: three\r\n" + multipart("mixed", "efgh", PLAIN, OCTETS)
INNER42 = b"Subject: four two\r\n" + multipart("mixed", "mnop", PLAIN, multipart("alternative", "nvwx", PLAIN, RICH))
PART4 = multipart("mixed", "ijkl", GIF, entity("message/rfc822", INNER42))
COMPLEX = b"Subject: complex\r\n" + multipart("mixed", "abcd", PLAIN, OCTETS, entity("message/rfc822", INNER3), PART4)
COMPLEX_PARTS = {
    b"1": "text/plain",
    b"2": "application/octet-stream",
    b"3": "message/rfc822",
    b"3.1": "text/plain",
    b"3.2": "application/octet-stream",
    b"4": "multipart/mixed",
    b"4.1": "image/gif",
    b"4.2": "message/rfc822",
    b"4.2.1": "text/plain",
    b"4.2.2": "multipart/alternative",
    b"4.2.2.1": "text/plain",
    b"4.2.2.2": "text/richtext",
}


def path(number: bytes) -> tuple[int, ...]:
    return tuple(int(word) for word in number.split(b"."))


def test_the_complex_message_has_these_part_numbers() -> None:
    found = {number: (part.type + b"/" + part.subtype).decode() for number, part in numbered(scan(COMPLEX))}
    assert found == COMPLEX_PARTS


def test_a_place_is_where_the_octets_are() -> None:
    parts = format_parts(scan(COMPLEX))
    gif = find_part(parts, (4, 1))
    assert gif is not None
    assert COMPLEX[gif.body_start : gif.body_end] == b"body of image/gif"
    assert COMPLEX[gif.header_start : gif.header_end] == b"Content-Type: image/gif\r\n\r\n"
    message = find_part(parts, (4, 2))
    assert message is not None
    assert message.is_message
    assert COMPLEX[message.body_start : message.body_end] == INNER42
    assert COMPLEX[message.body_start : message.text_start].endswith(b"boundary=mnop\r\n\r\n")
    root = find_part(parts, ())
    assert root is not None
    assert (root.header_start, root.body_end) == (0, len(COMPLEX))
    assert find_part(parts, (5,)) is None
    assert find_part(parts, (4, 1, 1)) is None
    assert find_part(parts, (0,)) is not None  # the message itself; the grammar has no part 0


def test_a_message_that_is_no_multipart_has_part_1() -> None:
    """RFC 9051 6.4.5.1: also within an encapsulated message."""
    assert [number for number, _ in numbered(scan(b"Subject: x\r\n\r\ntext"))] == [b"1"]
    nested = entity("message/rfc822", b"Subject: inner\r\n\r\ntext")
    assert [number for number, _ in numbered(scan(nested))] == [b"1", b"1.1"]


def test_parts_of_what_was_in_the_file_before_do_no_harm() -> None:
    """Somebody has given the message a longer header since: its body begins behind where the first part began."""
    before = entity("image/gif", b"octets")
    label = b"X-Label: somebody's\r\n"
    parts = format_parts(scan(before))
    assert without_data(before, parts, len(before) - 6) == b""
    assert without_data(label + before, parts, len(label) + len(before) - 6) == b"octets"


_pieces = st.lists(
    st.sampled_from(
        [
            b"Content-Type: multipart/mixed; boundary=a\r\n",
            b"Content-Type: multipart/digest; boundary=ab\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Transfer-Encoding: base64 \r\n",
            b"Content-Transfer-Encoding: \xff odd\r\n",
            b"\r\n",
            b"--a\r\n",
            b"--ab\r\n",
            b"--a--\r\n",
            b"text",
            b"\n",
        ]
    ),
    max_size=40,
).map(b"".join)


@given(st.one_of(st.binary(max_size=300), _pieces))
def test_every_part_is_found_where_the_scan_has_it(octets: bytes) -> None:
    root = scan(octets)
    parts = format_parts(root)
    for number, part in numbered(root):
        place = find_part(parts, path(number))
        assert place is not None
        assert ((place.header_start, place.header_end), (place.body_start, place.body_end)) == (part.header, part.body)
        assert place.body_start <= place.text_start <= place.body_end
        assert place.is_message == (part.message is not None)
        assert place.is_leaf == (part.message is None and not part.children)
        assert place.encoding == b"?" or place.encoding == part.encoding.strip().lower()
