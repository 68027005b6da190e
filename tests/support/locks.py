"""Locks with a clock that only sleeping moves, and other processes that hold them."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

from greenmail.storage.filesystem import Files
from greenmail.storage.locks import (
    MailboxLock,
    Owner,
    Waiting,
)

HOST = socket.gethostname()


class Clock:
    """A wall clock that only sleeping moves."""

    def __init__(self):
        self.time = time.time()
        self.slept = []
        self.while_asleep = lambda: None

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        self.while_asleep()


def mailbox_lock(folder, clock, timeout=30.0, files=None, owner=None):
    waiting = Waiting(clock.sleep, clock.now, timeout)
    return MailboxLock(files or Files(), folder, owner or Owner.this_process(HOST), waiting)


CHILD = """
    import os, sys, time
    from greenmail.storage.filesystem import Files
    from greenmail.storage.locks import MailboxLock, Owner, Waiting, lock_session
    folder = os.fsencode(sys.argv[1])
    owner = Owner.this_process(sys.argv[2])
    waiting = Waiting(time.sleep, time.time, 5.0)
    files = Files()
    def wait():
        print("ready", flush=True)
        sys.stdin.readline()
"""


class Child:
    """Another process that runs `code` up to its `wait()`."""

    def __init__(self, folder, code, host=HOST):
        script = textwrap.dedent(CHILD) + textwrap.dedent(code)
        command = [sys.executable, "-c", script, os.fsdecode(folder), host]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def go_on(self):
        self.process.communicate(b"\n")


HOLD = """
    with MailboxLock(files, folder, owner, waiting):
        wait()
"""


def dotlock(folder):
    return folder + b"/dovecot-uidlist.lock"


def make_dotlock(folder, content, age=0.0, now=None):
    with open(dotlock(folder), "wb") as file:
        file.write(content)
    at = (now or time.time()) - age
    os.utime(dotlock(folder), (at, at))


def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


class Failing:
    """Lets certain calls on paths that contain `part` fail."""

    def __init__(self, call, number, part=b""):
        self.call, self.number, self.part = call, number, part

    def __call__(self, name, function, *args):
        if name == self.call and (not self.part or (isinstance(args[0], bytes) and self.part in args[0])):
            raise OSError(self.number, "as ordered")
        return function(*args)
