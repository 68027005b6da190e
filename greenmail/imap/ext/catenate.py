"""CATENATE, RFC 4469: a message is made of what the client sends, and of messages and parts of them that are here.

    cat-part             = text-literal / url
    url                  = "URL" SP astring
    badurl-response-code = "BADURL" SP url-resp-text

How APPEND and REPLACE read their parts is in `append_data`, how a message is made of them in `incoming`; here is what a
URL means. It is what FETCH BODY.PEEK[section]<partial> would answer, copied piece by piece from where it lies. URLs are
relative to the user's own mailboxes, or to the selected one; with a server in them they are taken if that is this
server (`url-hosts`) and the user is the same, which RFC 4469 3 leaves to others. Nothing is \\Seen by it.

URL-PARTIAL, RFC 5550: a URL may end in ";PARTIAL=".

BADURL names the URL without the quotes of RFC 4469 A, example 4, as its grammar has it.
"""

from typing import NoReturn, Protocol

from greenmail.errors import BadSyntax, Reason, Refused, StorageError
from greenmail.imap import rights
from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.imap_url import ImapUrl, Server, imap_url, shown
from greenmail.imap.octets import Message, section_octets
from greenmail.imap.response import BADURL, TOOBIG
from greenmail.imap.session import Session
from greenmail.storage.api import Mailbox

KEPT_OPEN = 8  # mailboxes, each of which has descriptors and memory of its own

# What of the store's refusals means that there is no such thing, as far as the user may know.
_NOTHING_THERE = frozenset({Reason.NOT_FOUND, Reason.NO_PERMISSION, Reason.GONE, Reason.EXPUNGED, Reason.CANNOT})


class Target(Protocol):
    """A message that is being made."""

    def expect(self, size: int) -> None:
        """So many octets more will be written. Raises Refused."""

    def write(self, data: bytes) -> None:
        """Some of them. Raises StorageError."""


class Sources:
    """What the URLs of one command lead to; the last few mailboxes stay open until `close`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._mailboxes: dict[str, Mailbox] = {}
        self._octets = 0  # that were copied

    def write(self, octets: bytes, target: Target) -> None:
        """Write what a URL means. Raises Refused with BADURL if that is nothing; StorageError."""
        try:
            url = imap_url(octets)
            mailbox = self._mailbox(url)
        except BadSyntax as nonsense:
            raise _bad(octets, nonsense.text) from None
        except StorageError as error:
            if error.reason in _NOTHING_THERE:
                raise _bad(octets, "the URL leads to no mailbox") from None
            raise
        message = Message(self._session, mailbox, url.uid, {}, _raise)
        try:
            self._copy(octets, url, message, target)
        finally:
            message.close()
        self._session.breathe()

    def _copy(self, octets: bytes, url: ImapUrl, message: Message, target: Target) -> None:
        try:
            if message.mailbox.table.row(url.uid) < 0:
                raise _bad(octets, "the URL leads to no message")
            found = section_octets(message, url.section, url.partial)
        except StorageError as error:
            if error.reason in _NOTHING_THERE:
                raise _bad(octets, "the URL leads to no message") from None
            raise
        if found is None:
            raise _bad(octets, "the URL leads to no part of that message")
        size, slices = found
        target.expect(size)
        self._octets += size
        most = self._session.limits.max_request_size
        if self._octets > most:  # else a short command could fill the disk, a hundred times that for a hundred messages
            raise Refused(f"the URLs of one command may bring {most} octets at most; use several commands", TOOBIG)
        for piece in slices:
            target.write(piece)
            self._session.breathe()

    def _mailbox(self, url: ImapUrl) -> Mailbox:
        """The mailbox of a message, looked at once in a command. Raises BadSyntax, StorageError."""
        session = self._session
        if not url.uid or url.authorization is not None:
            raise BadSyntax("the URL is not one of a message")
        if url.server is not None and not _is_own(session, url.server):
            raise BadSyntax("the URL is not one of this server and of yourself")
        if not url.mailbox and session.view is None:
            raise BadSyntax("the URL is relative to the selected mailbox, and none is selected")
        name = url.mailbox or (session.view.name if session.view is not None else "")
        mailbox = self._mailboxes.get(name)
        if mailbox is None:
            if len(self._mailboxes) >= KEPT_OPEN:
                self.close()
            mailbox, _, _ = rights.open_mailbox(session, name, "r")
            self._mailboxes[name] = mailbox
        if url.uidvalidity not in (None, mailbox.uidvalidity):  # RFC 5092 5: as if there were no such mailbox
            raise BadSyntax("the URL is of a mailbox that was there before")
        return mailbox

    def close(self) -> None:
        """Give back the mailboxes."""
        while self._mailboxes:
            self._mailboxes.popitem()[1].close()


def _is_own(session: Session, server: Server) -> bool:
    services, user = session.services, session.user
    assert user is not None
    return server.host in services.url_hosts and services.normalize(server.user) == user.name


def _raise(trouble: StorageError | Refused) -> NoReturn:
    raise trouble


def _bad(octets: bytes, text: str) -> Refused:
    """RFC 4469 4.1."""
    return Refused(f"{text}; nothing was appended", f"{BADURL} {shown(octets)}")


FEATURE: Feature = Feature("catenate", capabilities=(Capability("CATENATE", always), Capability("URL-PARTIAL", always)))
