"""All verbs: a line for each module, in the order of `greenmail --help`."""

import argparse
from collections.abc import Callable

from greenmail.cli import auth, check_config, completion, mailbox, messages, penalty, process, sessions, status, user
from greenmail.cli.parsing import Commands
from greenmail.doctor import command as doctor
from greenmail.import_config import command as import_config
from greenmail.net import accounts
from greenmail.shadow import command as shadow

Register = Callable[[Commands, argparse.ArgumentParser], None]


def _doctor(commands: Commands, common: argparse.ArgumentParser) -> None:
    doctor.register(commands, common, accounts.places_for)


def _import_config(commands: Commands, common: argparse.ArgumentParser) -> None:
    import_config.register(commands)


VERBS: tuple[Register, ...] = (
    check_config.register,
    user.register,
    auth.register,
    sessions.register,
    penalty.register,
    status.register,
    process.register,
    mailbox.register,
    messages.register,
    _doctor,
    shadow.register,
    _import_config,
    completion.register,
)
