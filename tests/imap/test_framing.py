"""Frames: literals of every kind, every limit, and that a stream may be cut anywhere. RFC 9051 2.2, RFC 7888."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmail.errors import BadSyntax, Disconnected, Reason, Refused, StorageError
from greenmail.imap.framing import PIECE, Reader
from greenmail.imap.session import Limits

LIMITS = Limits(max_line=100, max_line_anonymous=40, max_command_size=300, max_request_size=5000, max_drain=2000)


class Sink:
    """Takes a literal; the names of the calls, in order, are in `log`."""

    def __init__(self, full_after=None, finish_fails=False):
        self.data = b""
        self.log = []
        self.full_after = full_after
        self.finish_fails = finish_fails

    def write(self, data):
        assert 0 < len(data) <= PIECE
        self.log.append("write")
        self.data += data
        if self.full_after is not None and len(self.data) > self.full_after:
            raise StorageError(Reason.NO_SPACE, "disk is full")

    def finish(self):
        self.log.append("finish")
        if self.finish_fails:
            raise StorageError(Reason.OVER_QUOTA, "too much")
        return self.data

    def abort(self):
        self.log.append("abort")


class Peer:
    """A client that has sent `chunks`, and nothing more."""

    def __init__(self, *chunks, limits=LIMITS, literal_minus=False, authenticated=True):
        self.chunks = [chunk for chunk in chunks if chunk]
        self.sent = b""
        self.offers = []
        self.sinks = []
        self.reader = Reader(self.receive, self.write, limits, literal_minus)
        self.reader.authenticated = authenticated

    def receive(self):
        if not self.chunks:
            raise Disconnected
        return self.chunks.pop(0)

    def write(self, data):
        self.sent += data

    def keep(self, text, size, synchronizing):
        self.offers.append((text, size, synchronizing))

    def append(self, text, size, synchronizing):
        """As APPEND does: the literal is streamed, if it is not too large."""
        self.keep(text, size, synchronizing)
        if size > 5000:
            raise Refused("message is too large", "TOOBIG")
        self.sinks.append(Sink())
        return self.sinks[-1]

    def frame(self, begin_literal=None):
        return self.reader.next_frame(begin_literal or self.keep)

    def all_frames(self, begin_literal=None):
        """Every frame until the client is gone, as comparable values."""
        found = []
        try:
            while True:
                frame = self.frame(begin_literal)
                failure = frame.failure
                found.append((frame.text, dict(frame.staged), failure and (type(failure), failure.text)))
        except Disconnected as end:
            found.append(end.text)
        return found


@pytest.mark.parametrize(
    "stream, expected",
    [
        (b"a1 NOOP\r\n", [b"a1 NOOP"]),
        (b"a1 NOOP\na2 NOOP\n", [b"a1 NOOP", b"a2 NOOP"]),  # lenient: a bare LF
        (b"\r\nB41 UID MOVE 1 x\r\n", [b"B41 UID MOVE 1 x"]),  # Apple Mail
        (b"\r\n\n\r\n\r\na NOOP\r\n", [b"a NOOP"]),
        (b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man\r\n", [b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man"]),
        (b"a LOGIN {1+}\nx {1+}\ny\nb NOOP\n", [b"a LOGIN {1+}\r\nx {1+}\r\ny", b"b NOOP"]),
        (b"a X {0+}\r\n\r\nb NOOP\r\n", [b"a X {0+}\r\n", b"b NOOP"]),
        (b"a X {4+}\r\n\r\n\r\n\r\nb NOOP\r\n", [b"a X {4+}\r\n\r\n\r\n", b"b NOOP"]),
        (b"a X ~{2+}\r\n\0\0\r\n", [b"a X ~{2+}\r\n\0\0"]),
        (b"a X {0002+}\r\nhi\r\n", [b"a X {0002+}\r\nhi"]),
        (b"a X {2} \r\n", [b"a X {2} "]),  # not at the end of the line
        (b"a X {+}\r\n", [b"a X {+}"]),
        (b"a X {-2}\r\n", [b"a X {-2}"]),
        (b"a X }\r\n", [b"a X }"]),
        (b'a X "{2}"\r\n', [b'a X "{2}"']),
        (b"a X {{2+}\r\nhi\r\n", [b"a X {{2+}\r\nhi"]),
        (b"a \r X\r\r\n", [b"a \r X\r"]),  # the parser refuses the CR
        (b"a1 NOOP", []),
    ],
)
def test_frames(stream, expected):
    peer = Peer(stream)
    assert [frame[0] for frame in peer.all_frames()[:-1]] == expected
    assert peer.sent == b""


def test_synchronizing_literals_are_asked_for_one_after_the_other():
    # RFC 9051 6.2.3, 4.3
    peer = Peer(b"A001 LOGIN {11}\r\n", b"FRED FOOBAR {7}\r\n", b"fat man\r\n")
    assert peer.frame().text == b"A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man"
    assert peer.sent == b"+ OK\r\n+ OK\r\n"
    assert peer.offers == [
        (b"A001 LOGIN {11}\r\n", 11, True),
        (b"A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\n", 7, True),
    ]


def test_streamed_literals_go_to_their_sinks():
    peer = Peer(b"A003 APPEND x (\\Seen) {3}\r\n", b"abc", b" {2+}\r\nde\r\nA4 NOOP\r\n")
    frame = peer.frame(peer.append)
    assert frame.text == b"A003 APPEND x (\\Seen) {3}\r\n {2+}\r\n"
    assert frame.staged == {27: b"abc", 34: b"de"}
    assert frame.failure is None
    assert peer.sent == b"+ OK\r\n"
    assert [sink.log for sink in peer.sinks] == [["write", "finish"]] * 2
    assert frame.sinks == tuple(peer.sinks)
    assert peer.frame().text == b"A4 NOOP"


def test_what_was_streamed_before_is_known_when_the_next_literal_is_offered():
    peer = Peer(b"a APPEND x {1+}\r\na {1+}\r\nb\r\n")
    seen = []

    def begin(text, size, synchronizing):
        seen.append(dict(peer.reader.staged))
        return Sink()

    peer.frame(begin)
    assert seen == [{}, {17: b"a"}]


def test_pieces_are_passed_on_as_they_arrive():
    peer = Peer(b"a APPEND x {200000+}\r\n", b"x" * 150_000, b"x" * 50_000 + b"\r\n", limits=Limits())
    sink = Sink()
    peer.frame(lambda *offer: sink)
    assert sink.log == ["write"] * 4 + ["finish"]
    assert len(sink.data) == 200_000


@pytest.mark.parametrize("refusal", [BadSyntax("no"), Refused("no", "TRYCREATE"), StorageError(Reason.NOT_FOUND, "no")])
def test_a_refused_synchronizing_literal_ends_its_command(refusal):
    def begin(text, size, synchronizing):
        raise refusal

    peer = Peer(b"a APPEND x {3}\r\nb NOOP\r\n")
    frame = peer.frame(begin)
    assert (frame.text, frame.failure) == (b"a APPEND x {3}\r\n", refusal)
    assert peer.sent == b""
    assert peer.frame().text == b"b NOOP"


def test_a_refused_non_synchronizing_literal_is_never_parsed():
    # RFC 7888 4; what an attacker put into the literal must not run.
    peer = Peer(
        b"a APPEND x {6000+}\r\nz DELETE INBOX\r\n", b"y" * 5984, b" {3+}\r\nabc\r\nb NOOP\r\n", limits=Limits()
    )
    frame = peer.frame(peer.append)
    assert frame.failure.code == "TOOBIG"
    assert peer.frame(peer.append).text == b"b NOOP"
    assert peer.sent == b""


def test_behind_a_refused_literal_a_synchronizing_one_is_not_asked_for():
    peer = Peer(b"a APPEND x {6000+}\r\n" + b"y" * 6000 + b" {3}\r\nb NOOP\r\n", limits=Limits())
    assert peer.frame(peer.append).failure.code == "TOOBIG"
    assert peer.frame().text == b"b NOOP"
    assert peer.sent == b""
    assert len(peer.offers) == 1


@pytest.mark.parametrize(
    "stream",
    [
        b"a X {2001+}\r\n",
        b"a X {99999999999999999999999+}\r\n",
        b"a X {9223372036854775808+}\r\n",
        b"a X {1500+}\r\n" + b"x" * 1500 + b" {600+}\r\n",
        b"x" * 2500,
    ],
)
def test_who_announces_too_much_is_told_bye(stream):
    peer = Peer(stream)
    with pytest.raises(Disconnected):
        peer.frame()
    assert peer.sent.startswith(b"* BYE [TOOBIG] ")


@pytest.mark.parametrize("digits", [b"99999999999999999999999", b"9223372036854775808", b"301"])
def test_a_synchronizing_literal_that_is_too_large_is_only_refused(digits):
    peer = Peer(b"a X {" + digits + b"}\r\nb NOOP\r\n")
    failure = peer.frame().failure
    assert isinstance(failure, BadSyntax)
    assert failure.code == "TOOBIG"
    assert peer.frame().text == b"b NOOP"


@pytest.mark.parametrize(
    "stream, kept",
    [
        (b"a " + b"x" * 99, b"a " + b"x" * 98),
        (b"a " + b"x" * 1000, b"a " + b"x" * 98),
        (b"a " + b"x" * 1000 + b" {5+}\r\nb Y\r\n", b"a " + b"x" * 98),  # the literal goes with its line
        (b"a " + b"x" * 1000 + b" {5}", b"a " + b"x" * 98),
        (b"a {2+}\r\nhi" + b"x" * 1000, b"a {2+}\r\nhi" + b"x" * 100),
    ],
)
def test_a_line_that_is_too_long(stream, kept):
    peer = Peer(stream + b"\r\nb NOOP\r\n")
    frame = peer.frame()
    assert frame.text == kept
    assert frame.failure.code == "TOOBIG"
    assert peer.frame().text == b"b NOOP"
    assert peer.sent == b""


def test_lines_and_limits_to_the_octet():
    assert Peer(b"x" * 100 + b"\r\n").frame().failure is None
    assert Peer(b"x" * 101 + b"\r\n").frame().failure is not None
    assert Peer(b"x" * 101 + b"\n").frame().failure is not None
    assert Peer(b"a {286+}\r\n" + b"x" * 286 + b"\r\n").frame().failure is None
    assert Peer(b"a {289+}\r\n" + b"x" * 289 + b"\r\n").frame().failure is not None
    assert Peer(b"a {290+}\r\n" + b"x" * 290 + b"\r\n").frame().failure is not None


def test_all_lines_and_kept_literals_together_are_limited():
    peer = Peer(b"a {90+}\r\n" + (b"x" * 90 + b" {90+}\r\n") * 3 + b"x" * 90 + b"\r\nb NOOP\r\n")
    assert peer.frame().failure.code == "TOOBIG"
    assert peer.frame().text == b"b NOOP"


def test_streamed_literals_do_not_count_against_the_size_of_a_command():
    peer = Peer(b"a {4000+}\r\n" + b"x" * 4000 + b" {4000+}\r\n" + b"x" * 4000 + b"\r\n")
    assert peer.frame(peer.append).failure is None


def test_before_login_everything_is_small():
    assert Peer(b"x" * 41 + b"\r\n", authenticated=False).frame().failure is not None
    assert Peer(b"a {160+}\r\n" + b"x" * 160 + b"\r\n", authenticated=False).frame().failure is not None
    with pytest.raises(Disconnected):
        Peer(b"a {301+}\r\n", authenticated=False).frame()


def test_literal_minus():
    # RFC 7888 5
    def stream(size, plus):
        return b"a APPEND x {%d%b}\r\n" % (size, plus) + b"x" * size + b"\r\nb NOOP\r\n"

    for size, plus, accepted in ((4096, b"+", True), (4097, b"+", False), (4097, b"", True)):
        peer = Peer(stream(size, plus), limits=Limits(), literal_minus=True)
        frame = peer.frame(peer.append)
        assert (frame.failure is None) == accepted
        if not accepted:
            assert isinstance(frame.failure, BadSyntax)
            assert frame.failure.code == "TOOBIG"
        assert peer.frame().text == b"b NOOP"


def test_a_full_disk_while_a_message_arrives():
    peer = Peer(b"a APPEND x {4000}\r\n", b"x" * 2000, b"x" * 2000 + b"\r\nb NOOP\r\n")
    sink = Sink(full_after=1000)
    frame = peer.frame(lambda *offer: sink)
    assert frame.failure.reason is Reason.NO_SPACE
    assert sink.log == ["write", "abort"]
    assert frame.sinks == ()
    assert peer.frame().text == b"b NOOP"


def test_a_failure_in_the_second_message_undoes_the_first():
    peer = Peer(b"a APPEND x {3+}\r\nabc {3+}\r\ndef {3}\r\nb NOOP\r\n")
    sinks = [Sink(), Sink(finish_fails=True)]
    waiting = list(sinks)
    frame = peer.frame(lambda *offer: waiting.pop(0))
    assert frame.failure.reason is Reason.OVER_QUOTA
    assert [sink.log for sink in sinks] == [["write", "finish", "abort"]] * 2
    assert peer.frame().text == b"b NOOP"
    assert peer.sent == b""


def test_streamed_literals_are_counted():
    stream = b"a APPEND x" + b" {1+}\r\ny" * 1001 + b"\r\nb NOOP\r\n"
    peer = Peer(stream, limits=Limits())
    frame = peer.frame(peer.append)
    assert frame.failure.code == "MESSAGELIMIT 1000"  # RFC 9738 3.1
    assert [sink.log[-1] for sink in peer.sinks] == ["abort"] * 1001
    assert peer.frame().text == b"b NOOP"


def test_literals_of_one_message_go_to_one_sink():
    peer = Peer(b"a APPEND x CATENATE (TEXT {1+}\r\ny TEXT {1+}\r\nz)" + b" {1+}\r\ny" * 999 + b"\r\n", limits=Limits())
    sinks = [Sink() for _ in range(1000)]
    waiting = [sinks[0], *sinks]
    frame = peer.frame(lambda *offer: waiting.pop(0))
    assert frame.failure is None and frame.sinks == tuple(sinks)
    assert sinks[0].log == ["write", "finish"] * 2


def test_a_lost_connection_aborts():
    peer = Peer(b"a APPEND x {3+}\r\nabc {3+}\r\nd")
    with pytest.raises(Disconnected):
        peer.frame(peer.append)
    assert [sink.log for sink in peer.sinks] == [["write", "finish", "abort"], ["write", "abort"]]


def test_a_bug_in_a_sink_aborts_too():
    class Broken(Sink):
        def write(self, data):
            raise ZeroDivisionError

    sink = Broken()
    with pytest.raises(ZeroDivisionError):
        Peer(b"a APPEND x {3+}\r\nabc\r\n").frame(lambda *offer: sink)
    assert sink.log == ["abort"]


def test_an_announcement_costs_no_memory():
    peer = Peer(b"a APPEND x {50000000}\r\n", b"x", limits=Limits())
    tracemalloc.start()
    try:
        with pytest.raises(Disconnected):
            peer.frame(lambda *offer: Sink())
        with pytest.raises(Disconnected):
            Peer(b"a X {1000000}\r\n", b"x", limits=Limits()).frame()
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_lines_of_a_continuation():
    peer = Peer(b"a AUTHENTICATE PLAIN\r\n", b"AGFs", b"aWNl\r\n\r\nDO", b"NE\nb NOOP\r\n")
    peer.frame()
    assert [peer.reader.read_line() for _ in range(3)] == [b"AGFsaWNl", b"", b"DONE"]
    assert peer.frame().text == b"b NOOP"


def test_a_continuation_that_is_too_long():
    peer = Peer(b"x" * 150, b"x" * 150 + b"\r\nDONE\r\n")
    with pytest.raises(BadSyntax) as failure:
        peer.reader.read_line()
    assert failure.value.code == "TOOBIG"
    assert peer.reader.read_line() == b"DONE"
    with pytest.raises(Disconnected):
        Peer(b"x" * 3000).reader.read_line()


def test_buffered_and_discard():
    peer = Peer(b"a STARTTLS\r\nb LOGIN x y\r\n", b"\r\n")
    assert not peer.reader.buffered
    peer.frame()
    assert peer.reader.buffered == 13
    peer.reader.discard()  # RFC 9051 6.2.1
    assert not peer.reader.buffered
    with pytest.raises(Disconnected):
        peer.frame()


def test_empty_lines_are_not_buffered_commands():
    peer = Peer(b"a NOOP\r\n\r\n\n")
    peer.frame()
    assert not peer.reader.buffered


WORDS = [
    b"a X ",
    b"b ",
    b"\r\n",
    b"\n",
    b"\r",
    b"{3}",
    b"{3+}\r\n",
    b"{3}\r\n",
    b"~{4+}\r\n",
    b"{90+}\r\n",
    b"{900+}\r\n",
    b"{5000+}\r\n",
    b"{9999999999999999999999+}\r\n",
    b"abc",
    b"x" * 60,
    b"x" * 150,
    b'"',
    b"\0",
]


def cut(stream, places):
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), max_size=25).map(b"".join),
    st.lists(st.integers(0, 5000)),
    st.booleans(),
    st.booleans(),
)
def test_a_stream_cut_anywhere_gives_the_same_frames(stream, places, streams, literal_minus):
    def frames(chunks):
        peer = Peer(*chunks, literal_minus=literal_minus)
        return peer.all_frames(peer.append if streams else None), peer.sent, [sink.log[-1:] for sink in peer.sinks]

    whole = frames([stream])
    assert frames(cut(stream, places)) == whole
    assert frames([stream[place : place + 1] for place in range(len(stream))]) == whole


@given(st.binary(max_size=300))
def test_any_octets_end_in_frames(stream):
    for value in Peer(stream).all_frames()[:-1]:
        assert b"\n" not in value[0] or b"}\r\n" in value[0]


def test_a_line_that_comes_octet_by_octet_is_searched_once():
    size = 60_000
    peer = Peer(*[b"x"] * size, b"\n", limits=Limits())
    assert len(peer.frame().text) == size
