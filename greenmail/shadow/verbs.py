"""What the verb `shadow` does; `command` has its options."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from greenmail.auth.people import People
from greenmail.config import Config
from greenmail.errors import Refused
from greenmail.shadow import logins, place, private
from greenmail.shadow.account import Comparison, Outcome, Side
from greenmail.shadow.logins import Login, Master, Passwords
from greenmail.shadow.messages import Rules
from greenmail.shadow.place import Place, Trust
from greenmail.shadow.report import Report, write_json, write_text
from greenmail.terminal import Bar, plain_console, say, shown

_SETTLE = 1.0  # seconds before a second look
_PATIENCE = 5  # users in a row of whom a server does not answer


def shadow(
    people: Callable[[Config], People],
    config: Config,
    parsed: argparse.Namespace,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Compare; the exit status. Raises Refused."""
    passwords = Passwords(logins.passwords_of(parsed.passwords) if parsed.passwords else {})
    everybody = logins.everybody(people(config)) if parsed.all_users else []
    users = logins.users(parsed.user, parsed.users, everybody, list(passwords.known))
    trust = Trust(parsed.insecure, parsed.ca_file)
    theirs = _theirs(parsed, trust, passwords)
    rules = Rules(parsed.bodies, parsed.sample, parsed.copy, partial(wait, _SETTLE))
    started = time.monotonic()
    outcomes: list[Outcome] = []
    bar = Bar(len(users))
    with _ours(config, parsed, trust, passwords, users) as ours:
        _ask_first(theirs, ours, users)
        with bar:
            for user in users:
                outcome = Outcome(user)
                outcomes.append(outcome)
                Comparison(theirs, ours, rules, partial(_tell, bar, user), outcome).run()
                bar.tell(user, "", 0, 1)
                if len(outcomes) >= _PATIENCE and all(one.is_unreachable for one in outcomes[-_PATIENCE:]):
                    break
    report = Report(str(theirs.imap), str(ours.imap), outcomes, time.monotonic() - started, parsed.verbose)
    if parsed.json:
        sys.stdout.write(write_json(report) + "\n")
    else:
        write_text(report, plain_console())
    if len(outcomes) < len(users):
        say(f"greenmail: given up: {shown(outcomes[-1].not_compared[-1].text)}", error=True)
    return report.status


def _tell(bar: Bar, user: str, mailbox: str, messages: int) -> None:
    bar.tell(user, mailbox, messages)


def _ask_first(theirs: Side, ours: Side, users: list[str]) -> None:
    """Prompts come before the progress bar."""
    for user in users:
        for side in (theirs, ours):
            side.login(user)


def _theirs(parsed: argparse.Namespace, trust: Trust, passwords: Passwords) -> Side:
    imap = place.place(parsed.against, ("imap", "imaps"))
    pop3 = place.place(parsed.against_pop3, ("pop3", "pop3s")) if parsed.against_pop3 else None
    master = _master(parsed, parsed.master, parsed.master_password_file, logins.MASTER_VARIABLE)
    return _side(imap, pop3, parsed.timeout, trust, passwords, master)


def _master(parsed: argparse.Namespace, name: str, file: str, variable: str) -> Master | None:
    if not name:
        return None
    password = logins.password_in(file) if file else logins.asked(f"Password of {name}: ", variable)
    return Master(name, password, parsed.master_separator, parsed.authzid)


def _side(
    imap: Place, pop3: Place | None, timeout: float, trust: Trust, passwords: Passwords, master: Master | None
) -> Side:
    if master is None:
        return Side(trust, timeout, imap, pop3, passwords.login, passwords.login)
    return Side(trust, timeout, imap, pop3, master.login, partial(master.login, may_authzid=False))


@contextlib.contextmanager
def _ours(
    config: Config, parsed: argparse.Namespace, trust: Trust, passwords: Passwords, users: list[str]
) -> Iterator[Side]:
    """GreenMail: one that runs, or one for as long as this lasts."""
    if parsed.start:
        if parsed.ours or parsed.ours_pop3 or parsed.ours_master:
            raise Refused("--start and --ours exclude each other")
        with private.started(config, users) as server:
            login = partial(Login, password=server.password)
            pop3 = server.pop3 if parsed.against_pop3 else None
            yield Side(Trust(), parsed.timeout, server.imap, pop3, login, login)
        return
    imap = place.place(parsed.ours, ("imap", "imaps")) if parsed.ours else place.of_config(config, "imap")
    pop3 = None
    if parsed.ours_pop3:
        pop3 = place.place(parsed.ours_pop3, ("pop3", "pop3s"))
    elif parsed.against_pop3:
        pop3 = place.of_config(config, "pop3")
    variable = logins.OURS_MASTER_VARIABLE
    master = _master(parsed, parsed.ours_master, parsed.ours_master_password_file, variable)
    yield _side(imap, pop3, parsed.timeout, trust, passwords, master)
