"""The command `greenmail`: one module for each verb, or for a few that belong together.

    greenmail -c FILE                            serve
    greenmail check-config -c FILE               say what is wrong with a configuration, or what it does
    greenmail user add NAME -c FILE              also passwd, delete, list: edit the passwd-file
    greenmail who|kick|explain|trace|status|top|reload|stop -c FILE     the running server
    greenmail mailbox|search|fetch|flags|expunge|quota ... -c FILE      a user's mail, without a client
    greenmail auth test NAME -c FILE             try a password; greenmail pw: make what is stored of one
    greenmail completion bash|zsh                for the shell
    greenmail doctor [--user NAME | PATH] -c FILE    look for faults in the mail, --fix them, --undo FILE
    greenmail resync|index --user NAME -c FILE       make GreenMail's own index files anew, or complete them
    greenmail to-courier --user NAME -c FILE         write Courier's files, to go back to it
    greenmail shadow --against imap://old-server --user NAME -c FILE    compare with the old server before the switch
    doveconf -n | greenmail import-config            make a configuration from that of a Dovecot
    greenmail --version

Exit status, where a command has none of its own: 0 done, 1 not done (the message says why), 2 wrong arguments, 78 wrong
configuration (EX_CONFIG).
"""

import argparse
import os
import sys
from collections.abc import Sequence

import greenmail
from greenmail import built
from greenmail import config as configuration
from greenmail.cli.output import say
from greenmail.cli.parsing import Run
from greenmail.cli.serve import EX_CONFIG, serve
from greenmail.cli.verbs import VERBS
from greenmail.config_tables import ConfigError
from greenmail.errors import Refused

_DEFAULT_CONFIG = "/etc/greenmail/imap.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    _fill_standard_streams()
    parsed = parser().parse_args(arguments)
    path = getattr(parsed, "config", _DEFAULT_CONFIG)
    run: Run = getattr(parsed, "run", serve)
    try:
        if "standalone" in parsed:  # needs no configuration
            return int(parsed.standalone(parsed))
        return run(configuration.load(path), parsed)
    except ConfigError as error:
        count = len(error.problems)
        say(f"greenmail: {count} {'error' if count == 1 else 'errors'} in the configuration\n{error}", error=True)
        return EX_CONFIG
    except Refused as refused:
        say(f"greenmail: {refused.text}", error=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _fill_standard_streams() -> None:
    """Have 0, 1 and 2 open, or the next file or socket would get these numbers, and what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 -- for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 -- the same


def parser() -> argparse.ArgumentParser:
    """All of the command line; manual pages and shell completion are made from it, too."""
    # Given before the command and after it, the option must not be overwritten by the other place's default.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-c", "--config", metavar="FILE", help=f"settings in YAML or TOML; {_DEFAULT_CONFIG} otherwise")
    found = argparse.ArgumentParser(
        prog="greenmail",
        description="IMAP and POP3 server over Maildirs. Without a command it serves.",
        parents=[common],
    )
    found.add_argument("--version", action="version", version=f"greenmail {greenmail.__version__} ({built.kind()})")
    commands = found.add_subparsers(title="commands", metavar="")
    for register in VERBS:
        register(commands, common)
    return found


if __name__ == "__main__":
    sys.exit(main())
