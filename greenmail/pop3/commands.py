"""The commands: RFC 1939 5 to 7, RFC 2449 (CAPA), RFC 2595 4 (STLS), RFC 5034 (AUTH), RFC 6856 2 (UTF8; 3, LANG).

A message is sent as it is. A server that offers UTF8 must not send one with octets beyond ASCII in its header to a
client that does not use it (RFC 6856 2.1, 5), and mail that cannot be fetched is mail lost to its reader: so UTF8 is a
setting, `utf8-accept`, as it is in IMAP. docs/decisions/0014 says why it is not on from the start.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from greenmail import __version__, metrics
from greenmail.errors import BadSyntax, Refused
from greenmail.language import choice
from greenmail.message.content import BytesContent
from greenmail.pop3 import login
from greenmail.pop3.framing import DotStuffer
from greenmail.pop3.maildrop import SYS_PERM, Maildrop
from greenmail.pop3.session import SYS_TEMP, TRACE, UTF8, Session, leave
from greenmail.storage.api import Content
from greenmail.transcript import MOST_TEXT

log = logging.getLogger(__name__)

HEAD = 8192  # most headers fit into this
SLICE = 65536  # octets of a message that are read and sent at once
_AT_A_STRETCH = 16  # unique ids, for each of which a header may have to be read
_SECRET = frozenset(("PASS", "AUTH", "APOP"))


@dataclass(frozen=True, slots=True)
class Command:
    """`arguments` is None for one that takes the rest of the line as it stands."""

    run: Callable[[Session, bytes], None]
    before_login: bool
    after_login: bool
    arguments: tuple[int, int] | None = (0, 0)  # how many, at least and at most


def execute(session: Session, line: bytes) -> None:
    """Carry out one command and write its response. Raises BadSyntax, Refused, StorageError."""
    word, _, rest = line.partition(b" ")
    name = word.upper().decode("latin-1")
    command = COMMANDS.get(name)
    if command is None:
        raise BadSyntax("unknown command")
    session.command = name
    session.step = word.upper() + (b" ..." if name in _SECRET else line[len(word) :][:MOST_TEXT])
    session.transcript.begin(name)
    if session.tap is not None:
        session.tap.client(session.step)
    if log.isEnabledFor(TRACE):
        log.log(TRACE, "command sid=%s name=%s arguments=%r", session.sid, name, b"..." if name in _SECRET else rest)
    if session.maildrop is None and not command.before_login:
        raise BadSyntax("log in first")
    if session.maildrop is not None and not command.after_login:
        raise BadSyntax("already logged in")
    if command.arguments is not None:
        rest = rest.strip(b" \t")
        least, most = command.arguments
        if not least <= len(rest.split()) <= most:
            raise BadSyntax("wrong number of arguments")
    command.run(session, rest)


def _maildrop(session: Session) -> Maildrop:
    assert session.maildrop is not None, "the table says: after login"
    return session.maildrop


def _number(argument: bytes) -> int:
    digits = argument.lstrip(b"0") or argument[-1:]
    if not digits.isdigit() or len(digits) > 10:
        raise BadSyntax("this is not a number")
    return int(digits)


def _message(maildrop: Maildrop, argument: bytes) -> int:
    return maildrop.require(_number(argument))


def run_capa(session: Session, argument: bytes) -> None:
    """RFC 2449 5."""
    session.lines("Capability list follows", capabilities(session))


def capabilities(session: Session) -> Iterator[bytes]:
    """What is true now: before and after TLS and login."""
    yield from (
        b"TOP",
        b"UIDL",
        b"RESP-CODES",
        b"AUTH-RESP-CODE",
        b"PIPELINING",
        b"EXPIRE NEVER",
        b"LANG",
    )
    if session.services.utf8_accept:
        yield b"UTF8 USER"
    if session.limits.pop3_login_delay:
        yield b"LOGIN-DELAY %d" % session.limits.pop3_login_delay
    if session.maildrop is None and session.wire.can_start_tls and not session.utf8:
        yield b"STLS"
    if session.logins.is_private:
        yield b"USER"
    mechanisms = login.offered(session)
    if mechanisms:
        yield b"SASL " + " ".join(mechanisms).encode()
    if session.maildrop is not None:  # RFC 2449 6.9: not to everybody
        yield b"IMPLEMENTATION GreenMail-" + __version__.encode()


def run_stls(session: Session, argument: bytes) -> None:
    """RFC 2595 4: what came before the handshake is forgotten, what was sent ahead of it too."""
    if session.wire.secure:
        raise BadSyntax("TLS is in use already")
    if session.utf8:
        raise BadSyntax("STLS comes before UTF8")  # RFC 6856 2.1
    if not session.wire.can_start_tls:
        raise Refused("TLS is not available here", SYS_PERM)
    session.ok("Begin TLS negotiation")
    session.reader.discard()
    session.wire.start_tls()
    session.reader.discard()
    session.name = None


def run_utf8(session: Session, argument: bytes) -> None:
    """RFC 6856 2.1."""
    if not session.services.utf8_accept:
        raise BadSyntax("UTF8 is not offered here")
    session.utf8 = True
    session.ok("UTF8 enabled")


def run_lang(session: Session, argument: bytes) -> None:
    """RFC 6856 3.2: a language range, "*" for the one that is preferred here, or nothing for a list."""
    if not argument:
        session.lines("Language listing follows", [f"{tag} {name}".encode() for tag, name in choice.NAMES.items()])
        return
    wanted = argument.decode("latin-1")
    tag = choice.chosen([wanted], session.services.preferred_language) if choice.is_range(wanted) else None
    if tag is None:
        raise Refused("this language is not spoken here")
    session.language = tag
    session.ok(f"{tag} {choice.translated('This is what is spoken here', tag)}")


def run_noop(session: Session, argument: bytes) -> None:
    session.ok("NOOP")


def run_stat(session: Session, argument: bytes) -> None:
    """Messages marked as deleted do not count. RFC 1939 5."""
    maildrop = _maildrop(session)
    session.ok(f"{maildrop.count} {maildrop.octets}")


def run_list(session: Session, argument: bytes) -> None:
    """Numbers and sizes, of one message or of all that are not marked as deleted. RFC 1939 5."""
    maildrop = _maildrop(session)
    if argument:
        number = _message(maildrop, argument)
        session.ok(f"{number} {maildrop.size(number)}")
        return
    session.pieces(f"{maildrop.count} messages ({maildrop.octets} octets)", maildrop.listing())


def run_uidl(session: Session, argument: bytes) -> None:
    """RFC 1939 7."""
    maildrop = _maildrop(session)
    if argument:
        number = _message(maildrop, argument)
        session.ok(f"{number} {maildrop.unique_id(number)}")
        return
    text = "Unique ids follow"
    pieces = maildrop.unique_ids()
    if pieces is not None:
        _watch_ids(session, maildrop, maildrop.unique_id)
        session.pieces(text, pieces)
        return
    ids: dict[int, str] = {}  # all of them first: after the first line an error could not be told any more
    for number in maildrop.numbers():
        ids[number] = maildrop.unique_id(number)
        if len(ids) % _AT_A_STRETCH == 0:
            session.services.runtime.breathe()
    _watch_ids(session, maildrop, ids.__getitem__)
    session.lines(text, [f"{number} {unique_id}".encode("ascii") for number, unique_id in ids.items()])


def _watch_ids(session: Session, maildrop: Maildrop, unique_id: Callable[[int], str]) -> None:
    """Say it loudly if the ids of last time are not the ids of now; once a session."""
    verdict = maildrop.compare_ids(unique_id) if session.figures.uidl == "none" else None
    if verdict is None:
        return
    session.figures.uidl = str(verdict)
    if verdict.changed:
        metrics.uidl_changed()
        log.warning(
            "pop3-uidl-changed sid=%s user=%r changed=%d of=%d: clients that leave mail here download it again",
            session.sid, session.user.name if session.user else "", verdict.changed, verdict.known,
        )  # fmt: skip


def run_retr(session: Session, argument: bytes) -> None:
    """The whole message, in slices; at QUIT it will be \\Seen."""
    maildrop = _maildrop(session)
    number = _message(maildrop, argument)
    octets = maildrop.short(number)
    sent = _send_short(session, octets) if octets is not None else _send(session, maildrop.content(number))
    if sent != maildrop.size(number):  # a file name may lie about its size, `formats.md` 1.4
        log.warning("wrong size sid=%s uid=%d told=%d", session.sid, maildrop.uids[number - 1], sent)
        maildrop.correct(number, sent)
    maildrop.retrieved(number)
    session.figures.retrieved += 1
    session.figures.retrieved_octets += sent


def _send_short(session: Session, octets: bytes) -> int:
    """The whole message, which is in memory: how many octets it has."""
    if _asks_for_utf8(session):
        _header_end(BytesContent(octets), only_ascii=True)
    session.start_answer(f"{len(octets)} octets")
    stuffer = DotStuffer()
    session.write(stuffer.feed(octets))
    session.end_answer(stuffer)
    return len(octets)


def _send(session: Session, content: Content) -> int:
    """The same in slices."""
    try:
        if _asks_for_utf8(session):
            _header_end(content, only_ascii=True)
        first = content.read(0, SLICE)  # before the first word: an error can still be told
        content.check()
        session.start_answer(f"{content.size} octets")
        stuffer = DotStuffer()
        sent = 0
        for piece in _pieces(session, content, first):
            session.write(stuffer.feed(piece))
            sent += len(piece)
        session.end_answer(stuffer)
        return sent
    finally:
        content.close()


def _pieces(session: Session, content: Content, first: bytes) -> Iterator[bytes]:
    """The message in slices; `first` is the first of them. Big messages stay out of memory."""
    piece, place = first, 0
    while piece:
        yield piece
        place += len(piece)
        session.services.runtime.breathe()
        piece = content.read(place, place + SLICE)


def run_top(session: Session, argument: bytes) -> None:
    """RFC 1939 7: the header, the empty line, and so many lines of the body."""
    maildrop = _maildrop(session)
    message, lines = argument.split()
    number, wanted = _message(maildrop, message), _number(lines)
    content = maildrop.content(number)
    try:
        body = _header_end(content, only_ascii=_asks_for_utf8(session))
        session.start_answer("Top of message follows")
        stuffer = DotStuffer()
        for place in range(0, body, SLICE):
            session.write(stuffer.feed(content.read(place, min(place + SLICE, body))))
        _send_lines(session, content, body, wanted, stuffer)
        session.end_answer(stuffer)
    finally:
        content.close()
    session.figures.tops += 1


def _asks_for_utf8(session: Session) -> bool:
    """Whether mail with UTF-8 in its header is for clients that use UTF8 alone, and this is none. RFC 6856 2.1."""
    return session.services.utf8_accept and not session.utf8


def _header_end(content: Content, only_ascii: bool) -> int:
    """The offset behind the empty line that ends the header; a header may be too large to be held in memory.

    Raises Refused for octets beyond ASCII in it where there may be none. RFC 6856 5.
    """
    place, tail, step = 0, b"\r\n", HEAD
    while piece := content.read(place, place + step):
        found = (tail + piece).find(b"\r\n\r\n")
        if only_ascii and not (piece if found < 0 else (tail + piece)[:found]).isascii():
            raise Refused("the message has UTF-8 in its header: it is for clients that use UTF8", UTF8)
        if found >= 0:
            return place - len(tail) + found + 4
        place, tail, step = place + len(piece), (tail + piece)[-3:], SLICE
    return place


def _send_lines(session: Session, content: Content, place: int, wanted: int, stuffer: DotStuffer) -> None:
    while wanted > 0:
        piece = content.read(place, place + SLICE)
        if not piece:
            return
        place += len(piece)
        there = piece.count(b"\n")
        if there >= wanted:
            piece = piece[: len(piece) - len(piece.split(b"\n", wanted)[-1])]
        wanted -= there
        session.write(stuffer.feed(piece))
        session.services.runtime.breathe()


def run_dele(session: Session, argument: bytes) -> None:
    """RFC 1939 5; nothing is removed before QUIT."""
    number = _number(argument)
    _maildrop(session).delete(number)
    session.ok(f"Message {number} deleted")


def run_rset(session: Session, argument: bytes) -> None:
    """RFC 1939 5."""
    maildrop = _maildrop(session)
    maildrop.reset()
    session.ok(f"{maildrop.count} messages ({maildrop.octets} octets)")


def run_quit(session: Session, argument: bytes) -> None:
    """RFC 1939 6: only here are messages removed; the maildrop is free again before the client hears of it."""
    session.logging_out = True
    maildrop = session.maildrop
    if maildrop is None:
        session.ok("Goodbye")
        return
    marked = len(maildrop.deleted)
    try:
        left = maildrop.update()
    finally:
        leave(session)
    session.figures.removed = marked - left
    if left:
        raise Refused("some deleted messages were not removed", SYS_TEMP)
    session.ok("Goodbye")


COMMANDS = {
    "CAPA": Command(run_capa, before_login=True, after_login=True),
    "QUIT": Command(run_quit, before_login=True, after_login=True),
    "STLS": Command(run_stls, before_login=True, after_login=False),
    "UTF8": Command(run_utf8, before_login=True, after_login=False),
    "LANG": Command(run_lang, before_login=True, after_login=True, arguments=(0, 1)),
    "USER": Command(login.run_user, before_login=True, after_login=False, arguments=None),
    "PASS": Command(login.run_pass, before_login=True, after_login=False, arguments=None),
    "APOP": Command(login.run_apop, before_login=True, after_login=False, arguments=(2, 2)),
    "AUTH": Command(login.run_auth, before_login=True, after_login=False, arguments=(0, 2)),
    "NOOP": Command(run_noop, before_login=False, after_login=True),
    "STAT": Command(run_stat, before_login=False, after_login=True),
    "LIST": Command(run_list, before_login=False, after_login=True, arguments=(0, 1)),
    "UIDL": Command(run_uidl, before_login=False, after_login=True, arguments=(0, 1)),
    "RETR": Command(run_retr, before_login=False, after_login=True, arguments=(1, 1)),
    "TOP": Command(run_top, before_login=False, after_login=True, arguments=(2, 2)),
    "DELE": Command(run_dele, before_login=False, after_login=True, arguments=(1, 1)),
    "RSET": Command(run_rset, before_login=False, after_login=True),
}
