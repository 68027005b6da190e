"""`dovecot-acl` and `courierimapacl`: octets give a list, which is written back as it was; a change keeps the rest."""

from itertools import product

from greenmail.errors import StorageError
from greenmail.storage.acl import KEPT, Acl, Kind, Viewer, grantable, identifier_in_imap, parse
from greenmail.storage.api import ALL_RIGHTS, AclAction
from greenmail.storage.courier_acl import parse_courier

VIEWERS = (
    Viewer("alice", "alice"),
    Viewer("bob", "alice", frozenset(("staff", "our friends"))),
    Viewer("carol", ""),
    Viewer("alice", "alice", frozenset(("staff",))),
)
WHO = ("bob", "alice", "-bob", "-alice", "$staff", "!$staff", "anyone", "owner", "authenticated", "anonymous")
RIGHTS = (frozenset("lrs"), frozenset(), ALL_RIGHTS)


def check(data: bytes) -> None:
    acl = parse(data)
    assert acl.data == data, "what is not understood stays"
    _asked(acl)
    _change(acl)
    courier = parse_courier(data)
    _asked(courier)
    _change(courier)
    _named(data)


def _asked(acl: Acl) -> None:
    """What everybody may do: the file decides, and nobody has what only a broken file would give him."""
    for viewer in VIEWERS:
        rights = acl.my_rights(viewer)
        assert rights <= ALL_RIGHTS
        assert acl.my_rights(viewer) is rights
        if acl.wrong:
            assert rights == (ALL_RIGHTS if viewer.is_owner else frozenset())
            assert acl.applies_to(viewer)
        if not acl.applies_to(viewer):
            assert rights == (ALL_RIGHTS if viewer.is_owner else frozenset())
    for owner in ("alice", ""):
        entries = acl.entries(owner)
        assert all(entry.rights <= ALL_RIGHTS for entry in entries)
        assert not owner or acl.wrong or any(entry.identifier in (owner, "owner") for entry in entries)


def _change(acl: Acl) -> None:
    for number, (who, action, rights) in enumerate(product(WHO, AclAction, RIGHTS)):
        owner = "" if number % 4 == 3 else "alice"
        try:
            changed = acl.changed(who, action, rights, owner)
        except StorageError:
            assert acl.wrong or who.startswith("anonymous")
            if acl.wrong:
                return
            continue
        again = parse(changed.data)
        assert not again.wrong, again.wrong
        assert again.data == changed.data
        for viewer in VIEWERS:
            assert again.my_rights(viewer) == changed.my_rights(viewer), "memory and disk"
        kept = [line.raw.rstrip(b"\n") for line in acl.lines if line.identifier is None]
        assert [line.raw.rstrip(b"\n") for line in again.lines if line.identifier is None] == kept
        if owner:
            assert acl.my_rights(VIEWERS[0]) & KEPT <= again.my_rights(VIEWERS[0]), (
                "what an owner cannot lose by SETACL"
            )
        removed = again.removed(who, owner)
        assert parse(removed.data).data == removed.data


def _named(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        who = identifier_in_imap(text)
    except StorageError:
        return
    line = who.on_disk()
    assert "\n" not in line and who.kind in Kind
    assert identifier_in_imap(who.in_imap()) == who
    for owner in ("alice", text, ""):
        kept, each = grantable(text, owner)
        assert kept <= ALL_RIGHTS and kept.isdisjoint(frozenset().union(*each))
