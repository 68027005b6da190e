"""The command `greenmail`.

    greenmail -c FILE                            serve
    greenmail check-config -c FILE               say what is wrong with a configuration, or what it does
    greenmail user add NAME -c FILE              also passwd, delete, list: edit the passwd-file
    greenmail doctor [--user NAME | PATH] -c FILE    look for faults in the mail, --fix them, --undo FILE
    greenmail resync|index --user NAME -c FILE       make GreenMail's own index files anew, or complete them
    greenmail to-courier --user NAME -c FILE         write Courier's files, to go back to it
    greenmail shadow --against imap://old-server --user NAME -c FILE    compare with the old server before the switch
    doveconf -n | greenmail import-config            make a configuration from that of a Dovecot
    greenmail --version

Exit status, where a command has none of its own: 0 done, 1 not done (the message says why), 2 wrong arguments, 78 wrong
configuration (EX_CONFIG).
"""

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Callable, Sequence

import greenmail
from greenmail import built
from greenmail import config as configuration
from greenmail import log as logs
from greenmail.auth import names, passwd_edit, passwd_file, schemes
from greenmail.config import Config
from greenmail.config_tables import ConfigError
from greenmail.config_types import Endpoint
from greenmail.doctor import command as doctor
from greenmail.errors import Refused
from greenmail.import_config import command as import_config
from greenmail.net import accounts
from greenmail.shadow import command as shadow

EX_CONFIG = 78
_DEFAULT_CONFIG = "/etc/greenmail/imap.yaml"

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    _fill_standard_streams()
    parsed = _parser().parse_args(arguments)
    if "standalone" in parsed:  # needs no configuration
        return int(parsed.standalone(parsed))
    path = getattr(parsed, "config", _DEFAULT_CONFIG)
    run: Callable[[Config, argparse.Namespace], int] = getattr(parsed, "run", _serve)
    try:
        return run(configuration.load(path), parsed)
    except ConfigError as error:
        count = len(error.problems)
        _say(f"greenmail: {count} {'error' if count == 1 else 'errors'} in the configuration\n{error}", error=True)
        return EX_CONFIG
    except Refused as refused:
        _say(f"greenmail: {refused.text}", error=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _fill_standard_streams() -> None:
    """Have 0, 1 and 2 open, or the next file or socket would get these numbers, and what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 -- for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 -- the same


def _parser() -> argparse.ArgumentParser:
    # Given before the command and after it, the option must not be overwritten by the other place's default.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-c", "--config", metavar="FILE", help=f"settings in YAML or TOML; {_DEFAULT_CONFIG} otherwise")
    parser = argparse.ArgumentParser(
        prog="greenmail",
        description="IMAP and POP3 server over Maildirs. Without a command it serves.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"greenmail {greenmail.__version__} ({built.kind()})")
    commands = parser.add_subparsers(title="commands", metavar="")
    check = commands.add_parser("check-config", parents=[common], help="check the configuration and show what it does")
    check.set_defaults(run=_check_config)
    user = commands.add_parser("user", parents=[common], help="edit the passwd-file")
    actions = user.add_subparsers(title="actions", metavar="", required=True)
    _user_action(actions, common, "add", "add a user", _user_add)
    _user_action(actions, common, "passwd", "set a user's password", _user_passwd)
    _user_action(actions, common, "delete", "remove a user; the mail stays", _user_delete)
    listing = actions.add_parser("list", parents=[common], help="list users", description="List users.")
    listing.set_defaults(run=_user_list)
    doctor.register(commands, common, accounts.places_for)
    shadow.register(commands, common)
    import_config.register(commands)
    return parser


def _user_action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
    name: str,
    text: str,
    run: Callable[[Config, argparse.Namespace], int],
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
    action.set_defaults(run=run)


def _say(text: str, error: bool = False) -> None:
    stream = sys.stderr if error else sys.stdout
    stream.write(text + "\n")
    stream.flush()


def _serve(config: Config, parsed: argparse.Namespace) -> int:
    try:
        logs.setup(config.log_level, config.log_format, config.log_path, config.owner())
    except OSError as error:
        _say(f"greenmail: log-path: {config.log_path} cannot be opened: {error.strerror}", error=True)
        return EX_CONFIG
    for notice in config.notices():
        log.info("config %s", notice)
    for problem in _file_problems(config):
        log.warning("config %s", problem)
    # Here and not above: no other command needs the server's half, with gevent and OpenSSL.
    from greenmail.net import supervisor

    status = supervisor.serve(config)
    if status and config.log_path != "-":  # whoever sits at the terminal has not seen why
        _say(f"greenmail: ended with status {status}; the log ({config.log_path}) says why", error=True)
    return status


def _file_problems(config: Config) -> list[str]:
    """Files that the settings name and that cannot be read."""
    wanted = {}
    tables = {"passwd-file": config.passwd_file, "deny-file": config.deny_file}
    tables["master-passwd-file"] = config.master_passwd_file
    for key, path in tables.items():
        if path and "%" not in path:
            wanted[path] = key
    for listener in config.listeners():
        if listener.cert_path:
            wanted[listener.cert_path] = f"cert-path of listener {listener.name}"
            wanted[listener.key_path] = f"key-path of listener {listener.name}"
    found = []
    for path, what in wanted.items():
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            found.append(f"{what}: {path} cannot be read: {error.strerror}")
    return found


def _certificate_problems(config: Config) -> list[str]:
    """What the server would say of the certificates at its start."""
    # Here and not above: editing the passwd-file needs neither gevent nor OpenSSL.
    from greenmail.net import tls

    found = []
    pairs = {tls.Pair(listener.cert_path, listener.key_path) for listener in config.listeners() if listener.cert_path}
    for pair in sorted(pairs, key=lambda pair: pair.cert_path):
        try:
            tls.read(pair)
        except tls.CannotStart as problem:
            found.append(problem.text)
    return found


def _check_config(config: Config, parsed: argparse.Namespace) -> int:
    for listener in config.listeners():
        tls = "TLS" if listener.implicit_tls else "STARTTLS" if listener.cert_path else "no TLS"
        if listener.protocol == "pop3" and tls == "STARTTLS":
            tls = "STLS"
        where = Endpoint(listener.address, listener.port)
        _say(f"listener {listener.name}: {listener.protocol} at {where}, {tls}")
    for notice in config.notices():
        _say(f"note: {notice}")
    problems = _file_problems(config)
    if config.passwd_file and not problems and "%" not in config.passwd_file:
        table = _table(config.passwd_file)
        _say(f"passwd-file: {len(table.entries)} users")
        for problem in table.problems:
            _say(f"note: {config.passwd_file}: {problem}")
        for note in _half_offered(table, config.sasl_mechanisms):
            _say(f"note: {note}")
    problems = problems or _certificate_problems(config)
    for problem in problems:
        _say(f"greenmail: {problem}", error=True)
    if problems:
        return EX_CONFIG
    _say(f"{config.source}: good")
    return 0


def _half_offered(table: passwd_file.Table, mechanisms: Sequence[str]) -> list[str]:
    """Mechanisms that some users could use, were it not for others."""
    found = []
    for name in table.scram.kinds:
        if name in mechanisms and name in table.scram.lacking:
            count, one = table.scram.lacking[name]
            who = "1 user has" if count == 1 else f"{count} users have"
            found.append(f"{name} is not offered: {who} no password for it, one of them is {one}")
    return found


def _table(path: str) -> passwd_file.Table:
    try:
        with open(path, "rb") as file:
            return passwd_file.parse(file.read())
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None


def _name_and_file(config: Config, given: str) -> tuple[str, str]:
    """The user's name as logins spell it, and the file where it is, or belongs."""
    if not config.passwd_file:
        raise Refused(f"passwd-file is not set in {config.source}")
    name = names.normalize(given, config.username_format, config.default_domain)
    reason = names.refusal(name)
    if reason:
        raise Refused(f"{given!r} cannot be a user: the name {reason}")
    if name != given:
        _say(f"the name is {name}, by username-format and default-domain", error=True)
    return name, names.expand(config.passwd_file, name) if "%" in config.passwd_file else config.passwd_file


def _stored(parsed: argparse.Namespace) -> str:
    """The password, asked for, as it is to be stored."""
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
    if os.path.exists(path) and name in _table(path).entries:
        raise Refused(f"there is a user {name} already")  # before a password is asked for
    home = parsed.home
    if not home and (config.mail_path.startswith("~") or "%h" in config.mail_path):
        _say(f"note: mail-path is {config.mail_path}, but {name} has no home; give --home", error=True)
    user = passwd_edit.NewUser(name, _stored(parsed), parsed.uid, parsed.gid, home)
    group = config.owner()[1] if os.geteuid() == 0 else -1
    return _edited(path, lambda: passwd_edit.add(path, user, group), f"added {name}")


def _user_passwd(config: Config, parsed: argparse.Namespace) -> int:
    name, path = _name_and_file(config, parsed.name)
    if name not in _table(path).entries:
        raise Refused(f"there is no user {name} in {path}")
    stored = _stored(parsed)
    return _edited(path, lambda: passwd_edit.set_password(path, name, stored), f"changed the password of {name}")


def _user_delete(config: Config, parsed: argparse.Namespace) -> int:
    name, path = _name_and_file(config, parsed.name)
    return _edited(path, lambda: passwd_edit.delete(path, name), f"deleted {name}")


def _edited(path: str, edit: Callable[[], None], done: str) -> int:
    try:
        edit()
    except OSError as error:
        raise Refused(f"{path} was not changed: {error.strerror}") from None
    _say(done)
    return 0


def _user_list(config: Config, parsed: argparse.Namespace) -> int:
    if not config.passwd_file:
        raise Refused(f"passwd-file is not set in {config.source}")
    if "%" in config.passwd_file:
        raise Refused(f"passwd-file is {config.passwd_file}: there is one file a domain, so no list of all users")
    for entry in _table(config.passwd_file).entries.values():
        _say(f"{entry.name} ({entry.no_login})" if entry.no_login else entry.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
