"""The Maildir store: one `MaildirStore` a worker, one shared `MaildirAccount` a user.

Many clients log in, do little, and log in again. So an account that nobody uses any more is kept for a while. It is
looked at where it is used, as one is that sessions use for days; only what the making of it looks at is looked at again
before somebody else gets it: `MaildirAccount.is_as_opened`.
"""

import time
from collections import OrderedDict

from greenmail.runtime import Runtime
from greenmail.storage.account import MaildirAccount
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.shared import Shared

_MOST_RESTING = 256  # accounts that nobody uses, of some 10 KB each
_KEPT = 60.0  # seconds after the making of an account in which it is kept

_Key = tuple[str, str]  # user, `mail-path`


class MaildirStore:
    """Every account and mailbox object of one worker. Make it after fork."""

    def __init__(self, runtime: Runtime, cache_memory: int = 256 << 20, files: Files | None = None) -> None:
        """`cache_memory`: octets of mailboxes that are kept although nobody has them open."""
        self.shared = Shared(runtime, cache_memory, files)
        self.rules = self.shared.rules
        self.mailboxes = self.shared.mailboxes
        self._accounts: dict[_Key, MaildirAccount] = {}
        self._resting: OrderedDict[_Key, MaildirAccount] = OrderedDict()

    def open_account(self, user: str, settings: MaildirSettings) -> MaildirAccount:
        """A reference to the account of `user`. Raises StorageError if there is no mail and none may be made."""
        key = (user, settings.mail_path)
        account = self._accounts.get(key)
        if account is None:
            account = self._rested(key)
        if account is None or account.settings != settings:
            account = MaildirAccount(self.shared, user, settings, self._forget)
        self._accounts[key] = account
        account.refer()
        return account

    def _rested(self, key: _Key) -> MaildirAccount | None:
        """The account that was kept, if it may be used again."""
        account = self._resting.pop(key, None)
        return account if account is not None and self._is_good(account) and account.is_as_opened() else None

    def _is_good(self, account: MaildirAccount) -> bool:
        return time.monotonic() - account.made < _KEPT

    def _forget(self, account: MaildirAccount) -> None:
        """Nobody uses it any more."""
        key = (account.user, account.settings.mail_path)
        if self._accounts.get(key) is not account:
            return
        del self._accounts[key]
        if self._is_good(account):
            self._resting[key] = account
            if len(self._resting) > _MOST_RESTING:
                self._resting.popitem(last=False)
