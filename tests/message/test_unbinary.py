"""Binary parts become base64, RFC 3516 4.4: no octet of them is lost, and none of the others changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.message.decode import transfer_decode
from greenmail.message.structure import scan
from greenmail.message.to_disk import ToDisk
from greenmail.message.unbinary import Unfit, as_text

BINARY = b"Content-Transfer-Encoding: binary\r\n"


def kept(data: bytes) -> bytes:
    """What comes back from a Maildir: LF on disk, CRLF again when read."""
    writer = ToDisk()
    return (writer.feed(data) + writer.end()).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"Subject: x\r\n\r\ntext\r\n", b"Subject: x\r\n\r\ntext\r\n"),
        (b"\r\na\0b", b"Content-Transfer-Encoding: base64\r\n\r\nYQBi\r\n"),
        (BINARY + b"\r\na\nb", b"Content-Transfer-Encoding: base64\r\n\r\nYQpi\r\n"),
        (
            b"content-transfer-encoding :\r\n binary\r\nA: b\r\n\r\nx",
            b"Content-Transfer-Encoding: base64\r\nA: b\r\n\r\neA==\r\n",
        ),
        (b"Content-Transfer-Encoding: 8bit\r\n\r\n\0", b"Content-Transfer-Encoding: base64\r\n\r\nAA==\r\n"),
        (
            b"Content-Type: multipart/mixed; boundary=x\r\n" + BINARY + b"\r\n--x\r\n\r\ntext\r\n--x\r\n"
            b"Content-Type: image/png\r\n" + BINARY + b"\r\n\x89PNG\r\n\x1a\n\0\r\n--x--\r\n",
            b"Content-Type: multipart/mixed; boundary=x\r\n" + BINARY + b"\r\n--x\r\n\r\ntext\r\n--x\r\n"
            b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoA\r\n\r\n--x--\r\n",
        ),
        (
            b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n" + BINARY + b"\r\n\0",
            b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n",
        ),
    ],
)  # fmt: skip
def test_as_text(data: bytes, expected: bytes) -> None:
    assert as_text(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: \0\r\n\r\ntext",
        b"Content-Transfer-Encoding: base64\r\n\r\nAA\0==",
        b"Content-Transfer-Encoding: x-mine\r\n\r\n\0",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\nbefore\0\r\n--x\r\n\r\ntext\r\n--x--\r\n",
    ],
)
def test_what_cannot_be_encoded(data: bytes) -> None:
    with pytest.raises(Unfit):
        as_text(data)


@given(st.binary(max_size=300))
def test_every_octet_of_a_binary_part_comes_back(body: bytes) -> None:
    data = b"Content-Type: application/octet-stream\r\n" + BINARY + b"\r\n" + body
    stored = kept(as_text(data))
    part = scan(stored)
    assert transfer_decode(stored[slice(*part.body)], part.encoding) == body


@given(st.lists(st.sampled_from([b"\0", b"\r", b"\n", b"\r\n", b"x", b"--b", BINARY, b"Content-Type: text/plain\r\n"])))
def test_what_comes_out_is_text(pieces: list[bytes]) -> None:
    try:
        made = as_text(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(pieces))
    except Unfit:
        return
    assert b"\0" not in made


@pytest.mark.parametrize("octets", [57 * 1024 - 1, 57 * 1024, 57 * 2048 + 1])
def test_lines_of_a_long_part_have_76_characters(octets: int) -> None:
    _, _, body = as_text(BINARY + b"\r\n" + b"\xff" * octets).partition(b"\r\n\r\n")
    *lines, last, rest = body.split(b"\r\n")
    assert {len(line) for line in lines} == {76} and 0 < len(last) <= 76 and not rest
    assert transfer_decode(body, b"base64") == b"\xff" * octets
