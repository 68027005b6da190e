"""LIST with its extensions, LSUB and XLIST.

RFC 9051 6.3.9, RFC 3501 6.3.8 and 6.3.9, RFC 5258 (LIST-EXTENDED), RFC 3348 (CHILDREN), RFC 5819 (LIST-STATUS),
RFC 6154 (SPECIAL-USE).
"""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from greenmail.errors import Reason, StorageError
from greenmail.imap import grammar, serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, ListRender, after_login
from greenmail.imap.commands.patterns import Patterns, compile_patterns, matches
from greenmail.imap.commands.status import StatusAtt, chosen_atts, status_att_list, status_response
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.rights import account_of
from greenmail.imap.session import Session
from greenmail.storage.api import Account, Folder, Scope

SUBSCRIBED = "SUBSCRIBED"
SPECIAL_USE = "SPECIAL-USE"
CHILDREN = "CHILDREN"
REMOTE = "REMOTE"
RECURSIVEMATCH = "RECURSIVEMATCH"
STATUS = "STATUS"

BASE_SELECTION = (SUBSCRIBED, SPECIAL_USE)  # those that choose names; in the order in which CHILDINFO tells them
SELECTION = frozenset({*BASE_SELECTION, REMOTE, RECURSIVEMATCH})
RETURN = frozenset({SUBSCRIBED, SPECIAL_USE, CHILDREN, STATUS})
MAX_PATTERNS = 500

# Reasons for which a mailbox of the list turns out not to be selectable, RFC 5819 2.
_NOT_SELECTABLE = frozenset({Reason.NOT_FOUND, Reason.GONE, Reason.NO_PERMISSION, Reason.CANNOT})


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The argument of LIST, LSUB and XLIST."""

    reference: str | None  # None: no name can begin so
    patterns: tuple[str, ...]  # without those that no name can match
    selection: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False  # the extended syntax was used
    renders: tuple[ListRender, ...] = ()  # what extensions tell of each mailbox


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the answer."""

    name: str
    attributes: tuple[str, ...]
    childinfo: tuple[str, ...] = ()
    wants_status: bool = False


def parse_list(cur: Cursor, uid: bool) -> ListQuery:
    """list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts] — RFC 9051 6.3.9."""
    cur.space()
    extended = cur.peek() == b"("
    selection: frozenset[str] = frozenset()
    if extended:
        selection = list_select_opts(cur)
        cur.space()
    reference = _reference(cur)
    cur.space()
    extended = extended or cur.peek() == b"("
    patterns = mbox_or_pat(cur)
    query = ListQuery(reference, patterns, selection, extended=extended)
    return list_return_opts(cur, query) if cur.take(b" ") else query


def parse_lsub(cur: Cursor, uid: bool) -> ListQuery:
    """lsub = "LSUB" SP mailbox SP list-mailbox — RFC 3501 6.3.9."""
    cur.space()
    reference = _reference(cur)
    cur.space()
    pattern = grammar.list_mailbox(cur)
    return ListQuery(reference, () if pattern is None else (pattern,))


def _reference(cur: Cursor) -> str | None:
    """mailbox, as a reference: what is no name at all just matches nothing."""
    return grammar.decode_name(grammar.astring(cur), cur.utf8)


def list_select_opts(cur: Cursor) -> frozenset[str]:
    """list-select-opts = "(" [...] ")" — RFC 9051 9, RFC 6154 6. RECURSIVEMATCH needs an option that chooses names."""
    cur.open()
    found: set[str] = set()
    while cur.peek() != b")":
        if found:
            cur.space()
        option = grammar.atom(cur).upper()
        if option not in SELECTION:
            raise cur.wrong(f"unknown LIST selection option {option}")
        found.add(option)
    cur.close()
    if RECURSIVEMATCH in found and found.isdisjoint(BASE_SELECTION):
        raise cur.wrong("RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE beside it")
    return frozenset(found)


def mbox_or_pat(cur: Cursor) -> tuple[str, ...]:
    """mbox-or-pat = list-mailbox / patterns — RFC 9051 9, and patterns with several of RFC 5258 6."""
    if cur.peek() != b"(":
        pattern = grammar.list_mailbox(cur)
        return () if pattern is None else (pattern,)
    cur.open()
    found = [grammar.list_mailbox(cur)]
    while cur.take(b" "):
        found.append(grammar.list_mailbox(cur))
        if len(found) > MAX_PATTERNS:
            raise cur.wrong("too many mailbox patterns")
    cur.close()
    return tuple(pattern for pattern in found if pattern is not None)


def list_return_opts(cur: Cursor, query: ListQuery) -> ListQuery:
    """list-return-opts = "RETURN" SP "(" [list-return-opt *(SP list-return-opt)] ")"; `query` with them."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    cur.expect(b"RETURN")
    cur.space()
    cur.open()
    found: set[str] = set()
    status: tuple[str, ...] = ()
    renders: dict[str, ListRender] = {}
    while cur.peek() != b")":
        if found:
            cur.space()
        option = grammar.atom(cur).upper()
        if option not in RETURN and option not in registry.LIST_RETURN_OPTS:
            raise cur.wrong(f"unknown LIST return option {option}")
        if option == STATUS:
            cur.space()
            status = status_att_list(cur)
        elif option not in RETURN:
            renders[option] = registry.LIST_RETURN_OPTS[option](cur)
        found.add(option)
    cur.close()
    sorted_renders = tuple(renders[option] for option in sorted(renders))
    return replace(query, returns=frozenset(found), status=status, extended=True, renders=sorted_renders)


def run_list(session: Session, query: ListQuery) -> Ok:
    """Tell the mailboxes that match, one LIST answer each, and with STATUS a STATUS answer behind it."""
    _list(session, query, b"LIST")
    return Ok("LIST completed")


def run_xlist(session: Session, query: ListQuery) -> Ok:
    """What Outlook 2013 and 2016 send to servers that never offered it: LIST, with \\Inbox on INBOX."""
    _list(session, query, b"XLIST")
    return Ok("XLIST completed")


def _list(session: Session, query: ListQuery, response: bytes) -> None:
    atts = chosen_atts(query.status)
    if _is_root_request(query):
        _write_root(session, query.reference or "", response)
        return
    for scope, part in scopes(account_of(session), query):
        for entry in entries(scope, part, session.rev2):
            status = more = b""
            if entry.wants_status:
                more = b"".join(render(session, entry.name) for render in query.renders)
            if atts and entry.wants_status:
                entry, status = _with_status(session, entry, atts)
            if response == b"XLIST" and entry.name == "INBOX":
                entry = Entry(entry.name, (*entry.attributes, "\\Inbox"))
            session.out.write(render_entry(session, entry, response, scope.separator) + more + status)
            session.breathe()


def scopes(account: Account, query: ListQuery) -> list[tuple[Scope, ListQuery]]:
    """What is looked at for each of the patterns: a namespace that is listed only if its prefix is asked for, or all.

    `LIST "" "INBOX.*"` must go on to work for who was configured for a server with that prefix.
    """
    found: dict[int, tuple[Scope, list[str]]] = {}
    for pattern in query.patterns or ("",):
        text = pattern if pattern.startswith("#") else (query.reference or "") + pattern
        scope = account.scope(text[: next((place for place, char in enumerate(text) if char in "%*"), len(text))])
        found.setdefault(id(scope), (scope, []))[1].append(pattern)
    if len(found) == 1:
        return [(scope, query) for scope, _ in found.values()]
    return [(scope, replace(query, patterns=tuple(patterns))) for scope, patterns in found.values()]


def run_lsub(session: Session, query: ListQuery) -> Ok:
    """Tell the subscribed names that match, whether they exist or not. RFC 3501 6.3.9."""
    if _is_root_request(query):
        _write_root(session, query.reference or "", b"LSUB")
        return Ok("LSUB completed")
    [(scope, query)] = scopes(account_of(session), query)  # LSUB has one pattern, or none that can be
    patterns = _patterns(scope, query, session.rev2)
    subscribed = dict.fromkeys(scope.subscriptions())
    folders = {folder.name: folder for folder in _once_each_use(scope.folders())}
    for name in subscribed:
        if matches(patterns, name):
            uses = folders[name].special_use if name in folders else ()
            session.out.write(render_entry(session, Entry(name, uses), b"LSUB", scope.separator))
        session.breathe()
    if patterns.asks_levels:
        # "%" must show the level above a subscribed name that it does not match: RFC 3501 6.3.9.
        levels = _ancestors(subscribed, scope.separator).difference(subscribed)
        for name in sorted(level for level in levels if matches(patterns, level)):
            session.out.write(render_entry(session, Entry(name, ("\\Noselect",)), b"LSUB", scope.separator))
    return Ok("LSUB completed")


def _is_root_request(query: ListQuery) -> bool:
    """LIST "" "": a question for the separator; RFC 9051 6.3.9, in the basic syntax only."""
    return not query.extended and query.patterns == ("",)


def _write_root(session: Session, reference: str, response: bytes) -> None:
    """The separator, and the root of the reference: the prefix of the namespace in which it lies."""
    scope = account_of(session).scope(reference)
    spaces = (scope.personal, *scope.more_personal, *scope.other_users, *scope.shared)
    inside = [space for space in spaces if space.prefix and reference.startswith(space.prefix)]
    longest = max(inside, key=lambda space: len(space.prefix), default=scope.personal)
    root = serialize.mailbox_string(longest.prefix if inside else "", session.utf8)
    session.out.write(b"* %b (\\Noselect) %b %b\r\n" % (response, serialize.separator(longest.separator), root))


def _patterns(account: Scope, query: ListQuery, rev2: bool) -> Patterns:
    """Canonical LIST patterns: the pattern behind the reference, or alone if it begins with "#". RFC 9051 6.3.9.

    With rev2 also in normalized form: a name that CREATE took must be found by the same name, RFC 9051 5.1.
    """
    reference = query.reference
    texts = [text for text in query.patterns if text]
    if reference is None:
        texts = [text for text in texts if text.startswith("#")]
    texts = [text if text.startswith("#") else (reference or "") + text for text in texts]
    if rev2:
        texts += [unicodedata.normalize("NFC", text) for text in texts if not text.isascii()]
    return compile_patterns(tuple(texts), account.separator)


def _once_each_use(folders: Iterable[Folder]) -> list[Folder]:
    """Each special-use attribute stays with the first mailbox that has it: iOS shows no folders otherwise."""
    given: set[str] = set()
    found = []
    for folder in folders:
        uses = tuple(use for use in folder.special_use if use not in given)
        given.update(uses)
        found.append(folder if uses == folder.special_use else replace(folder, special_use=uses))
    return found


def _ancestors(names: Iterable[str], separator: str) -> set[str]:
    """Every level above the names."""
    found: set[str] = set()
    for name in names:
        end = name.rfind(separator) if separator else -1
        while end > 0 and name[:end] not in found:
            found.add(name[:end])
            end = name.rfind(separator, 0, end)
    return found


@dataclass(slots=True)
class _Names:
    """Everything that LIST could tell."""

    folders: dict[str, Folder]
    subscribed: set[str]
    parents: set[str] = field(default_factory=set)  # names with a chosen one below
    needed: set[str] = field(default_factory=set)  # names with a chosen one below that the patterns do not match


def entries(account: Scope, query: ListQuery, rev2: bool) -> Iterator[Entry]:
    """The answer to LIST, existing names first. RFC 9051 6.3.9.3."""
    patterns = _patterns(account, query, rev2)
    needs_subscriptions = SUBSCRIBED in query.selection | query.returns
    folders = {folder.name: folder for folder in _once_each_use(account.folders())}
    subscriptions = dict.fromkeys(account.subscriptions()) if needs_subscriptions else {}
    names = _Names(folders, set(subscriptions))
    candidates = [*folders, *(name for name in subscriptions if name not in folders)]
    if RECURSIVEMATCH in query.selection:
        chosen = [name for name in candidates if _is_chosen(names, query, name)]
        names.parents = _ancestors(chosen, account.separator)
        hidden = [name for name in chosen if not matches(patterns, name)]
        names.needed = _ancestors(hidden, account.separator)
        candidates += sorted(names.needed.difference(candidates))
    for name in candidates:
        is_chosen = _is_chosen(names, query, name)
        if (is_chosen or name in names.needed) and matches(patterns, name):
            yield _entry(names, query, name, is_chosen, rev2)


def _is_chosen(names: _Names, query: ListQuery, name: str) -> bool:
    """The selection options are cumulative, RFC 9051 6.3.9. Without any, what exists (or has children) is chosen."""
    if SUBSCRIBED in query.selection and name not in names.subscribed:
        return False
    folder = names.folders.get(name)
    if SPECIAL_USE in query.selection and not (folder and folder.special_use):
        return False
    return folder is not None or SUBSCRIBED in query.selection


def _entry(names: _Names, query: ListQuery, name: str, is_chosen: bool, rev2: bool) -> Entry:
    folder = names.folders.get(name, Folder(name, False, False))
    wanted = query.selection | query.returns
    attributes: list[str] = []
    if SUBSCRIBED in wanted and name in names.subscribed:
        attributes.append("\\Subscribed")
    if not folder.selectable:
        # RFC 9051 7.3.1, RFC 5258 3: only who knows \\NonExistent gets it; to all others such a name is \\Noselect.
        attributes.append("\\NonExistent" if rev2 or query.extended else "\\Noselect")
    # RFC 9051 6.3.9.6 wants \\HasChildren beside \\NonExistent, and nothing speaks against it in the basic syntax.
    if CHILDREN in wanted or not query.extended or (folder.has_children and not folder.selectable):
        attributes.append("\\HasChildren" if folder.has_children else "\\HasNoChildren")
    if SPECIAL_USE in wanted or not query.extended or rev2:
        attributes.extend(folder.special_use)
    childinfo: tuple[str, ...] = ()
    if name in names.parents:
        childinfo = tuple(option for option in BASE_SELECTION if option in query.selection)
    return Entry(name, tuple(attributes), childinfo, is_chosen and folder.selectable)


def _with_status(session: Session, entry: Entry, atts: tuple[StatusAtt, ...]) -> tuple[Entry, bytes]:
    """The STATUS answer behind a LIST answer, or none; the mailbox may just have gone. RFC 9051 6.3.9.2."""
    try:
        return entry, status_response(session, entry.name, atts)
    except StorageError as error:
        if error.reason in _NOT_SELECTABLE:
            return Entry(entry.name, ("\\Noselect", *entry.attributes), entry.childinfo), b""
        return entry, b""


def render_entry(session: Session, entry: Entry, response: bytes = b"LIST", separator: str | None = None) -> bytes:
    """mailbox-list = "(" [mbx-list-flags] ")" SP (DQUOTE QUOTED-CHAR DQUOTE / nil) SP mailbox [SP ...].

    `separator` None: that of the account.
    """
    extended = b""
    if entry.childinfo:
        extended = b' ("CHILDINFO" (%b))' % b" ".join(b'"%b"' % option.encode("ascii") for option in entry.childinfo)
    return b"* %b (%b) %b %b%b\r\n" % (
        response,
        " ".join(entry.attributes).encode("ascii"),
        serialize.separator(account_of(session).separator if separator is None else separator),
        serialize.mailbox(entry.name, session.utf8),
        extended,
    )


def render_renamed(session: Session, name: str, old: str, attributes: tuple[str, ...] = ()) -> bytes:
    """A LIST answer that tells that `old` is `name` now: oldname-extended-item, RFC 9051 6.3.9.7."""
    line = render_entry(session, Entry(name, attributes)).removesuffix(b"\r\n")
    return b'%b ("OLDNAME" (%b))\r\n' % (line, serialize.mailbox(old, session.utf8))


LIST = Command("LIST", AUTHENTICATED, parse_list, run_list)
LSUB = Command("LSUB", AUTHENTICATED, parse_lsub, run_lsub)
XLIST = Command("XLIST", AUTHENTICATED, parse_lsub, run_xlist)

FEATURE: Feature = Feature(
    "LIST",
    commands=(LIST, LSUB, XLIST),
    capabilities=tuple(
        Capability(name, after_login) for name in ("CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE")
    ),
)
