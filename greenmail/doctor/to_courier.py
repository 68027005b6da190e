"""`greenmail to-courier`: the files that Courier would have written, for the way back. `formats.md` 6.4, rule 6.

Courier keeps its own list of UIDs. Without this it would number the mail that came since by itself, and give UIDs that
clients know as those of other messages. Written are `courierimapuiddb`, the keywords and the POP3 list, one mailbox at
a time under its locks, and the subscriptions. Run it when GreenMail has stopped, before Courier starts.

The databases are as old as our UID lists, so GreenMail goes on with its own until Courier has written a newer one.
"""

import re
from collections.abc import Sequence

from greenmail.doctor.audit import Run
from greenmail.doctor.repair import Failure
from greenmail.doctor.resync import Progress, Serving, on_each_mailbox
from greenmail.doctor.survey import Place
from greenmail.doctor.target import Target
from greenmail.storage import mutf7
from greenmail.storage.courier import (
    format_database,
    format_keyword_list,
    format_maildrop,
    name_order,
    parse_maildrop,
)
from greenmail.storage.filesystem import Files, Ownership, ownership, refusing
from greenmail.storage.folder_names import INBOX, Encoding, Layout
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.maildir_box import Box
from greenmail.storage.maildir_name import base_name

_UIDL = re.compile(rb"UID(\d{1,18})-(\d{1,18})")


def hand_back(run: Run, target: Target, progress: Progress) -> tuple[int, int, list[Failure]]:
    """Mailboxes and messages that Courier's files tell of now, and what could not be written."""

    def subscriptions(serving: Serving) -> None:
        with refusing("the subscriptions cannot be written"):
            _write_subscriptions(run.files, serving.layout, serving.account.subscriptions())

    def work(serving: Serving, place: Place) -> int:
        mailbox = serving.account.open(place.name)
        assert isinstance(mailbox, MaildirMailbox), "an account of another store"
        try:
            messages = _write_mailbox(mailbox, place.is_inbox)
            progress(place.name, len(mailbox.table))
            return messages
        finally:
            mailbox.close()

    return on_each_mailbox(run, target, work, subscriptions)


def _write_mailbox(mailbox: MaildirMailbox, is_inbox: bool) -> int:
    """The number of its messages."""
    mailbox.look()
    if is_inbox:
        mailbox.fill(list(mailbox.table.uids), sizes=True, dates=False)
    box = mailbox.box
    with box.locked(), refusing("Courier's files cannot be written"):
        box.refresh_uidlist(locked=True)
        directory = box.place.directory
        owner = ownership(box.files.stat(directory))
        age = int(box.files.stat(box.place.control + b"/dovecot-uidlist").st_mtime)
        _write_keywords(box, directory + b"/courierimapkeywords", owner)
        if is_inbox:
            _write_maildrop(box, directory + b"/courierpop3dsizelist", owner, age)
        uids = {base_name(name): uid for uid, name in zip(box.index.table.uids, box.index.names, strict=True)}
        data = format_database(box.uidlist.uidvalidity, box.uidlist.next_uid, uids)
        # Last: as long as the old one is there, Courier's files are what they were.
        box.files.replace_file(directory + b"/courierimapuiddb", data, owner, mtime=age)
        return len(uids)


def _write_keywords(box: Box, directory: bytes, owner: Ownership) -> None:
    """`:list`, and none of the files that would count more than its lines."""
    table = box.index.table
    keywords = {
        base_name(name): [flag for flag in table.flags_of(row) if not flag.startswith("\\")]
        for row, name in enumerate(box.index.names)
    }
    try:
        names = box.files.listdir(directory)
    except FileNotFoundError:
        if not any(keywords.values()):
            return
        box.files.make_directory(directory, owner)
        names = []
    box.files.replace_file(directory + b"/:list", format_keyword_list(keywords), owner)
    for name in names:
        if name != b":list":
            box.files.unlink(directory + b"/" + name)


def _write_maildrop(box: Box, path: bytes, owner: Ownership, age: int) -> None:
    """The POP3 list, if there ever was one: who has an id keeps it, the others get the next ones in Courier's order."""
    try:
        old = parse_maildrop(box.files.read_file(path))
    except FileNotFoundError:
        return
    given = {uid: _number(box, uid, old.uidvalidity) for uid in box.index.table.uids}
    number = max([old.next_number, *(known + 1 for known in given.values())])
    entries = []
    rows = zip(box.index.table.uids, box.index.names, box.index.table.sizes, strict=True)
    for uid, name, size in sorted(rows, key=lambda row: name_order(row[1])):
        if size < 0:  # came just now; Courier adds it itself
            continue
        if not given[uid]:
            given[uid], number = number, number + 1
        entries.append((name, size, given[uid]))
    box.files.replace_file(path, format_maildrop(number, old.uidvalidity, entries), owner, mtime=age)


def _number(box: Box, uid: int, uidvalidity: int) -> int:
    """The number in the id that POP3 clients know, or 0."""
    found = _UIDL.fullmatch(box.uidlist.field(uid, b"P") or b"")
    return int(found[1]) if found and int(found[2]) == uidvalidity else 0


def _write_subscriptions(files: Files, layout: Layout, names: Sequence[str]) -> None:
    lines = []
    for name in names:
        levels = [] if name == INBOX else name.removeprefix(layout.prefix).split(layout.separator)
        text = ".".join(["INBOX", *levels])
        lines.append((mutf7.encode(text) if layout.encoding is Encoding.MUTF7 else text.encode()) + b"\n")
    owner = ownership(files.stat(layout.root))
    files.replace_file(layout.root + b"/courierimapsubscribed", b"".join(lines), owner)
