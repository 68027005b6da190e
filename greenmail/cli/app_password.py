"""`user app-password add|list|revoke`: further passwords of a user, each for one program or device."""

import argparse
import os
import time

from greenmail.auth import app_passwords, names
from greenmail.auth.app_passwords import PROTOCOLS, AppPassword, Uses
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.config import Config
from greenmail.errors import Refused


def register(actions: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs below `user`."""
    verb = actions.add_parser("app-password", parents=[common], help="passwords for one program or device each")
    below = verb.add_subparsers(title="actions", metavar="", required=True)
    add = below.add_parser(
        "add",
        parents=[common],
        help="make one and print it, once",
        description="Make a password for one program or device, and print it. It is kept nowhere but as a hash.",
    )
    _who(add)
    add.add_argument("--protocol", action="append", choices=PROTOCOLS, help="good for this alone; may be repeated")
    add.add_argument("--expires", metavar="YYYY-MM-DD", default="", help="the last day (UTC) on which it is good")
    with_json(add).set_defaults(run=_add)
    listing = below.add_parser(
        "list", parents=[common], help="list them", description="List app passwords, and when each was used last."
    )
    listing.add_argument("name", metavar="USER", nargs="?", help="those of this user alone")
    with_json(listing).set_defaults(run=_list)
    revoke = below.add_parser(
        "revoke",
        parents=[common],
        help="remove one",
        description="Remove an app password. Sessions that are open stay so: see `greenmail kick`.",
    )
    _who(revoke)
    with_json(revoke).set_defaults(run=_revoke)


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="USER", help="the user's name, as given to mail clients")
    parser.add_argument("label", metavar="NAME", help="what the password is for: phone, laptop ...")


def _file(config: Config) -> str:
    if not config.app_passwords_file:
        raise Refused(f"app-passwords-file is not set in {config.source}")
    return config.app_passwords_file


def _user(config: Config, given: str) -> str:
    name = names.normalize(given, config.username_format, config.default_domain)
    reason = names.refusal(name)
    if reason:
        raise Refused(f"{given!r} cannot be a user: the name {reason}")
    return name


def _add(config: Config, parsed: argparse.Namespace) -> int:
    path, user = _file(config), _user(config, parsed.name)
    today = app_passwords.today(time.time())
    if parsed.expires and (not app_passwords.is_day(parsed.expires) or parsed.expires < today):
        raise Refused(f"--expires: found {parsed.expires!r}; allowed: a day from today on, such as {today}")
    password = app_passwords.generate()
    protocols = frozenset(parsed.protocol or ())
    stored = app_passwords.hashed(password)
    made = AppPassword(user, parsed.label, stored, protocols, today, parsed.expires)
    try:
        app_passwords.add(path, made, config.owner()[1] if os.geteuid() == 0 else -1)
    except OSError as error:
        raise Refused(f"{path} was not changed: {error.strerror}") from None
    if parsed.json:
        say_json({**_shown(made, Uses(config.app_password_uses)), "password": password})
    else:
        say(password)
        say(f"added {parsed.label} for {user}; it is shown this once", error=True)
    return 0


def _shown(one: AppPassword, uses: Uses) -> dict[str, object]:
    last = uses.last(one)
    return {
        "user": one.user,
        "name": one.name,
        "protocols": sorted(one.protocols) or list(PROTOCOLS),
        "created": one.created,
        "expires": one.expires or None,
        "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(last[0])) if last else None,
        "last_by": last[1] if last else None,
    }


def _list(config: Config, parsed: argparse.Namespace) -> int:
    path = _file(config)
    wanted = _user(config, parsed.name) if parsed.name else None
    try:
        found = [one for one in app_passwords.all_in(path) if wanted in (None, one.user)]
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    uses = Uses(config.app_password_uses)
    rows = [_shown(one, uses) for one in found]
    if parsed.json:
        say_json(rows)
        return 0
    today = app_passwords.today(time.time())
    for one, row in zip(found, rows, strict=True):
        parts = [f"{one.user} {one.name}", ",".join(sorted(one.protocols)) or "all", f"made {one.created or '?'}"]
        if one.expires:
            parts.append(f"{'expired' if one.expires < today else 'until'} {one.expires}")
        parts.append(f"used {row['last_used']} by {row['last_by']}" if row["last_used"] else "not used")
        say("  ".join(parts))
    return 0


def _revoke(config: Config, parsed: argparse.Namespace) -> int:
    user = _user(config, parsed.name)
    revoke(config, user, parsed.label)
    if parsed.json:
        say_json({"user": user, "name": parsed.label})
    else:
        say(f"revoked {parsed.label} of {user}")
    return 0


def revoke(config: Config, user: str, label: str | None) -> int:
    """Remove one, or all of them if it has no name; how many. Raises Refused, also if there is none of that name."""
    path = _file(config)
    try:
        count = app_passwords.revoke(path, user, label)
    except OSError as error:
        raise Refused(f"{path} was not changed: {error.strerror}") from None
    if not count and label is not None:
        raise Refused(f"{user} has no app password {label}")
    return count
