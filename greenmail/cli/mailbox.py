"""`mailbox list|status|create|delete|rename`, `quota get|recalc`: a user's mailboxes, without a client."""

import argparse
import fnmatch
from typing import Any

from greenmail.cli.account import mailbox_of, on_account, on_own, whose
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.errors import Refused
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import Account, is_inbox


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    parser = commands.add_parser("mailbox", parents=[common], help="list, make, rename and delete a user's mailboxes")
    actions = parser.add_subparsers(title="actions", metavar="", required=True)
    for name, text, work, arguments in (
        ("list", "list mailboxes", _list, ("patterns*",)),
        ("status", "count messages", _status, ("patterns*",)),
        ("create", "make mailboxes", _create, ("names+",)),
        ("delete", "delete mailboxes and the messages in them", _delete, ("names+",)),
        ("rename", "rename a mailbox and those below it", _rename, ("old", "new")),
    ):
        action = actions.add_parser(name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
        whose(action)
        for argument in arguments:
            plain = argument.rstrip("*+")
            if plain == argument:
                action.add_argument(plain, metavar=plain.upper())
            else:
                action.add_argument(plain, metavar="MAILBOX", nargs=argument[-1])
        with_json(action).set_defaults(run=on_account(work))
    quota = commands.add_parser("quota", parents=[common], help="show or recalculate what a user's mail takes")
    actions = quota.add_subparsers(title="actions", metavar="", required=True)
    for name, text, run in (
        ("get", "show what is used and allowed", on_account(_quota_get)),
        ("recalc", "count anew what is used", on_own(_quota_recalc)),
    ):
        action = actions.add_parser(name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
        whose(action)
        with_json(action).set_defaults(run=run)


def _matching(account: Account, patterns: list[str]) -> list[Any]:
    """Folders that fit, by the patterns of a shell; all of them without patterns. Raises Refused for no hit at all."""
    folders = account.folders()
    found = [
        folder
        for folder in folders
        if not patterns or any(fnmatch.fnmatchcase(folder.name, _spelled(pattern)) for pattern in patterns)
    ]
    if patterns and not found:
        raise Refused(f"there is no such mailbox: {' '.join(patterns)}")
    return found


def _spelled(pattern: str) -> str:
    return "INBOX" if is_inbox(pattern) else pattern


def _list(account: Account, parsed: argparse.Namespace) -> int:
    subscribed = set(account.subscriptions())
    found = _matching(account, parsed.patterns)
    if parsed.json:
        keys = ("name", "selectable", "has_children", "special_use")
        say_json([{key: getattr(one, key) for key in keys} | {"subscribed": one.name in subscribed} for one in found])
        return 0
    # Here and not above: rich takes a while to import.
    from greenmail.terminal import shown

    for folder in found:
        if folder.selectable:
            say(shown(folder.name))
    return 0


def _status(account: Account, parsed: argparse.Namespace) -> int:
    rows = []
    for folder in _matching(account, parsed.patterns):
        if folder.selectable:
            with mailbox_of(account, folder.name) as mailbox:
                counters = mailbox.counters()
                rows.append(
                    {
                        "name": folder.name,
                        "messages": counters.messages,
                        "unseen": counters.unseen,
                        "recent": counters.recent,
                        "deleted": counters.deleted,
                        "size": counters.size,
                        "uidnext": counters.uidnext,
                        "uidvalidity": counters.uidvalidity,
                        "highestmodseq": counters.modseq,
                        "mailboxid": counters.mailbox_id,
                    }
                )
    if parsed.json:
        say_json(rows)
        return 0
    # Here and not above: rich takes a while to import.
    from greenmail.cli import shown

    keys = ("messages", "unseen", "recent", "deleted", "size", "uidnext", "uidvalidity", "name")
    shown.table([key.upper() for key in keys], [[row[key] for key in keys] for row in rows], frozenset(range(7)))
    return 0


def _create(account: Account, parsed: argparse.Namespace) -> int:
    made = [{"name": name, "mailboxid": account.create(name)} for name in parsed.names]
    _told(parsed, made, [f"made {one['name']}" for one in made])
    return 0


def _delete(account: Account, parsed: argparse.Namespace) -> int:
    for name in parsed.names:
        account.delete(name)
    _told(parsed, [{"name": name} for name in parsed.names], [f"deleted {name}" for name in parsed.names])
    return 0


def _rename(account: Account, parsed: argparse.Namespace) -> int:
    account.rename(parsed.old, parsed.new)
    _told(parsed, [{"old": parsed.old, "new": parsed.new}], [f"renamed {parsed.old} to {parsed.new}"])
    return 0


def _told(parsed: argparse.Namespace, found: list[dict[str, str]], lines: list[str]) -> None:
    if parsed.json:
        say_json(found)
        return
    # Here and not above: rich takes a while to import.
    from greenmail.terminal import shown

    for line in lines:
        say(shown(line))


_RESOURCES = {"storage": True, "messages": False, "mailboxes": False, "annotations": True}  # whether it is octets
_COUNTED_IF_LIMITED = ("mailboxes", "annotations")


def _quotas(account: Account) -> list[Any]:
    names = [folder.name for folder in account.folders() if folder.selectable]
    roots = dict.fromkeys(root for name in names for root in account.quota_roots(name))
    return [account.quota(root) for root in roots]


def _quota_get(account: Account, parsed: argparse.Namespace) -> int:
    found = _quotas(account)
    if parsed.json:
        keys = ("root", *(f"{kind}_{part}" for kind in _RESOURCES for part in ("used", "limit")), "is_exceeded")
        say_json([{key: getattr(quota, key) for key in keys} for quota in found])
        return 0
    if not found:
        raise Refused("this user has no quota")
    # Here and not above: rich takes a while to import.
    from greenmail.cli import shown
    from greenmail.net import written

    rows = []
    for quota in found:
        for kind, is_size in _RESOURCES.items():
            used, limit = getattr(quota, f"{kind}_used"), getattr(quota, f"{kind}_limit")
            if limit is None and kind in _COUNTED_IF_LIMITED:
                continue
            write = written.size if is_size else str
            rows.append((quota.root, kind, write(used), _limit(limit, write), _part(used, limit)))
    shown.table(("ROOT", "WHAT", "USED", "LIMIT", "%"), rows, frozenset({2, 3, 4}))
    return 0


def _limit(value: int | None, written: Any) -> str:
    return "-" if value is None else str(written(value))


def _part(used: int, limit: int | None) -> str:
    return "-" if not limit else f"{100 * used / limit:.0f}"


def _quota_recalc(account: MaildirAccount, parsed: argparse.Namespace) -> int:
    account.counts.count_anew()
    return _quota_get(account, parsed)
