"""What extensions that live as long as a connection hold in memory. Usage: python -m bench.held

COMPRESS: connections over TLS that fetched a few messages and wait, with and without COMPRESS=DEFLATE. NOTIFY: those
of one user with 500 mailboxes, with NOTIFY for all of them and without. Printed is PSS of the server's process tree, in
KiB a connection: the slope between `--few` and `--many` connections, so that what all of them share does not count.
"""

import argparse
import gc
import json
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import server

from bench import corpus
from bench.client import Client, session
from bench.meter import Meter, pss

MAILBOXES = 500
USERS = 10
EVENTS = b"(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)"


class Deflated:
    """A socket behind COMPRESS=DEFLATE, with the windows that zlib takes by itself."""

    def __init__(self, plain: object) -> None:
        self._socket = plain
        self._pack = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._unpack = zlib.decompressobj(-15)

    def sendall(self, data: bytes) -> None:
        self._socket.sendall(self._pack.compress(data) + self._pack.flush(zlib.Z_SYNC_FLUSH))  # type: ignore[attr-defined] # any kind of socket

    def recv(self, size: int) -> bytes:
        found = b""
        while not found:
            data = self._socket.recv(size)  # type: ignore[attr-defined] # likewise
            if not data:
                return b""
            found = self._unpack.decompress(data)
        return found

    def close(self) -> None:
        self._socket.close()  # type: ignore[attr-defined] # likewise


def plain(port: int, number: int) -> Client:
    """A connection of one of ten users, who has looked at his mail."""
    client = session(
        port, b"SELECT INBOX", b"FETCH 1:50 (FLAGS ENVELOPE BODY.PEEK[])", user=f"u{number % USERS}", tls=True
    )
    client.idle()
    return client


def compressed(port: int, number: int) -> Client:
    """The same over COMPRESS: all that it was told filled the windows."""
    client = session(port, b"COMPRESS DEFLATE", user=f"u{number % USERS}", tls=True)
    client.socket = Deflated(client.socket)
    client.run(b"SELECT INBOX")
    client.run(b"FETCH 1:50 (FLAGS ENVELOPE BODY.PEEK[])")
    for _ in range(20):  # and what it says itself
        client.run(b"UID SEARCH HEADER X-Nothing %b" % bytes(65 + (number * 7 + place) % 26 for place in range(800)))
    client.idle()
    return client


def listening(port: int, number: int) -> Client:
    """A connection that hears of all mailboxes."""
    client = session(port, b"NOTIFY SET (personal %b)" % EVENTS, user="many", tls=True)
    client.idle()
    return client


def silent(port: int, number: int) -> Client:
    """One that hears of none."""
    client = session(port, b"NOOP", user="many", tls=True)
    client.idle()
    return client


def slope(make: Callable[[int, int], Client], port: int, meter: Meter, few: int, many: int) -> float:
    """KiB of PSS a connection, between `few` and `many` of them."""
    clients: list[Client] = []
    sizes = []
    for count in (few, many):
        while len(clients) < count:
            clients.append(make(port, len(clients)))
        time.sleep(3)
        sizes.append(pss(meter.processes()))
    for client in clients:
        client.drop()
    gc.collect()
    time.sleep(2)
    return (sizes[1] - sizes[0]) / (many - few) / 1024


def main() -> None:
    """Start a server for each measurement, so that none finds memory that another one gave back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--many", type=int, default=250)
    options = parser.parse_args()
    where = Path(tempfile.mkdtemp(prefix="greenmail-held-"))
    passwd = "".join(f"{name}:{{PLAIN}}secret\n" for name in [*(f"u{number}" for number in range(USERS)), "many"])
    found: dict[str, float] = {}
    try:
        for number in range(USERS):
            corpus.link(corpus.cached(True, 1000), where / "mail" / f"u{number}", 1000)
        for number in range(MAILBOXES):
            for part in ("cur", "new", "tmp"):
                (where / "mail" / "many" / f".f{number}" / part).mkdir(parents=True)
            (where / "mail" / "many" / f".f{number}" / "maildirfolder").touch()
        for make in (plain, compressed, silent, listening):
            meter = Meter(make.__name__)
            limits = {"max-connections-per-user": 1000, "max-connections": 2000, "max-connections-per-address": 0}
            with server.start(
                where / make.__name__, str(where / "mail" / "%u"), passwd, workers=1, enter=meter.enter, **limits
            ) as running:
                make(running.imaps, 0).drop()  # what is made once
                found[make.__name__] = round(slope(make, running.imaps, meter, options.few, options.many), 1)
            meter.close()
    finally:
        shutil.rmtree(where, ignore_errors=True)
    more = {"compress": found["compressed"] - found["plain"], "notify": found["listening"] - found["silent"]}
    print(json.dumps({**found, **{name: round(value, 1) for name, value in more.items()}}))


if __name__ == "__main__":
    main()
