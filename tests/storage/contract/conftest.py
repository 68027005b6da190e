"""Each backend in turn."""

from pathlib import Path

import pytest
from support.namespaces import ALIAS, OWN, SHARED, Spool

from greenmail.runtime import direct
from greenmail.storage.api import (
    Account,
    Mailbox,
)
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.memory import MemoryStore

SPECIAL = {"Sent": "\\Sent", "Gesendet": "\\Sent"}


@pytest.fixture(params=["memory", "maildir", "namespaces"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    if request.param == "memory":
        return MemoryStore(special_use=SPECIAL).open_account("alice")
    if request.param == "namespaces":
        spool = Spool(tmp_path, (OWN, ALIAS, SHARED), settings={"special_use": SPECIAL})
        return spool.worker().account()
    settings = MaildirSettings(mail_path=str(tmp_path / "Maildir"), special_use=SPECIAL)
    return MaildirStore(direct()).open_account("alice", settings)


@pytest.fixture
def inbox(account: Account) -> Mailbox:
    return account.open("INBOX")
