"""`namespaces`: a table for each namespace beside the one that the flat settings describe, and what can be wrong with
them as a whole. `docs/namespaces.md` has whole examples.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from greenmail import config_types as kind
from greenmail.config_file import Problem, Tree
from greenmail.config_tables import Table, setting

if TYPE_CHECKING:
    from greenmail.config import Config

_RIGHTS = "lrwstipekxa"  # RFC 4314 2.1


def _yes_or_no(*more: str) -> Any:
    """A check for yes, no (which YAML makes true and false) and other words."""

    def check(value: Any) -> str:
        found = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        return kind.one_of("yes", "no", *more)(found)

    return check


def _rights(value: Any) -> str:
    found = kind.text(value)
    if not set(found) <= set(_RIGHTS):
        raise ValueError(f"letters out of {_RIGHTS} (RFC 4314), such as lr or lrs; or nothing")
    return found


def _or_nothing(check: Any) -> Any:
    return lambda value: value if value is None else check(value)


class NamespaceTable(Table):
    """One of `namespaces`."""

    type: Annotated[str, BeforeValidator(kind.one_of("private", "shared", "public"))] = setting(
        "private", "Whose mail is there: private (the user's own), shared (other users'), public (nobody's)."
    )
    prefix: kind.Text = setting("", "Before every name; ends in the separator. In a shared one %u, %n, %d: the owner.")
    separator: Annotated[str | None, BeforeValidator(_or_nothing(kind.separator))] = setting(
        None, "Between levels; nothing is the flat `separator`."
    )
    inbox: kind.Switch = setting(False, "This is the namespace with INBOX: then it takes the place of the flat one.")
    mail_path: kind.UserPath = setting("", "The Maildir. In a shared one, the owner's: nothing is where he logs in to.")
    inbox_path: kind.UserPath = setting("", "As the flat setting.")
    control_path: kind.UserPath = setting("", "As the flat setting.")
    index_path: kind.UserPath = setting("", "As the flat setting.")
    full_text_search: Annotated[bool | None, BeforeValidator(_or_nothing(kind.switch))] = setting(
        None, "Nothing is the flat setting; in a shared one, the owner's."
    )
    layout: Annotated[str | None, BeforeValidator(_or_nothing(kind.one_of("maildir++", "fs")))] = setting(
        None, "Nothing is the flat `layout`."
    )
    mailbox_directory: Annotated[str | None, BeforeValidator(_or_nothing(kind.directory_name))] = setting(
        None, "Nothing is the flat `mailbox-directory`."
    )
    mailbox_names: Annotated[str, BeforeValidator(kind.one_of("auto", "mutf7", "utf8"))] = setting(
        "auto", "As the flat setting."
    )
    alias_for: Annotated[str | None, BeforeValidator(_or_nothing(kind.text))] = setting(
        None, "Prefix of the private namespace whose mailboxes have other names here: no mail of its own."
    )
    hidden: kind.Switch = setting(False, "Not told by NAMESPACE.")
    list_: Annotated[str, BeforeValidator(_yes_or_no("children"))] = setting(
        "yes", "Told by LIST: yes, children (the prefix only if there is something), no (only if asked by prefix)."
    )
    subscriptions: Annotated[bool | None, BeforeValidator(_or_nothing(kind.switch))] = setting(
        None, "Has a file for them of its own; nothing: private ones have, others use that of INBOX's namespace."
    )
    private_seen: Annotated[str, BeforeValidator(_yes_or_no("auto"))] = setting(
        "auto", "Each reader has seen for himself: yes, no, or auto: shared and public, where `dovecot-shared` is."
    )
    read_only: kind.Switch = setting(False, "Nothing can be changed there.")
    default_rights: Annotated[str, BeforeValidator(_rights)] = setting(
        "", "Of a public one: what all may do in mailboxes that say nothing of that (no dovecot-acl)."
    )

    model_config = {"alias_generator": lambda name: name.rstrip("_").replace("_", "-")}

    def separated(self, flat: str) -> str:
        """Its separator, where the flat one is `flat`."""
        return flat if self.separator is None else self.separator


def _tables(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError('a list of tables, such as [{type: shared, prefix: "shared/%u/"}]')
    return value


Namespaces = Annotated[list[NamespaceTable], BeforeValidator(_tables)]


def inbox_of(config: "Config") -> NamespaceTable:
    """The namespace with INBOX: its table, or what the flat settings say."""
    for table in config.namespaces:
        if table.inbox:
            return table
    return NamespaceTable.model_validate({"inbox": True, "prefix": config.prefix, "separator": config.separator})


def problems(tree: Tree, config: "Config") -> list[Problem]:
    """What is wrong with the namespaces together, each with the line of its table."""
    found: list[Problem] = []
    tables = list(enumerate(config.namespaces))

    def wrong(number: int, field: str, text: str) -> None:
        key = ("namespaces", str(number), field)
        found.append(Problem(tree.line(key) or tree.line(key[:1]), f"namespaces.{number}.{field}", text))

    own = inbox_of(config)
    if config.namespaces and sum(table.inbox for _, table in tables) > 1:
        wrong(max(number for number, table in tables if table.inbox), "inbox", "only one namespace can have INBOX")
    seen = {} if own in config.namespaces else {own.prefix: "the flat `prefix`"}
    for number, table in tables:
        for field, text in _of_one(config, table, own):
            wrong(number, field, text)
        if table.prefix in seen:
            wrong(number, "prefix", f'"{table.prefix}" is taken already, by {seen[table.prefix]}')
        seen[table.prefix] = f"namespaces.{number}"
    return found


def _of_one(config: "Config", table: NamespaceTable, own: NamespaceTable) -> list[tuple[str, str]]:
    """Field and text of everything that is wrong with one table."""
    found: list[tuple[str, str]] = []
    separator = table.separated(config.separator)
    is_shared, is_alias = table.type == "shared", table.alias_for is not None
    if table.prefix and not table.prefix.endswith(separator):
        found.append(("prefix", f'"{table.prefix}" does not end in the separator {separator}'))
    if not table.prefix and not (table.inbox or is_alias):
        found.append(("prefix", "is not set; only the namespace with INBOX, or an alias for it, can do without"))
    if is_shared and not re.search(r"%[un]", table.prefix):
        found.append(("prefix", "found no %u or %n; a shared namespace needs the owner's name there: shared/%u/"))
    variables = set(re.findall("%(.?)", table.prefix))
    if variables - (set("und") if is_shared else set()):
        found.append(("prefix", "found a variable; allowed: %u, %n and %d, the owner's name, in a shared namespace"))
    if table.list_ != "no" and separator != own.separated(config.separator):
        text = "is not that of INBOX's namespace: clients see one separator; set `list: no`, or the same one"
        found.append(("separator", text))
    if table.type != "private" and (table.inbox or is_alias):
        found.append(("type", "the namespace with INBOX, and an alias, are private"))
    if table.type != "public" and table.default_rights:
        found.append(("default-rights", "is for public namespaces: owners give the rights to what is theirs"))
    if is_shared and table.subscriptions:
        found.append(("subscriptions", "cannot be true: these would be the owner's; users have their own"))
    if not is_shared and not is_alias and not table.inbox and not table.mail_path:
        found.append(("mail-path", "is not set: where is the mail of this namespace?"))
    if is_alias:
        found += _of_alias(config, table, own)
    return found


def _of_alias(config: "Config", table: NamespaceTable, own: NamespaceTable) -> list[tuple[str, str]]:
    found = []
    meant = [one for one in (own, *config.namespaces) if one.prefix == table.alias_for and one.alias_for is None]
    if not meant or meant[0].type != "private":
        text = f'"{table.alias_for}" is not the prefix of a private namespace with mail of its own'
        found.append(("alias-for", text))
    given = [name for name in ("mail_path", "inbox_path", "control_path", "index_path") if getattr(table, name)]
    found += [(name.replace("_", "-"), "an alias has no mail of its own: remove it") for name in given]
    if table.inbox:
        found.append(("inbox", "an alias does not have INBOX: that is in the namespace it stands for"))
    return found
