"""Whose mail is to be looked at: users by name, all users of the databases, or directories."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from greenmail.auth import names
from greenmail.auth.api import User
from greenmail.auth.people import People
from greenmail.config import Config
from greenmail.errors import Refused
from greenmail.storage.maildir_settings import MaildirSettings

SettingsFor = Callable[[Config, User], list[tuple[str, MaildirSettings]]]  # by prefix; INBOX's first, with ""
PeopleOf = Callable[[Config], People]
_DEPTH = 5  # levels below a given directory in which Maildirs are searched


@dataclass(frozen=True, slots=True)
class Target:
    """One account."""

    name: str  # of the user, or the path
    settings: MaildirSettings
    uid: int  # who must own the mail
    gid: int


@dataclass(frozen=True, slots=True)
class Site:
    """What the verbs need of the server's half: where a user's mail is, and who there is."""

    settings_for: SettingsFor
    people: PeopleOf


def by_user(config: Config, site: Site, wanted: Sequence[str]) -> list[Target]:
    """The accounts of `wanted`, or of everybody in the user databases; a target a root of theirs. Raises Refused."""
    people = site.people(config)
    found = []
    for given in list(wanted) or people.everybody():
        name = names.normalize(given, config.username_format, config.default_domain) if wanted else given
        entry = people.find(name)
        user = User(name, entry.home, entry.uid, entry.gid, entry.extra)
        for prefix, place in site.settings_for(config, user):
            settings = _for_looking(place)
            if prefix and not os.path.isdir(settings.mail_path):  # made when the user needs it
                continue
            uid, gid = owner(config, os.fsencode(settings.mail_path))
            owned = uid if entry.uid is None else entry.uid, gid if entry.gid is None else entry.gid
            found.append(Target(f"{name} {prefix}" if prefix else name, settings, *owned))
    return found


def _for_looking(settings: MaildirSettings) -> MaildirSettings:
    return replace(settings, create_mail_path=False, auto_create=())


def owner(config: Config, path: bytes) -> tuple[int, int]:
    """uid and gid that mail at `path` must belong to: those of the server, or of who has the directory now."""
    if config.user:
        return config.owner()
    try:
        found = os.stat(path)
    except OSError:
        return config.owner()
    return found.st_uid, found.st_gid


def by_path(config: Config, settings_for: SettingsFor, paths: Sequence[str]) -> list[Target]:
    """Every Maildir at or below `paths`. Raises Refused."""
    if config.control_path or config.inbox_path:
        raise Refused("control-path or inbox-path is set, and differs for each user: name users with --user instead")
    common = settings_for(config, User("nobody@nowhere", home="/nonexistent"))[0][1]
    found = []
    for path in paths:
        start = os.path.abspath(path)
        if not os.path.isdir(start):
            raise Refused(f"{path} is not a directory")
        roots = list(_roots(start, _DEPTH, config.mailbox_directory if config.layout == "fs" else ""))
        if not roots:
            raise Refused(f"there is no Maildir in {path}, nor in {_DEPTH} levels below it")
        for root in roots:
            uid, gid = owner(config, os.fsencode(root))
            settings = replace(_for_looking(common), mail_path=root, index_path="")
            found.append(Target(root, settings, uid, gid))
    return found


def _roots(path: str, depth: int, inner: str) -> Iterator[str]:
    """Maildirs at or below `path`, in the order of their names; `inner`: the `mailbox-directory` of nested ones."""
    try:
        with os.scandir(path) as entries:
            below = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        if os.path.lexists(os.path.join(path, "cur")) and not inner:
            yield path
        return
    if _is_root(path, below, inner):
        yield path
    elif depth:
        for name in below:
            if not name.startswith("."):
                yield from _roots(os.path.join(path, name), depth - 1, inner)


def _is_root(path: str, below: Sequence[str], inner: str) -> bool:
    if inner:
        return any(os.path.isdir(f"{path}/{name}/{inner}/cur") for name in below)
    if "cur" in below or "new" in below:
        return True
    # A public namespace has mailboxes and no INBOX.
    return any(os.path.isdir(f"{path}/{name}/cur") for name in below if name[0] == ".")
