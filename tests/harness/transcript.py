"""The runner of `tests/transcripts`; the format is described in its README."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

DIRECTORY = Path(__file__).parent.parent / "transcripts"
_LINE = re.compile(r"(?P<side>[CS])(?P<number>\d+)(?P<kind>~?:|-:|\|| closed)(?: (?P<text>.*))?$")
_OCTET = re.compile(rb"<%([0-9A-Fa-f]{2})>")
_REPEAT = re.compile(rb"<([^<>])\*(\d+)>")
_NAME = re.compile(rb"<([a-z][a-z0-9_-]*)>")
_ANNOUNCED = re.compile(rb"\{\*(\+?)\}$")
_WILD = re.compile(rb"<([a-z][a-z0-9_-]*)>|\.\.\.")


class Failure(AssertionError):
    """The transcript and the server disagree; the text says where."""


@dataclass(frozen=True)
class Line:
    number: int  # in the file
    side: str  # "C", "S" or "@"
    connection: int
    kind: str  # ":", "~:", "-:", "|", " closed"
    text: bytes
    body: tuple[bytes, ...] = ()  # of @append


class Peers(Protocol):
    """The connections of a transcript, in memory or over sockets."""

    def scene(self, words: list[str], body: bytes) -> None: ...

    def send(self, connection: int, data: bytes) -> None: ...

    def read_line(self, connection: int) -> bytes | None:
        """Without CRLF; None: there is nothing."""

    def unread(self, connection: int) -> bytes: ...

    def opened(self) -> list[int]: ...

    def hang_up(self, connection: int) -> None: ...

    def is_closed(self, connection: int) -> bool: ...


def parse(text: str) -> list[Line]:
    lines: list[Line] = []
    for number, raw in enumerate(text.splitlines(), 1):
        if raw.startswith("| ") or raw == "|":
            last = lines[-1]
            lines[-1] = Line(
                last.number, last.side, last.connection, last.kind, last.text, (*last.body, raw[2:].encode())
            )
        elif raw.startswith("@"):
            lines.append(Line(number, "@", 0, "", raw[1:].encode()))
        elif raw.strip() and not raw.startswith("#"):
            found = _LINE.match(raw)
            if found is None:
                raise Failure(f"line {number}: not a transcript line: {raw!r}")
            text_bytes = (found["text"] or "").encode()
            lines.append(Line(number, found["side"], int(found["number"]), found["kind"], text_bytes))
    return lines


def scenes(text: str) -> set[str]:
    """The words of the `@` lines."""
    return {line.text.split()[0].decode() for line in parse(text) if line.side == "@"}


class Run:
    """One run of one transcript."""

    def __init__(self, text: str, peers: Peers) -> None:
        self._lines = parse(text)
        self._peers = peers
        self._captured: dict[bytes, bytes] = {}

    def run(self) -> None:
        place = 0
        while place < len(self._lines):
            line = self._lines[place]
            group = self._group(place)
            place += len(group)
            try:
                self._step(line, group, place)
            except Failure as failure:
                raise Failure(f"line {line.number}: {failure}") from None
        for connection in self._peers.opened():
            if unread := self._peers.unread(connection):
                raise Failure(f"at the end: connection {connection} also sent\n{unread.decode(errors='replace')}")

    def _group(self, place: int) -> list[Line]:
        """The neighbouring lines which are one packet, or one set in any order."""
        first = self._lines[place]
        sends = first.side == "C" and first.kind != " closed"
        group = [first]
        for line in self._lines[place + 1 :]:
            same = (line.side, line.connection) == (first.side, first.connection)
            joins = line.kind != " closed" if sends else first.kind == "~:" == line.kind
            if not same or not joins:
                break
            group.append(line)
        return group

    def _step(self, line: Line, group: list[Line], after: int) -> None:
        peers = self._peers
        if line.side == "@":
            peers.scene(line.text.decode().split(), b"".join(row + b"\r\n" for row in line.body))
        elif line.side == "C" and line.kind == " closed":
            peers.hang_up(line.connection)
        elif line.side == "C":
            if unread := peers.unread(line.connection):
                raise Failure(f"the server had sent more:\n{unread.decode(errors='replace')}")
            peers.send(line.connection, self._packet(group, after))
        elif line.kind == " closed":
            if unread := peers.unread(line.connection):
                raise Failure(f"the server had sent more:\n{unread.decode(errors='replace')}")
            if not peers.is_closed(line.connection):
                raise Failure(f"connection {line.connection} is still open")
        else:
            self._expect(group)

    def _packet(self, group: list[Line], after: int) -> bytes:
        data = b""
        for index, line in enumerate(group):
            text = self._filled(line.text)
            if line.kind == ":" and _ANNOUNCED.search(text):
                size = self._block_size([*group[index + 1 :], *self._lines[after:]], line.connection)
                text = _ANNOUNCED.sub(rb"{%d\1}" % size, text)
            data += text if line.kind == "-:" else text + b"\r\n"
        return data

    def _block_size(self, following: list[Line], connection: int) -> int:
        size = 0
        for line in following:
            if (line.side, line.connection) != ("C", connection):
                if size:
                    break
            elif line.kind == "|":
                size += len(self._filled(line.text)) + 2
            else:
                break
        return size

    def _filled(self, text: bytes) -> bytes:
        text = _NAME.sub(lambda found: self._captured.get(found[1], found[0]), text)
        return _constant(text)

    def _expect(self, group: list[Line]) -> None:
        wanted = list(group)
        while wanted:
            got = self._peers.read_line(group[0].connection)
            if got is None:
                raise Failure(f"the server sent nothing, expected\n{wanted[0].text.decode(errors='replace')}")
            for line in wanted:
                found = self._pattern(line.text).fullmatch(got)
                if found:
                    self._captured.update({k.replace("__", "-").encode(): v for k, v in found.groupdict().items()})
                    wanted.remove(line)
                    break
            else:
                expected = "\n".join(line.text.decode(errors="replace") for line in wanted)
                raise Failure(f"the server sent\n{got.decode(errors='replace')}\nexpected\n{expected}")

    def _pattern(self, text: bytes) -> re.Pattern[bytes]:
        text = _constant(text)
        pattern, place, named = b"", 0, set()
        for found in _WILD.finditer(text):
            pattern += re.escape(text[place : found.start()])
            place, name = found.end(), found[1]
            group = (name or b"").replace(b"-", b"__")
            if name is None:
                pattern += rb"[^\r\n]*"
            elif name in self._captured:
                pattern += re.escape(self._captured[name])
            elif name in named:
                pattern += b"(?P=" + group + b")"
            else:
                named.add(name)
                pattern += b"(?P<" + group + rb">[^ )\]\r\n]+)"
        return re.compile(pattern + re.escape(text[place:]))


def _constant(text: bytes) -> bytes:
    text = _OCTET.sub(lambda found: bytes([int(found[1], 16)]), text)
    return _REPEAT.sub(lambda found: found[1] * int(found[2]), text)


def files() -> Iterator[Path]:
    return iter(sorted(DIRECTORY.rglob("*.txt")))


def date_time(text: str) -> int:
    """IMAP's date-time as seconds since 1970."""
    return int(datetime.strptime(text.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp())


def value(text: str) -> object:
    """A setting's value as written in a transcript."""
    words: dict[str, object] = {"true": True, "false": False}
    if text.startswith("{"):
        return json.loads(text)
    if text in words:
        return words[text]
    if text.endswith(","):
        return tuple(text.split(",")[:-1])
    converters: tuple[Callable[[str], object], ...] = (int, float)
    for convert in converters:
        try:
            return convert(text)
        except ValueError:
            continue
    return text
