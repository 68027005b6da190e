"""The messages of one APPEND or REPLACE: they are written where they will lie, from their first octet on.

A text that still arrives is read as far as it goes (`append_data.Walk`), whenever a literal is announced: what stands
before that literal is done by then, the parts that URLs tell of included. So a URL that leads nowhere is refused before
the client sends what stands behind it (RFC 4469 A, example 4), and the parts of a message come in their order. Whatever
fails takes all messages of the command away; what is left when it is over, too.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import rights
from greenmail.imap.append_data import Begin, End, Text, Token, Url, Walk
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import catenate
from greenmail.imap.ext.binary import BinaryUpload, TextCheck
from greenmail.imap.ext.utf8_accept import HeaderCheck, header_check
from greenmail.imap.framing import check_number
from greenmail.imap.response import LIMIT, TOOBIG
from greenmail.imap.session import Session
from greenmail.storage.api import Mailbox, Rights, Upload

MAX_TOKENS = 10_000  # of one command: its parts, beginnings and ends of messages

Freed = Callable[[str], tuple[int, int]]


class Incoming:
    """The messages of one command."""

    def __init__(self, session: Session, name: str, freed: Freed | None = None) -> None:
        """For the mailbox `name`. With `freed` there is one message: `freed(name)` is what goes in exchange for it."""
        self._session = session
        self._name = name
        self._freed = freed
        self._messages: list[Streamed] = []
        self._target: tuple[Mailbox, Rights] | None = None  # where they go, and what the user may do there
        self._asked = 0  # `Reader.receipts` when it was asked what he may do
        self._sources = catenate.Sources(session)
        self._walk = Walk()  # where it stands behind the last literal
        self._done = 0  # tokens

    def announced(self, cur: Cursor, size: int) -> "Streamed | None":
        """What takes the literal at the end of the text, `cur` being behind the last one; None: it is a URL."""
        walk = Walk(self._walk.is_catenating, self._walk.is_utf8)
        tokens = list(walk.tokens(cur, is_whole=False))
        if not tokens or not isinstance(tokens[-1], Text):
            return None
        is_taken = False
        try:
            for token in tokens[:-1]:
                self._do(token)
            self._count()
            self._messages[-1].announced(tokens[-1], size)
            is_taken = True
        finally:
            if not is_taken:
                self.abort()
        self._walk = walk
        return self._messages[-1]

    def complete(self, tokens: Sequence[Token]) -> list["Streamed"]:
        """All messages, now that the text is whole; `tokens` are all of it. Give them back by `abort`, saved or not."""
        for token in tokens[self._done :]:
            self._do(token)
        return self._messages

    def granted(self) -> Rights:
        """What the user may do where the messages go, now that they are there. Raises NOT_FOUND, NO_PERMISSION.

        A message may be on its way for long; of one that was there at once it was asked just now.
        """
        if self._target is not None and self._asked == self._session.reader.receipts:
            return self._target[1]
        return rights.granted(self._session, self._name, "i")

    def abort(self) -> None:
        """Remove what was not saved, and give back the mailbox. Does nothing the second time."""
        target, self._target = self._target, None
        if target is None:
            return
        with ExitStack() as everything:  # each is tried, whatever becomes of the others
            for message in self._messages:
                everything.callback(message.discard)
            everything.callback(self._sources.close)
            everything.callback(target[0].close)

    def _do(self, token: Token) -> None:
        self._count()
        match token:
            case Begin():
                self._begin(token)
            case Url(octets):
                self._sources.write(octets, self._messages[-1])
            case End():
                self._messages[-1].complete()
            case Text():
                raise AssertionError("a literal that was not streamed")

    def _count(self) -> None:
        self._done += 1
        if self._done > MAX_TOKENS:
            raise Refused("the command has too many parts", LIMIT)

    def _begin(self, token: Begin) -> None:
        if self._freed is not None and self._messages:
            raise BadSyntax("there can be one message only")  # RFC 8508 4.7
        check_number(self._session.limits, len(self._messages) + 1)
        if self._target is None:
            opened, _, granted = rights.open_target(self._session, self._name)
            self._target, self._asked = (opened, granted), self._session.reader.receipts
        mailbox, mine = self._target
        upload = mailbox.upload(self._freed(self._name) if self._freed is not None else (0, 0))
        # RFC 4314 4: flags that he may not set are not refused, but lost.
        upload.flags, upload.date = rights.settable(mine, token.flags), token.date
        self._messages.append(Streamed(self._session, self, mailbox, upload, token.is_catenated))


class Streamed:
    """A message on its way: the sink of each of its literals."""

    def __init__(
        self, session: Session, incoming: Incoming, mailbox: Mailbox, upload: Upload, is_catenated: bool
    ) -> None:
        self.incoming = incoming
        self.mailbox = mailbox
        self.upload = upload
        self._session = session
        self._is_catenated = is_catenated
        self._size = 0  # octets that came or were announced
        self._binary: BinaryUpload | None = None  # of a message that begins with a literal8
        self._header: HeaderCheck | None = header_check(session)
        self._text: TextCheck | None = None  # of a literal8 elsewhere
        self._has_begun = False
        self._is_open = True

    def announced(self, token: Text, size: int) -> None:
        """A literal of so many octets comes."""
        if not self._is_catenated and size == 0:  # RFC 3502 6.3.11: so a client cancels
            raise Refused("a message without any octet is not taken; nothing was appended")
        is_first = not self._has_begun
        self.expect(size)
        if token.is_binary and is_first:
            self._binary = BinaryUpload(self._session, self.upload)
        elif token.is_binary and self._binary is None:
            self._text = TextCheck()

    def expect(self, size: int) -> None:
        """So many octets more belong to it. Raises Refused if these are too many."""
        most = self._session.limits.max_request_size
        self._has_begun = True
        self._size += size
        if self._size > most:  # RFC 4469 4.2
            raise Refused(f"a message may have {most} octets at most", TOOBIG)

    def write(self, data: bytes) -> None:
        """The next octets, of a literal or of what a URL means; at most 64 KiB. Raises StorageError."""
        if self._header is not None:
            self._header.feed(data)
        if self._text is not None:
            self._text.feed(data)
        (self._binary or self.upload).write(data)

    def finish(self) -> "Streamed":
        """A literal is complete."""
        if self._text is not None:
            self._text.end()
            self._text = None
        if not self._is_catenated:
            self.complete()
        return self

    def complete(self) -> None:
        """All of it has come."""
        if not self._size:
            raise Refused("a message without any octet is not taken; nothing was appended")
        if self._header is not None:
            self._header.end()
        if self._binary is not None:
            self._binary.finish()

    def abort(self) -> None:
        """All messages of a command stay or go together."""
        self.incoming.abort()

    def discard(self) -> None:
        """Remove it, unless it was saved."""
        if self._is_open:
            self._is_open = False
            if self._binary is not None:
                self._binary.abort()
            self.upload.abort()
