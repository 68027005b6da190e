"""The table of all checks, in the order in which they look and mend."""

from collections.abc import Callable
from dataclasses import dataclass

from greenmail.doctor import (
    keyword_letters,
    leftovers,
    lock_files,
    mailbox_names,
    maildirsize,
    message_files,
    ownership,
    pop3_forecast,
    sizes,
    uidlist_faults,
)
from greenmail.doctor.account import Account
from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding
from greenmail.doctor.survey import Circumstances, Mailbox


@dataclass(frozen=True, slots=True)
class MailboxCheck:
    """Looks at one mailbox. `mend` is called under the mailbox's locks with a fresh survey."""

    find: Callable[[Mailbox, Circumstances], list[Finding]]
    mend: Callable[[Mailbox, Bench], None] | None = None
    # To look costs long: under the lock only at what was found without it, in portions.
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """Looks at what belongs to no single mailbox. `mend` takes the locks that it needs."""

    find: Callable[[Account], list[Finding]]
    mend: Callable[[Account, Bench], None] | None = None


# Before the mailboxes are looked at: what keeps them from being seen or opened.
FIRST = (
    AccountCheck(ownership.find, ownership.mend),
    AccountCheck(mailbox_names.find, mailbox_names.mend),
)
# Locks are mended without the mailbox's own, which could not be taken.
LOCKS = MailboxCheck(lock_files.find, lock_files.mend)
# UIDs are put right before names change, and given to what lacks them after all names are final.
MAILBOX = (
    MailboxCheck(uidlist_faults.find, uidlist_faults.mend),
    MailboxCheck(message_files.find_twins, message_files.part_twins),
    MailboxCheck(message_files.find_names, message_files.rename_unusable),
    MailboxCheck(sizes.find, sizes.mend, is_slow=True),
    MailboxCheck(message_files.find_unnumbered, message_files.number),
    MailboxCheck(message_files.find_oddities),
    MailboxCheck(keyword_letters.find, keyword_letters.mend),
    MailboxCheck(leftovers.find, leftovers.mend),
    MailboxCheck(pop3_forecast.find),
)
# After the mailboxes: what is added up over them.
LAST = (AccountCheck(maildirsize.find, maildirsize.mend),)
