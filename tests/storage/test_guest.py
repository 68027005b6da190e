"""What a guest has open: no method of it changes a message, whatever a command forgets to ask."""

from collections.abc import Callable
from typing import Any

import pytest
from support.maildir_site import ADD, Site, change

from greenmail.errors import StorageError
from greenmail.storage.api import Mailbox
from greenmail.storage.guest import GuestAccount

CHANGES: dict[str, Callable[[Mailbox, Mailbox], Any]] = {
    "claim_recent": lambda inbox, _: inbox.claim_recent(),
    "store": lambda inbox, _: inbox.store([1], change(ADD, "\\Seen")),
    "keyword": lambda inbox, _: inbox.store([1], change(ADD, "word")),
    "expunge": lambda inbox, _: inbox.expunge(None),
    "expunge any": lambda inbox, _: inbox.expunge([1], False),
    "upload": lambda inbox, _: inbox.upload(),
    "save": lambda inbox, _: inbox.save([]),
    "copy": lambda inbox, archive: inbox.copy([1], archive),
    "copy here": lambda inbox, _: inbox.copy([1], inbox),
    "move": lambda inbox, archive: inbox.move([1], archive),
    "touch": lambda inbox, _: inbox.touch(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_goes_through(site: Site, what: str) -> None:
    owner = site.worker()
    owner.create("Archive")
    site.deliver()
    site.deliver(name="1700000009.M1P1.mx:2,T", where="cur")
    guest = GuestAccount(owner)
    inbox, archive = guest.open("INBOX"), guest.open("Archive")
    for mailbox in (inbox, archive):
        mailbox.look()
    before = sorted((str(path), path.stat().st_mtime_ns) for path in site.path.rglob("*"))
    with pytest.raises(StorageError):
        CHANGES[what](inbox, archive)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in site.path.rglob("*")) == before
