"""Servers of users, from Debian, each in a directory and on a port of its own: slapd, PostgreSQL, MariaDB."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.pki import make_certificate
from support.server import free_port

_SECONDS = 30.0
BASE = "dc=example,dc=org"
ADMIN_DN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "ruler"


@dataclass
class Database:
    """A running one; `stop` and `go` are for tests of outages."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path
    ca: Path | None = None
    tls_port: int = 0

    def stop(self) -> None:
        """It holds its breath: connections are taken by the kernel, and nobody answers."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        deadline = time.monotonic() + _SECONDS
        while any(_state(task) != "T" for task in tasks.iterdir()):
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.01)

    def go(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)


def _state(task: Path) -> str:
    """Of a thread: proc(5), stat."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def found(*names: str) -> str:
    """The program's path, also where only root looks; empty if there is none."""
    places = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin", *_of_postgresql()]
    return next((path for name in names if (path := shutil.which(name, path=":".join(places)))), "")


def _of_postgresql() -> list[str]:
    return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


@contextlib.contextmanager
def running(
    command: list[str], directory: Path, ready: Callable[[], bool], user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the context; fails with its output if it does not become ready."""
    log = directory / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True, user=user)
    try:
        deadline = time.monotonic() + _SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} did not start: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> Callable[[], bool]:
    def look() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    return look


@contextlib.contextmanager
def slapd(directory: Path, ldif: str) -> Iterator[Database]:
    """OpenLDAP with the entries of `ldif`, with TLS by a certificate for 127.0.0.1 and localhost."""
    cert, key = make_certificate(directory)
    data = directory / "data"
    data.mkdir()
    config = directory / "slapd.conf"
    config.write_text(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n"
        "include /etc/ldap/schema/nis.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n"
        "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        f"pidfile {directory}/pid\nargsfile {directory}/args\n"
        f"TLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\nTLSCACertificateFile {cert}\n"
        f'database mdb\nsuffix "{BASE}"\nrootdn "{ADMIN_DN}"\nrootpw {ADMIN_PASSWORD}\ndirectory {data}\n'
        "access to attrs=userPassword by self read by anonymous auth by * none\naccess to * by * read\n"
    )
    entries = directory / "entries.ldif"
    entries.write_text(ldif)
    subprocess.run(
        [found("slapadd"), "-f", str(config), "-l", str(entries)], check=True, capture_output=True, timeout=30
    )
    port, tls_port = free_port(), free_port()
    urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/"
    command = [found("slapd"), "-f", str(config), "-h", urls, "-d", "0"]
    with running(command, directory, _answers(tls_port)) as process:
        yield Database(process, port, directory, cert, tls_port)


@contextlib.contextmanager
def postgresql(sql: str) -> Iterator[Database]:
    """PostgreSQL, in which user `mail` with password `sesame` has the database `mail`, made by `sql`.

    It does not run as root, and whom it runs as then cannot get into the directories of tests: it has one of its own.
    """
    user = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="greenmail-postgresql-"))
    try:
        if user is not None:
            os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
        with _postgresql_in(directory, sql, user) as found:
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _postgresql_in(directory: Path, sql: str, user: str | None) -> Iterator[Database]:
    data, password = directory / "data", directory / "password"
    password.write_text("sesame\n")
    password.chmod(0o644)
    subprocess.run(
        [found("initdb"), "-D", str(data), "-U", "mail", "-A", "scram-sha-256", "--pwfile", str(password), "-N"],
        check=True, capture_output=True, timeout=60, user=user,
    )  # fmt: skip
    port = free_port()
    command = [
        found("postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
        "-c", f"unix_socket_directories={directory}",
    ]  # fmt: skip

    def psql(database: str, text: str) -> bool:
        done = subprocess.run(
            [found("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "mail", "-q", "-v", "ON_ERROR_STOP=1", database],
            input=text.encode(), capture_output=True, timeout=30, env={**os.environ, "PGPASSWORD": "sesame"},
        )  # fmt: skip
        return done.returncode == 0

    with running(command, directory, lambda: psql("postgres", "SELECT 1"), user) as process:
        assert psql("postgres", "CREATE DATABASE mail") and psql("mail", sql)
        yield Database(process, port, directory)


@contextlib.contextmanager
def mariadb(directory: Path, sql: str) -> Iterator[Database]:
    """MariaDB, likewise."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    options = ["--no-defaults", f"--datadir={directory}/data", f"--user={user}"]
    quick = ["--skip-test-db", "--auth-root-authentication-method=normal"]
    subprocess.run([found("mariadb-install-db"), *options, *quick], check=True, capture_output=True, timeout=60)
    first = directory / "first.sql"
    first.write_text(
        f"CREATE DATABASE mail;\nUSE mail;\n{sql.replace(';', ';' + chr(10))}\n"
        "CREATE USER mail@'127.0.0.1' IDENTIFIED BY 'sesame';\nGRANT SELECT ON mail.* TO mail@'127.0.0.1';\n"
    )
    port = free_port()
    command = [
        found("mariadbd", "mysqld"), *options, f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
        f"--socket={directory}/socket", f"--init-file={first}", "--skip-log-bin", "--performance-schema=off",
        "--character-set-server=utf8mb4",
    ]  # fmt: skip
    with running(command, directory, _answers(port)) as process:
        yield Database(process, port, directory)
