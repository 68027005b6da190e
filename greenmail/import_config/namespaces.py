"""Namespaces beside the one with INBOX: Dovecot's blocks, and our tables. `docs/namespaces.md` has what ours mean."""

from typing import Any

from greenmail.import_config.doveconf import Block
from greenmail.import_config.draft import Draft, Weight
from greenmail.import_config.location import CannotCarry, Location, location, path
from greenmail.import_config.users import Home

_PATHS = {"INBOX": "inbox-path", "CONTROL": "control-path"}
_EVERYTHING = "lrwstipekxa"
_INDEX = "GreenMail's index files are one for all readers, in the Maildir; each has his own \\Seen (private-seen)"
_FORMAT = "GreenMail serves Maildirs alone: this namespace is left out"
_NO_ACL = (
    "mail_plugins has no acl, so Dovecot shows everybody all of it; GreenMail shows what an owner shares: "
    "write dovecot-acl files, or let users do so (SETACL)"
)


def carry(draft: Draft, block: Block, home: Home, has_acl: bool) -> None:
    """A table for the namespace, or the reason why there is none. After the settings of INBOX's namespace."""
    title = f"namespace {block.name}"
    kind = block.values.get("type", "private").lower()
    value = f"type {kind}, prefix {block.values.get('prefix', '')!r}"
    for inner in (block, *block.of("mailbox")):
        inner.taken |= inner.values.keys()
    for mailbox in block.of("mailbox"):
        if "special_use" in mailbox.values or mailbox.values.get("auto", "no") != "no":
            draft.leave(f"{title}/mailbox {mailbox.name}", "", "special uses and auto are for INBOX's namespace")
    table = _general(draft, block, kind)
    text = block.values.get("location", "")
    try:
        if kind == "private" and ("alias_for" in block.values or not text):
            table["alias-for"] = block.values.get("alias_for", draft.settings.get("prefix", ""))
        else:
            _mail(draft, title, table, location(text.replace("%%", "%") if kind == "shared" else text), home)
    except CannotCarry as error:
        draft.leave(title, value, f"{error}: this namespace is left out")
        return
    if kind == "public":
        table["default-rights"] = "" if has_acl else _EVERYTHING
    elif kind == "shared" and not has_acl:
        draft.leave(title, value, _NO_ACL)
    draft.settings.setdefault("namespaces", []).append(table)


def _general(draft: Draft, block: Block, kind: str) -> dict[str, Any]:
    """What has nothing to do with where the mail is."""
    prefix = block.values.get("prefix", "")
    table: dict[str, Any] = {"type": kind, "prefix": prefix.replace("%%", "%") if kind == "shared" else prefix}
    separator = block.values.get("separator", "")
    if separator and separator != draft.settings.get("separator"):
        table["separator"] = separator
    listed = block.values.get("list", "yes").lower()
    if listed != "yes":
        table["list"] = listed
    if block.is_on("hidden"):
        table["hidden"] = True
    keeps = block.is_on("subscriptions", True)
    if kind == "shared" and keeps:
        advice = "subscriptions to others' mailboxes are in the user's own file, with their prefix"
        draft.leave(f"namespace {block.name}/subscriptions", "yes", advice)
    elif keeps is not (kind == "private"):
        table["subscriptions"] = keeps
    return table


def _mail(draft: Draft, title: str, table: dict[str, Any], found: Location, home: Home) -> None:
    """Where the mail is. Raises CannotCarry."""
    shared = table["type"] == "shared"
    if not found.driver and not found.path and shared:
        return  # where the owner's own mail is
    if found.driver != "maildir":
        raise CannotCarry(_FORMAT)
    layout, inner = found.options.get("LAYOUT", "maildir++").lower(), found.options.get("DIRNAME", "")
    if layout not in ("maildir++", "fs") or (inner and layout != "fs"):
        raise CannotCarry("its folders are neither as in Maildir++ nor as in LAYOUT=fs")
    where = path(found.path, home.path, home.lower_cased)
    given = {
        setting: path(found.options[option], home.path, home.lower_cased)
        for option, setting in _PATHS.items()
        if option in found.options
    }
    if not shared or _at_home(where) != _at_home(draft.settings.get("mail-path", "")):
        table["mail-path"] = where
    if not shared or given != {name: draft.settings[name] for name in _PATHS.values() if name in draft.settings}:
        table |= given
    if (layout, inner) != (draft.settings.get("layout", "maildir++"), draft.settings.get("mailbox-directory", "")):
        table |= {"mail-path": where, "layout": layout, "mailbox-directory": inner}
    if "UTF-8" in found.options and "mail-path" in table:
        table["mailbox-names"] = "utf8"
    if "INDEXPVT" in found.options:
        table["private-seen"] = "yes"
    if "INDEX" in found.options:
        draft.leave(f"{title}/location/INDEX", found.options["INDEX"], _INDEX, Weight.NOTHING)


def _at_home(where: str) -> str:
    return "~" + where[2:] if where.startswith("%h") else where
