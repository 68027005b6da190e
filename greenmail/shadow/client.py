"""An IMAP client that reads only: EXAMINE, FETCH with BODY.PEEK, LIST. No command that changes anything is in here.

imaplib of the standard library makes connections, TLS, the login and the literals; `records` takes answers apart.
IMAPClient was looked at: it names every message of a FETCH by its number, so a thousand of them are a long line, takes
"[" in a keyword for the beginning of a section, knows no LIST with RETURN, and reads octet by octet in Python.
"""

import contextlib
import imaplib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.errors import BadSyntax, Disconnected, Refused
from greenmail.shadow import records
from greenmail.shadow.logins import Login
from greenmail.shadow.place import Place, Trust, reason

_CODE = re.compile(rb"^\[[^\]]*\] *")


@contextlib.contextmanager
def translated(where: Place) -> Iterator[None]:
    """imaplib's exceptions as ours, with the server's name."""
    try:
        yield
    except imaplib.IMAP4.abort as error:
        words = _words(error)
        cut_off = "unterminated line" in words or words.endswith("EOF")
        raise Disconnected(f"{where}: {'it hung up' if cut_off else words}") from None
    except imaplib.IMAP4.error as error:
        raise Refused(f"{where}: {_words(error)}") from None
    except TimeoutError:
        raise Disconnected(f"{where}: no answer in time") from None
    except OSError as error:
        raise Disconnected(f"{where}: {reason(error)}") from None
    except BadSyntax as error:
        raise Refused(f"{where}: an answer that cannot be understood: {error.text}") from None


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else str(error)
    return said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else str(said)


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox as LIST shows it."""

    name: bytes
    separator: bytes
    attributes: frozenset[str]  # in lower case


@dataclass(frozen=True, slots=True)
class Box:
    """A mailbox as EXAMINE shows it; 0: not told."""

    exists: int
    uidvalidity: int
    uidnext: int
    modseq: int


@dataclass(frozen=True, slots=True)
class Message:
    """What FETCH says of a message."""

    uid: int
    flags: tuple[bytes, ...]
    date: bytes
    size: int


class Client:
    """A connection, logged in."""

    def __init__(self, where: Place, trust: Trust, login: Login, timeout: float) -> None:
        """Raises Refused, Disconnected."""
        self.where = where
        with translated(where):
            self._imap = _connected(where, trust, timeout)
        try:
            with translated(where):
                _log_in(self._imap, login)
                self.capabilities = self._capabilities()
        except (Refused, Disconnected):
            self.close()
            raise

    def close(self) -> None:
        """Say LOGOUT if there is anybody to hear it, and hang up."""
        with contextlib.suppress(imaplib.IMAP4.error, OSError):  # of which abort is one
            self._imap.logout()
        with contextlib.suppress(OSError):
            self._imap.shutdown()

    def _capabilities(self) -> frozenset[str]:
        (_, data) = self._imap.capability()
        return frozenset(b" ".join(part for part in data if part).decode("ascii", "replace").upper().split())

    def namespace(self) -> list[Any]:
        """The three kinds of NAMESPACE, RFC 2342; nothing if it is not known there."""
        if "NAMESPACE" not in self.capabilities:
            return []
        with translated(self.where):
            return next(records.answers(_good(self._imap.namespace())), [])

    def folders(self) -> list[Folder]:
        """All of LIST, with special uses where they can be asked for, RFC 6154 5.1."""
        asks = {"LIST-EXTENDED", "SPECIAL-USE"} <= self.capabilities
        with translated(self.where):
            return _folders(_good(self._imap.list('""', '"*" RETURN (CHILDREN SPECIAL-USE)' if asks else '"*"')))

    def subscribed(self) -> list[Folder]:
        """All of LSUB."""
        with translated(self.where):
            return _folders(_good(self._imap.lsub('""', '"*"')))

    def examine(self, name: bytes) -> Box:
        """Open a mailbox, reading only: it takes \\Recent from nobody, RFC 3501 6.3.2."""
        with translated(self.where):
            _good(self._imap.select(_quoted(name), readonly=True))  # type: ignore[arg-type]  # octets are sent as they are
            return Box(*map(self._number, ("EXISTS", "UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ")))

    def _number(self, code: str) -> int:
        found = self._imap.response(code)[1]
        last = found[-1] if found else None
        return int(last) if isinstance(last, bytes) and last.isdigit() else 0

    def messages(self, exists: int, at_once: int) -> Iterator[Message]:
        """Every message of the open mailbox, by ascending UID.

        By sequence numbers: they stay what they are as long as nothing but FETCH is said, RFC 3501 7.4.1.
        """
        last = 0
        for first in range(1, exists + 1, at_once):
            wanted = f"{first}:{min(exists, first + at_once - 1)}"
            with translated(self.where):
                data = _good(self._imap.fetch(wanted, "(UID FLAGS INTERNALDATE RFC822.SIZE)"))
                found = sorted(map(_message, filter(_is_whole, records.fetched(data))), key=lambda message: message.uid)
            for message in found:
                if message.uid <= last:
                    raise Refused(
                        f"{self.where}: UID {message.uid} comes after {last}, but UIDs ascend, RFC 3501 2.3.1"
                    )
                last = message.uid
                yield message

    def bodies(self, uids: Sequence[int], items: str) -> dict[int, dict[bytes, Any]]:
        """What FETCH says of `items`, which must not set \\Seen, by UID."""
        with translated(self.where):
            data = _good(self._imap.uid("FETCH", ",".join(map(str, uids)), f"(UID {items})"))
            return {int(found[b"UID"]): found for found in records.fetched(data) if b"UID" in found}


def _connected(where: Place, trust: Trust, timeout: float) -> imaplib.IMAP4:
    if where.implicit_tls:
        return imaplib.IMAP4_SSL(where.host, where.port, ssl_context=trust.context(where), timeout=timeout)
    with contextlib.ExitStack() as on_error:
        imap = imaplib.IMAP4(where.host, where.port, timeout=timeout)
        on_error.callback(_hang_up, imap)
        if "STARTTLS" in imap.capabilities:
            imap.starttls(trust.context(where))
        elif not trust.allows_clear_text(where):
            raise Refused(f"{where} offers no STARTTLS; --insecure sends passwords in clear text")
        on_error.pop_all()
        return imap


def _hang_up(imap: imaplib.IMAP4) -> None:
    """After a TLS handshake that failed there is no socket any more: that would hide why."""
    with contextlib.suppress(OSError):
        imap.shutdown()


def _log_in(imap: imaplib.IMAP4, login: Login) -> None:
    if imap.state == "AUTH":
        return  # the greeting was PREAUTH: a tunnel that has logged in, RFC 3501 7.1.4
    imap.capability()  # others after STARTTLS; imaplib keeps them for authenticate()
    known = {name.upper() for name in imap.capabilities}
    if "AUTH=PLAIN" in known:
        imap.authenticate("PLAIN", lambda _: login.plain())
        return
    if login.authzid:
        raise imap.error("SASL PLAIN is not offered, which --authzid needs")
    if "LOGINDISABLED" in known:
        raise imap.error("it takes no passwords over this connection (LOGINDISABLED)")
    # Not imaplib's login(): it sends the name unquoted, and no password that is not ASCII.
    said = [_quoted(word.encode("utf-8", "surrogateescape")) for word in (login.name, login.password)]
    typ, data = imap.xatom("LOGIN", *said)  # type: ignore[arg-type]  # octets are sent as they are
    if typ != "OK":
        raise imap.error(data[-1])
    imap.state = "AUTH"


def _good(answer: tuple[str, Any]) -> list[Any]:
    """The data of an OK. Raises imaplib's error."""
    typ, data = answer
    if typ != "OK":
        raise imaplib.IMAP4.error(_CODE.sub(b"", data[-1] or b"refused") if data else b"refused")
    return list(data)


def _quoted(octets: bytes) -> bytes:
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _folders(data: list[Any]) -> list[Folder]:
    found = []
    for values in records.answers(data):
        if not values:
            continue  # behind a literal at the end of the line
        if len(values) < 3 or not isinstance(values[0], list):
            raise BadSyntax("an answer to LIST is not attributes, separator and name")
        attributes = frozenset(attribute.decode("ascii", "replace").lower() for attribute in values[0])
        # A mailbox may be called NIL, and an atom says so.
        found.append(Folder(b"NIL" if values[2] is None else values[2], values[1] or b"", attributes))
    return found


def _is_whole(items: dict[bytes, Any]) -> bool:
    """Not news of flags that a server sends unasked."""
    return {b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"} <= items.keys()


def _message(items: dict[bytes, Any]) -> Message:
    try:
        flags = tuple(items[b"FLAGS"])
        return Message(int(items[b"UID"]), flags, items[b"INTERNALDATE"] or b"", int(items[b"RFC822.SIZE"]))
    except (TypeError, ValueError):
        raise BadSyntax(f"an answer to FETCH: {records.text_of(list(items.values()))[:80]}") from None
