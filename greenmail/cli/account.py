"""A user's mail on the command line: found by the user databases, opened as the server opens it, as the owner of it.

It may be done beside a running server: the locks are the same.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from greenmail.auth import names
from greenmail.auth.admission import Databases
from greenmail.auth.api import User
from greenmail.auth.people import People
from greenmail.config import Config
from greenmail.doctor.identity import acting_as
from greenmail.doctor.target import owner
from greenmail.errors import Refused, StorageError
from greenmail.net import accounts
from greenmail.net.owners import Owners
from greenmail.preload import preload
from greenmail.runtime import direct
from greenmail.storage.account import MaildirAccount
from greenmail.storage.api import Account, Mailbox
from greenmail.storage.maildir_store import MaildirStore

Work = Callable[[Account, argparse.Namespace], int]
Own = Callable[[MaildirAccount, argparse.Namespace], int]


def whose(parser: argparse.ArgumentParser) -> None:
    """Give a verb the option that says whose mail it is about."""
    parser.add_argument("-u", "--user", required=True, metavar="USER", help="whose mail")


def on_account(work: Work) -> Callable[[Config, argparse.Namespace], int]:
    """A verb that is carried out on the account of `--user`."""
    return partial(_run, work)


def on_own(work: Own) -> Callable[[Config, argparse.Namespace], int]:
    """As `on_account`, with what is the user's alone: no namespaces of others."""

    def run(config: Config, parsed: argparse.Namespace) -> int:
        with opened(config, parsed.user, own=True) as account:
            assert isinstance(account, MaildirAccount), "what is the user's own is a Maildir"
            return work(account, parsed)

    return run


def _run(work: Work, config: Config, parsed: argparse.Namespace) -> int:
    with opened(config, parsed.user) as account:
        return work(account, parsed)


def databases(config: Config) -> Databases:
    """The user databases of the settings. Raises Refused."""
    # Here and not above: they need the server's half.
    from greenmail.net import databases
    from greenmail.net.tls import CannotStart

    try:
        databases.check(config)
        return databases.open_all(config, databases.Means(secrets=databases.secrets(config)))
    except CannotStart as error:
        raise Refused(error.text) from None


def people(config: Config) -> People:
    """The users of the settings' databases. Raises Refused."""
    return People(databases(config), direct().blocking, config.source)


def find(config: Config, given: str) -> tuple[User, Owners]:
    """The user of this name, and all others. Raises Refused."""
    name = names.normalize(given, config.username_format, config.default_domain)
    found = databases(config)
    if not found.users:
        raise Refused(f"there is no user database in {config.source}")
    owners = Owners(found.users, direct().blocking, direct().blocking, found.places)
    user = owners.find(name)
    if user is None:
        raise Refused(f"there is no user {name}")
    return user, owners


@contextmanager
def opened(config: Config, given: str, own: bool = False) -> Iterator[Account]:
    """The account of a user; nothing is made in his name only by opening it. Raises Refused.

    `own`: without namespaces, only what is with INBOX.
    """
    user, owners = find(config, given)
    quiet = config.model_copy(update={"create_mail_path": False, "auto_create": ()})
    preload("")  # the owner may not be allowed to read Python's library
    try:
        settings = accounts.settings_for(quiet, user)
        uid, gid = owner(config, os.fsencode(settings.mail_path))
        with acting_as(uid if user.uid is None else user.uid, gid if user.gid is None else user.gid):
            store = MaildirStore(direct(), config.cache_memory)
            account: Account = (
                store.open_account(user.name, settings) if own else accounts.opener(quiet, store, owners)(user)
            )
            try:
                yield account
            finally:
                account.close()
    except StorageError as error:
        raise Refused(f"{user.name}: {error.text}") from None


@contextmanager
def mailbox_of(account: Account, name: str) -> Iterator[Mailbox]:
    """A mailbox, looked at. Raises StorageError."""
    mailbox: Any = account.open(name)
    try:
        yield mailbox
    finally:
        mailbox.close()
