"""Without a verb: serve."""

import argparse
import logging

from greenmail import log as logs
from greenmail.cli import files
from greenmail.cli.output import say
from greenmail.config import Config

EX_CONFIG = 78

log = logging.getLogger("greenmail.cli")


def serve(config: Config, parsed: argparse.Namespace) -> int:
    """Run the server until it is stopped; the exit status."""
    try:
        logs.setup(config.log_level, config.log_format, config.log_path, config.owner())
    except OSError as error:
        say(f"greenmail: log-path: {config.log_path} cannot be opened: {error.strerror}", error=True)
        return EX_CONFIG
    for notice in config.notices():
        log.info("config %s", notice)
    for problem in files.problems(config):
        log.warning("config %s", problem)
    # Here and not above: no other command needs the server's half, with gevent and OpenSSL.
    from greenmail.net import supervisor

    status = supervisor.serve(config)
    if status and config.log_path != "-":  # whoever sits at the terminal has not seen why
        say(f"greenmail: ended with status {status}; the log ({config.log_path}) says why", error=True)
    return status
