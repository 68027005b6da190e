"""`penalty list` and `penalty clear`: addresses that guess passwords."""

import argparse

from greenmail.cli.asking import asked
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.config import Config
from greenmail.errors import Refused


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    penalty = commands.add_parser(
        "penalty",
        help="show and lift what is held against addresses",
        description="Addresses that guess passwords wait before each further try, and are banned in the end.",
    )
    verbs = penalty.add_subparsers(metavar="VERB", required=True)
    list_ = verbs.add_parser("list", parents=[common], help="show who has to wait, and who is banned")
    with_json(list_).set_defaults(run=_list)
    clear = verbs.add_parser("clear", parents=[common], help="forget all of it, or what is held against ADDRESS")
    clear.add_argument("addresses", metavar="ADDRESS", nargs="*", help="an address, or a network as `list` shows it")
    clear.add_argument("--all", action="store_true", help="everything that is held against anybody")
    with_json(clear).set_defaults(run=_clear)


def _list(config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: rich takes a while to import.
    from greenmail.cli import shown
    from greenmail.net import written

    found = asked(config, "penalties")
    if parsed.json:
        say_json(found)
        return 0
    rows = [
        (
            item["network"], item["failures"] or "-", written.span(item["wait"]) if item["wait"] else "-",
            f"{item['counted']} of {found['ban_failures']}" if found["ban_failures"] else "-",
            written.span(item["banned_for"]) if item["banned_for"] else "-",
        )
        for item in found["penalties"]
    ]  # fmt: skip
    if rows:
        shown.table(("ADDRESS", "FAILURES", "WAITS", "TO A BAN", "BANNED FOR"), rows)
    else:
        say("nothing is held against anybody")
    return 0


def _clear(config: Config, parsed: argparse.Namespace) -> int:
    if bool(parsed.addresses) == parsed.all:
        raise Refused("name addresses, or give --all")
    found = asked(config, "penalty-clear", addresses=parsed.addresses)
    if parsed.json:
        say_json(found)
    else:
        say(f"forgotten: {found['cleared']}")
    if parsed.addresses and not found["cleared"]:
        raise Refused("nothing is held against " + ", ".join(parsed.addresses))
    return 0
