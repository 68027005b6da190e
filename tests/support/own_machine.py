"""Commands as root of a machine of their own: private /etc, /var, /run, processes and loopback, all gone at the end.

What is mounted are overlays in new namespaces of mounts, networks and processes (unshare(1)): a command may name
/etc/dovecot and port 143, and nothing of the machine that runs the tests is touched.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.interop_site import need

ROOT = Path(__file__).parent.parent.parent

BEGINNING = """\
set -euo pipefail
ip link set lo up
mkdir {top}
mount -t tmpfs none {top}
for name in etc var root; do
    mkdir {top}/$name {top}/$name.work
    mount -t overlay overlay -o lowerdir=/$name,upperdir={top}/$name,workdir={top}/$name.work /$name
done
chmod 0755 /root # where Python may be, which `vmail` must be able to read
mount -t tmpfs -o mode=0755 none /run
hostname mail.example.org
printf '127.0.0.1 mail.example.org localhost\\n' > /etc/hosts
groupadd -f vmail
id vmail >/dev/null 2>&1 || useradd -r -g vmail -d /var/vmail -M -s /usr/sbin/nologin vmail
mkdir -p /var/vmail
greenmail() {{ {python} -m greenmail "$@"; }}
_wait() {{ # for a port to be open
    for _ in $(seq 300); do (: < /dev/tcp/127.0.0.1/$1) 2>/dev/null && return 0; sleep 0.1; done
    echo "port $1 is not open" >&2; cat {log} >&2; return 1
}}
systemctl() {{
    local verb=$1; shift
    for unit; do
        case "$verb $unit" in
        "start greenmail") {python} -m greenmail -c /etc/greenmail/imap.yaml >> {log} 2>&1 & GREENMAIL=$!; _wait 143;;
        "stop greenmail") if [ -n "${{GREENMAIL-}}" ]; then kill $GREENMAIL; wait $GREENMAIL; fi; GREENMAIL=;;
        "restart greenmail") systemctl stop greenmail; systemctl start greenmail;;
        "start dovecot") mkdir -p /run/dovecot; dovecot;;
        "stop dovecot") [ ! -e /run/dovecot/master.pid ] || doveadm stop
            while pgrep -x dovecot > /dev/null; do sleep 0.05; done;;
        "restart dovecot") systemctl stop dovecot; systemctl start dovecot;;
        "reload postfix") if pgrep -x master >/dev/null; then postfix reload; else postfix start; fi;;
        *" courier-"*) ;;
        *) echo "systemctl $verb $unit?" >&2; return 1;;
        esac
    done
}}
state() {{ {python} {tool} "$@"; }}
cd {place}
"""


def run(place: Path, script: str, timeout: float = 100) -> str:
    """Run a bash script, with `greenmail`, `systemctl` and `state` (`mail_state.py`); its standard output.

    `place`: a directory that is there outside, too.
    """
    unshare = need("unshare", "util-linux")
    need("ip", "iproute2")
    if os.getuid() != 0:
        pytest.skip("a machine of one's own needs root")
    if subprocess.run([unshare, "-mnp", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel, or the container, gives no namespaces")
    log = place / "greenmail.log"
    log.touch()
    beginning = BEGINNING.format(
        top=place / "top", python=sys.executable, log=log, place=place, tool=Path(__file__).with_name("mail_state.py")
    )
    file = place / "script"
    file.write_text(beginning + script)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(ROOT),
        "HOME": str(place),
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        [unshare, "-mnpu", "--fork", "--kill-child", "--mount-proc", shutil.which("bash") or "bash", "-x", str(file)],
        capture_output=True, text=True, timeout=timeout, check=False, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, (
        f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}\n{log.read_text(errors='replace')[-3000:]}"
    )
    assert "Traceback" not in log.read_text(errors="replace"), log.read_text(errors="replace")[-4000:]
    return done.stdout
