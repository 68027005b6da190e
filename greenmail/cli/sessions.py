"""`who`, `kick`, `explain`, `trace`: sessions of a running server."""

import argparse
from typing import Any

from greenmail.cli.asking import asked
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.config import Config
from greenmail.errors import Refused

_WORDS = "a user (* and ? as in a shell), a session's id, an IP address or a network"


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    who = commands.add_parser(
        "who", parents=[common], help="show who is connected", description="Show the sessions of the running server."
    )
    who.add_argument("words", metavar="WHO", nargs="*", help=f"only these: {_WORDS}")
    with_json(who).set_defaults(run=_who)
    kick = commands.add_parser(
        "kick",
        parents=[common],
        help="disconnect sessions",
        description="Disconnect sessions: they are told BYE when their command is done, or cut off in 5 seconds.",
    )
    kick.add_argument("words", metavar="WHO", nargs="+", help=_WORDS)
    with_json(kick).set_defaults(run=_kick)
    explain = commands.add_parser(
        "explain",
        parents=[common],
        help="show the last commands of a session and what they cost",
        description="Show the last commands of a session, without passwords and messages, and what each has cost.",
    )
    explain.add_argument("session", metavar="SESSION", help="its id, as `greenmail who` shows it")
    with_json(explain).set_defaults(run=_explain)
    trace = commands.add_parser(
        "trace",
        parents=[common],
        help="write down what a user's sessions say",
        description="Write the protocol of a user's sessions to a file in run-path, without passwords and messages.",
    )
    trace.add_argument("user", metavar="USER")
    trace.add_argument("switch", choices=("on", "off"))
    trace.add_argument("--minutes", type=float, default=60, help="when it ends by itself; 60 otherwise")
    trace.add_argument("--mib", type=float, default=10, help="how large the file may become; 10 MiB otherwise")
    with_json(trace).set_defaults(run=_trace)


def _who(config: Config, parsed: argparse.Namespace) -> int:
    found = asked(config, "who", words=parsed.words)
    if parsed.json:
        say_json(found)
        return 0
    _write(found["sessions"])
    _tell_silent(found)
    return 0


def _write(sessions: list[dict[str, Any]]) -> None:
    # Here and not above: rich takes a while to import.
    from greenmail.cli import shown
    from greenmail.net import written
    from greenmail.terminal import several

    head = ("SESSION", "USER", "ADDRESS", "PROTO", "TLS", "STATE", "COMMAND", "MAILBOX", "SINCE", "IDLE", "IN", "OUT")
    rows = [
        (
            item["id"], item["user"] or "-", item["address"], item["protocol"], item["tls"] or "-", item["state"],
            item["command"] or "-", item["mailbox"] or "-", shown.moment(item["since"]), written.span(item["idle"]),
            written.size(item["received"]), written.size(item["sent"]),
        )
        for item in sorted(sessions, key=lambda item: (item["user"], item["since"]))
    ]  # fmt: skip
    shown.table(head, rows, frozenset((9, 10, 11)))
    users = len({item["user"] for item in sessions if item["user"]})
    say(f"{several(len(sessions), 'session')} of {several(users, 'user')}")


def _tell_silent(found: dict[str, Any]) -> None:
    if found["silent"]:
        pids = ", ".join(map(str, found["silent"]))
        say(f"greenmail: these workers did not answer in time: {pids}", error=True)


def _kick(config: Config, parsed: argparse.Namespace) -> int:
    found = asked(config, "kick", words=parsed.words)
    if parsed.json:
        say_json(found)
    else:
        for item in found["sessions"]:
            say(f"disconnecting {item['id']} of {item['user'] or 'nobody'} from {item['address']}")
    _tell_silent(found)
    if not found["sessions"]:
        raise Refused(f"there is no such session: {' '.join(parsed.words)}")
    return 0


def _explain(config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: rich takes a while to import.
    from greenmail.cli import shown
    from greenmail.net import written

    found = asked(config, "explain", session=parsed.session)
    if parsed.json:
        say_json(found)
        return 0
    _write([found])
    say("")
    head = ("BEGAN", "TOOK", "COMPUTED", "IN", "OUT", "COMMAND", "ANSWER")
    rows = [
        (
            shown.moment(step["began"]), written.quick(step["seconds"]), written.quick(step["computed"]),
            written.size(step["received"]), written.size(step["sent"]), step["command"], step["answer"],
        )
        for step in found["steps"]
    ]  # fmt: skip
    shown.table(head, rows, frozenset((1, 2, 3, 4)))
    commands, seconds, computed = found["commands"], written.quick(found["seconds"]), written.quick(found["computed"])
    say(f"{commands} commands in all, which took {seconds} and computed for {computed}")
    return 0


def _trace(config: Config, parsed: argparse.Namespace) -> int:
    on = parsed.switch == "on"
    wanted: dict[str, Any] = {"user": parsed.user, "on": on}
    if on:
        wanted |= {"seconds": parsed.minutes * 60, "limit": int(parsed.mib * (1 << 20))}
    found = asked(config, "trace", **wanted)
    if parsed.json:
        say_json(found)
    elif on:
        say(f"{found['path']}: up to {parsed.mib:g} MiB, for {parsed.minutes:g} minutes")
        say(f"{len(found['sessions'])} sessions of {parsed.user} are there now; they join in at their next command")
    else:
        say(f"ended{': ' + found['path'] if found['path'] else '; there was none'}")
    _tell_silent(found)
    return 0
