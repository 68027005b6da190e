"""Mail stores. No protocol word in here: IMAP and POP3 both sit on top.

A backend is a class whose `open_account` gives a `storage.api.Account`; each keeps to `tests/storage/contract`.
"""

from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.memory import MemoryStore

BACKENDS: dict[str, type[MaildirStore] | type[MemoryStore]] = {"maildir": MaildirStore, "memory": MemoryStore}
