"""`search`, `fetch`, `flags`, `expunge`: a user's messages, without a client. Messages are chosen as SEARCH does it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from greenmail.cli.account import mailbox_of, on_account, whose
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.errors import BadSyntax, Reason, Refused, StorageError
from greenmail.storage.api import SYSTEM_FLAGS, Account, FlagAction, FlagChange, Mailbox

_KEYS = "which messages, in the words of IMAP's SEARCH: ALL, UNSEEN SINCE 1-Nov-2026, UID 4:9, FROM anna"
_PIECE = 1 << 18


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    search = _verb(commands, common, "search", "find messages", _search)
    _what(search)
    fetch = _verb(commands, common, "fetch", "write messages to standard output", _fetch)
    fetch.add_argument(
        "--what",
        choices=("text", "header", "flags"),
        default="text",
        help="a whole message (several with --json only), headers, or lines with UID, size, date and flags",
    )
    _what(fetch)
    flags = commands.add_parser("flags", parents=[common], help="change flags of messages")
    actions = flags.add_subparsers(title="actions", metavar="", required=True)
    for name, text, action in (
        ("add", "set flags", FlagAction.ADD),
        ("remove", "take flags away", FlagAction.REMOVE),
        ("replace", "set just these flags", FlagAction.REPLACE),
    ):
        parser = _verb(actions, common, name, text, _flags)
        parser.add_argument("flags", metavar="FLAGS", help="seen, flagged, $Junk ...; several with commas between them")
        parser.set_defaults(action=action)
        _what(parser)
    expunge = _verb(commands, common, "expunge", "remove messages for good", _expunge)
    _what(expunge)


Work = Callable[[Mailbox, list[int], argparse.Namespace], int]


def _verb(
    commands: Commands, common: argparse.ArgumentParser, name: str, text: str, work: Work
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
    whose(parser)

    def run(account: Account, parsed: argparse.Namespace) -> int:
        with mailbox_of(account, parsed.mailbox) as mailbox:
            return work(mailbox, _found(account, mailbox, parsed.keys), parsed)

    with_json(parser).set_defaults(run=on_account(run))
    return parser


def _what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mailbox", metavar="MAILBOX")
    parser.add_argument("keys", metavar="KEY", nargs="+", help=_KEYS)


def _found(account: Account, mailbox: Mailbox, keys: Sequence[str]) -> list[int]:
    """The UIDs that SEARCH finds, by the engine of IMAP. Raises Refused."""
    # Here and not above: no other verb needs it.
    from greenmail.imap import registry
    from greenmail.imap.cursor import Cursor
    from greenmail.imap.search_key import search_keys
    from greenmail.imap.search_run import Search
    from greenmail.imap.session import Session
    from greenmail.imap.view import View

    wire: Any = _NoWire()  # of which a search uses nothing else
    session = Session(wire, _services(), "cli")
    session.account = account
    session.view = View(mailbox, True, mailbox.first_recent)
    cur = Cursor(" ".join(keys).encode("utf-8", "surrogateescape"), {}, True, session.limits.max_depth)
    try:
        key = search_keys(cur, registry.SEARCH_KEYS)
        cur.end()
    except BadSyntax as error:
        raise Refused(f"{' '.join(keys)!r} is no search: {error.text}") from None
    return Search(session, key, "UTF-8").run()


class _NoWire:
    """There is no client: searches say nothing."""

    peer = local = ""
    peer_port = local_port = 0
    trusted = secure = False
    end_point = b""
    exporter = b""

    def write(self, data: bytes) -> None:
        """To nobody."""


def _services() -> Any:
    # Here and not above: as in `_found`.
    from greenmail.imap.session import Services
    from greenmail.runtime import direct

    unused: Any = None
    return Services(runtime=direct(), authenticator=unused, open_account=unused, register=unused)


def _search(mailbox: Mailbox, uids: list[int], parsed: argparse.Namespace) -> int:
    if parsed.json:
        say_json({"mailbox": mailbox.name, "uidvalidity": mailbox.uidvalidity, "uids": uids})
    else:
        for uid in uids:
            say(str(uid))
    return 0


def _row(mailbox: Mailbox, uid: int) -> dict[str, Any]:
    row = mailbox.table.row(uid)
    if row < 0:
        return {"uid": uid, "flags": [], "size": -1, "date": ""}
    date = datetime.fromtimestamp(mailbox.table.dates[row], UTC).isoformat()
    flags = sorted(mailbox.table.flags_of(row))
    return {"uid": uid, "flags": flags, "size": mailbox.table.sizes[row], "date": date}


def _fetch(mailbox: Mailbox, uids: list[int], parsed: argparse.Namespace) -> int:
    mailbox.fill(uids, sizes=True, dates=True)
    rows = [_row(mailbox, uid) for uid in uids]
    if parsed.what == "flags":
        if parsed.json:
            say_json(rows)
            return 0
        for row in rows:
            say(f"{row['uid']} {row['size']} {row['date']} {' '.join(row['flags'])}".rstrip())
        return 0
    if parsed.json:
        texts = [_read(mailbox, uid, parsed.what).decode("utf-8", "surrogateescape") for uid in uids]
        say_json([row | {parsed.what: text} for row, text in zip(rows, texts, strict=True)])
        return 0
    if len(uids) > 1 and parsed.what == "text":
        raise Refused(f"these are {len(uids)} messages: choose one (UID n), or take --json")
    for uid in uids:
        _write(_read(mailbox, uid, parsed.what))
    return 0 if uids else 1


def _write(text: bytes) -> None:
    """As it is, but on a terminal, to which a message may not say what it likes."""
    sys.stdout.flush()
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    # Here and not above: rich takes a while to import.
    from greenmail.terminal import shown

    for line in text.split(b"\n"):
        say(shown(line.removesuffix(b"\r")))


def _read(mailbox: Mailbox, uid: int, what: str) -> bytes:
    try:
        content = mailbox.content(uid)
    except StorageError as error:
        if error.reason is Reason.EXPUNGED:
            return b""
        raise
    try:
        if what == "header":
            return content.header()
        return b"".join(content.read(start, start + _PIECE) for start in range(0, content.size, _PIECE))
    finally:
        content.close()


def _counted(uids: Sequence[int]) -> str:
    return "1 message" if len(uids) == 1 else f"{len(uids)} messages"


def _flag(text: str) -> str:
    system = {flag[1:].lower(): flag for flag in SYSTEM_FLAGS}
    found = system.get(text.removeprefix("\\").lower())
    if found is not None:
        return found
    if not text or text.startswith("\\") or not text.isascii() or any(char in '(){ %*"]\\' for char in text):
        raise Refused(f"{text!r} is no flag: {', '.join(system)}, or a word of your own")
    return text


def _flags(mailbox: Mailbox, uids: list[int], parsed: argparse.Namespace) -> int:
    may_be_none = parsed.action is FlagAction.REPLACE
    flags = frozenset(_flag(text) for text in parsed.flags.split(",") if text or not may_be_none)
    stored = mailbox.store(uids, FlagChange(parsed.action, flags))
    if parsed.json:
        say_json({"changed": stored.changed, "missing": stored.missing, "ignored": sorted(stored.ignored)})
    else:
        say(f"{len(stored.changed)} of {_counted(uids)} changed")
    if stored.ignored:
        raise Refused(f"this mailbox can take no more keywords: {' '.join(sorted(stored.ignored))}")
    return 0


def _expunge(mailbox: Mailbox, uids: list[int], parsed: argparse.Namespace) -> int:
    removed = mailbox.expunge(uids, flagged=False)
    if parsed.json:
        say_json({"removed": removed})
    else:
        say(f"{_counted(removed)} removed")
    return 0
