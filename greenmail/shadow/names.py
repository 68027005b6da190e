"""What two servers say of an account as a whole: mailboxes and their attributes, subscriptions, namespaces."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from greenmail.shadow.client import Client, Folder
from greenmail.shadow.kinds import THERE, Difference
from greenmail.shadow.records import text_of

# What a mailbox is for, RFC 6154 2 and RFC 8457.
_USES = frozenset({"\\all", "\\archive", "\\drafts", "\\flagged", "\\junk", "\\sent", "\\trash", "\\important"})
_CHILDREN = frozenset({"\\haschildren", "\\hasnochildren"})
_KEPT = frozenset({"\\noselect", "\\nonexistent", "\\noinferiors"})
_SPELLED = {name.lower(): name for name in ("\\HasChildren", "\\HasNoChildren", "\\NoInferiors", "\\NonExistent")}
_NO_MAIL = frozenset({"\\noselect", "\\nonexistent"})
# Nothing that a client could miss: what GreenMail speaks instead, and what is said of the connection alone.
_OF_CONNECTION = ("AUTH=", "STARTTLS", "LOGINDISABLED", "SASL", "STLS", "USER", "CAPA", "IMPLEMENTATION")
_SHIFTED = re.compile(rb"&([^-]*)-")

Key = tuple[bytes, ...]  # the levels of a mailbox name: the same at both, even if the separators differ


@dataclass(frozen=True, slots=True)
class Pair:
    """A mailbox that both have."""

    name: str  # as people read it
    theirs: bytes
    ours: bytes


@dataclass(frozen=True, slots=True)
class Account:
    """What one server says."""

    folders: dict[Key, Folder]
    subscribed: dict[Key, Folder]
    namespace: str
    capabilities: frozenset[str]

    @property
    def separators(self) -> str:
        """Usually one."""
        return " ".join(sorted({text_of(folder.separator) for folder in self.folders.values()}))


def account(client: Client) -> Account:
    """Ask. Raises Refused, Disconnected."""
    folders = {_key(folder): folder for folder in client.folders()}
    subscribed = {_key(folder): folder for folder in client.subscribed()}
    namespace = client.namespace()
    return Account(folders, subscribed, text_of(namespace)[1:-1] if namespace else "", client.capabilities)


def _key(folder: Folder) -> Key:
    levels = folder.name.split(folder.separator) if folder.separator else [folder.name]
    if levels[0].upper() == b"INBOX":
        levels[0] = b"INBOX"
    return tuple(levels)


def readable(name: bytes) -> str:
    """A mailbox name, decoded from modified UTF-7 as far as it is that, RFC 3501 5.1.3."""
    return _SHIFTED.sub(_decoded, name).decode("utf-8", "backslashreplace")


def _decoded(found: re.Match[bytes]) -> bytes:
    text = found.group(1).replace(b",", b"/")
    if not text:
        return b"&"
    try:
        utf16 = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        return utf16.decode("utf-16-be").encode("utf-8")
    except ValueError:
        return found.group()


def pairs(theirs: Account, ours: Account) -> list[Pair]:
    """The mailboxes with mail that both list."""
    return [
        Pair(readable(folder.name), folder.name, ours.folders[key].name)
        for key, folder in theirs.folders.items()
        if key in ours.folders and not (folder.attributes | ours.folders[key].attributes) & _NO_MAIL
    ]


def compare(theirs: Account, ours: Account) -> Iterator[Difference]:
    """All that differs."""
    if theirs.separators != ours.separators and theirs.folders and ours.folders:
        yield Difference("separator", theirs.separators, ours.separators)
    if theirs.namespace != ours.namespace and theirs.namespace:
        yield Difference("namespace", theirs.namespace, ours.namespace)
    for key in _all(theirs.folders, ours.folders):
        their, our = theirs.folders.get(key), ours.folders.get(key)
        if their is None and our is not None:
            yield Difference("mailbox-extra", "", THERE, readable(our.name))
        elif our is None and their is not None:
            yield Difference("mailbox-missing", THERE, "", readable(their.name))
        elif their is not None and our is not None:
            yield from _attributes(their, our)
    for key in _all(theirs.subscribed, ours.subscribed):
        their, our = theirs.subscribed.get(key), ours.subscribed.get(key)
        # Levels above a subscribed mailbox, not subscribed themselves, may be shown as \Noselect: RFC 3501 6.3.9.
        if their is None and our is not None and not our.attributes & _NO_MAIL:
            yield Difference("subscription-extra", "", THERE, readable(our.name))
        elif our is None and their is not None and not their.attributes & _NO_MAIL:
            yield Difference("subscription-missing", THERE, "", readable(their.name))
    for name in lacking(theirs.capabilities, ours.capabilities):
        yield Difference("capability", name, "")


def lacking(theirs: Iterable[str], ours: Iterable[str]) -> list[str]:
    """Capabilities that clients may use there and not here."""
    return [name for name in sorted(set(theirs) - set(ours)) if not name.startswith(_OF_CONNECTION)]


def _all(theirs: dict[Key, Folder], ours: dict[Key, Folder]) -> list[Key]:
    return [*theirs, *(key for key in ours if key not in theirs)]


def _attributes(their: Folder, our: Folder) -> Iterator[Difference]:
    name = readable(their.name)
    compared = _KEPT
    if their.attributes & _CHILDREN and our.attributes & _CHILDREN:  # a server need not tell, RFC 3348
        compared |= _CHILDREN
    theirs, ours = their.attributes & compared, our.attributes & compared
    if _plain(theirs) != _plain(ours):
        yield Difference("attributes", _list(theirs), _list(ours), name)
    missing, extra = (their.attributes - our.attributes) & _USES, (our.attributes - their.attributes) & _USES
    if missing:
        yield Difference("special-use", _list(missing), _list(our.attributes & _USES), name)
    elif extra:
        yield Difference("special-use-extra", _list(their.attributes & _USES), _list(our.attributes & _USES), name)


def _plain(attributes: frozenset[str]) -> frozenset[str]:
    """\\NonExistent says \\Noselect in other words, RFC 5258 3."""
    return attributes - {"\\nonexistent"} | {"\\noselect"} if "\\nonexistent" in attributes else attributes


def _list(attributes: Iterable[str]) -> str:
    return " ".join(_SPELLED.get(name, f"\\{name[1:].capitalize()}") for name in sorted(attributes))
