"""The servers that are measured: started on private ports, each on Maildirs of its own, CPU counted by a control group.

dovecot        Debian's defaults; only limits of processes, connections and memory are raised: with its 256 MB a first
               SELECT of a million messages ends the process
dovecot-perf   with shared login processes (`service_count = 0`) and imap processes that serve many sessions
greenmail      one worker
greenmail-all  as many workers as there are cores, the default
greenmail-fts  one worker, with a full-text index
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import dovecot, server
from support.pki import make_certificate

from bench import corpus
from bench.client import Client
from bench.meter import Meter

USERS = ("bench", *(f"u{number}" for number in range(10)), *(f"pop{number}" for number in range(60)))
PASSWD = "".join(f"{user}:{{PLAIN}}secret\n" for user in USERS)
_MANY = 20000
INDEXED = "greenmail-fts"
_DOVECOT = """
mail_location = maildir:{mail}/%u
mail_max_userip_connections = {many}
default_client_limit = {clients}
default_process_limit = {many}
default_vsz_limit = 4G
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
service imap {{
  process_limit = {many}
}}
service imap-login {{
  process_limit = {many}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
"""
_PERF = """
service imap-login {
  service_count = 0
  client_limit = 10000
  process_min_avail = 2
  process_limit = 4
}
service imap {
  service_count = 256
}
"""


@dataclass
class Site:
    """A running server."""

    name: str
    imap: int
    imaps: int
    pop3: int
    meter: Meter
    mail: Path  # one Maildir below it for each user
    log: Path
    metrics: int = 0
    config: Path | None = None  # ours
    capabilities: bytes = b""
    folders: int = 0
    notes: dict[str, bytes] = field(default_factory=dict)  # what rows remember of this server

    def folder(self, source: Path, count: int, copy: bool = False) -> bytes:
        """The name of a new folder of user bench with `count` messages that no server has seen."""
        self.folders += 1
        name = f"F{self.folders}"
        box = self.mail / "bench" / f".{name}"
        if not count:
            corpus.make(box)
        else:
            (corpus.duplicate if copy else corpus.link)(source, box, count)
        return name.encode()

    def remove(self, name: bytes) -> None:
        """Take a folder away."""
        shutil.rmtree(self.mail / "bench" / f".{name.decode()}", ignore_errors=True)

    def fill_index(self) -> None:
        """Fill the full-text index of user bench, by the administrator's command."""
        greenmail = [sys.executable, "-m", "greenmail", "-c", str(self.config)]
        subprocess.run([*greenmail, "index", "--fts", "--user", "bench"], check=True, capture_output=True)

    def learn(self) -> None:
        """Ask for the capabilities of a session that is logged in."""
        client = Client(self.imap)
        client.run(b"LOGIN bench secret")
        self.capabilities = client.run(b"CAPABILITY")
        client.close()


def missing() -> list[str]:
    """What is not here, and what is lost by it."""
    found = []
    if os.getuid() != 0:
        found.append("root: no Dovecot beside us, and CPU is summed over living processes instead of a control group")
    if shutil.which("dovecot") is None:
        found.append("dovecot (Debian: dovecot-imapd dovecot-pop3d): no ratios")
    try:
        import matplotlib  # noqa: F401  only whether it is there
    except ImportError:
        found.append("matplotlib (pip install .[bench]): no plots")
    return found


@contextlib.contextmanager
def running(
    names: Sequence[str],
    where: Path,
    passwd: str = PASSWD,
    settings: dict[str, object] | None = None,
    niceness: int = 0,
) -> Iterator[dict[str, Site]]:
    """These servers at the same time, by name; those that cannot be started here are left out."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in names:
            if name.startswith("dovecot") and (os.getuid() != 0 or shutil.which("dovecot") is None):
                continue
            base = where / name
            mail = base / "mail"
            mail.mkdir(parents=True)
            for path in (base, mail):
                path.chmod(0o755)
            if os.getuid() == 0:
                dovecot.give(mail)
            meter = Meter(name, niceness)
            stack.callback(meter.close)
            start = _dovecot if name.startswith("dovecot") else _greenmail
            site = stack.enter_context(start(name, base, mail, meter, passwd, settings or {}))
            corpus.make(mail / "bench")
            site.learn()
            found[name] = site
        yield found


@contextlib.contextmanager
def _dovecot(
    name: str, base: Path, mail: Path, meter: Meter, passwd: str, settings: dict[str, object]
) -> Iterator[Site]:
    cert, key = make_certificate(base)
    imaps = server.free_port()
    extra = _DOVECOT.format(mail=mail, cert=cert, key=key, imaps=imaps, many=_MANY, clients=2 * _MANY)
    extra += _PERF if name == "dovecot-perf" else ""
    with dovecot.start(base / "dovecot", mail, extra=extra, enter=meter.enter) as theirs:
        yield Site(name, theirs.imap, imaps, theirs.pop3, meter, mail, theirs.log)


@contextlib.contextmanager
def _greenmail(
    name: str, base: Path, mail: Path, meter: Meter, passwd: str, settings: dict[str, object]
) -> Iterator[Site]:
    run = Path(tempfile.mkdtemp(prefix="greenmail-bench-"))
    run.chmod(0o755)
    owner = {"user": corpus.OWNER, "group": corpus.OWNER} if os.getuid() == 0 else {}
    workers = (os.cpu_count() or 1) if name == "greenmail-all" else 1
    limits = {"max_connections": 2 * _MANY, "max_connections_per_user": _MANY, "log_level": "warn"}
    wanted = {"allow_plain_text": True, "run_path": str(run), **limits, **owner, **settings}
    if name == INDEXED:
        wanted["full_text_search"] = True
    try:
        with server.start(
            base / "greenmail", f"{mail}/%u", passwd, workers=workers, enter=meter.enter, **wanted
        ) as ours:
            meter.pid = ours.process.pid
            yield Site(name, ours.imap, ours.imaps, ours.pop3, meter, mail, ours.log, ours.metrics, ours.config)
    finally:
        shutil.rmtree(run, ignore_errors=True)
