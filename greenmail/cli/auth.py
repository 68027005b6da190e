"""`auth test`, `pw`: passwords, tried against the user databases of the settings, or made for them."""

import argparse
import getpass
import sys
import time

from greenmail.auth import schemes
from greenmail.auth.admission import Rules
from greenmail.auth.api import Attempt, Denied, Secret
from greenmail.auth.app_passwords import AppPasswords
from greenmail.auth.authenticator import PasswordAuthenticator
from greenmail.cli.account import databases
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.cli.user import stored_password
from greenmail.config import Config
from greenmail.runtime import direct

_NOT_DONE = 1


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    auth = commands.add_parser("auth", parents=[common], help="try a login against the user databases")
    actions = auth.add_subparsers(title="actions", metavar="", required=True)
    test = actions.add_parser(
        "test",
        parents=[common],
        help="try a password",
        description="Try a password against the user databases as the server does it; no server needs to run.",
        epilog="Exit status: 0 the user may log in, 1 not.",
    )
    test.add_argument("name", metavar="USER", help="as a mail client gives it; also user*master")
    test.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    test.add_argument("--address", default="127.0.0.1", help="the client's IP address, for allow_nets; 127.0.0.1")
    test.add_argument("--protocol", choices=("imap", "pop3"), default="imap", help="for what; imap otherwise")
    with_json(test).set_defaults(run=_test)
    pw = commands.add_parser(
        "pw",
        parents=[common],
        help="make what is stored of a password",
        description="Ask for a password and write what belongs into a passwd-file or another user database for it.",
    )
    pw.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    pw.add_argument("--scheme", choices=list(schemes.MAKERS), default="ARGON2ID", help="how it is stored")
    with_json(pw).set_defaults(standalone=_pw)


def _test(config: Config, parsed: argparse.Namespace) -> int:
    rules = Rules(
        config.username_format,
        config.default_domain,
        config.allow_weak_schemes,
        owner=config.owner,
        master_separator=config.master_separator,
    )
    path, blocking = config.app_passwords_file, direct().blocking
    further = AppPasswords(path, None, blocking, time.time) if path else None
    authenticator = PasswordAuthenticator(databases(config), rules, blocking, app_passwords=further)
    if parsed.password_stdin:
        password = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    else:
        password = getpass.getpass("Password: ").encode("utf-8", "surrogateescape")
    attempt = Attempt(
        login=parsed.name,
        password=Secret(password),
        address=parsed.address,
        protocol=parsed.protocol,
        mechanism="PLAIN",
        secure=True,
    )
    outcome = authenticator.check(attempt)
    if isinstance(outcome, Denied):
        if parsed.json:
            say_json({"ok": False, "user": outcome.user, "reason": outcome.denial.name, "text": outcome.text})
        else:
            more = "" if outcome.text in ("", outcome.denial.value) else f": {outcome.text}"
            say(f"{outcome.user}: refused: {outcome.denial.value}{more}")
        return _NOT_DONE
    if parsed.json:
        fields = {key: getattr(outcome, key) for key in ("home", "uid", "gid", "master")}
        say_json({"ok": True, "user": outcome.name, **fields, "extra": dict(outcome.extra)})
        return 0
    say(f"{outcome.name}: may log in" + (f" (by {outcome.master})" if outcome.master else ""))
    for name, value in (("home", outcome.home), ("uid", outcome.uid), ("gid", outcome.gid), *outcome.extra.items()):
        if value not in ("", None):
            say(f"  {name}={value}")
    return 0


def _pw(parsed: argparse.Namespace) -> int:
    stored = stored_password(parsed)
    if parsed.json:
        say_json({"scheme": parsed.scheme, "stored": stored})
    else:
        say(stored)
    return 0
