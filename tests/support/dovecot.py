"""A private Dovecot 2.3 on a Maildir of ours, for the tests that let it read what GreenMail wrote."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.server import free_port, wait_for_port

CONFIG = """\
base_dir = {run}
state_dir = {run}/state
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
log_path = {log}
mail_location = maildir:{mail}{location}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 0
last_valid_uid = 0
first_valid_gid = 0
mail_privileged_group =
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
auth_mechanisms = plain
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


_LDA = "/usr/lib/dovecot/dovecot-lda"
OWNER = "mail"  # Debian's user of that name: Dovecot does not serve root's mail


def give(maildir: Path) -> None:
    """Make the whole tree belong to OWNER."""
    owner = pwd.getpwnam(OWNER)
    for path in (maildir, *maildir.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


@dataclass
class Dovecot:
    """A running Dovecot: any user with password `secret` has the Maildir."""

    imap: int
    pop3: int
    log: Path
    config: Path

    def lda(self, mailbox: str, message: bytes) -> None:
        """Deliver with Dovecot's own program, which takes the lock and gives the UID itself."""
        command = [_LDA, "-c", str(self.config), "-d", "alice", "-m", mailbox]
        subprocess.run(command, input=message, check=True, timeout=60)

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@contextlib.contextmanager
def start(
    directory: Path,
    maildir: Path,
    separator: str = "/",
    prefix: str = "",
    location: str = "",
    extra: str = "",
    enter: Callable[[], None] | None = None,
) -> Iterator[Dovecot]:
    """Serve `maildir`; `location` is appended to mail_location, for example `:UTF-8`, and `extra` to the configuration.

    `enter` runs in the new process before it becomes the server.
    """
    program = shutil.which("dovecot")
    if program is None:
        pytest.skip("Dovecot is not installed (Debian: dovecot-imapd dovecot-pop3d)")
    if os.getuid() != 0:
        pytest.skip("a private Dovecot needs root here, to run as its own users")
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    ports = {"imap": free_port(), "pop3": free_port()}
    log = directory / "dovecot.log"
    # Socket paths have at most 108 octets, and pytest's directories are long.
    run = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
    run.chmod(0o755)
    give(maildir)
    owner = pwd.getpwnam(OWNER)
    text = CONFIG.format(
        run=run, log=log, mail=maildir, location=location, uid=owner.pw_uid, gid=owner.pw_gid, home=directory,
        internal="dovecot", internal_group="dovecot", login="dovenull", separator=separator, prefix=prefix, **ports,
    )  # fmt: skip
    config = directory / "dovecot.conf"
    config.write_text(text + extra)
    process = subprocess.Popen(
        [program, "-F", "-c", str(config)], stderr=subprocess.STDOUT, stdout=subprocess.DEVNULL, preexec_fn=enter
    )
    try:
        for port in ports.values():
            wait_for_port(port, process, log) if log.exists() else _wait(port, process, log)
        yield Dovecot(log=log, config=config, **ports)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(run, ignore_errors=True)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    log.touch()
    wait_for_port(port, process, log)
