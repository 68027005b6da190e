"""MULTISEARCH, RFC 7377: the command ESEARCH searches several mailboxes, whether one is selected or not.

    esearch             = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program
    esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"
    source-mbox         = filter-mailboxes *(SP filter-mailboxes)      ; those of NOTIFY, RFC 5465 6, and "subtree-one"

Every mailbox is searched by itself, one after another, as SEARCH would if it were selected by EXAMINE; what is found is
told by UID, a line a mailbox, and nothing of mailboxes in which there is nothing. What the user may not read, or not
know of, is left out as if it did not exist.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from greenmail.errors import BadSyntax, StorageError
from greenmail.imap import grammar, rights, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, always
from greenmail.imap.commands.search import (
    SearchRequest,
    begin_options,
    end_options,
    modseqs_of,
    parse_program,
    parse_returns,
    relevancy,
    saving,
    write_line,
)
from greenmail.imap.cursor import Cursor
from greenmail.imap.esearch import Found, Returns, Searched, esearch_response, saved_places
from greenmail.imap.ext.inprogress import working
from greenmail.imap.ext.notify_names import spaces_of
from greenmail.imap.ext.notify_request import one_or_more_mailbox
from greenmail.imap.ext.utf8_accept import UTF8_ACCEPT
from greenmail.imap.message_set import selected
from greenmail.imap.response import Completion, Ok
from greenmail.imap.rights import account_of
from greenmail.imap.search_key import RowKey
from greenmail.imap.search_run import Search, check_charset, walk
from greenmail.imap.session import Session
from greenmail.imap.view import View

SELECTED = "SELECTED"
_GROUPS = frozenset({"INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "SUBTREE-ONE"})
_WITH_NAMES = frozenset({"SUBTREE", "SUBTREE-ONE", "MAILBOXES"})
_MOST_SOURCES = 200


@dataclass(frozen=True, slots=True)
class Source:
    """filter-mailboxes: which mailboxes; `names` of SUBTREE, SUBTREE-ONE and MAILBOXES."""

    mailboxes: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EsearchRequest:
    """The arguments of ESEARCH; without IN it is the selected mailbox."""

    sources: tuple[Source, ...]
    search: SearchRequest

    @property
    def is_selected_alone(self) -> bool:
        return all(source.mailboxes == SELECTED for source in self.sources)


def parse_esearch(cur: Cursor, uid: bool) -> EsearchRequest:
    """esearch — RFC 7377 4. Lenient: UID ESEARCH is the same, as in the text of RFC 7377 2."""
    cur.space()
    sources: tuple[Source, ...] = (Source(SELECTED),)
    if cur.take(b"IN ("):
        cur.pos -= 1
        sources = _source_opts(cur)
        cur.space()
    returns = parse_returns(cur)
    request = EsearchRequest(sources, parse_program(cur, True, returns))
    if returns is not None and "SAVE" in returns and not request.is_selected_alone:
        raise BadSyntax("SAVE needs the selected mailbox alone")  # RFC 7377 2.2
    return request


def _source_opts(cur: Cursor) -> tuple[Source, ...]:
    """ "(" source-mbox [SP "(" scope-options ")"] ")": no scope-option is known."""
    cur.open()
    found = [_source(cur)]
    while cur.take(b" "):
        found.append(_source(cur))
        if len(found) > _MOST_SOURCES:
            raise cur.wrong("too many groups of mailboxes")
    cur.close()
    return tuple(found)


def _source(cur: Cursor) -> Source:
    start = cur.pos
    name = grammar.atom(cur).upper()
    if name not in _GROUPS | {SELECTED, "MAILBOXES"}:
        cur.pos = start
        raise cur.wrong("unknown group of mailboxes")
    if name not in _WITH_NAMES:
        return Source(name)
    cur.space()
    return Source(name, one_or_more_mailbox(cur))


def run_esearch(session: Session, request: EsearchRequest) -> Completion:
    """Search each mailbox once, and tell what was found there."""
    search = request.search
    if any(source.mailboxes == SELECTED for source in request.sources) and session.view is None:
        raise BadSyntax("no mailbox is selected")  # RFC 7377 2.2
    if any(option.end is not None for option, _ in (search.returns or {}).values()):
        if session.view is None:
            raise BadSyntax("updates are told of the selected mailbox, and none is selected")  # RFC 7377 2.2
        begin_options(session, search.returns)
    if search.charset and UTF8_ACCEPT in session.enabled:
        raise BadSyntax("everything is in UTF-8 here: no CHARSET")  # RFC 9755 3
    with saving(session, search.returns) as saves:
        check_charset(search.charset)
        for leaf in walk(search.key):  # what asking for it brings about is about the selected mailbox
            if isinstance(leaf, RowKey) and leaf.begin is not None:
                leaf.begin(session)
        for name, is_named in _names(session, request.sources).items():
            found = _search(session, search, name, is_named)
            if saves:
                session.saved = [found[place] for place in saved_places(len(found), search.returns or {})]
            session.breathe()
    return Ok("ESEARCH completed")


def _names(session: Session, sources: tuple[Source, ...]) -> dict[str, bool]:
    """The mailboxes, each once, and whether it is named itself: then no right `l` is needed."""
    found: dict[str, bool] = {}
    for source in sources:
        if source.mailboxes == SELECTED:
            found[selected(session).name] = True
        elif source.mailboxes == "MAILBOXES":
            found.update(dict.fromkeys(source.names, True))
        else:
            for name in _in_group(session, source):
                found.setdefault(name, False)
    return found


def _in_group(session: Session, source: Source) -> Iterator[str]:
    """The mailboxes of a group, as LIST knows them. What is below one has a name that begins so: there are no loops."""
    account = account_of(session)
    spaces = spaces_of(account)
    subscribed = frozenset(account.subscriptions()) if source.mailboxes == "SUBSCRIBED" else frozenset()
    names = frozenset(source.names)
    scopes = {id(scope): scope for scope in map(account.scope, ("", *source.names))}
    for scope in scopes.values():
        for folder in scope.folders():
            name = folder.name
            match source.mailboxes:
                case "SUBSCRIBED":
                    is_meant = name in subscribed
                case "SUBTREE":
                    is_meant = not spaces.roots(name).isdisjoint(names)
                case "SUBTREE-ONE":
                    above = name.rpartition(spaces.separator)[0] if spaces.separator else name
                    is_meant = name in names or above in names
                case _:  # INBOXES: who delivers where is not known, so it is PERSONAL. RFC 5465 6.3
                    is_meant = spaces.is_personal(name)
            if is_meant and folder.selectable:
                yield name
        session.breathe()


def _search(session: Session, search: SearchRequest, name: str, is_named: bool) -> list[int]:
    """Search one mailbox and write its line; the UIDs found."""
    if session.view is not None and session.view.name == name:
        modseq, largest = session.view.mailbox.modseq, session.view.largest_uid
        found = _searched(session, search)
        end_options(session, search.returns, Searched(True, search.key, search.charset, found, modseq, largest))
        return found
    try:
        mailbox, name, _ = rights.open_mailbox(session, name, "r" if is_named else "lr")
    except StorageError:  # RFC 7377 2.2: ignored, whatever the reason
        return []
    try:
        view = View(mailbox, True, mailbox.first_recent, shows_recent=not session.rev2)
        view.name = name
        with _examined(session, view):
            return _searched(session, search)
    except StorageError:  # it went meanwhile, or cannot be read
        return []
    finally:
        mailbox.close()


@contextmanager
def _examined(session: Session, view: View) -> Iterator[None]:
    """Within it `view` is what a search looks at; "$" names messages of the selected mailbox alone."""
    before = session.view, session.saved
    session.view, session.saved = view, []
    try:
        yield
    finally:
        session.view, session.saved = before


def _searched(session: Session, search: SearchRequest) -> list[int]:
    """RFC 7377 2.1: no answer where nothing is found; else with MAILBOX, TAG and UIDVALIDITY, and by UID."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    view = selected(session)
    run = Search(session, search.key, search.charset)
    with working(session):
        found = run.run()
    returns: Returns = search.returns or {"ALL": (registry.SEARCH_RETURN_OPTS["ALL"], None)}
    if not found or list(returns) == ["SAVE"]:
        return found
    where = serialize.mailbox(view.name, session.utf8), view.mailbox.uidvalidity
    scores = relevancy(session, run, search.returns, found)
    result = Found(True, found, modseqs_of(session, run.key, found), scores)
    order = registry.SEARCH_RETURN_OPTS
    line = session.blocking(
        esearch_response, session.tag, result, returns, order, b" MAILBOX %b UIDVALIDITY %d" % where
    )
    write_line(session, line)
    return found


ESEARCH = Command(
    "ESEARCH",
    states=AUTHENTICATED,
    uid=True,  # both forms answer with UIDs, so UIDONLY refuses neither, but for numbers among the keys: RFC 9586 3
    may_expunge=False,
    parse=parse_esearch,
    run=run_esearch,
)

FEATURE: Feature = Feature("multisearch", commands=(ESEARCH,), capabilities=(Capability("MULTISEARCH", always),))
