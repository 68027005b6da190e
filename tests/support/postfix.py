"""A private Postfix that delivers to one Maildir by its virtual delivery agent."""

import contextlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.interop_site import need
from support.server import free_port, wait_for_port

MAIN = """\
compatibility_level = 3.6
queue_directory = {run}/queue
data_directory = {run}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = /dev/stdout
myhostname = mx.example.org
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_transport = virtual
virtual_mailbox_domains = example.com
virtual_mailbox_base = {base}
virtual_mailbox_maps = static:{mailbox}/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""

# service, type, private, unprivileged, chroot, wakeup, process limit, command
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass
class Postfix:
    """A running Postfix: mail for anybody at example.com goes to the Maildir."""

    smtp: int
    log: Path

    def logged(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def start(maildir: Path, owner: str, settings: str = "") -> Iterator[Postfix]:
    """Deliver to `maildir` as the user `owner`, who must be able to reach it; `settings` are lines for main.cf."""
    program = need("postfix", "postfix")
    if os.getuid() != 0:
        pytest.skip("a private Postfix needs root, to run as its own users")
    port = free_port()
    person, own = pwd.getpwnam(owner), pwd.getpwnam("postfix")
    # Directly below /tmp, because all of Postfix's users must be able to reach it.
    with tempfile.TemporaryDirectory(prefix="postfix-", dir="/tmp") as made:
        run = Path(made)
        run.chmod(0o755)
        for name in ("etc", "queue", "data"):
            (run / name).mkdir()
        os.chown(run / "data", own.pw_uid, own.pw_gid)
        (run / "etc" / "main.cf").write_text(
            MAIN.format(run=run, base=maildir.parent, mailbox=maildir.name, uid=person.pw_uid, gid=person.pw_gid)
            + settings
        )
        (run / "etc" / "master.cf").write_text(MASTER.format(port=port))
        log = run / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen([program, "-c", str(run / "etc"), "start-fg"], stdout=sink, stderr=sink)
        try:
            wait_for_port(port, process, log)
            yield Postfix(port, log)
        finally:
            # What was started is a shell that waits for Postfix; its end alone would leave Postfix behind.
            subprocess.run([program, "-c", str(run / "etc"), "stop"], capture_output=True, timeout=60, check=False)
            process.wait(20)
