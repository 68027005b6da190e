"""`user add|passwd|delete|list`: edit the passwd-file; `user app-password` is a module of its own."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable

from greenmail.auth import names, passwd_edit, schemes
from greenmail.cli import app_password, files
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, Run, with_json
from greenmail.config import Config
from greenmail.errors import Refused


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    user = commands.add_parser("user", parents=[common], help="edit the passwd-file")
    actions = user.add_subparsers(title="actions", metavar="", required=True)
    _user_action(actions, common, "add", "add a user", _user_add)
    _user_action(actions, common, "passwd", "set a user's password", _user_passwd)
    _user_action(actions, common, "delete", "remove a user; the mail stays", _user_delete)
    listing = actions.add_parser("list", parents=[common], help="list users", description="List users.")
    with_json(listing).set_defaults(run=_user_list)
    app_password.register(actions, common)


def _user_action(
    actions: Commands,
    common: argparse.ArgumentParser,
    name: str,
    text: str,
    run: Run,
) -> None:
    action = actions.add_parser(name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
    action.add_argument("name", help="the user's name, as given to mail clients")
    if name != "delete":
        action.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        action.add_argument("--scheme", choices=list(schemes.MAKERS), default="ARGON2ID", help="how it is stored")
    if name == "add":
        action.add_argument("--uid", default="", help="owner of the mail, if it is to be checked at login")
        action.add_argument("--gid", default="", help="group of the mail, if it is to be checked at login")
        action.add_argument("--home", default="", help="home directory, which mail-path may refer to as ~")
    with_json(action).set_defaults(run=run)


def _name_and_file(config: Config, given: str) -> tuple[str, str]:
    """The user's name as logins spell it, and the file where it is, or belongs."""
    if not config.passwd_file:
        raise Refused(f"passwd-file is not set in {config.source}")
    name = names.normalize(given, config.username_format, config.default_domain)
    reason = names.refusal(name)
    if reason:
        raise Refused(f"{given!r} cannot be a user: the name {reason}")
    if name != given:
        say(f"the name is {name}, by username-format and default-domain", error=True)
    return name, names.expand(config.passwd_file, name) if "%" in config.passwd_file else config.passwd_file


def stored_password(parsed: argparse.Namespace) -> str:
    """The password, asked for, as it is to be stored. Raises Refused."""
    if parsed.password_stdin:
        password = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    else:
        first = getpass.getpass("Password: ")
        if first != getpass.getpass("The same again: "):
            raise Refused("the two passwords are not the same; nothing was changed")
        password = first.encode("utf-8", "surrogateescape")
    if not password:
        raise Refused("the password is empty; nothing was changed")
    if b"\0" in password or len(password) > schemes.PASSWORD_MAX:
        raise Refused(f"a password has at most {schemes.PASSWORD_MAX} octets and no NUL; nothing was changed")
    try:
        return schemes.make(parsed.scheme, password)
    except ValueError as error:
        raise Refused(f"{parsed.scheme}: {error}") from None


def _user_add(config: Config, parsed: argparse.Namespace) -> int:
    name, path = _name_and_file(config, parsed.name)
    if os.path.exists(path) and name in files.table(path).entries:
        raise Refused(f"there is a user {name} already")  # before a password is asked for
    home = parsed.home
    if not home and (config.mail_path.startswith("~") or "%h" in config.mail_path):
        say(f"note: mail-path is {config.mail_path}, but {name} has no home; give --home", error=True)
    user = passwd_edit.NewUser(name, stored_password(parsed), parsed.uid, parsed.gid, home)
    group = config.owner()[1] if os.geteuid() == 0 else -1
    return _edited(parsed, name, path, lambda: passwd_edit.add(path, user, group), f"added {name}")


def _user_passwd(config: Config, parsed: argparse.Namespace) -> int:
    name, path = _name_and_file(config, parsed.name)
    if name not in files.table(path).entries:
        raise Refused(f"there is no user {name} in {path}")
    stored = stored_password(parsed)
    done = f"changed the password of {name}"
    return _edited(parsed, name, path, lambda: passwd_edit.set_password(path, name, stored), done)


def _user_delete(config: Config, parsed: argparse.Namespace) -> int:
    name, path = _name_and_file(config, parsed.name)
    if config.app_passwords_file:  # or they would be good again for who gets this name one day
        app_password.revoke(config, name, None)
    return _edited(parsed, name, path, lambda: passwd_edit.delete(path, name), f"deleted {name}")


def _edited(parsed: argparse.Namespace, name: str, path: str, edit: Callable[[], None], done: str) -> int:
    try:
        edit()
    except OSError as error:
        raise Refused(f"{path} was not changed: {error.strerror}") from None
    if parsed.json:
        say_json({"name": name, "path": path})
    else:
        say(done)
    return 0


def _user_list(config: Config, parsed: argparse.Namespace) -> int:
    if not config.passwd_file:
        raise Refused(f"passwd-file is not set in {config.source}")
    if "%" in config.passwd_file:
        raise Refused(f"passwd-file is {config.passwd_file}: there is one file a domain, so no list of all users")
    entries = files.table(config.passwd_file).entries.values()
    if parsed.json:
        keys = ("name", "home", "uid", "gid", "no_login")
        say_json([{key: getattr(entry, key) for key in keys} for entry in entries])
        return 0
    for entry in entries:
        say(f"{entry.name} ({entry.no_login})" if entry.no_login else entry.name)
    return 0
