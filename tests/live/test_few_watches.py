"""A kernel that gives hardly any inotify watches: who idles is told all the same, within `poll-interval`."""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.server import start
from support.wire_client import Imap

_CLONE_NEWUSER = 0x10000000
_WATCHES = 2


def few_watches() -> None:
    """In a namespace of users of its own, where limits can be set for nobody else."""
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    Path("/proc/sys/user/max_inotify_watches").write_text(str(_WATCHES), encoding="ascii")


@pytest.mark.slow
def test_who_idles_without_a_watch_is_told_within_the_poll_interval(tmp_path: Path) -> None:
    try:
        subprocess.run([sys.executable, "-c", ""], preexec_fn=few_watches, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"limits of inotify cannot be set for one process: {error}")
    users = ["alice", "bob", "carol"]
    passwd = "".join(f"{user}:{{PLAIN}}secret\n" for user in users)
    with (
        start(
            tmp_path / "server", str(tmp_path / "%u"), passwd, workers=1, enter=few_watches, poll_interval=1
        ) as server,
        contextlib.ExitStack() as open_clients,
    ):
        clients = [open_clients.enter_context(Imap(server.imaps, tls=True).login(user)) for user in users]
        for client in clients:
            client.ok("SELECT INBOX")
            client.send(b"i IDLE\r\n")
            assert client.line().startswith(b"+ ")
        for user in users:
            (tmp_path / user / "tmp" / "x").write_bytes(b"Subject: hi\n\n")
            os.rename(tmp_path / user / "tmp" / "x", tmp_path / user / "new" / "1700000000.x")
        delivered = time.monotonic()
        for client in clients:
            while not client.line().endswith(b" EXISTS"):
                pass
        took, page = time.monotonic() - delivered, server.scrape()
        for client in clients:
            client.send(b"DONE\r\n")
        assert took < 15  # 1 s, on a machine that has nothing else to do
        assert "\ngreenmail_polled_mailboxes 0.0" not in page and "\ngreenmail_polled_mailboxes " in page
        assert server.logged().count("watch-fallback reason=limit poll_interval=1 ") == 1
