"""What the user of a session may do: RFC 4314 4. Every way from a mailbox's name to the account leads through here.

No other module of `imap` calls a method of `Account` that takes a name (`tests/imap/test_rights.py` looks), so a
command cannot forget to ask: each function here wants to be told the rights, or knows them. What a command needs on the
mailbox that is selected stands in its `Command`; `look` takes up the rights with the news.

Who has no right `l` is told what is told of a mailbox that does not exist. RFC 4314 6.
"""

import time
import unicodedata
from collections.abc import Iterable, Mapping

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap.response import NOPERM, TRYCREATE
from greenmail.imap.session import Session
from greenmail.imap.view import View
from greenmail.storage.api import (
    DELETED,
    SEEN,
    Account,
    AclAction,
    AclEntry,
    Flags,
    Mailbox,
    Quota,
    QuotaLimits,
    Rights,
)

WRITING = frozenset("iestw")  # with none of these a mailbox is READ-ONLY, RFC 4314 5.2
NO_PERMISSION = "You have no permission to do this here."

_ANY = frozenset("lrikxa")  # of these one is enough for MYRIGHTS, RFC 4314 4
_ANNOTATING = frozenset("rswip")  # one of these beside `l`, RFC 5464 3.3
_FLAG_RIGHTS = {SEEN.casefold(): "s", DELETED.casefold(): "t"}


def account_of(session: Session) -> Account:
    """The account of a session whose state has been checked: the command table wants a login."""
    assert session.account is not None
    return session.account


# The selected mailbox


def look(session: Session, view: View, age: float = 0.0, news_age: float = 0.0) -> None:
    """Take up what anyone changed in the selected mailbox, and in what may be done with it. Raises GONE.

    A look of this session that began less than `age` seconds ago is enough; and one at the mailbox, by whomever, that
    began less than `news_age` seconds ago.

    RFC 4314 5.1.1 leaves open what becomes of a client that may no longer read what it has selected: the mailbox is
    gone for it.
    """
    began = time.monotonic()
    if began - view.looked < age:
        return
    seen = None if view.mailbox.was_looked_at(news_age) else view.mailbox.look()
    try:
        view.rights = account_of(session).my_rights(view.name, seen)
    except StorageError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
        view.rights = frozenset()
    if "r" not in view.rights:
        raise StorageError(Reason.GONE, "The mailbox may not be read any more, or is gone.")
    view.looked = began


def require(view: View, needed: str) -> None:
    """Raises Refused if a right is missing in the selected mailbox."""
    if not view.rights.issuperset(needed):
        raise Refused(NO_PERMISSION, NOPERM)


def settable(rights: Rights, flags: Iterable[str]) -> Flags:
    """The flags that these rights allow to change: RFC 4314 4 STORE, APPEND, COPY."""
    return frozenset(flag for flag in flags if _FLAG_RIGHTS.get(flag.casefold(), "w") in rights)


# Mailboxes by name


def existing(session: Session, given: str, needed: str) -> str:
    """The name of a mailbox for one who has all rights of `needed`: as given, or normalized if the client speaks rev2.

    RFC 9051 5.1. Raises NOT_FOUND, NO_PERMISSION.
    """
    return _permitted(session, given, needed)[0]


def granted(session: Session, given: str, needed: str) -> Rights:
    """The rights of one who has all of `needed`. Raises NOT_FOUND, NO_PERMISSION."""
    return _permitted(session, given, needed)[1]


def _permitted(session: Session, given: str, needed: str) -> tuple[str, Rights]:
    """The name that was meant, and all rights of one who has those that are needed."""
    name, rights = _found(session, given)
    if not rights.issuperset(needed):
        raise _refusal(rights)
    return name, rights


def _found(session: Session, given: str) -> tuple[str, Rights]:
    account = account_of(session)
    try:
        return given, account.my_rights(given)
    except StorageError as error:
        normal = unicodedata.normalize("NFC", given) if session.rev2 else given
        if error.reason is not Reason.NOT_FOUND or normal == given:
            raise
    return normal, account.my_rights(normal)


def _refusal(rights: Rights) -> StorageError:
    if "l" in rights:
        return StorageError(Reason.NO_PERMISSION, NO_PERMISSION)
    return StorageError(Reason.NOT_FOUND, "There is no such mailbox.")


def open_mailbox(session: Session, given: str, needed: str, looks: bool = True) -> tuple[Mailbox, str, Rights]:
    """A mailbox for one who has all rights of `needed`, the name that it has for him, and his rights."""
    name, rights = _permitted(session, given, needed)
    return account_of(session).open(name, looks), name, rights


def reopened(session: Session, view: View, given: str, needed: str) -> Rights | None:
    """The rights of one who opens the mailbox that he has selected, by the same name; None: ask `open_mailbox`.

    The look says whether the mailbox is still where that name leads, so nothing has to be looked up.
    """
    if given != view.name:
        return None
    try:
        mine = account_of(session).my_rights(given, view.mailbox.look())
    except StorageError:  # what is wrong is said by whoever opens it anew
        return None
    return mine if mine.issuperset(needed) else None


def open_as(account: Account, name: str, needed: str) -> Mailbox:
    """A mailbox as the user of `account` has it, who is not the session's: RFC 4467 7, URLFETCH."""
    mine = account.my_rights(name)
    if not mine.issuperset(needed):
        raise _refusal(mine)
    return account.open(name)


def open_target(session: Session, given: str) -> tuple[Mailbox, str, Rights]:
    """The mailbox that APPEND, COPY or MOVE adds to; a missing one is never made. RFC 9051 6.3.12, 6.4.7.

    It is not looked at: whoever adds to it looks under its lock.
    """
    try:
        return open_mailbox(session, given, "i", looks=False)
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:
            raise Refused("there is no such mailbox; create it first", TRYCREATE) from None
        raise


def create(session: Session, name: str, uses: Iterable[str]) -> str:
    """CREATE: `k` on the nearest mailbox above. The mailbox_id."""
    _must_create(session, name)
    return account_of(session).create(name, uses)


def _must_create(session: Session, name: str) -> None:
    if not account_of(session).may_create(name):
        raise StorageError(Reason.NO_PERMISSION, "You have no permission to make a mailbox of this name.")


def delete(session: Session, given: str) -> str:
    """DELETE: `x`. The name that was meant."""
    name, _ = _removable(session, given)
    account_of(session).delete(name)
    return name


def rename(session: Session, given: str, new: str) -> str:
    """RENAME: `x` on the mailbox, what is below it goes along; `k` above the new name. The name that was meant.

    A name that is only a parent is renamed for one who could make it, and remove all that he sees below it.
    """
    old, is_mailbox = _removable(session, given)
    account = account_of(session)
    _must_create(session, new)
    if not is_mailbox:
        _must_create(session, old)
        for folder in account.folders():
            if folder.selectable and folder.name.startswith(old + account.separator):
                existing(session, folder.name, "x")
    account.rename(old, new)
    return old


def _removable(session: Session, given: str) -> tuple[str, bool]:
    """The name of a mailbox with the right `x`; or of what is only a parent, and False."""
    try:
        name, rights = _found(session, given)
    except StorageError as error:
        normal = unicodedata.normalize("NFC", given) if session.rev2 else given
        names = {folder.name for folder in account_of(session).folders()}
        parent = next((name for name in (given, normal) if name in names), None)
        if error.reason is not Reason.NOT_FOUND or parent is None:
            raise
        return parent, False
    if "x" not in rights:
        raise _refusal(rights)
    return name, True


def subscribe(session: Session, given: str) -> None:
    """SUBSCRIBE: `l`, for it makes sure that the mailbox exists."""
    account_of(session).subscribe(existing(session, given, "l"))


def quotas(session: Session, given: str) -> list[Quota]:
    """GETQUOTAROOT: `r`, RFC 9208 4.1.2; a mailbox need not exist."""
    account = account_of(session)
    try:
        given = existing(session, given, "r")
    except StorageError as error:
        if error.reason is not Reason.NOT_FOUND or not account.may_create(given):
            raise
    return [account.quota(root) for root in account.quota_roots(given)]


def is_over_soft_quota(session: Session, name: str) -> bool:
    """Whether a mailbox, which the client has just written to, counts in such a quota, and he may be told."""
    account = account_of(session)
    # Rights are looked at only where there is something to tell.
    is_over = any(quota.is_soft and quota.is_exceeded for quota in map(account.quota, account.quota_roots(name, True)))
    return is_over and any(quota.is_soft and quota.is_exceeded for quota in quotas(session, name))


def set_quota(session: Session, root: str, limits: QuotaLimits) -> Quota:
    """SETQUOTA: `a` on the mailboxes of the quota root, for which INBOX stands. RFC 9208 6. The quota then."""
    existing(session, "INBOX", "a")
    account_of(session).set_quota(root, limits)
    return account_of(session).quota(root)


def share_quota(session: Session, one: str, other: str) -> bool:
    """Whether two mailboxes count in the same quota root."""
    account = account_of(session)
    return not set(account.quota_roots(one)).isdisjoint(account.quota_roots(other))


# Access control lists


def my_rights(session: Session, given: str) -> Rights:
    """MYRIGHTS: any of `lrikxa`."""
    _, rights = _found(session, given)
    if not rights & _ANY:
        raise _refusal(frozenset())
    return rights


def acl(session: Session, given: str) -> list[AclEntry]:
    """GETACL: `a`."""
    return account_of(session).acl(existing(session, given, "a"))


def list_rights(session: Session, given: str, identifier: str) -> tuple[Rights, tuple[Rights, ...]]:
    """LISTRIGHTS: `a`."""
    return account_of(session).list_rights(existing(session, given, "a"), identifier)


def set_acl(session: Session, given: str, identifier: str, action: AclAction, rights: Rights) -> str:
    """SETACL: `a`. The name of the mailbox."""
    name = existing(session, given, "a")
    account_of(session).set_acl(name, identifier, action, rights)
    return name


def delete_acl(session: Session, given: str, identifier: str) -> str:
    """DELETEACL: `a`. The name of the mailbox."""
    name = existing(session, given, "a")
    account_of(session).delete_acl(name, identifier)
    return name


# Annotations


def metadata(session: Session, given: str) -> tuple[str, dict[str, bytes]]:
    """GETMETADATA: `l` and any of `rswip`, RFC 5464 3.3. The name of the mailbox, and its annotations."""
    name = _annotated(session, given, "") if given else given
    return name, account_of(session).metadata(name)


def set_metadata(session: Session, given: str, values: Mapping[str, bytes | None], most: int) -> None:
    """SETMETADATA: likewise; what all see wants `w`, too."""
    is_shared = any(entry.startswith("/shared/") for entry in values)
    name = _annotated(session, given, "w" if is_shared else "") if given else given
    account_of(session).set_metadata(name, values, most)


def set_special_use(session: Session, given: str, uses: Iterable[str]) -> None:
    """SETMETADATA of /private/specialuse."""
    account_of(session).set_special_use(_annotated(session, given, ""), uses)


def _annotated(session: Session, given: str, needed: str) -> str:
    name, rights = _found(session, given)
    if "l" not in rights or not rights & _ANNOTATING or not rights.issuperset(needed):
        raise _refusal(rights)
    return name
