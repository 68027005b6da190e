"""A GreenMail for the time of a comparison: with the mail settings and the users of a configuration, on free ports of
the loopback, all users with one password that is made up and forgotten.

It is a process of its own, the server as it will be. Its configuration and passwd-file are in a new directory that is
removed afterwards; of them only the passwd-file can be read by the user that the workers run as.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenmail import config_file
from greenmail.auth import names
from greenmail.config import Config
from greenmail.errors import Refused
from greenmail.shadow.logins import VARIABLES
from greenmail.shadow.place import Place

_LOOPBACK = "127.0.0.1"
_START, _STOP = 30.0, 20.0  # seconds
_LAST_OF_LOG = 1500  # characters
# What is about the server and its clients, not about mail and users.
_LISTENING = frozenset({"server", "bind-addr", "bind-port", "bind-port-tls", "metrics-bind", "cert-path", "key-path"})
_RUNNING = frozenset({"processes", "worker-pool-size", "run-path", "log-path", "log-level", "log-format"})
_LOGINS = frozenset({"passwd-file", "auth", "allow-plain-text", "secure-networks"})


@dataclass(frozen=True, slots=True)
class Private:
    """The running server."""

    imap: Place
    pop3: Place
    password: str = field(repr=False)


@contextlib.contextmanager
def started(config: Config, users: Sequence[str]) -> Iterator[Private]:
    """Serve `users` while the context lasts. Raises Refused."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    directory = tempfile.mkdtemp(prefix="greenmail-shadow-")
    try:
        os.chmod(directory, 0o711)  # workers may not be who starts this
        password = secrets.token_urlsafe(24)
        passwd = os.path.join(directory, "users")
        _write(passwd, _passwd(config, users, password), *config.owner())
        ports = _free_ports(2)
        settings = _settings(config) | {
            "server": {"listener": {
                name: {"bind": [f"{_LOOPBACK}:{port}"], "protocol": name}
                for name, port in zip(("imap", "pop3"), ports, strict=True)
            }},
            "passwd-file": passwd,
            "allow-plain-text": True,
            "create-mail-path": False,  # only to look
            "auto-create": [],
            "run-path": os.path.join(directory, "run"),
            "processes": 1,
            "log-level": "warn",
        }  # fmt: skip
        path = os.path.join(directory, "imap.yaml")
        _write(path, json.dumps(settings), os.geteuid(), os.getegid())  # JSON is YAML
        with _running(path, os.path.join(directory, "log"), ports):
            yield Private(Place("imap", _LOOPBACK, ports[0], True), Place("pop3", _LOOPBACK, ports[1], True), password)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: str, text: str, uid: int, gid: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", errors="surrogateescape") as file:
        if uid != os.geteuid():
            os.fchown(file.fileno(), uid, gid)
        file.write(text)


def _settings(config: Config) -> dict[str, Any]:
    """As they stand in the file, without those of the server itself."""
    with open(config.source, encoding="utf-8") as file:
        tree = config_file.read(file.read(), config.source.endswith(".toml"))
    return {key: value for key, value in tree.values.items() if key not in _LISTENING | _RUNNING | _LOGINS}


def _passwd(config: Config, users: Sequence[str], password: str) -> str:
    """The lines of `users` in their passwd-files, with another password. Who is not there cannot log in."""
    if not config.passwd_file:
        raise Refused(_elsewhere(config))
    lines: dict[str, str] = {}
    for user in users:
        name = names.normalize(user, config.username_format, config.default_domain)
        path = names.expand(config.passwd_file, name) if "%" in config.passwd_file else config.passwd_file
        lines |= {found: line for found, line in _entries(path).items() if found == name and found not in lines}
    return "".join(f"{name}:{{PLAIN}}{password}:{rest}\n" for name, rest in lines.items())


def _elsewhere(config: Config) -> str:
    """Another database would have to be asked for passwords that nobody here has; a master user needs none of them."""
    kinds = ", ".join(dict.fromkeys(table.type for table in config.auth)) or "no database"
    return (
        f"--start makes a server for users of a passwd-file, and here they are in {kinds}: start this configuration on"
        " ports of its own, with a master-passwd-file, and give --ours imaps://localhost:PORT --ours-master NAME"
        " --ours-master-password-file FILE in the place of --start"
    )


def _entries(path: str) -> dict[str, str]:
    """Name, and what stands behind the password."""
    found: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                name, _, rest = line.rstrip("\r\n").partition(":")
                if name and not name.startswith("#"):
                    found.setdefault(name, rest.partition(":")[2])
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def _end(number: int, frame: object) -> None:
    raise KeyboardInterrupt  # as Ctrl-C, so that the server is ended and its directory removed


@contextlib.contextmanager
def _running(config: str, log: str, ports: Sequence[int]) -> Iterator[None]:
    with open(log, "wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "greenmail", "-c", config],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal is ours: it is ended below
            env={name: value for name, value in os.environ.items() if name not in VARIABLES},
        )
    try:
        for port in ports:
            _wait(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]", log: str) -> None:
    until = time.monotonic() + _START
    while True:
        with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), 1):
            return
        if process.poll() is not None or time.monotonic() > until:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise Refused(f"the GreenMail for the comparison did not start: {file.read()[-_LAST_OF_LOG:].strip()}")
        time.sleep(0.05)
