"""The Maildir store: one `MaildirStore` a worker, one shared `MaildirAccount` a user."""

from greenmail.runtime import Runtime
from greenmail.storage.account import MaildirAccount
from greenmail.storage.filesystem import Files
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.shared import Shared


class MaildirStore:
    """Every account and mailbox object of one worker. Make it after fork."""

    def __init__(self, runtime: Runtime, cache_memory: int = 256 << 20, files: Files | None = None) -> None:
        """`cache_memory`: octets of mailboxes that are kept although nobody has them open."""
        self.shared = Shared(runtime, cache_memory, files)
        self.rules = self.shared.rules
        self.mailboxes = self.shared.mailboxes
        self._accounts: dict[tuple[str, str], MaildirAccount] = {}

    def open_account(self, user: str, settings: MaildirSettings) -> MaildirAccount:
        """A reference to the account of `user`. Raises StorageError if there is no mail and none may be made."""
        key = (user, settings.mail_path)
        account = self._accounts.get(key)
        if account is None or account.settings != settings:
            account = self._accounts[key] = MaildirAccount(self.shared, user, settings, self._forget)
        account.references += 1
        return account

    def _forget(self, account: MaildirAccount) -> None:
        """Nobody uses it any more."""
        key = (account.user, account.settings.mail_path)
        if self._accounts.get(key) is account:
            del self._accounts[key]
