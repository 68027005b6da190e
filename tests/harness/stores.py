"""The stores that transcripts run against."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.engine import KEEPER, USER, Backend, memory_backend
from harness.green import Scheduler

from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.quota_rules import QuotaRules

Maker = Callable[[Scheduler], Backend]


def maildir_maker(directory: Path) -> Maker:
    """Sessions on a Maildir; `outside` is another worker on the same one."""

    def make(scheduler: Scheduler) -> Backend:
        # Names of files hold host, pid and a counter; these two have the same pid, so they get different hosts.
        settings = MaildirSettings(mail_path=str(directory / "Maildir"), lock_host="inside")
        elsewhere = replace(settings, lock_host="outside")
        store, other = MaildirStore(scheduler.runtime()), MaildirStore(scheduler.runtime())
        given = [settings]

        def limit(rules: QuotaRules) -> None:
            given[0] = replace(settings, quota=rules)
            other.open_account(USER, replace(elsewhere, quota=rules)).close()

        def give(owner: str) -> None:
            given[0] = replace(given[0], owner=owner)
            made.outside = other.open_account(KEEPER, elsewhere)

        made = Backend(lambda: store.open_account(USER, given[0]), other.open_account(USER, elsewhere), limit, give)
        return made

    return make


STORES: dict[str, Callable[[Path], Maker]] = {"memory": lambda directory: memory_backend, "maildir": maildir_maker}
