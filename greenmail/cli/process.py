"""`reload`, `stop`: the running server."""

import argparse

from greenmail.cli.asking import asked
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.config import Config
from greenmail.errors import Refused

_RELOAD = 90.0  # seconds: more than new workers have to become ready


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    reload = commands.add_parser(
        "reload",
        parents=[common],
        help="have the running server take up its configuration",
        description="Have the running server read its configuration again. If it has faults, all stays as it is.",
    )
    with_json(reload).set_defaults(run=_reload)
    stop = commands.add_parser(
        "stop",
        parents=[common],
        help="stop the running server",
        description="Stop the running server: sessions have stop-grace to end. Waits until it has ended.",
    )
    stop.add_argument("--now", action="store_true", help="do not wait for sessions")
    with_json(stop).set_defaults(run=_stop)


def _reload(config: Config, parsed: argparse.Namespace) -> int:
    found = asked(config, "reload", _RELOAD)
    if parsed.json:
        say_json(found)
    else:
        say("reloaded")
    return 0


def _stop(config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: the other verbs need no sockets.
    from greenmail.net import control_client

    with control_client.connected(config) as server:
        found = server.ask("stop")
        if parsed.now:
            server.ask("stop")
        if not server.wait_for_end(found["grace"] + 30):
            raise Refused(f"the server (pid {found['pid']}) has not ended yet")
    if parsed.json:
        say_json(found)
    else:
        say("stopped")
    return 0
