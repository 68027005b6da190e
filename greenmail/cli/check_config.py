"""`check-config`: what is wrong with a configuration, or what it does."""

import argparse
from collections.abc import Sequence

from greenmail.auth import passwd_file
from greenmail.cli import files
from greenmail.cli.output import say, say_json
from greenmail.cli.parsing import Commands, with_json
from greenmail.config import Config
from greenmail.config_tables import Listener
from greenmail.config_types import Endpoint

EX_CONFIG = 78


def register(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    check = commands.add_parser("check-config", parents=[common], help="check the configuration and show what it does")
    with_json(check).set_defaults(run=_check_config)


def _start_problems(config: Config) -> list[str]:
    """What the server would say at its start of certificates, tokens and user databases."""
    # Here and not above: editing the passwd-file needs neither gevent nor OpenSSL.
    from greenmail.net import client_certificates, databases, tls, tokens

    found = []
    for pair in (tls.Pair(*paths) for paths in config.certificate_paths()):
        try:
            tls.read(pair)
        except tls.CannotStart as problem:
            found.append(problem.text)
    token_looks = (tokens.looker,) if config.takes_tokens else ()
    for look in (client_certificates.asking, databases.check, databases.secrets, *token_looks):
        try:
            look(config)
        except tls.CannotStart as problem:
            found.append(problem.text)
    return found


def _check_config(config: Config, parsed: argparse.Namespace) -> int:
    listeners = [_listening(listener) for listener in config.listeners()]
    notes = list(config.notices())
    problems = files.problems(config)
    users, of_users = None, []
    if config.passwd_file and not problems and "%" not in config.passwd_file:
        table = files.table(config.passwd_file)
        users = len(table.entries)
        of_users = [f"{config.passwd_file}: {problem}" for problem in table.problems]
        of_users += _half_offered(table, config.sasl_mechanisms)
    problems = problems or _start_problems(config)
    if parsed.json:
        found = {"listeners": listeners, "notes": [*notes, *of_users], "users": users, "problems": problems}
        say_json({"source": config.source, "ok": not problems, **found})
        return EX_CONFIG if problems else 0
    for one in listeners:
        say("listener {name}: {protocol} at {address}, {tls}".format(**one))
    for note in notes:
        say(f"note: {note}")
    if users is not None:
        say(f"passwd-file: {users} users")
    for note in of_users:
        say(f"note: {note}")
    for problem in problems:
        say(f"greenmail: {problem}", error=True)
    if problems:
        return EX_CONFIG
    say(f"{config.source}: good")
    return 0


def _listening(listener: Listener) -> dict[str, str]:
    tls = "TLS" if listener.implicit_tls else "STARTTLS" if listener.cert_path else "no TLS"
    if listener.protocol == "pop3" and tls == "STARTTLS":
        tls = "STLS"
    where = str(Endpoint(listener.address, listener.port))
    return {"name": listener.name, "protocol": listener.protocol, "address": where, "tls": tls}


def _half_offered(table: passwd_file.Table, mechanisms: Sequence[str]) -> list[str]:
    """Mechanisms that some users could use, were it not for others."""
    found = []
    for name in table.scram.kinds:
        if name in mechanisms and name in table.scram.lacking:
            count, one = table.scram.lacking[name]
            who = "1 user has" if count == 1 else f"{count} users have"
            found.append(f"{name} is not offered: {who} no password for it, one of them is {one}")
    return found
