"""`status` and `top`: what the running server does now; `top` again and again."""

import argparse
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from greenmail.cli.asking import asked
from greenmail.cli.output import say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.config import Config
from greenmail.errors import Refused


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    status = commands.add_parser(
        "status",
        parents=[common],
        help="show what the running server does",
        description="Show workers, sessions, rates, latencies, caches, watches, certificates and the last errors.",
    )
    with_json(status).set_defaults(run=_status)
    top = commands.add_parser(
        "top",
        parents=[common],
        help="show it again and again",
        description="As `status`, again and again, with the busiest users of the last seconds. The key q ends it.",
    )
    top.add_argument("-n", "--every", type=float, default=2.0, metavar="SECONDS", help="between two looks; 2 otherwise")
    top.set_defaults(run=_top)


def _status(config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: the other verbs do not need rich.
    from greenmail.cli import overview
    from greenmail.terminal import plain_console

    found = asked(config, "status")
    if parsed.json:
        say_json(found)
        return 0
    console = plain_console()
    if not console.is_terminal:
        console.width = 400  # nothing is cut off for grep
    console.print(overview.everything(found))
    return 0


def _top(config: Config, parsed: argparse.Namespace) -> int:
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise Refused("top needs a terminal; `greenmail status --json` is for programs")
    # Here and not above: as for status; the other verbs need no sockets either.
    from rich.live import Live

    from greenmail.cli import overview
    from greenmail.net import control_client
    from greenmail.terminal import plain_console

    console = plain_console()
    every = min(max(parsed.every, 0.5), 3600)
    with (
        control_client.connected(config) as server,
        _keys(),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            found: dict[str, Any] = server.ask("status")
            live.update(overview.everything(found, "latest"), refresh=True)
            if _key_within(every) in ("q", "Q", "\x03", "\x1b"):
                return 0


@contextmanager
def _keys() -> Iterator[None]:
    """Have keys come one by one, unseen."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key_within(seconds: float) -> str:
    """The next key; empty if none is pressed in so many seconds."""
    descriptor = sys.stdin.fileno()
    until = time.monotonic() + seconds
    modes = termios.tcgetattr(descriptor)
    while (left := until - time.monotonic()) > 0:
        # A read that ends by itself after at most 25 s: VMIN 0, VTIME in tenths of a second.
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 0, max(1, min(250, int(left * 10)))
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)
        key = os.read(descriptor, 1)
        if key:
            return key.decode("latin-1")
    return ""
