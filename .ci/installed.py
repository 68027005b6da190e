"""An installed GreenMail serves a Maildir: run it with the Python that has it, in a directory without its sources."""

import imaplib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import greenmail

MAIL = b"From: a@example.org\r\nSubject: installed\r\n\r\nhello\r\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < end, "the server did not start"
            time.sleep(0.05)


def main() -> None:
    assert "site-packages" in greenmail.__file__, f"not installed: {greenmail.__file__}"
    command = str(Path(sys.executable).with_name("greenmail"))
    version = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert greenmail.__version__ in version, version
    with tempfile.TemporaryDirectory(prefix="greenmail-installed-") as made:
        place, port = Path(made), free_port()
        for name in ("cur", "new", "tmp"):
            (place / "mail" / name).mkdir(parents=True)
        (place / "mail/new/1700000000.M1P1.host").write_bytes(MAIL)
        (place / "users").write_text("alice:{PLAIN}secret\n")
        settings = {
            "bind-addr": "127.0.0.1", "bind-port": port, "passwd-file": f"{made}/users", "mail-path": f"{made}/mail",
            "run-path": f"{made}/run", "allow-plain-text": True, "processes": 1,
        }  # fmt: skip
        (place / "imap.yaml").write_text(json.dumps(settings))
        server = subprocess.Popen([command, "-c", f"{made}/imap.yaml"], cwd=made)
        try:
            wait_for(port, server)
            client = imaplib.IMAP4("127.0.0.1", port, timeout=30)
            client.login("alice", "secret")
            assert client.select()[1] == [b"1"]
            fetched = client.fetch("1", "(BODY[])")[1][0]
            assert isinstance(fetched, tuple) and fetched[1] == MAIL, fetched
            client.logout()
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(60)
        assert status == 0, status
    print("installed:", version.strip())


if __name__ == "__main__":
    main()
