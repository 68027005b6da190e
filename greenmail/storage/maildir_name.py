"""Names of message files in a Maildir: `formats.md` 1.1 to 1.4 and 1.10.

    name    = base [":" info]             ; base: up to the first ":", the identity of the message
    info    = [*OCTET ":"] "2," letters ["," *OCTET]   ; letters: from the last ":" to the next comma
    base    = unique *("," field)         ; S=<octets on disk>, W=<octets with CRLF line ends>, others

Example: `1795343252.M949156P6339.mx.example.org,S=784,W=823:2,DFRSae`. A base name is opaque: whatever another
program put there is kept, and so are letters that mean nothing to us and what follows a second comma.
"""

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

# Letters of system flags, in the order in which they stand in a name.
FLAG_OF_LETTER = {
    ord("D"): "\\Draft",
    ord("F"): "\\Flagged",
    ord("R"): "\\Answered",
    ord("S"): "\\Seen",
    ord("T"): "\\Deleted",
}
LETTER_OF_FLAG = {flag: letter for letter, flag in FLAG_OF_LETTER.items()}
FIRST_KEYWORD = ord("a")  # index 0
KEYWORD_LETTERS = 26

_SYSTEM = bytes(sorted(FLAG_OF_LETTER))
_KEYWORDS = bytes(range(FIRST_KEYWORD, FIRST_KEYWORD + KEYWORD_LETTERS))
_KNOWN = _SYSTEM + _KEYWORDS
_LARGEST_SIZE = (1 << 63) - 1
_SIZE = re.compile(rb"(\d{1,19})(?=,|\Z)")
_UID_ORDER = re.compile(rb"(\d*)(?:(\.[^.]*?M)(\d+))?", re.DOTALL)


class Sizes(NamedTuple):
    """The size fields of a base name; None: absent or malformed."""

    on_disk: int | None  # ",S="
    with_crlf: int | None  # ",W="


def is_message(name: bytes) -> bool:
    """Whether a directory entry of `new/` or `cur/` can be a message: no dot in front, no line ends, not empty.

    A name that begins with ":" has an empty base: it is to be renamed before it can be one.
    """
    return name[:1] not in (b".", b"") and b"\n" not in name and b"\r" not in name


def only_messages(names: list[bytes]) -> list[bytes]:
    """Those of which `is_message` is true. All at once, as nearly always all are."""
    joined = b"/".join(names)
    if (
        b"\n" in joined
        or b"\r" in joined
        or b"/." in joined
        or b"//" in joined
        or joined[:1] in (b".", b"/", b"")
        or joined[-1:] == b"/"
    ):
        return [name for name in names if is_message(name)]
    return names


def base_name(name: bytes) -> bytes:
    """Up to the first ":"."""
    return name.partition(b":")[0]


def _info(name: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the last ":", the letters, and what follows them from the second comma on."""
    stem, colon, info = name.rpartition(b":")
    if not colon:
        return name, b"", b""
    if not info.startswith(b"2,"):
        # Info of another version counts as none, and goes when flags are next written.
        return stem, b"", b""
    letters, comma, tail = info[2:].partition(b",")
    return stem, letters, comma + tail


def letters_of(name: bytes) -> bytes:
    """The letters that mean a flag (DFRST, a-z) in `name` (or its part from the first ":" on), ascending, each once."""
    letters = _info(name)[1]
    return bytes(sorted(set(letters).intersection(_KNOWN)))


def with_letters(name: bytes, letters: Iterable[int]) -> bytes:
    """`name` with exactly `letters` of those that mean a flag; everything else in it stays.

    System letters stand in ASCII order among the unknown ones, which keep their order; keywords come last.
    """
    wanted = set(letters)
    stem, old, tail = _info(name)
    system = [letter for letter in _SYSTEM if letter in wanted]
    written = []
    for unknown in old:
        if unknown in _KNOWN:
            continue
        while system and system[0] < unknown:
            written.append(system.pop(0))
        written.append(unknown)
    written += system
    written += [letter for letter in _KEYWORDS if letter in wanted]
    return b"%b:2,%b%b" % (stem, bytes(written), tail)


def in_cur(name: bytes) -> bytes:
    """The name that a file of `new/` gets in `cur/`: info is kept, or ":2," added."""
    return name if b":" in name else name + b":2,"


def sizes_of(base: bytes) -> Sizes:
    """The first ",S=" and the first ",W=" of a base name, each if digits follow up to a comma or the end."""
    return Sizes(_size(base, b",S="), _size(base, b",W="))


def disk_size_of(base: bytes) -> int | None:
    """The first of the two alone."""
    return _size(base, b",S=")


def _size(base: bytes, key: bytes) -> int | None:
    start = base.find(key)
    if start < 0:
        return None
    match = _SIZE.match(base, start + 3)
    if match is None:
        return None
    size = int(match[1])
    return size if size <= _LARGEST_SIZE else None


def with_sizes(unique: bytes, on_disk: int, with_crlf: int) -> bytes:
    """A base name from a new unique name: never for a name that is in use already."""
    return b"%b,S=%d,W=%d" % (unique, on_disk, with_crlf)


def without_sizes(base: bytes) -> bytes:
    """`base` without every ",S=" and ",W=" field: when the fields are wrong."""
    return re.sub(rb",[SW]=[^,]*", b"", base)


def uid_order(name: bytes) -> tuple[int, bool, int, bytes]:
    """Sort key of files that get UIDs in one go: leading number, number behind the M of the second part, the rest.

    `formats.md` 1.10 compares the second number only if both names have it, which is not an order among three names;
    here names without it come before those with it, within the same leading number.
    """
    base = base_name(name)
    match = _UID_ORDER.match(base)
    if match is None:
        return 0, False, 0, base
    digits, _, micros = match.groups()
    return _number(digits), micros is not None, _number(micros or b""), base[len(digits) :]


def _number(digits: bytes) -> int:
    # Longer numbers are not times; Python refuses to convert thousands of digits, a name has at most 255.
    return int(digits or b"0")


class UniqueNames:
    """Makes unique names: `<secs>.M<usecs>P<pid>Q<n>.<host>`; the pair (secs, usecs) always increases."""

    def __init__(self, host: str, now: Callable[[], float] = time.time) -> None:
        # A comma would begin a field, "/" and ":" have their meaning; the first two are spelled as everybody does.
        encoded = os.fsencode(host).replace(b"/", b"\\057").replace(b":", b"\\072").replace(b",", b"\\054")
        self._host = re.sub(rb"[\0-\x20\x7f]", b"_", encoded) or b"localhost"
        self._now = now
        self._last = 0
        self._count = 0

    def next(self) -> bytes:
        """A name that no other process and no other call makes."""
        self._last = max(int(self._now() * 1_000_000), self._last + 1)
        self._count += 1
        seconds, micros = divmod(self._last, 1_000_000)
        return b"%d.M%dP%dQ%d.%b" % (seconds, micros, os.getpid(), self._count, self._host)
