"""Namespaces, by the configuration: what the storage is told of each, and where the mail in it is."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from greenmail.auth import names
from greenmail.auth.api import User
from greenmail.config import Config
from greenmail.config_namespaces import NamespaceTable, inbox_of
from greenmail.errors import Refused
from greenmail.net.owners import Owners
from greenmail.storage.api import Account
from greenmail.storage.maildir_namespaces import NamespacesStore
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.namespace_names import Kind, Listed, OwnSeen, Space, not_found

log = logging.getLogger(__name__)

SettingsFor = Callable[[Config, User], MaildirSettings]


def tables_of(config: Config) -> list[NamespaceTable]:
    """Every namespace, that of INBOX first."""
    own = inbox_of(config)
    return [own, *(table for table in config.namespaces if table is not own)]


def space_of(config: Config, table: NamespaceTable) -> Space:
    """What the storage is told of a namespace."""
    kind = Kind(table.type)
    keeps_none = kind is not Kind.PRIVATE
    return Space(
        kind=kind,
        prefix=table.prefix,
        separator=table.separated(config.separator),
        is_inbox=table.inbox,
        listed=Listed(table.list_),
        hidden=table.hidden,
        subscriptions=not keeps_none if table.subscriptions is None else table.subscriptions,
        alias_for=table.alias_for,
        own_seen=OwnSeen(table.private_seen),
        read_only=table.read_only,
        default_rights=frozenset(table.default_rights),
        disk_separator="/" if (table.layout or config.layout) == "fs" else ".",
    )


def mail_settings(config: Config, table: NamespaceTable, user: User, own: MaildirSettings) -> MaildirSettings:
    """Where the mail of a private or public namespace is; `own` is INBOX's. Raises Refused."""

    def path(template: str) -> str:
        return names.expand(template, user.name, user.home) if template else ""

    return MaildirSettings(
        mail_path=path(table.mail_path),
        inbox_path=path(table.inbox_path),
        control_path=path(table.control_path),
        index_path=path(table.index_path),
        layout=table.layout or own.layout,
        mailbox_directory=own.mailbox_directory if table.mailbox_directory is None else table.mailbox_directory,
        mailbox_names=table.mailbox_names,
        name_escape=own.name_escape,
        separator=table.separated(config.separator),
        create_mail_path=own.create_mail_path and table.type == "private" and not table.read_only,
        lock_timeout=own.lock_timeout,
        lock_host=own.lock_host,
        coexistence=own.coexistence,
        max_keywords=own.max_keywords,
        max_unpacked_size=own.max_unpacked_size,
        full_text_search=config.full_text_search if table.full_text_search is None else table.full_text_search,
        owner="" if table.type == "public" else None,
        groups=own.groups,
        default_rights=table.default_rights,
    )


def owner_settings(
    config: Config, table: NamespaceTable, owner: User, own: MaildirSettings, settings_for: SettingsFor
) -> MaildirSettings:
    """Where the mail of another user is: by the paths of the namespace, or where it is for himself. Raises Refused."""

    def path(template: str) -> str:
        return names.expand(template, owner.name, owner.home) if template else ""

    found = settings_for(config, owner)
    if table.mail_path:
        found = replace(
            found,
            mail_path=path(table.mail_path),
            inbox_path=path(table.inbox_path),
            control_path=path(table.control_path),
            index_path=path(table.index_path),
            layout=table.layout or found.layout,
            mailbox_directory=found.mailbox_directory if table.mailbox_directory is None else table.mailbox_directory,
            mailbox_names=table.mailbox_names,
        )
    if table.full_text_search is not None:
        found = replace(found, full_text_search=table.full_text_search)
    return replace(found, create_mail_path=False, auto_create=(), owner=owner.name, groups=own.groups)


class Namespaces:
    """Opens accounts of a worker."""

    def __init__(self, config: Config, store: MaildirStore, owners: Owners, settings_for: SettingsFor) -> None:
        self._config = config
        self._store = NamespacesStore(store)
        self._owners = owners
        self._settings_for = settings_for
        self._tables = {table.prefix: table for table in tables_of(config)}
        self._spaces: Sequence[Space] = tuple(space_of(config, table) for table in self._tables.values())

    def open(self, user: User) -> Account:
        """The account of `user`. Raises Refused, StorageError."""
        own = self._settings_for(self._config, user)

        def settings_of(space: Space, owner: str) -> MaildirSettings:
            if space.is_inbox:
                return own
            table = self._tables[space.prefix]
            found = self._owners.find(owner) if space.kind is Kind.SHARED else user
            try:
                if found is None:
                    raise not_found()
                if space.kind is Kind.SHARED:
                    return owner_settings(self._config, table, found, own, self._settings_for)
                return mail_settings(self._config, table, user, own)
            except Refused as error:  # a part of the path that the user does not have
                level = logging.DEBUG if space.kind is Kind.SHARED else logging.WARNING  # owners are many
                log.log(level, "namespace prefix=%r user=%r reason=%r", table.prefix, owner or user.name, error.text)
                raise not_found() from None

        def everybody(space: Space) -> list[str]:
            flat = inbox_of(self._config).mail_path or self._config.mail_path
            return self._owners.everybody(self._tables[space.prefix].mail_path or flat, user.name)

        return self._store.open_account(user.name, self._spaces, settings_of, everybody)
