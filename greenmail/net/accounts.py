"""Users' mail, by the configuration: from `User` to `storage.api.Account`."""

import logging
from collections.abc import Callable

from greenmail.auth import names
from greenmail.auth.api import User
from greenmail.config import Config
from greenmail.config_namespaces import inbox_of
from greenmail.errors import Refused, StorageError
from greenmail.net import namespaces
from greenmail.net.owners import Owners
from greenmail.storage.api import Account
from greenmail.storage.guest import GuestAccount
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.maildir_store import MaildirStore
from greenmail.storage.quota_rules import Limits, OtherLimits, QuotaRules, from_user

log = logging.getLogger(__name__)

_MOST_KNOWN = 2000  # users whose settings are kept, of some 1 KB each


def settings_for(config: Config, user: User) -> MaildirSettings:
    """Where this user's mail lies. Raises Refused if no path can be made of name and user database."""

    def path(template: str) -> str:
        return names.expand(template, user.name, user.home) if template else ""

    own = inbox_of(config)
    location = user.extra.get("mail", "")
    layout, inner = own.layout or config.layout, own.mailbox_directory
    return MaildirSettings(
        mail_path=path(names.mail_template(own.mail_path or config.mail_path, location)),
        layout=_layout(names.mail_option(location, "LAYOUT")) or layout,
        mailbox_directory=names.mail_option(location, "DIRNAME")
        or (config.mailbox_directory if inner is None else inner),
        control_path=path(own.control_path or config.control_path),
        inbox_path=path(own.inbox_path or config.inbox_path),
        index_path=path(own.index_path or config.index_path),
        mailbox_names=config.mailbox_names if own.mailbox_names == "auto" else own.mailbox_names,
        name_escape=config.name_escape,
        prefix=own.prefix,
        separator=own.separated(config.separator),
        special_use=config.special_use,
        auto_create=config.auto_create,
        create_mail_path=config.create_mail_path,
        lock_timeout=config.lock_timeout,
        lock_host=config.lock_host,
        coexistence=config.coexistence,
        max_keywords=config.max_keywords,
        max_unpacked_size=config.max_unpacked_size,
        full_text_search=_switched(user.extra.get("full_text_search", ""), config.full_text_search),
        quota=quota_rules(config, user),
        groups=tuple(group for group in user.extra.get("acl_groups", "").split(",") if group),
    )


def places_for(config: Config, user: User) -> list[tuple[str, MaildirSettings]]:
    """Every Maildir root that is this user's alone: INBOX's, and those of further private namespaces by their prefix.

    Raises Refused if no path of the first can be made; of the others such a one is left out, as it is in a session.
    """
    own = settings_for(config, user)
    found = [("", own)]
    for table in namespaces.tables_of(config)[1:]:
        if table.type == "private" and not table.alias_for:
            try:
                found.append((table.prefix, namespaces.mail_settings(config, table, user, own)))
            except Refused as error:
                log.warning("namespace prefix=%r user=%r reason=%r", table.prefix, user.name, error.text)
    return found


def _layout(option: str) -> str:
    """Of one user, as Dovecot writes it."""
    if option.lower() not in ("", "fs", "maildir++"):
        raise Refused("this user's mailboxes are in a layout that is not known here")
    return option.lower()


def _switched(text: str, default: bool) -> bool:
    """A field of the passwd-file that switches something for one user; whatever else it holds, the setting counts."""
    return {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}.get(text.lower(), default)


def quota_rules(config: Config, user: User) -> QuotaRules:
    """This user's quota, by the settings and the fields of the passwd-file."""
    limits = Limits(config.quota_storage, config.quota_messages)
    others = OtherLimits(config.quota_mailboxes, config.quota_annotations)
    rules, problems = from_user(user.extra, QuotaRules(limits, ignored=config.quota_ignore, others=others))
    for problem in problems:
        log.warning("quota user=%r problem=%r", user.name, problem)
    return rules


class Known:
    """The settings of users who came lately: they follow from the configuration and what the user database says."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._found: dict[str, tuple[str, dict[str, str], MaildirSettings]] = {}  # by name: home, extra fields

    def of(self, user: User) -> MaildirSettings:
        """As `settings_for`."""
        home, extra, settings = self._found.get(user.name, ("", {}, None))
        if settings is None or home != user.home or extra != user.extra:
            settings = settings_for(self._config, user)
            if len(self._found) >= _MOST_KNOWN:
                del self._found[next(iter(self._found))]
            self._found[user.name] = user.home, dict(user.extra), settings
        return settings


def opener(config: Config, store: MaildirStore, owners: Owners) -> Callable[[User], Account]:
    """`Services.open_account`."""
    spaces = namespaces.Namespaces(config, store, owners, settings_for) if config.namespaces else None

    known = Known(config)

    def open_account(user: User) -> Account:
        try:
            if user.is_anonymous:  # what other users share, they share with each other
                return GuestAccount(store.open_account(user.name, known.of(user)))
            if spaces is not None:
                return spaces.open(user)
            return store.open_account(user.name, known.of(user))
        except (Refused, StorageError) as error:
            # Raised again for the client, who cannot mend it: the administrator must see it without being asked.
            log.warning("account-not-opened user=%r home=%r reason=%r", user.name, user.home, error.text)
            raise

    return open_account
