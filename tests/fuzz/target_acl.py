"""`dovecot-acl` and `courierimapacl`: octets give a list, which is written back as it was; a change keeps the rest."""

from greenmail.errors import StorageError
from greenmail.storage.acl import Acl, identifier_in_imap, parse
from greenmail.storage.api import AclAction
from greenmail.storage.courier_acl import parse_courier


def check(data: bytes) -> None:
    acl = parse(data)
    assert acl.data == data, "what is not understood stays"
    _change(acl)
    _change(parse_courier(data))
    try:
        who = identifier_in_imap(data.decode("utf-8", "replace"))
    except StorageError:
        return
    line = who.on_disk()
    assert "\n" not in line


def _change(acl: Acl) -> None:
    try:
        changed = acl.changed("bob", AclAction.REPLACE, frozenset("lrs"), "alice")
    except StorageError:
        assert acl.wrong
        return
    again = parse(changed.data)
    assert not again.wrong, again.wrong
    assert again.data == changed.data
    removed = again.removed("bob", "alice")
    assert parse(removed.data).data == removed.data
