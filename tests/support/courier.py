"""A private Courier, for the tests that hand a Maildir from it to GreenMail and back.

Debian does not install it beside Dovecot. `tools/courier.sh` unpacks it; its programs run from there, one process for
each connection, with the connection as standard input and output and a user who is logged in already.
"""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent / "build" / "courier"
_SETTINGS = {
    "AUTHENTICATED": "alice",
    "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=REFERENCES SORT QUOTA IDLE",
    "IMAP_KEYWORDS": "1",
    "IMAP_UMASK": "022",
    "IMAP_USELOCKS": "0",  # locks, and the daemon that tells of changes, are for several clients at once
    "IMAP_CHECK_ALL_FOLDERS": "0",
    "IMAP_MAILBOX_SANITY_CHECK": "1",
    "TZ": "UTC",
}


def _program(name: str) -> str:
    path = ROOT / name
    if not path.exists():
        pytest.skip("Courier is not unpacked (sh tools/courier.sh build/courier)")
    return str(path)


def make_maildir(maildir: Path) -> None:
    """With Courier's own maildirmake."""
    subprocess.run([_program("usr/bin/maildirmake.courier"), str(maildir)], check=True)


@dataclass
class Courier:
    """A running Courier; whoever connects is logged in."""

    imap: int
    pop3: int
    log: Path


class _Listener:
    """Runs `program` for each connection, as inetd does."""

    def __init__(self, program: str, maildir: Path, log: Path) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.processes: list[subprocess.Popen[bytes]] = []
        self._command = [program, str(maildir)]
        libraries = [*ROOT.glob("usr/lib/*-linux-gnu"), ROOT / "usr/lib", ROOT / "usr/lib/courier-authlib"]
        self._environment = _SETTINGS | {
            "MAILDIR": str(maildir), "PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        }  # fmt: skip
        self._log = log
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return  # closed
            with connection, self._log.open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        self._command, stdin=connection, stdout=connection, stderr=log, env=self._environment
                    )
                )

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._thread.join()
        for process in self.processes:
            try:
                process.wait(10)  # its client is gone
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def start(directory: Path, maildir: Path) -> Iterator[Courier]:
    """Serve `maildir`."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "courier.log"
    log.touch()
    imap = _Listener(_program("usr/bin/imapd"), maildir, log)
    pop3 = _Listener(_program("usr/lib/courier/courier/courierpop3d"), maildir, log)
    try:
        yield Courier(imap.port, pop3.port, log)
    finally:
        imap.close()
        pop3.close()
