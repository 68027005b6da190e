"""Clients of a running server that remember what they were told."""

import random
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.picture import Contents, Picture
from crash.scene import body
from support.wire_client import Imap

Place = tuple[str, int]  # mailbox and UID
_CODE = re.compile(rb"\[(APPENDUID|COPYUID) (\d+) (?:(\d+) )?(\d+)\]")


@dataclass
class Ledger:
    """What the server answered OK, of all clients and rounds."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    there: dict[Place, str] = field(default_factory=dict)  # message -> its text
    flagged: set[Place] = field(default_factory=set)
    gone: set[Place] = field(default_factory=set)  # expunged or moved away
    doubtful: set[Place] = field(default_factory=set)  # was being expunged or moved when the server died
    seen: dict[Place, str] = field(default_factory=dict)  # whatever was ever found
    counters: dict[str, Contents] = field(default_factory=dict)
    answers: int = 0
    deaths: int = 0  # after which all was found

    def judge(self, picture: Picture) -> None:
        """After a death: nothing of it is lost, doubled or renumbered."""
        for (name, uid), text in self.there.items():
            found = picture.mailboxes[name].messages.get(uid)
            if found is None:
                assert (name, uid) in self.doubtful, f"{name} {uid} ({text}) was answered OK and is lost"
            else:
                assert found.text == text, f"{name} {uid} is {found.text} and was {text}"
                assert (name, uid) not in self.flagged or "\\Flagged" in found.flags, f"{name} {uid} lost its flag"
        for name, mine in picture.mailboxes.items():
            self._judge_mailbox(name, mine)
        moved = {self.seen[place] for place in self.doubtful if place in self.seen}
        there = set(picture.texts())
        kept = {text for place, text in self.there.items() if place not in self.doubtful}
        assert kept <= there
        self._settle(picture, moved)

    def _judge_mailbox(self, name: str, mine: Contents) -> None:
        old = self.counters.get(name)
        if old is not None:
            assert mine.uidvalidity == old.uidvalidity, f"{name} has another UIDVALIDITY"
            assert mine.uidnext >= old.uidnext, f"{name}: UIDNEXT went down"
            assert mine.modseq >= old.modseq, f"{name}: HIGHESTMODSEQ went down"
        self.counters[name] = mine
        for uid, message in mine.messages.items():
            place = name, uid
            assert self.seen.setdefault(place, message.text) == message.text, f"{name} {uid} was used twice"
            assert place not in self.gone, f"{name} {uid} was expunged and is back"
        texts = [message.text for message in mine.messages.values() if not message.text.startswith("copied")]
        assert len(texts) == len(set(texts)), f"{name}: a message is there twice"

    def _settle(self, picture: Picture, moved: set[str]) -> None:
        """What was doubtful is known now: it is where it is."""
        self.there = {
            (name, uid): message.text
            for name, mine in picture.mailboxes.items()
            for uid, message in mine.messages.items()
        }
        self.flagged &= self.there.keys()
        self.doubtful.clear()


class Client(threading.Thread):
    """Works on its own messages until the server dies."""

    def __init__(self, port: int, ledger: Ledger, name: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self._port, self._ledger, self._random = port, ledger, random.Random(seed)
        self._mine: list[int] = []
        self._copied: set[int] = set()
        self._count = 0
        self.failed: str = ""

    def run(self) -> None:
        try:
            with Imap(self._port, tls=True, timeout=20) as imap:
                imap.login()
                imap.ok("SELECT INBOX")
                while True:
                    self._step(imap)
        except (OSError, EOFError):
            return  # the server was killed
        except Exception as error:
            self.failed = f"{type(error).__name__}: {error}"

    def _ok(self, imap: Imap, text: str, literal: bytes | None = None) -> bytes:
        answer, _ = imap.command(text, literal)
        assert answer.startswith(b"OK"), f"{text}: {answer!r}"
        return answer

    def _code(self, answer: bytes) -> int:
        found = _CODE.search(answer)
        assert found is not None, answer
        return int(found[4])

    def _step(self, imap: Imap) -> None:
        if len(self._mine) < 2:
            self._append(imap)
            return
        work = self._random.choice((self._append, self._flag, self._copy, self._move, self._expunge))
        work(imap)

    def _append(self, imap: Imap) -> None:
        self._count += 1
        text = f"{self.name}n{self._count}"
        flags = self._random.choice(("", "(\\Seen) ", "(\\Seen load) "))
        uid = self._code(self._ok(imap, f"APPEND INBOX {flags}".rstrip(), body(text)))
        with self._ledger.lock:
            self._ledger.answers += 1
            self._ledger.there["INBOX", uid] = text
            self._ledger.seen["INBOX", uid] = text
        self._mine.append(uid)

    def _flag(self, imap: Imap) -> None:
        uid = self._random.choice(self._mine)
        self._ok(imap, f"UID STORE {uid} +FLAGS.SILENT (\\Flagged)")
        with self._ledger.lock:
            self._ledger.answers += 1
            self._ledger.flagged.add(("INBOX", uid))

    def _pick(self) -> int:
        uid = self._random.choice(self._mine)
        self._mine.remove(uid)
        return uid

    def _copy(self, imap: Imap) -> None:
        fresh = [uid for uid in self._mine if uid not in self._copied]
        if not fresh:
            return
        uid = fresh[0]
        self._copied.add(uid)
        target = self._code(self._ok(imap, f"UID COPY {uid} Other"))
        with self._ledger.lock:
            self._ledger.answers += 1
            self._ledger.there["Other", target] = self._ledger.there["INBOX", uid]
        self._mine.remove(uid)  # a text is moved or copied once: so that doubles can be told

    def _removing(self, uid: int) -> None:
        with self._ledger.lock:
            self._ledger.doubtful.add(("INBOX", uid))

    def _removed(self, uid: int) -> str:
        place = "INBOX", uid
        self._ledger.answers += 1
        self._ledger.doubtful.discard(place)
        self._ledger.gone.add(place)
        self._ledger.flagged.discard(place)
        return self._ledger.there.pop(place)

    def _move(self, imap: Imap) -> None:
        uid = self._pick()
        self._removing(uid)
        _, untagged = imap.command(f"UID MOVE {uid} Other")
        codes = [found for parts in untagged if (found := _CODE.search(_text(parts))) is not None]
        assert codes, untagged
        with self._ledger.lock:
            text = self._removed(uid)
            self._ledger.there["Other", int(codes[0][4])] = text

    def _expunge(self, imap: Imap) -> None:
        uid = self._pick()
        self._ok(imap, f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
        self._removing(uid)
        self._ok(imap, f"UID EXPUNGE {uid}")
        with self._ledger.lock:
            self._removed(uid)


def _text(parts: Any) -> bytes:
    return b"".join(part if isinstance(part, bytes) else part[1] for part in parts)


def mail_root(directory: Path) -> Path:
    return directory / "alice"
