"""The other users of this server, for the URLs that one of them has authorized: `imap.session.Others`.

Any worker serves any user, so it opens the mail of any user, too; what that user may read is asked where it is opened.
Nothing is made for it: who has no mail yet has none after it.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from greenmail.auth import database, names
from greenmail.auth.admission import Databases
from greenmail.auth.api import User
from greenmail.auth.database import Entry, Unavailable
from greenmail.config import Config
from greenmail.errors import Reason, Refused, StorageError
from greenmail.net.accounts import settings_for
from greenmail.storage.api import Account

log = logging.getLogger(__name__)


class OtherUsers:
    """See the module's text."""

    def __init__(
        self, config: Config, databases: Databases, ask: Callable[..., Any], open_account: Callable[[User], Account]
    ) -> None:
        """`ask` runs a function in the pool of the user databases."""
        self._config = config
        self._databases = databases
        self._ask = ask
        self._open_account = open_account

    def find(self, name: str) -> User | None:
        """A user who might log in. Without a user database there is nobody."""
        if names.refusal(name):
            return None
        entry = database.find(self._databases.users, self._databases.places, name, self._ask)
        denied = database.find(self._databases.denied, (), name, self._ask)
        for found in (entry, denied):
            if isinstance(found, Unavailable):
                log.warning("other-user user=%r reason=%r", name, found.text)
                raise StorageError(Reason.UNAVAILABLE, "The user database does not answer; try again later.")
        if not isinstance(entry, Entry) or entry.no_login or isinstance(denied, Entry):
            return None
        if entry.uid not in (None, os.geteuid()) or entry.gid not in (None, os.getegid()):
            return None  # as when he logs in: his mail would be read with somebody else's rights
        return User(name, entry.home, entry.uid, entry.gid, entry.extra)

    def account(self, user: User) -> Account | None:
        """His account, if there is mail of his."""
        try:
            if not os.path.isdir(settings_for(self._config, user).mail_path):
                return None
            return self._open_account(user)
        except Refused as error:
            log.warning("other-user user=%r reason=%r", user.name, error.text)
            return None
