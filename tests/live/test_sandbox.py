"""The systemd unit's sandbox, made from the unit's own lines: mail is served in it, and nothing else may be done."""

import ctypes
import errno
import json
import os
import poplib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import unit_file, unit_plan, unit_sandbox
from support.pki import make_certificate
from support.server import free_port, start
from support.unit_sandbox import Machine, Service
from support.wire_client import Imap, unverified

UNITS = Path(__file__).parent.parent.parent / "contrib/systemd"
UNIT, SOCKET, ROOT = UNITS / "greenmail.service", UNITS / "greenmail.socket", UNITS / "root.conf"
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1  # linux/prctl.h, 6.3
USERS = {
    "home": "/home/home/Maildir",
    "spool": "/var/mail/spool",
    "virtual@example.org": "/var/vmail/example.org/virtual",
}
UID = {"home": 2001, "spool": 2002, "virtual@example.org": 2003}  # with root.conf
VMAIL = 990


def deny() -> None:
    """In the new process, for all that it becomes and forks. Does nothing with an older kernel."""
    ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)


def test_memory_deny_write_execute(tmp_path: Path) -> None:
    with start(tmp_path, str(tmp_path / "Maildir"), workers=1, enter=deny) as server:
        with Imap(server.imaps, tls=True, timeout=30).login() as imap:
            imap.ok("APPEND INBOX", b"Subject: hi\r\nContent-Type: text/html\r\n\r\n<p>hello\r\n")
            imap.ok("SELECT INBOX")
            assert "PREVIEW" in imap.fetch("1 (PREVIEW ENVELOPE BODYSTRUCTURE)")[1]
        assert "greenmail_logins_total" in server.scrape()


@pytest.mark.interop
def test_the_unit_is_hardly_exposed() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    command = [program, "security", "--offline=yes", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    found = re.search(r"Overall exposure level for greenmail\.service: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) < 2.0, said


# --- The machine of the test ---


@dataclass
class Site:
    """A machine with mail, and the ports that its socket unit has."""

    machine: Machine
    ports: dict[str, int]
    sockets: list[socket.socket]

    def write(self, name: str, settings: dict[str, Any]) -> None:
        (self.machine.root / "etc/greenmail" / name).write_text(json.dumps(settings), encoding="utf-8")

    @property
    def settings(self) -> dict[str, Any]:
        """Those that both ways of running it share."""
        listener = {
            name: {
                "bind": [f"127.0.0.1:{self.ports[name]}"],
                "protocol": name[:4],
                "tls": {"implicit": name[4:] == "s"},
            }
            for name in ("imap", "imaps", "pop3", "pop3s")
        }
        return {
            "cert-path": "/etc/greenmail/cert.pem", "key-path": "/etc/greenmail/key.pem", "processes": 1,
            "metrics-bind": f"127.0.0.1:{self.ports['metrics']}", "log-path": "/var/log/greenmail/log",
            "mail-path": "~/Maildir", "server": {"listener": listener},
        }  # fmt: skip

    def logged(self) -> str:
        return (self.machine.root / "var/log/greenmail/log").read_text(encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    why_not = unit_sandbox.why_not()
    if why_not:
        pytest.skip(why_not)
    (tmp_path / "machine").mkdir()
    machine = Machine(tmp_path / "machine")
    for name in ("etc/greenmail", "var/mail", "var/vmail", "var/log/greenmail", "var/spool", "etc/pam.d"):
        (machine.root / name).mkdir(parents=True)
    (machine.root / "var/spool/mail").symlink_to("../mail")
    (machine.root / "root/secret").write_text("of root's\n")
    machine.account("vmail", VMAIL, "/var/vmail")
    for source, name in zip(make_certificate(tmp_path), ("cert.pem", "key.pem"), strict=True):
        shutil.copy(source, machine.root / "etc/greenmail" / name)
    (machine.root / "etc/greenmail/key.pem").chmod(0o600)
    lines = unit_file.read(SOCKET)
    names = dict(
        zip(unit_file.values(lines, "Socket", "ListenStream"), ("imap", "imaps", "pop3", "pop3s"), strict=True)
    )
    ports = {"metrics": free_port()}
    sockets = []
    for name in names.values():
        sockets.append(socket.create_server(("127.0.0.1", 0), backlog=int(unit_file.value(lines, "Socket", "Backlog"))))
        ports[name] = sockets[-1].getsockname()[1]
    yield Site(machine, ports, sockets)
    for sock in sockets:
        sock.close()


def plant(machine: Machine, path: str, uid: int, count: int = 3) -> None:
    """A Maildir that some other program has made."""
    top = machine.root / path.lstrip("/")
    for name in ("cur", "new", "tmp"):
        (top / name).mkdir(parents=True)
    for number in range(count):
        mail = f"From: a@example.org\r\nSubject: number {number}\r\n\r\nbody {number}\r\n"
        (top / "cur" / f"17000000{number:02}.M{number}P1.host:2,").write_text(mail, newline="")
    for found in [top, *top.rglob("*")]:
        os.chown(found, uid, uid)


def use(site: Site, user: str) -> None:
    """All that a day brings: IMAP and POP3, reading, changing, removing, and mail that arrives."""
    new = site.machine.root / USERS[user].lstrip("/") / "new"
    with Imap(site.ports["imaps"], tls=True, timeout=30).login(user) as imap:
        assert b"* 3 EXISTS" in imap.lines("SELECT INBOX")
        imap.ok("APPEND INBOX (\\Seen)", b"Subject: appended\r\n\r\nx\r\n")
        imap.ok("STORE 1 +FLAGS (\\Deleted $Label)")
        assert b"* 1 EXPUNGE" in imap.lines("EXPUNGE")
        assert imap.fetch("1:* (ENVELOPE BODYSTRUCTURE PREVIEW)")
        imap.ok("CREATE Archive")
        imap.ok("MOVE 1 Archive")
        imap.send(b"i IDLE\r\n")
        assert imap.line().startswith(b"+")
        arrived = new / "1800000000.M1P1.host"
        arrived.write_bytes(b"Subject: arrived\r\n\r\nx\r\n")
        os.chown(arrived, new.stat().st_uid, new.stat().st_gid)
        assert imap.line() == b"* 3 EXISTS"
        imap.send(b"DONE\r\n")
        while not imap.line().startswith(b"i OK"):
            pass
    pop3 = poplib.POP3_SSL("127.0.0.1", site.ports["pop3s"], timeout=30, context=unverified())
    pop3.user(user)
    pop3.pass_("secret")
    assert pop3.stat()[0] == 3
    assert b"Subject: number 2" in pop3.retr(1)[1]
    pop3.dele(1)
    pop3.quit()


def all_of_it(site: Site, service: Service) -> None:
    """From the first login to the end."""
    for user in USERS:
        use(site, user)
    with Imap(site.ports["imaps"], tls=True, timeout=30).login("home") as before:
        service.reload()
        with Imap(site.ports["imaps"], tls=True, timeout=30).login("spool") as after:
            assert b"* 2 EXISTS" in after.lines("SELECT INBOX")
        assert before.socket is not None
    with socket.create_connection(("127.0.0.1", site.ports["metrics"]), 10) as web:
        web.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        page = b"".join(iter(lambda: web.recv(65536), b"")).decode()
    assert re.search(r'^greenmail_logins_total\{.*protocol="pop3".*\} 3', page, re.M), page
    assert service.stop() == 0
    log = site.logged() + service.logged()
    for word in ("Traceback", "socket-not-used", "figures-off", "control-off", "killed pid", "error", "watch-off"):
        assert word not in log, log


# --- Mail is served ---


@pytest.mark.interop
def test_mail_of_vmail_is_served_in_the_sandbox_of_the_unit(site: Site) -> None:
    rows = [f"{user}:{{PLAIN}}secret:::::: userdb_mail=maildir:{path}\n" for user, path in USERS.items()]
    (site.machine.root / "etc/greenmail/users").write_text("".join(rows).replace(":: user", "::user"))
    site.write("imap.yaml", {**site.settings, "passwd-file": "/etc/greenmail/users"})
    for path in USERS.values():
        plant(site.machine, path, VMAIL)
    for name in ("var/vmail", "var/log/greenmail", "etc/greenmail/key.pem", "etc/greenmail/users"):
        os.chown(site.machine.root / name, VMAIL, VMAIL)
    with unit_sandbox.service(unit_file.read(UNIT), site.machine, site.sockets) as service:
        all_of_it(site, service)


@pytest.mark.interop
def test_mail_of_many_uids_is_served_in_the_sandbox_of_root(site: Site) -> None:
    """With the drop-in. One of them is a user of the machine, whose password PAM compares with /etc/shadow."""
    pytest.importorskip("pamela")
    machine = site.machine
    machine.account("home", UID["home"], "/home/home")
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", "salt", "secret"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (machine.root / "etc/shadow").write_text(f"home:{hashed}:19000:0:99999:7:::\n")
    (machine.root / "etc/shadow").chmod(0o600)
    (machine.root / "etc/pam.d/imap").write_text("auth required pam_unix.so\naccount required pam_unix.so\n")
    rows = [
        f"{user}:{{PLAIN}}secret:{UID[user]}:{UID[user]}::/nowhere::userdb_mail=maildir:{path}\n"
        for user, path in USERS.items() if user != "home"
    ]  # fmt: skip
    (machine.root / "etc/greenmail/users").write_text("".join(rows))
    os.chown(machine.root / "etc/greenmail/users", -1, 65534)
    auth = [
        {"type": "passwd-file", "path": "/etc/greenmail/users"},
        {"type": "pam", "service": "imap"},
        {"type": "system"},
    ]
    site.write("imap.yaml", {**site.settings, "auth": auth, "user": "nobody", "owner-processes": 5})
    for user, path in USERS.items():
        plant(machine, path, UID[user])
        (machine.root / path.lstrip("/")).chmod(0o700)
    os.chown(machine.root / "home/home", UID["home"], UID["home"])
    (machine.root / "home/home").chmod(0o700)
    with unit_sandbox.service(unit_file.read(UNIT, ROOT), machine, site.sockets) as service:
        all_of_it(site, service)
    for user, path in USERS.items():
        top = machine.root / path.lstrip("/")
        assert {found.lstat().st_uid for found in [top, *top.rglob("*")]} == {UID[user]}


# --- And nothing else may be done ---

PROBE = """
import ctypes, json, os, mmap, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]

def call(name, *values):
    failed = getattr(libc, name)(*values)
    if failed in (-1, 2**64 - 1):
        raise OSError(ctypes.get_errno(), name)
    return failed

found = {}
for name, text in json.loads(sys.argv[1]).items():
    try:
        found[name] = eval(text)
    except OSError as error:
        found[name] = error.errno
    if not isinstance(found[name], (int, str)):
        found[name] = "done"
print(json.dumps(found))
"""

# What an intruder would try, by the lines that are there against it: code, and errno or value.
FORBIDDEN: dict[str, list[tuple[str, Any]]] = {
    "User": [("os.getuid()", VMAIL), ("open('/root/secret')", errno.EACCES), ("os.setuid(0)", errno.EPERM)],
    "Group": [("os.getgid()", VMAIL), ("len(os.getgroups())", 1)],
    "CapabilityBoundingSet": [("open('/proc/self/status').read().split('CapBnd:')[1].split()[0]", "0" * 16)],
    "NoNewPrivileges": [("call('prctl', 39, 0, 0, 0, 0)", 1)],
    "UMask": [("os.umask(0)", 0o077)],
    "LimitNOFILE": [("__import__('resource').getrlimit(7)[0] >= 20000", True)],
    "TasksMax": [("__import__('resource').getrlimit(6)[0] <= 4096", True)],
    "RuntimeDirectory": [("open('/run/greenmail/x', 'w')", "done"), ("open('/run/x', 'w')", errno.EROFS)],
    "RuntimeDirectoryMode": [("os.stat('/run/greenmail').st_mode & 0o7777", 0o755)],
    "RuntimeDirectoryPreserve": [],
    "ProtectSystem": [
        *((f"open('{name}/x', 'w')", errno.EROFS) for name in ("/etc", "/usr", "/var", "/opt/checkout/greenmail")),
    ],
    "ReadWritePaths": [
        ("open('/var/vmail/x', 'w')", "done"), ("open('/var/log/greenmail/x', 'w')", "done"),
        ("open('/etc/greenmail/x', 'w')", errno.EACCES),  # not read-only: but root's
    ],
    "ProtectHome": [("open('/home/home/Maildir/cur/x', 'w')", "done")],
    "PrivateTmp": [
        ("os.listdir('/tmp') == []", True), ("open('/tmp/x', 'w')", "done"), ("open('/var/tmp/x', 'w')", "done"),
    ],
    "PrivateMounts": [("os.readlink('/proc/self/ns/mnt') == sys.argv[2]", False)],
    "MemoryDenyWriteExecute": [
        ("call('mmap', None, 4096, 7, 0x22, -1, 0)", errno.EPERM),
        ("call('mprotect', libc.mmap(None, 4096, 3, 0x22, -1, 0) & ~0xfff, 4096, 5)", errno.EPERM),
    ],
    "PrivateDevices": [("open('/dev/mem')", errno.ENOENT), ("open('/dev/null')", "done"), ("call('iopl', 0)", 1)],
    "DevicePolicy": [("open('/dev/kmsg')", errno.ENOENT), ("open('/dev/loop-control')", errno.ENOENT)],
    "ProtectClock": [("call('syscall', 227, 0, None)", errno.EPERM)],
    "ProtectControlGroups": [("os.mkdir('/sys/fs/cgroup/x')", errno.EROFS)],
    "ProtectHostname": [("socket.sethostname(socket.gethostname())", errno.EPERM)],
    "ProtectKernelLogs": [("call('klogctl', 10, None, 0)", errno.EPERM), ("open('/proc/kmsg')", errno.EACCES)],
    "ProtectKernelModules": [("call('syscall', 175, None, 0, None)", errno.EPERM)],
    "ProtectKernelTunables": [
        ("open('/proc/sys/kernel/hostname', 'w')", errno.EROFS), ("open('/proc/kallsyms')", errno.EACCES),
    ],
    "RestrictAddressFamilies": [
        *((f"socket.socket({family}, socket.SOCK_RAW)", errno.EAFNOSUPPORT) for family in (16, 17)),  # netlink, packet
        *((f"socket.socket(socket.{name})", "done") for name in ("AF_UNIX", "AF_INET")),
    ],
    "RestrictNamespaces": [("call('unshare', 0x10000000)", errno.EPERM), ("call('unshare', 0x20000)", errno.EPERM)],
    "RestrictRealtime": [("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", errno.EPERM)],
    "LockPersonality": [("call('personality', ctypes.c_ulong(0x0040000))", errno.EPERM)],
    "KeyringMode": [("call('syscall', 250, 0, -3, 0) == int(sys.argv[3])", False)],
    "SystemCallArchitectures": [],  # 32-bit code would be killed: there is none here
    "SystemCallFilter": [
        *((f"call('{name}', 0, 0, 0, 0)", errno.EPERM) for name in ("chroot", "reboot", "ptrace")),
        ("call('mount', b'x', b'/tmp', b'tmpfs', 0, None)", errno.EPERM), ("os.nice(1)", errno.EPERM),
        ("call('swapon', b'/x', 0)", errno.EPERM), ("os.chown('/tmp', -1, -1)", "done"),
    ],
    "SystemCallErrorNumber": [("call('syscall', 155, b'/', b'/')", errno.EPERM)],  # pivot_root
}  # fmt: skip


# Calls by number are those of x86-64: the C library looks at some arguments before it asks the kernel.


def probe(site: Site, lines: list[unit_file.Line], wanted: dict[str, Any]) -> dict[str, Any]:
    plan = unit_plan.translate(lines)
    unit_sandbox.prepared(plan, site.machine)
    outside = [os.readlink("/proc/self/ns/mnt"), str(ctypes.CDLL(None).syscall(250, 0, -3, 0))]  # our own keyring
    words = [unit_sandbox.PYTHON, "-c", PROBE, json.dumps({text: text for text in wanted}), *outside]
    done = unit_sandbox.run(plan, site.machine, words)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.interop
def test_what_the_unit_forbids_is_forbidden(site: Site) -> None:
    plant(site.machine, USERS["home"], VMAIL)
    for name in ("var/vmail", "var/log/greenmail"):
        os.chown(site.machine.root / name, VMAIL, VMAIL)
    wanted = {text: expected for each in FORBIDDEN.values() for text, expected in each}
    assert probe(site, unit_file.read(UNIT), wanted) == wanted
    known = {line.name for line in unit_file.read(UNIT)} - unit_plan.NO_SANDBOX.keys()
    assert set(FORBIDDEN) == known, "each line of the sandbox has something here that it forbids"


# Of those lines that a probe could pass by for another reason: without the line it goes, and harms nobody.
NEEDED = (
    ("MemoryDenyWriteExecute", "SystemCallFilter", "RestrictAddressFamilies", "RestrictNamespaces"),
    ("LockPersonality", "ProtectSystem", "PrivateTmp", "UMask", "ReadWritePaths"),
)


@pytest.mark.interop
@pytest.mark.parametrize("names", NEEDED, ids=["calls", "places"])
def test_without_the_line_it_goes(site: Site, names: tuple[str, ...]) -> None:
    """Or the probe would show nothing: each of these has one whose outcome is another without the line."""
    plant(site.machine, USERS["home"], VMAIL)
    (site.machine.root / "tmp/of-others").touch()
    lines = [line for line in unit_file.read(UNIT) if line.name not in names]
    wanted = {text: expected for name in names for text, expected in FORBIDDEN[name]}
    found = probe(site, lines, wanted)
    for name in names:
        assert any(found[text] != expected for text, expected in FORBIDDEN[name]), (name, found)


@pytest.mark.parametrize(
    "text", ["[Service]\nProtectFuture=yes", "[Service]\nProtectSystem=full", "[Service]\nUMask=no"]
)
def test_a_line_that_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        unit_plan.translate(unit_file.parse(text))
