"""NOTIFY, RFC 5465: the client is told of what happens in many mailboxes, also while no command is in progress.

While a connection waits for the next command it waits for the places, too, that the client wants news of (`Ears.rest`).
An event of the disk says only where something may have happened; what the client knows is compared with what there is
(`notify_table`, `notify_names`), and the difference is told: STATUS, LIST, METADATA. What is told of the selected
mailbox is the business of `news`, which asks `Session.wanted`. So nothing is told twice, and nothing without a cause.

With SELECTED, an EXPUNGE is told when no command is in progress, or in one that allows it (RFC 9051 7.5.1). Without
message events for the selected mailbox its view stands still, as a snapshot; only what the client expunges itself is
told, with all that came before it.

Order of answers: RFC 5465 5.2 and 7 contradict each other about FETCH and ESEARCH ADDTO. Here the FETCH that MessageNew
asked for comes last; the one that UPDATE asked for, without it, goes before ADDTO.

What RFC 5465 5.9 recommends and is not done: \\NoAccess for a mailbox that lost the right `l`. It is told as one that
was deleted, for who may not see a mailbox is not told that there is one, RFC 4314 6.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from greenmail.errors import Reason, Refused, StorageError
from greenmail.imap import rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.notify_names import Names
from greenmail.imap.ext.notify_request import (
    DELAYED,
    EVENTS,
    FLAG_CHANGE,
    MAILBOX_METADATA,
    MESSAGE_EVENTS,
    MESSAGE_NEW,
    SERVER_METADATA,
    EventGroup,
    NotifyRequest,
    parse_notify,
    unsupported,
)
from greenmail.imap.ext.notify_table import EXISTS, NO_ACCESS, UNKNOWN, WATCHED, Table, Told, identity, told_of
from greenmail.imap.ext.unasked import begin_items, fetch_unasked
from greenmail.imap.fetch_att import Item
from greenmail.imap.listening import Wanted
from greenmail.imap.news import report
from greenmail.imap.response import Ok
from greenmail.imap.rights import account_of
from greenmail.imap.sequence_set import resolve, sequence_set
from greenmail.imap.session import Session
from greenmail.runtime import Places, Wake, Watch
from greenmail.storage.api import Mailbox

log = logging.getLogger(__name__)

BADEVENT = f"BADEVENT ({' '.join(EVENTS)})"  # RFC 5465 8
OVERFLOW = "NOTIFICATIONOVERFLOW"

_NAMES = ""  # the name of the place where mailboxes come and go; no mailbox has it
_LATER = 2.0  # seconds to the next look, where one failed
_SOON = 0.25  # the least for one after a look that was not sure to have seen everything
_ONE_BY_ONE = frozenset({Reason.NOT_FOUND, Reason.GONE, Reason.CANNOT})


class Ears:
    """A `listening.Listening`: what one NOTIFY SET, or NOTIFY NONE, asked for."""

    def __init__(self, session: Session, request: NotifyRequest) -> None:
        self._session = session
        chosen = next((group for group in request.groups if group.is_selected), EventGroup(""))
        self.wanted = Wanted(
            messages=MESSAGE_NEW in chosen.events,
            flags=FLAG_CHANGE in chosen.events,
            expunges_at_rest=chosen.mailboxes != DELAYED,
        )
        self._items: tuple[Item, ...] = chosen.items
        self._groups = tuple(group for group in request.groups if not group.is_selected)
        self._table = Table()
        self._names = Names(session, self._groups, self._table)
        self._annotations: dict[str, dict[str, int]] = {}  # hashes of values, by mailbox and entry
        self._places: Places | None = session.wire.places() if self._groups else None
        self._watch: Watch | None = None
        self._watched: Mailbox | None = None
        self._own: set[int] = set()  # UIDs of messages that this client added to the selected mailbox

    def begin(self, status: bool) -> None:
        """Register for everything, and tell how it stands if that is wanted. Raises Refused, StorageError."""
        if self._places is not None:
            self._places.add(_NAMES, account_of(self._session).watched())
            self._names.begin()
            if self._is_too_much():
                raise Refused("too many mailboxes to watch; name fewer of them", OVERFLOW)
        begin_items(self._session, self._items)
        if self._places is None:
            return
        for name in self._table.with_bit(EXISTS):
            self._open_ears(name, tells=status)
            self._session.breathe()
        if self._wants_server():
            self._annotations[""] = self._hashes("")
        self._places.changed()  # what came up to now is known

    def close(self) -> None:
        """Nothing is listened for any more."""
        watch, self._watch, self._watched = self._watch, None, None
        if watch is not None:
            watch.close()
        places, self._places = self._places, None
        if places is not None:
            places.close()

    # listening.Listening

    def rest(self, seconds: float) -> bool:
        """Tell what happens until the client sends something; False if it did not for so many seconds."""
        session, now = self._session, self._session.services.runtime.elapsed
        end = now() + seconds
        while True:
            self.watch()  # before the looks: nothing is missed
            if self._is_followed:
                report(session, may_expunge=self.wanted.expunges_at_rest)
            if not session.logging_out:
                self.tell()
            if session.logging_out:
                return True
            left = end - now()
            if left <= 0:
                return False
            if self.watch().wait(left) is Wake.INPUT:  # what was selected may be gone
                return True

    @property
    def _is_followed(self) -> bool:
        """Whether there may be anything to tell of the selected mailbox."""
        view = self._session.view
        return view is not None and (self.wanted.messages or view.contexts is not None)

    def watch(self) -> Watch:
        """A wait for the client, for news of the selected mailbox, and of the places."""
        view = self._session.view
        mailbox = view.mailbox if view is not None and self._is_followed else None
        if self._watch is None or mailbox is not self._watched:
            if self._watch is not None:
                self._watch.close()
            self._watch = self._session.wire.watch(mailbox, self._places)
            self._watched = mailbox
        return self._watch

    def tell(self) -> None:
        """Tell what happened elsewhere than in the selected mailbox."""
        if self._places is None:
            return
        changed = self._places.changed()
        if not changed:
            return
        is_missed = False
        # The names first: they say which mailboxes there are.
        for name in sorted(changed):
            is_missed |= not self._tell_of(name)
            self._session.breathe()
        if is_missed and _NAMES not in changed:
            self._tell_of(_NAMES)

    def _tell_of(self, name: str) -> bool:
        """Tell of one place. One that cannot be read is looked at again, and keeps nothing else back.

        False if it is a mailbox that is not there.
        """
        if self._places is None:  # there were too many, and nothing is told any more
            return True
        try:
            if name != _NAMES:
                return self._tell_mailbox(name)
            self._tell_names()
        except StorageError as error:
            reason, text = error.reason.name, error.text
            log.warning("notify sid=%s mailbox=%r reason=%s text=%r", self._session.sid, name, reason, text)
            self._look_again(name, _LATER)
        return True

    def tells_of(self, uid: int) -> bool:
        """MessageNew asked for something, and this client has not added the message itself. RFC 5465 5.2."""
        return bool(self._items) and uid not in self._own

    def arrived(self, uids: Sequence[int], more: Mapping[int, tuple[Item, ...]]) -> None:
        """Send what MessageNew asked for; with what UPDATE asked for, in one FETCH. RFC 5465 5.2."""
        plain = [uid for uid in uids if self.tells_of(uid) and uid not in more]
        self._own.clear()  # what was added before is told by now
        fetch_unasked(self._session, self._items, plain)
        for items in dict.fromkeys(more.values()):
            fetch_unasked(self._session, (*self._items, *items), [uid for uid in uids if more.get(uid) == items])

    def did(self, command: str, argument: Any, code: bytes) -> None:
        """This client has done that itself: RFC 5465 5 would not have it told."""
        names = self._names
        match command:
            case "CREATE":
                names.made(argument.name)
            case "DELETE":
                names.deleted(argument)
            case "RENAME":
                names.renamed(argument.old, argument.new)
            case "SUBSCRIBE" | "UNSUBSCRIBE":
                names.subscribed(argument, command == "SUBSCRIBE")
            case "SETMETADATA":
                self._did_annotate(argument.name, argument.values)
            case "APPEND" | "COPY" | "MOVE":
                self._did_add(argument.name, code)
            case "REPLACE":
                self._did_add(argument.name, code, int(self._is_selected(argument.name)))

    # Mailboxes

    def _is_too_much(self) -> bool:
        wanted = sum(1 for name in self._table.with_bit(EXISTS) if self._is_to_be_watched(name))
        return wanted > self._session.limits.max_notify_mailboxes

    def _is_to_be_watched(self, name: str) -> bool:
        events = self._names.events(name)
        return bool(events & MESSAGE_EVENTS) or MAILBOX_METADATA in events

    def _is_selected(self, name: str) -> bool:
        return self._session.view is not None and self._session.view.name == name

    def _open_ears(self, name: str, tells: bool) -> None:
        """Begin to watch a mailbox if it is to be watched, and learn which one it is."""
        assert self._places is not None
        is_watched = self._is_to_be_watched(name)
        if not is_watched and not self._names.wants_names:
            return
        try:
            mailbox, _, _ = rights.open_mailbox(self._session, name, "lr" if is_watched else "l")
        except StorageError as error:
            self._table.identify(name, UNKNOWN)
            if error.reason is Reason.NO_PERMISSION and is_watched:
                self._no_access(name)
            elif error.reason not in _ONE_BY_ONE and error.reason is not Reason.NO_PERMISSION:
                log.warning("notify sid=%s mailbox=%r text=%r", self._session.sid, name, error.text)
            return
        try:
            self._table.identify(name, identity(mailbox.mailbox_id))
            if is_watched:
                self._table.put(name, WATCHED, True)
                self._places.add(name, mailbox.watched())
                mailbox.look()  # what came before that is seen here, and what comes later is an event
                told = told_of(mailbox.counters())
                self._look_again(name, mailbox.unsure())
                self._table.tell(name, told)
                events = self._names.events(name)
                if MAILBOX_METADATA in events:
                    self._annotations[name] = self._hashes(name)
                if tells and events & MESSAGE_EVENTS and not self._is_selected(name):
                    self._write_status(name, self._all(told, events, mailbox))
        finally:
            mailbox.close()

    def _all(self, told: Told, events: frozenset[str], mailbox: Mailbox) -> dict[str, int]:
        """RFC 5465 3.1: what the STATUS indicator asks for."""
        values = {"MESSAGES": told.messages, "UIDNEXT": told.uidnext, "UIDVALIDITY": told.uidvalidity}
        if FLAG_CHANGE in events:
            values["UNSEEN"] = told.unseen
            if mailbox.tracks_modseq and self._session.services.condstore:
                values["HIGHESTMODSEQ"] = told.modseq
        return values

    def _tell_mailbox(self, name: str) -> bool:
        """Tell what is different in a mailbox now; False if it is not there."""
        session, table = self._session, self._table
        if not table.has(name, WATCHED):
            return True
        try:
            mailbox, _, _ = rights.open_mailbox(session, name, "lr")
        except StorageError as error:
            if error.reason is Reason.NO_PERMISSION:
                self._no_access(name)
            elif error.reason not in _ONE_BY_ONE:
                log.warning("notify sid=%s mailbox=%r text=%r", session.sid, name, error.text)
                self._look_again(name, _LATER)
            return error.reason not in _ONE_BY_ONE
        try:
            events = self._names.events(name)
            if table.has(name, NO_ACCESS):
                table.put(name, NO_ACCESS, False)
                session.out.write(self._names.access_line(name))  # RFC 5465 5.9
            if self._places is not None:
                self._places.add(name, mailbox.watched())  # it may be another mailbox by now
            now = told_of(mailbox.counters())
            self._look_again(name, mailbox.unsure())
            values = self._differences(table.told(name), now, events, mailbox)
            table.tell(name, now)
            table.identify(name, identity(mailbox.mailbox_id))
            if values and not self._is_selected(name):
                self._write_status(name, values)
        finally:
            mailbox.close()
        if MAILBOX_METADATA in events:
            self._tell_annotations(name)
        return True

    def _look_again(self, name: str, seconds: float) -> None:
        """An error passes; and of two changes in one step of the file system's clock a look may have seen one."""
        if self._places is not None and seconds < float("inf"):
            self._places.again(name, max(seconds, _SOON))

    def _differences(self, old: Told, new: Told, events: frozenset[str], mailbox: Mailbox) -> dict[str, int]:
        """What STATUS tells: RFC 5465 5.1 to 5.3."""
        values: dict[str, int] = {}
        if not events & MESSAGE_EVENTS:
            return values
        knows_modseq = "CONDSTORE" in self._session.enabled and mailbox.tracks_modseq
        if (old.messages, old.uidnext, old.uidvalidity) != (new.messages, new.uidnext, new.uidvalidity):
            values = {"MESSAGES": new.messages, "UIDNEXT": new.uidnext, "UIDVALIDITY": new.uidvalidity}
        if FLAG_CHANGE in events and old.unseen != new.unseen:
            values |= {"UIDVALIDITY": new.uidvalidity, "UNSEEN": new.unseen}
        if knows_modseq and (values or (FLAG_CHANGE in events and old.modseq != new.modseq)):
            values |= {"UIDVALIDITY": new.uidvalidity, "HIGHESTMODSEQ": new.modseq}
        return values

    def _write_status(self, name: str, values: dict[str, int]) -> None:
        words = b" ".join(b"%b %d" % (word.encode("ascii"), value) for word, value in values.items())
        self._session.out.write(b"* STATUS %b (%b)\r\n" % (serialize.mailbox(name, self._session.utf8), words))

    def _no_access(self, name: str) -> None:
        """RFC 5465 3.1, 5.9: it is listed, and may not be read. It is looked at again from time to time."""
        if self._table.has(name, NO_ACCESS):
            return
        self._table.put(name, NO_ACCESS, True)
        self._table.put(name, WATCHED, True)
        self._session.out.write(self._names.access_line(name))

    # Names

    def _tell_names(self) -> None:
        assert self._places is not None
        self._places.add(_NAMES, account_of(self._session).watched())
        self._session.out.write(self._names.differences(self._identify))
        for name in self._table.with_bit(WATCHED):
            if not self._table.has(name, EXISTS) or not self._is_to_be_watched(name):
                self._places.drop(name)
                self._annotations.pop(name, None)
                self._table.put(name, WATCHED, False)
        if self._is_too_much():
            self._overflow()
            return
        for name in self._table.with_bit(EXISTS):
            if self._table.has(name, NO_ACCESS):
                self._tell_mailbox(name)
            elif not self._table.has(name, WATCHED) and self._is_new(name):
                self._begin_with(name)
        if self._wants_server():
            self._tell_annotations("")

    def _is_new(self, name: str) -> bool:
        return self._is_to_be_watched(name) or (self._names.wants_names and not self._table.identity(name))

    def _begin_with(self, name: str) -> None:
        """A mailbox that was not watched before: one with messages is told, for they may just have come."""
        old = self._table.told(name)
        self._open_ears(name, tells=False)
        new = self._table.told(name)
        events = self._names.events(name)
        if new.messages and events & MESSAGE_EVENTS and old != new and not self._is_selected(name):
            values = {"MESSAGES": new.messages, "UIDNEXT": new.uidnext, "UIDVALIDITY": new.uidvalidity}
            if "CONDSTORE" in self._session.enabled:
                values["HIGHESTMODSEQ"] = new.modseq
            self._write_status(name, values)

    def _identify(self, name: str) -> int:
        try:
            mailbox, _, _ = rights.open_mailbox(self._session, name, "l")
        except StorageError:
            return UNKNOWN
        try:
            return identity(mailbox.mailbox_id)
        finally:
            mailbox.close()

    def _overflow(self) -> None:
        """RFC 5465 5.8: as if NOTIFY NONE had been given."""
        log.warning("notify-overflow sid=%s user=%r", self._session.sid, account_of(self._session).user)
        self._session.out.status(b"* OK [NOTIFICATIONOVERFLOW] Too many mailboxes; nothing is told any more.\r\n")
        self.close()
        self._groups, self._items, self.wanted = (), (), Wanted(False, False)

    # Annotations

    def _wants_server(self) -> bool:
        return any(SERVER_METADATA in group.events for group in self._groups)

    def _hashes(self, name: str) -> dict[str, int]:
        try:
            _, found = rights.metadata(self._session, name)
        except StorageError:
            return {}
        return {entry: hash(value) for entry, value in found.items()}

    def _tell_annotations(self, name: str) -> None:
        """METADATA with the names of entries that were set or removed: RFC 5465 5.6, 5.7, RFC 5464 4.4.2."""
        old, new = self._annotations.get(name, {}), self._hashes(name)
        self._annotations[name] = new
        changed = sorted(entry for entry in old.keys() | new.keys() if old.get(entry) != new.get(entry))
        if changed:
            utf8 = self._session.utf8
            words = b" ".join(serialize.astring(entry.encode("ascii"), utf8) for entry in changed)
            self._session.out.write(b"* METADATA %b %b\r\n" % (serialize.mailbox(name, utf8), words))

    # What the client did itself

    def _did_annotate(self, name: str, values: dict[str, bytes | None]) -> None:
        known = self._annotations.get(name)
        if known is None:
            return
        for entry, value in values.items():
            if value is None:
                known.pop(entry, None)
            else:
                known[entry] = hash(value)

    def _did_add(self, name: str, code: bytes, removed: int = 0) -> None:
        """APPENDUID or COPYUID: if nobody else added anything between, there is nothing to tell.

        `removed`: as many messages went in exchange.
        """
        words = code.split()
        if not words or words[0] not in (b"APPENDUID", b"COPYUID"):
            return
        ranges = resolve(sequence_set(Cursor(words[-1])), 0)
        if self._is_selected(name):
            self._own.update(uid for first, last in ranges for uid in range(first, last + 1))
        told, (first, last) = self._table.told(name), ranges[0]
        if told.uidnext == first and len(ranges) == 1:
            added = last + 1 - first
            messages = told.messages + added - removed
            self._table.tell(name, Told(told.uidvalidity, last + 1, messages, told.unseen + added, told.modseq))


def run_notify(session: Session, request: NotifyRequest) -> Ok:
    """NOTIFY SET replaces what was asked for before, NOTIFY NONE ends it; RFC 5465 3.1."""
    if unsupported(request.groups):
        raise Refused("there is no such event here", BADEVENT)
    ears = Ears(session, request)
    begun = False
    try:
        ears.begin(request.status)
        begun = True
    finally:
        if not begun:  # a client that goes away meanwhile, too: nobody else knows of these registrations
            ears.close()
    session.stop_listening()
    if request.groups and session.view is not None:
        session.view.withhold_nothing()
        report(session, may_expunge=True)  # all that has come together, RFC 5465 3.1
    session.listening = ears
    log.info("notify sid=%s user=%r groups=%d", session.sid, account_of(session).user, len(request.groups))
    return Ok("NOTIFY completed")


NOTIFY = Command("NOTIFY", states=AUTHENTICATED, parse=parse_notify, run=run_notify)

FEATURE: Feature = Feature("notify", commands=(NOTIFY,), capabilities=(Capability("NOTIFY", after_login),))
