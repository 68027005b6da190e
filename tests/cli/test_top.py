"""`greenmail top` on a real terminal."""

import fcntl
import os
import pty
import re
import selectors
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from support import server as servers

ROOT = Path(__file__).parents[2]


def test_top_draws_the_screen_and_q_ends_it(tmp_path: Path) -> None:
    with servers.start(tmp_path / "site", str(tmp_path / "mail/%u"), workers=1) as server:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 140, 0, 0))
        before = termios.tcgetattr(theirs)
        process = subprocess.Popen(
            [sys.executable, "-m", "greenmail", "top", "-n", "0.5", "-c", str(server.config)],
            stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT,
            env=os.environ | {"TERM": "xterm-256color"}, start_new_session=True,
        )  # fmt: skip
        try:
            seen = read_until(ours, lambda text: text.count("GreenMail") >= 3)
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
            assert f"pid {server.process.pid}, up " in text
            assert "Workers" in text and "Certificates" in text
            os.write(ours, b"q")
            seen = read_until(ours, lambda text: "\x1b[?1049l" in text)
            assert process.wait(20) == 0
            assert termios.tcgetattr(theirs) == before, "the terminal is as it was"
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            process.stderr.close()
            os.close(ours)
            os.close(theirs)


def read_until(terminal: int, is_enough: object, seconds: float = 20) -> str:
    """What the terminal was told."""
    assert callable(is_enough)
    found, end = "", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(terminal, selectors.EVENT_READ)
        while not is_enough(found):
            assert time.monotonic() < end, repr(found[-2000:])
            if selector.select(0.5):
                found += os.read(terminal, 65536).decode("utf-8", "replace")
    return found
