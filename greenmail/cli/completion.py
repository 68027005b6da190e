"""`completion`: what a shell needs to complete the verbs and their options."""

import argparse

from greenmail.cli.output import say
from greenmail.cli.parsing import Commands


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    completion = commands.add_parser(
        "completion",
        help="write a completion script for the shell",
        description="Write a completion script to standard output: where it belongs is in docs/administration.md.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    completion.set_defaults(standalone=_write)


def _write(parsed: argparse.Namespace) -> int:
    # Here and not above: no other verb needs them, and the parser needs this module.
    import shtab

    from greenmail import cli

    say(shtab.complete(cli.parser(), parsed.shell))
    return 0
