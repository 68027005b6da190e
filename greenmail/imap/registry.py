"""Every feature of the engine, and the tables computed from them.

The modules that FEATURES comes from need the tables while they parse (`FETCH_ATTS` in FETCH, and so on). They import
this module inside the function, since at their top the import would be circular:

    import greenmail.imap.registry as registry  # not at the top: it imports this module

Not `from greenmail.imap import registry`: in a compiled module that goes through Python's import each time.
"""

from collections.abc import Callable, Mapping
from typing import Any

from greenmail.imap.command import Capability, Command, Feature, ListRender, after_login, always
from greenmail.imap.commands import (
    append,
    basic,
    copy,
    enable,
    expunge,
    fetch,
    id,
    idle,
    listing,
    login,
    mailboxes,
    namespace,
    search,
    select,
    status,
    store,
)
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import (
    acl,
    appendlimit,
    binary,
    catenate,
    compress,
    condstore,
    context,
    filters,
    fuzzy,
    i18nlevel,
    inprogress,
    jmapaccess,
    language,
    list_metadata,
    list_myrights,
    messagelimit,
    metadata,
    multisearch,
    notify,
    objectid,
    partial,
    preview,
    qresync,
    quota,
    replace,
    savedate,
    sort,
    thread,
    uidbatches,
    uidonly,
    unauthenticate,
    urlauth,
    urlauth_binary,
    utf8_accept,
    within,
)
from greenmail.imap.session import Session

# One import and one line a module, alphabetical within `commands` and `ext`; `basic` leads the list of capabilities.
FEATURES: tuple[Feature, ...] = (
    basic.FEATURE,
    append.FEATURE,
    copy.FEATURE,
    enable.FEATURE,
    expunge.FEATURE,
    fetch.FEATURE,
    id.FEATURE,
    idle.FEATURE,
    listing.FEATURE,
    login.FEATURE,
    mailboxes.FEATURE,
    namespace.FEATURE,
    search.FEATURE,
    select.FEATURE,
    status.FEATURE,
    store.FEATURE,
    acl.FEATURE,
    appendlimit.FEATURE,
    binary.FEATURE,
    catenate.FEATURE,
    compress.FEATURE,
    condstore.FEATURE,
    context.FEATURE,
    filters.FEATURE,
    fuzzy.FEATURE,
    i18nlevel.FEATURE,
    inprogress.FEATURE,
    jmapaccess.FEATURE,
    language.FEATURE,
    list_metadata.FEATURE,
    list_myrights.FEATURE,
    messagelimit.FEATURE,
    metadata.FEATURE,
    multisearch.FEATURE,
    notify.FEATURE,
    objectid.FEATURE,
    partial.FEATURE,
    preview.FEATURE,
    qresync.FEATURE,
    quota.FEATURE,
    replace.FEATURE,
    savedate.FEATURE,
    sort.FEATURE,
    thread.FEATURE,
    uidbatches.FEATURE,
    uidonly.FEATURE,
    unauthenticate.FEATURE,
    urlauth.FEATURE,
    urlauth_binary.FEATURE,
    utf8_accept.FEATURE,
    within.FEATURE,
)


def _joined(tables: Callable[[Feature], Mapping[str, Any]]) -> dict[str, Any]:
    """One table of all features. A name that two of them bring is a mistake in the code."""
    joined: dict[str, Any] = {}
    for feature in FEATURES:
        for name, value in tables(feature).items():
            assert name not in joined, f"{name} is in two features, the second is {feature.name}"
            joined[name] = value
    return joined


COMMANDS: Mapping[str, Command] = _joined(lambda feature: {command.name: command for command in feature.commands})
CAPABILITIES: Mapping[str, Capability] = _joined(lambda feature: {item.name: item for item in feature.capabilities})
ENABLES: Mapping[str, Feature] = _joined(lambda feature: dict.fromkeys(feature.enables, feature))
FETCH_ATTS: Mapping[str, Any] = _joined(lambda feature: feature.fetch_atts)
SEARCH_KEYS: Mapping[str, Any] = _joined(lambda feature: feature.search_keys)
STATUS_ATTS: Mapping[str, Any] = _joined(lambda feature: feature.status_atts)
FETCH_MODIFIERS: Mapping[str, Any] = _joined(lambda feature: feature.fetch_modifiers)
SEARCH_RETURN_OPTS: Mapping[str, Any] = _joined(lambda feature: feature.search_return_opts)
LIST_RETURN_OPTS: Mapping[str, Callable[[Cursor], ListRender]] = _joined(lambda feature: feature.list_return_opts)
SELECT_PARAMS: Mapping[str, Any] = _joined(lambda feature: feature.select_params)


def _asked(session: Session) -> tuple[bytes | Capability, ...]:
    """All capabilities in their order; those for which nothing has to be asked another time are joined."""
    found: list[bytes | Capability] = []
    words: list[str] = []
    for item in CAPABILITIES.values():
        if item.settled or (item.render is None and item.when in (always, after_login)):
            if item.when(session):
                words += item.words(session)
            continue
        if words:
            found.append(" ".join(words).encode())
            words = []
        found.append(item)
    return (*found, " ".join(words).encode()) if words else tuple(found)


def capabilities(session: Session) -> bytes:
    """capability-data without "CAPABILITY": what is true for this session now. RFC 9051 7.2.2.

    A capability's name may depend on the services (AUTH=..., APPENDLIMIT=...): see `Capability.words`.
    """
    known, is_after_login = session.services.capabilities, session.account is not None
    items = known.get(is_after_login)
    if items is None:
        items = known[is_after_login] = _asked(session)
    found: list[bytes] = []
    for item in items:
        if isinstance(item, bytes):
            found.append(item)
        elif item.when(session):
            found += [word.encode() for word in item.words(session)]
    return b" ".join(found)
