"""The grammar of NOTIFY, RFC 5465 8, and which events are wanted of which mailbox.

    notify-set   = "SET" [SP "STATUS"] SP event-group *(SP event-group)
    event-group  = "(" filter-mailboxes SP events ")"
    events       = ( "(" event *(SP event) ")" ) / "NONE"
    message-event = ( "MessageNew" [SP "(" fetch-att *(SP fetch-att) ")" ] ) / "MessageExpunge" / ...

Lenient: events without parentheses, as in the examples of RFC 5465 3.1; RFC 5465 8 wants them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate

from greenmail.errors import BadSyntax, Refused
from greenmail.imap import grammar
from greenmail.imap.commands.fetch import MACROS
from greenmail.imap.cursor import Cursor
from greenmail.imap.fetch_att import Item, fetch_atts

MESSAGE_NEW = "MessageNew"
MESSAGE_EXPUNGE = "MessageExpunge"
FLAG_CHANGE = "FlagChange"
MAILBOX_NAME = "MailboxName"
SUBSCRIPTION_CHANGE = "SubscriptionChange"
MAILBOX_METADATA = "MailboxMetadataChange"
SERVER_METADATA = "ServerMetadataChange"
# What is supported. AnnotationChange is not: there are no annotations of messages here, RFC 5257.
EVENTS = (
    MESSAGE_NEW,
    MESSAGE_EXPUNGE,
    FLAG_CHANGE,
    MAILBOX_NAME,
    SUBSCRIPTION_CHANGE,
    MAILBOX_METADATA,
    SERVER_METADATA,
)
MESSAGE_EVENTS = frozenset({MESSAGE_NEW, MESSAGE_EXPUNGE, FLAG_CHANGE})

SELECTED = "SELECTED"
DELAYED = "SELECTED-DELAYED"

_OTHERS = frozenset({"INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "MAILBOXES"})
_WITH_NAMES = frozenset({"SUBTREE", "MAILBOXES"})
_ANNOTATION = "AnnotationChange"
_ABOUT_MESSAGES = MESSAGE_EVENTS | {_ANNOTATION}
_SPELLINGS = {event.upper(): event for event in (*EVENTS, _ANNOTATION)}
_MOST_GROUPS = 200
_MOST_NAMES = 5000


@dataclass(frozen=True, slots=True)
class EventGroup:
    """One event-group. No events: NONE, the client wants to know nothing of these mailboxes. RFC 5465 8."""

    mailboxes: str  # "SELECTED", "SELECTED-DELAYED", "INBOXES", ...
    names: Collection[str] = ()  # of SUBTREE and MAILBOXES
    events: frozenset[str] = frozenset()
    items: tuple[Item, ...] = ()  # what is told of a new message

    @property
    def is_selected(self) -> bool:
        """It is about the selected mailbox, whichever that is."""
        return self.mailboxes in (SELECTED, DELAYED)


@dataclass(frozen=True, slots=True)
class NotifyRequest:
    """The argument of NOTIFY; without groups it is NOTIFY NONE."""

    groups: tuple[EventGroup, ...] = ()
    status: bool = False


@dataclass(frozen=True, slots=True)
class Spaces:
    """What an account's names look like: its separator, and the prefixes of the user's own namespaces and of others."""

    separator: str
    personal: tuple[str, ...]
    foreign: tuple[str, ...]

    def is_personal(self, name: str) -> bool:
        """Whether a mailbox of this name is in a personal namespace: the longest prefix counts. RFC 2342 5."""
        inside = [prefix for prefix in (*self.personal, *self.foreign) if self._is_in(name, prefix)]
        return bool(inside) and max(inside, key=len) in self.personal

    def _is_in(self, name: str, prefix: str) -> bool:
        is_inbox = name == "INBOX" and prefix in self.personal
        return is_inbox or name.startswith(prefix) or name + self.separator == prefix

    def roots(self, name: str) -> frozenset[str]:
        """The names of which it is one, or below one."""
        words = name.split(self.separator) if self.separator else [name]
        return frozenset(accumulate(words, lambda above, word: above + self.separator + word))

    def is_below(self, name: str, root: str) -> bool:
        """Whether it is `root` itself, or below it."""
        return name == root or (bool(self.separator) and name.startswith(root + self.separator))


def parse_notify(cur: Cursor, uid: bool) -> NotifyRequest:
    """notify = "NOTIFY" SP (notify-set / notify-none) — RFC 5465 8."""
    cur.space()
    if cur.take(b"NONE"):
        return NotifyRequest()
    cur.expect(b"SET")
    cur.space()
    status = cur.take(b"STATUS")
    if status:
        cur.space()
    groups = [_event_group(cur)]
    while cur.take(b" "):
        groups.append(_event_group(cur))
        if len(groups) > _MOST_GROUPS:
            raise cur.wrong("too many event groups")
    if sum(group.is_selected for group in groups) > 1:
        raise BadSyntax("the selected mailbox can be named once only")  # RFC 5465 6.1
    return NotifyRequest(tuple(groups), status)


def _event_group(cur: Cursor) -> EventGroup:
    """event-group = "(" filter-mailboxes SP events ")" — RFC 5465 8."""
    cur.open()
    start = cur.pos
    mailboxes = grammar.atom(cur).upper()
    is_selected = mailboxes in (SELECTED, DELAYED)
    if not is_selected and mailboxes not in _OTHERS:
        cur.pos = start
        raise cur.wrong("unknown group of mailboxes")
    names: tuple[str, ...] = ()
    if mailboxes in _WITH_NAMES:
        cur.space()
        names = one_or_more_mailbox(cur)
    cur.space()
    events, items = _events(cur)
    cur.close()
    _check(events, is_selected, bool(items))
    return EventGroup(mailboxes, names, events, items)


def one_or_more_mailbox(cur: Cursor) -> tuple[str, ...]:
    """one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")" — RFC 5465 8. What can be no name is left out."""
    if cur.peek() != b"(":
        return tuple(_mailbox(cur))
    cur.open()
    found = _mailbox(cur)
    count = 1
    while cur.take(b" "):
        found += _mailbox(cur)
        count += 1
        if count > _MOST_NAMES:
            raise cur.wrong("too many mailboxes")
    cur.close()
    return tuple(found)


def _mailbox(cur: Cursor) -> list[str]:
    try:
        return [grammar.mailbox(cur)]
    except Refused:  # RFC 5465 3.1: what does not exist is ignored
        return []


def _events(cur: Cursor) -> tuple[frozenset[str], tuple[Item, ...]]:
    """events = ( "(" event *(SP event) ")" ) / "NONE" — RFC 5465 8. An event that is not known keeps its spelling."""
    in_list = cur.peek() == b"("
    if in_list:
        cur.open()
    elif cur.take(b"NONE"):
        return frozenset(), ()
    found: set[str] = set()
    items: tuple[Item, ...] = ()
    while True:
        word = grammar.atom(cur)
        event = _SPELLINGS.get(word.upper(), word)
        found.add(event)
        if event == MESSAGE_NEW and cur.peek(2) == b" (":
            cur.space()
            items = _fetch_atts(cur)
        if not cur.take(b" "):
            break
        if len(found) > _MOST_GROUPS:
            raise cur.wrong("too many events")
    if in_list:
        cur.close()
    return frozenset(found), items


def _fetch_atts(cur: Cursor) -> tuple[Item, ...]:
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    return fetch_atts(cur, registry.FETCH_ATTS, MACROS)


def _check(events: frozenset[str], is_selected: bool, has_items: bool) -> None:
    """RFC 5465 5, 6.1, 8: what goes together. Raises BadSyntax."""
    about_messages = events & _ABOUT_MESSAGES
    if about_messages and not {MESSAGE_NEW, MESSAGE_EXPUNGE} <= events:
        raise BadSyntax("MessageNew and MessageExpunge must be asked for, both of them")
    if is_selected and events & {*EVENTS} - MESSAGE_EVENTS:
        raise BadSyntax("of the selected mailbox there are only events of messages")
    if has_items and not is_selected:
        raise BadSyntax("FETCH data items can be asked for only of the selected mailbox")


def unsupported(groups: Iterable[EventGroup]) -> bool:
    """Whether there is an event that is not known here."""
    return any(not group.events.issubset(EVENTS) for group in groups)


def wanted_events(groups: Iterable[EventGroup], spaces: Spaces, name: str, subscribed: bool) -> frozenset[str]:
    """The events of the groups (none of them of the selected mailbox) to which a mailbox belongs: RFC 5465 6.

    Several groups add up, but for NONE, which says that nothing is to be told of its mailboxes.
    """
    found: frozenset[str] = frozenset()
    roots = spaces.roots(name)
    for group in groups:
        match group.mailboxes:
            case "SUBSCRIBED":
                is_meant = subscribed
            case "MAILBOXES":
                is_meant = name in group.names
            case "SUBTREE":
                is_meant = any(root in group.names for root in roots)
            case _:  # INBOXES: who delivers where is not known, so it is PERSONAL. RFC 5465 6.3
                is_meant = spaces.is_personal(name)
        if is_meant and not group.events:
            return frozenset()
        if is_meant:
            found |= group.events
    return found
