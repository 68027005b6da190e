"""A running server from outside: its clients, processes and figures."""

import contextlib
import os
import socket
import ssl
import time
from pathlib import Path

import pytest

PATIENCE = 40


def until(condition, what):
    """Wait for something that has no event of its own."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen")


class Client:
    """Lines over a socket."""

    def __init__(self, port, context=None):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.settimeout(PATIENCE)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")
        self.greeting = self.line()

    def line(self):
        return self.file.readline()

    def ask(self, text):
        """Send a line; the lines up to the tagged answer (IMAP) or the first one (POP3)."""
        self.sock.sendall(text + b"\r\n")
        lines = [self.line()]
        while lines[-1].startswith(b"*"):
            lines.append(self.line())
        return lines

    def login(self, user=b"alice"):
        return self.ask(b"a LOGIN " + user + b" secret")[-1]

    def close(self):
        self.file.close()
        self.sock.close()


def trusting(server):
    context = ssl.create_default_context(cafile=str(server.cert))
    context.check_hostname = True
    return context


def workers(server):
    """pids of the workers that live now, by the names that they gave themselves."""
    return children(server.process.pid, "greenmail-worke")


def children(pid, name=""):
    found = []
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    for child in listed:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text().startswith(name):
                found.append(int(child))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ready(server):
    """When all processes are, and the connections are gone by which the start was found out."""
    until(lambda: "ready processes" in server.logged(), "the start")
    until(
        lambda: not any(value(server, f'greenmail_open_connections{{protocol="{name}"}}') for name in ("imap", "pop3")),
        "rest",
    )
    return server


def value(server, name):
    """One value of the metrics page; 0 if it is not there."""
    return sum(float(row.split()[-1]) for row in server.scrape().splitlines() if row.startswith(name + " "))


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
