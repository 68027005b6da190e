"""Courier's files, read once to go on with its UIDs, keywords and POP3 identifiers. `formats.md` 6.

    courierimapuiddb       as `dovecot-uidlist` version 1
    courierpop3dsizelist   = ["/" version SP next [SP uidvalidity] LF] *entry      ; version 3, 2 or 1; no line: 0
        entry, version 3   = file-name SP size SP n ":" uidvalidity ":" utf8-flag LF
        entry, version 2   = file-name SP size SP n ":" uidvalidity LF
        entry, version 1   = file-name SP size SP n LF
        entry, version 0   = file-name SP size LF
    courierimapkeywords/
        :list              = *(name LF) LF *(base-name ":" index *(SP index) LF)
        <base>, .<n>.<base> = *(name LF)            ; all keywords of one message, newer than its line in :list
    courierimapsubscribed  = *("INBOX" *("." level) LF)           ; UTF-8, or modified UTF-7 before Courier 5

File names may contain spaces, and in the POP3 list they have their info part. Nothing here writes Courier's files: they
are kept as they are, so that the way back stays open; `format_*` give the text of fresh ones for that way.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from greenmail.storage import mutf7
from greenmail.storage.filesystem import Files, refusing
from greenmail.storage.keywords import is_keyword
from greenmail.storage.maildir_name import KEYWORD_LETTERS, base_name, is_message
from greenmail.storage.uidlist_format import LARGEST_UID, parse

log = logging.getLogger(__name__)

_DATABASE = b"/courierimapuiddb"
_POP3_LIST = b"/courierpop3dsizelist"
_KEYWORDS = b"/courierimapkeywords"
_ENTRY = re.compile(rb"(?P<name>.+?) (?P<size>\d{1,19})(?: (?P<n>\d{1,19})(?::(?P<uidv>\d{1,19}))?(?::\d+)?)?")
_AGED = re.compile(rb"\.(\d+)\.(.+)", re.DOTALL)
_LEADING = re.compile(rb"\d*")


@dataclass(frozen=True, slots=True)
class MaildropEntry:
    """One message of the POP3 list."""

    base_name: bytes
    size: int  # octets with CRLF
    uidl: bytes


@dataclass(frozen=True, slots=True)
class Maildrop:
    """The POP3 list, in its order."""

    next_number: int
    uidvalidity: int  # POP3's own; 0 before version 2
    entries: tuple[MaildropEntry, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """One mailbox of Courier's, to be written in Dovecot's formats under the mailbox's lock."""

    uidvalidity: int  # 0: Courier had none: take one from the counter
    next_uid: int
    records: list[tuple[int, bytes, bytes]]  # UID, raw uidlist fields (b"O1 PUID1-123 W315"), base name; ascending UID
    keyword_order: list[str]  # give letters in this order; what gets none is overflow
    keywords: dict[bytes, frozenset[str]]  # base name -> keywords, for those that have any


def is_courier(files: Files, directory: bytes, control: bytes = b"") -> bool:
    """Whether the mailbox in `directory` is to be imported: it has a database of Courier's, and no newer uidlist.

    The uidlist is in `control` if that is given.
    """
    theirs = max(_mtime(files, directory + _DATABASE), _mtime(files, directory + _POP3_LIST))
    if theirs < 0:
        return False
    ours = _mtime(files, (control or directory) + b"/dovecot-uidlist")
    if ours < 0:
        return True
    database = _mtime(files, directory + _DATABASE)
    # The POP3 list alone is no reason to renumber a mailbox; and after every import both databases are there.
    if database > ours:
        log.warning("courier-database-newer path=%r", directory)
    return database > ours


def _mtime(files: Files, path: bytes) -> int:
    try:
        return files.stat(path).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _read(files: Files, path: bytes) -> bytes:
    try:
        return files.read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return b""


def name_order(name: bytes) -> tuple[int, bytes]:
    """How Courier sorts: by leading number, then bytewise."""
    match = _LEADING.match(name)
    return int(match[0] or b"0") if match else 0, name


def parse_maildrop(data: bytes) -> Maildrop:
    """courierpop3dsizelist of any version; lines that cannot be read are left out. Never raises."""
    lines = data.split(b"\n")
    next_number = uidvalidity = 0
    if lines[0].startswith(b"/"):
        numbers = [int(token) if token.isdigit() and len(token) < 20 else 0 for token in lines.pop(0)[1:].split()]
        next_number, uidvalidity = (*numbers, 0, 0, 0)[1:3]
    entries = []
    for line in lines:
        match = _ENTRY.fullmatch(line.removesuffix(b"\r"))
        if match is None:
            if line:
                log.warning("courier-pop3-list line=%r", line[:200])
            continue
        base = base_name(match["name"])
        entries.append(MaildropEntry(base, int(match["size"]), _uidl(base, match["n"], match["uidv"])))
    return Maildrop(next_number, uidvalidity, tuple(entries))


def _uidl(base: bytes, number: bytes | None, uidvalidity: bytes | None) -> bytes:
    """What Courier's POP3 server says to UIDL, `formats.md` 6.2."""
    if number is None:
        return b"".join(
            bytes((octet,)) if 0x21 <= octet <= 0x7E and octet not in b"'\"+" else b"+%02X" % octet for octet in base
        )
    if uidvalidity is None or not int(uidvalidity):
        return b"UID%d" % int(number)
    return b"UID%d-%d" % (int(number), int(uidvalidity))


def parse_keyword_list(data: bytes) -> tuple[list[bytes], dict[bytes, list[bytes]]]:
    """:list: its names in order, and the names of each message."""
    head, _, rest = (b"\n" + data).partition(b"\n\n")
    names = [name for name in head.split(b"\n") if name]
    messages = {}
    for line in rest.split(b"\n"):
        base, colon, indexes = line.partition(b":")
        if colon:
            numbers = [int(index) for index in indexes.split() if index.isdigit() and len(index) < 6]
            messages[base] = [names[number] for number in numbers if number < len(names)]
    return names, messages


def read_keywords(files: Files, directory: bytes) -> tuple[list[str], dict[bytes, frozenset[str]]]:
    """All keywords of a mailbox in the order to give letters, and those of each message, by base name.

    The truth for a message is its plain update file, else its aged one with the largest number, else `:list`. Up to 26
    keywords keep Courier's order; of more, those come first that most messages have.
    """
    folder = directory + _KEYWORDS
    names, messages = parse_keyword_list(_read(files, folder + b"/:list"))
    try:
        entries = files.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        entries = []
    update: dict[bytes, tuple[float, bytes]] = {}
    for entry in entries:
        if b":" in entry:
            continue
        aged = _AGED.fullmatch(entry)
        age, base = (float(aged[1][:300]), aged[2]) if aged else (float("inf"), entry)
        if not entry.startswith(b".") or aged:
            update[base] = max(update.get(base, (-1.0, b"")), (age, entry))
    for base, (_, entry) in sorted(update.items()):
        messages[base] = _read(files, folder + b"/" + entry).split(b"\n")
    spelling: dict[str, str] = {}
    for name in [*names, *(name for base in sorted(messages) for name in messages[base])]:
        text = name.decode("utf-8", "replace")
        if is_keyword(text):
            spelling.setdefault(text.casefold(), text)
        elif name:
            log.warning("courier-keyword path=%r name=%r", folder, name)
    found = {}
    for base, raw in messages.items():
        texts = [name.decode("utf-8", "replace").casefold() for name in raw]
        found[base] = frozenset(spelling[text] for text in texts if text in spelling)
    used = Counter(name for keywords in found.values() for name in keywords)
    order = list(spelling.values())
    if len(order) > KEYWORD_LETTERS:
        order.sort(key=lambda name: -used[name])
    return order, {base: keywords for base, keywords in found.items() if keywords}


def import_mailbox(files: Files, directory: bytes, inbox: bool) -> Imported:
    """Read Courier's files and the names in `new/` and `cur/`; changes nothing. Call it under the mailbox's lock.

    Files unknown to Courier are numbered as Courier would, in both of its lists. Give the result to `Uidlist.load`
    and `Uidlist.rewrite`, and the keywords to `Keywords.add` and `OverflowKeywords.change`. The records of files that
    are not there are among the result: a listing can miss a file that is renamed meanwhile, and such lines do no harm.
    """
    with refusing("cannot read Courier's files"):
        database = parse(_read(files, directory + _DATABASE))
        drop = parse_maildrop(_read(files, directory + _POP3_LIST)) if inbox else Maildrop(0, 0, ())
        present = _present(files, directory)
        order, keywords = read_keywords(files, directory)
    for text in database.damage if database.lines else ():
        log.warning("courier-database-damaged path=%r what=%r", directory, text)
    uids = dict(database.uids.items())
    next_uid = max(database.header.next_uid, database.highest + 1)
    unknown = sorted(present.difference(uids), key=name_order)
    for base in unknown:
        if next_uid <= LARGEST_UID:
            uids[base] = next_uid
            next_uid += 1
    fields = _maildrop_fields(drop, present) if drop.entries else {}
    records = [(uid, fields.get(base, b""), base) for base, uid in uids.items()]
    known = {base: names for base, names in keywords.items() if base in present}
    return Imported(database.header.uidvalidity, next_uid, records, order, known)


def _present(files: Files, directory: bytes) -> set[bytes]:
    """Base names in `new/` and `cur/`."""
    bases: set[bytes] = set()
    for part in (b"/new", b"/cur"):
        try:
            names = files.listdir(directory + part)
        except FileNotFoundError:
            continue
        bases.update(base_name(name) for name in names if is_message(name))
    bases.discard(b"")
    return bases


def _maildrop_fields(drop: Maildrop, present: set[bytes]) -> dict[bytes, bytes]:
    """O, P and W of each message that is there, as Courier would list them now.

    It keeps its list in the order of names, not of UIDs, and gives new messages the next numbers in that order.
    """
    known = {entry.base_name: entry for entry in drop.entries}
    number = max(drop.next_number, 1)
    fields = {}
    for order, base in enumerate(sorted(present, key=name_order), 1):
        entry = known.get(base)
        if entry is not None:
            fields[base] = b"O%d P%b W%d" % (order, entry.uidl, entry.size)
            continue
        uidl = _uidl(base, b"%d" % number if drop.next_number else None, b"%d" % drop.uidvalidity)
        fields[base] = b"O%d P%b" % (order, uidl)
        number += 1
    return fields


def parse_subscriptions(data: bytes) -> list[list[str]]:
    """Levels of each subscribed mailbox below INBOX; [] is INBOX itself.

    A line with an octet above 0x7F, or which is not modified UTF-7, is UTF-8. In a file that has any such line all
    lines are, for it is one server that writes it.
    """
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    utf8 = not all(_is_mutf7(line) for line in lines)
    found = []
    for line in lines:
        try:
            name = line.decode("utf-8") if utf8 else mutf7.decode(line)
        except UnicodeDecodeError:
            log.warning("courier-subscription line=%r", line)
            continue
        first, *levels = name.split(".")
        if first == "INBOX":
            found.append(levels)
    return found


def _is_mutf7(line: bytes) -> bool:
    try:
        mutf7.decode(line)
    except mutf7.Malformed:
        return False
    return True


def format_database(uidvalidity: int, next_uid: int, uids: Mapping[bytes, int]) -> bytes:
    """courierimapuiddb, for the way back; `uids`: base name -> UID."""
    records = sorted((uid, base) for base, uid in uids.items())
    return b"1 %d %d\n" % (uidvalidity, next_uid) + b"".join(b"%d %b\n" % record for record in records)


def format_keyword_list(keywords: Mapping[bytes, Iterable[str]]) -> bytes:
    """:list, for the way back; `keywords` by base name."""
    names = sorted({name for found in keywords.values() for name in found})
    index = {name: number for number, name in enumerate(names)}
    lines = [name.encode("utf-8") for name in names]
    lines.append(b"")
    for base, found in keywords.items():
        numbers = b" ".join(b"%d" % number for number in sorted(index[name] for name in found))
        if numbers:
            lines.append(base + b":" + numbers)
    return b"\n".join(lines) + b"\n"


def format_maildrop(next_number: int, uidvalidity: int, entries: Iterable[tuple[bytes, int, int]]) -> bytes:
    """courierpop3dsizelist version 3, for the way back; entries: file name with info, size with CRLF, number."""
    lines = [b"/3 %d %d" % (next_number, uidvalidity)]
    for name, size, number in sorted(entries, key=lambda entry: name_order(entry[0])):
        lines.append(b"%b %d %d:%d:0" % (name, size, number, uidvalidity))
    return b"\n".join(lines) + b"\n"
