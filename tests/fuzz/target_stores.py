"""The same mail in a Maildir and in memory, the same commands: the same answers, from cold caches, warm ones and none.

    input    = how commands %xF9.F9.F9 message *(%xFE.FE message)
    how      = octet              ; bits: how the messages come there, and which way SEARCH goes
    commands = *octet             ; each takes one out of COMMANDS; some take the next octet as well

So commands are always such as both stores understand, and the messages are anything.
"""

import gzip
import logging
import os
import re
from pathlib import Path

from fuzz.place import fresh
from harness.engine import Backend, Engine, deliver, memory_backend, remove
from harness.green import Scheduler
from harness.response_grammar import responses
from harness.stores import maildir_maker
from harness.wire import MemoryWire

from greenmail.imap import search_run
from greenmail.message.content import to_crlf

logging.disable(logging.CRITICAL)

LEAST = search_run.LEAST
MOST = 3  # messages
DATE = 1_700_000_000
SETS = (b"1:*", b"1", b"2", b"*", b"1,3", b"3:2")
ITEMS = (
    b"(UID FLAGS INTERNALDATE RFC822.SIZE)", b"(ENVELOPE)", b"(BODYSTRUCTURE BODY)", b"(PREVIEW)", b"BODY.PEEK[]",
    b"(UID ENVELOPE BODYSTRUCTURE PREVIEW RFC822.SIZE)", b"BODY.PEEK[HEADER]", b"BODY.PEEK[TEXT]", b"BODY.PEEK[1]",
    b"(BODY.PEEK[HEADER.FIELDS (Subject From Date)])", b"(BODY.PEEK[HEADER.FIELDS.NOT (Subject)])", b"BODY[1.MIME]",
    b"(UID BODY.PEEK[HEADER.FIELDS (Content-Type X-Odd List-Id)] FLAGS)", b"BINARY.PEEK[1]", b"BINARY.SIZE[1]",
    b"BODY.PEEK[]<3.10>", b"BODY.PEEK[1.1]", b"BODY.PEEK[2]", b"BODY.PEEK[1.TEXT]", b"(RFC822.HEADER RFC822.SIZE)",
    b"BODY.PEEK[2.HEADER]", b"BINARY.PEEK[2]<0.20>", b"(BODY[1] FLAGS)", b"FULL", b"ALL", b"BODY.PEEK[1.2.MIME]",
)  # fmt: skip
KEYS = (
    b"ALL", b"UNSEEN", b"SUBJECT a", b"FROM a", b"TO x", b"BODY a", b"TEXT re", b"TEXT =", b'HEADER X-Odd ""',
    b"KEYWORD kw",
    b"SENTSINCE 1-Jan-2000", b"SENTBEFORE 1-Jan-2000", b"SENTON 1-Jan-2024", b"LARGER 20", b"SMALLER 50", b"NOT TEXT a",
    b"OR BODY x SUBJECT re", b'BODY "x y"', b"BODY boundary", b'HEADER Subject "Re: "', b"SINCE 1-Jan-2024",
    b"TEXT {2+}\r\n\xc3\xa9", b"RETURN (MIN MAX COUNT) ALL", b"CC a", b"BCC a", b"NOT DELETED",
)  # fmt: skip
COMMANDS = (
    *(b"FETCH %b " + item for item in ITEMS),
    *(b"SEARCH " + key for key in KEYS),
    b"SORT (SUBJECT) UTF-8 ALL", b"SORT (FROM REVERSE DATE) UTF-8 ALL", b"SORT (TO CC SIZE ARRIVAL) US-ASCII ALL",
    b"SORT (DISPLAYFROM DISPLAYTO) UTF-8 ALL", b"THREAD REFERENCES UTF-8 ALL", b"THREAD ORDEREDSUBJECT UTF-8 ALL",
    b"STORE %b +FLAGS (\\Deleted)", b"STORE %b -FLAGS (\\Seen kw)", b"STORE %b FLAGS (\\Flagged kw)", b"NOOP",
    b"STORE %b +FLAGS.SILENT (\\Seen $Junk)", b"EXPUNGE", b"UID FETCH 1:* (FLAGS)", b"COPY %b copies",
    b"MOVE %b copies",
    b"STATUS copies (MESSAGES UIDNEXT UNSEEN SIZE DELETED)", b"UID EXPUNGE 2", b"SEARCH UID 1:2 UNSEEN", b"NOOP",
    b"COMPARATOR i;octet", b"COMPARATOR i;ascii-casemap", b"COMPARATOR i;unicode-casemap", b"SEARCH FUZZY TEXT subject",
    b"SEARCH FUZZY SUBJECT message", b"SEARCH MODSEQ 1", b"UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE 1)",
    b"UID FETCH 1:* (BODY.PEEK[] FLAGS ENVELOPE)", b"UID SEARCH OR SUBJECT a OR FROM b NOT TO c",
    b"SEARCH SUBJECT re FROM a", b"UID FETCH %b (BODY[TEXT])", b"FETCH %b (MODSEQ EMAILID)",
    b"SEARCH LARGER 1 SINCE 1-Jan-2000 BODY re HEADER List-Id x",
    b"UID FETCH 1:* (BODY[] PREVIEW)", b"SEARCH CHARSET X-NONE TEXT a", b"SEARCH SENTSINCE 1-Jan-2024 SUBJECT a TEXT a",
)  # fmt: skip
AGAIN, WITHOUT_CACHES, OTHER_BOX, GONE = 252, 253, 254, 255  # these octets are not commands of a client
CACHES = ("greenmail.cache", "greenmail.index", "greenmail.log")

_CHANGES = re.compile(rb"(MODSEQ \(?|UIDVALIDITY |COPYUID |APPENDUID |UNSEEN )[0-9]+|\([FMT][0-9A-Za-z_-]+\)")
_RECENT = re.compile(rb"\* [0-9]+ RECENT\r\n| ?\\Recent|\* OK \[PERMANENTFLAGS [^\r]*\r\n|\* FLAGS [^\r]*\r\n")


class Side:
    """One of the stores, with one client."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.box = b"INBOX"
        self.backend: Backend | None = None
        self.begin()

    def begin(self) -> None:
        """A server that has just been started; of a store in memory the mail stays."""
        scheduler = Scheduler()
        if self.directory is not None:
            self.backend = maildir_maker(self.directory)(scheduler)
        elif self.backend is None:
            self.backend = memory_backend(scheduler)
        self.engine = Engine(scheduler, self.backend)
        self.wire: MemoryWire | None = None

    def end(self) -> None:
        if self.wire is not None:
            self.wire.hang_up()
            self.engine.talk(self.wire, b"")
        self.wire = None

    def say(self, line: bytes) -> bytes:
        if self.wire is None:
            self.wire = self.engine.login()
            self.engine.talk(self.wire, b"s SELECT %b\r\n" % self.box)
        said = self.engine.talk(self.wire, b"a %b\r\n" % line)
        responses(said)
        assert b"SERVERBUG" not in said, said
        return _RECENT.sub(b"", _CHANGES.sub(rb"\1", said))


def _fill(how: int, maildir: Side, memory: Side, messages: list[bytes]) -> None:
    """`how`: bit 0: files that another program has delivered; 1: compressed; 2: with sizes in their names."""
    assert maildir.directory is not None and maildir.backend is not None and memory.backend is not None
    for side in (maildir, memory):
        side.backend.outside.create("copies")
    for number, message in enumerate(messages):
        deliver(memory.backend.outside, "INBOX", [(to_crlf(message), DATE)])
        if not how & 1:
            deliver(maildir.backend.outside, "INBOX", [(to_crlf(message), DATE)])
            continue
        octets = gzip.compress(message, 1, mtime=0) if how & 2 else message
        sizes = f",S={len(message)},W={len(to_crlf(message))}" if how & 4 else ""
        path = maildir.directory / "Maildir" / "new" / f"170000000{number}.M{number}P1.mx{sizes}"
        path.write_bytes(octets)
        os.utime(path, (DATE, DATE))


def check(data: bytes) -> None:
    head, separator, tail = data[1:].partition(b"\xf9\xf9\xf9")
    messages = [message for message in tail.split(b"\xfe\xfe")[:MOST] if message and not _odd(message)]
    if not separator or not messages or len(head) > 60:
        return
    directory = Path(os.fsdecode(fresh()))
    maildir, memory = Side(directory), Side(None)
    _fill(data[0], maildir, memory, messages)
    octets = iter(head)
    for octet in octets:
        if octet in (AGAIN, WITHOUT_CACHES, OTHER_BOX):
            maildir.end()
            memory.end()
            if octet == OTHER_BOX:
                maildir.box = memory.box = b"copies" if maildir.box == b"INBOX" else b"INBOX"
            if octet == WITHOUT_CACHES:
                for cache in CACHES:
                    for path in directory.rglob(cache):
                        path.unlink()
            maildir.begin()
            memory.begin()
            continue
        if octet == GONE:
            uid = next(octets, 0) % MOST + 1
            for side in (maildir, memory):
                remove(side.backend.outside, "INBOX", [uid])
            continue
        line = COMMANDS[octet % len(COMMANDS)]
        if b"%b" in line:
            line = line % SETS[next(octets, 0) % len(SETS)]
        search_run.LEAST = 1 if data[0] & 8 else LEAST  # from how many messages on headers are looked through together
        one = maildir.say(line)
        search_run.LEAST = LEAST
        other = memory.say(line)
        assert one == other, (line, one, other)
    maildir.end()
    memory.end()


def _odd(message: bytes) -> bool:
    """Octets by which a file is taken for a compressed one: `content` tries those."""
    return message[:1] in (b"\x1f", b"B", b"\x28", b"\xfd", b"D") or message[1:4] == b"*M\x18"
