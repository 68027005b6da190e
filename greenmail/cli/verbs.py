"""All verbs: a line for each module, in the order of `greenmail --help`."""

import argparse
from collections.abc import Callable

from greenmail.cli import (
    account,
    auth,
    check_config,
    completion,
    mailbox,
    messages,
    penalty,
    process,
    sessions,
    status,
    user,
)
from greenmail.cli.parsing import Commands
from greenmail.doctor import command as doctor
from greenmail.doctor.target import Site
from greenmail.import_config import command as import_config
from greenmail.net import accounts
from greenmail.shadow import command as shadow

Register = Callable[[Commands, argparse.ArgumentParser], None]


def _doctor(commands: Commands, common: argparse.ArgumentParser) -> None:
    doctor.register(commands, common, Site(accounts.places_for, account.people))


def _shadow(commands: Commands, common: argparse.ArgumentParser) -> None:
    shadow.register(commands, common, account.people)


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
    _shadow,
    _import_config,
    completion.register,
)
