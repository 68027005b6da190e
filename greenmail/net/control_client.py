"""The other end of the control socket: what the verbs of `greenmail` ask of a running server."""

import itertools
import json
import os
import socket
import struct
from typing import Any

from greenmail.config import Config
from greenmail.errors import Refused
from greenmail.net.control import NAME, VERSION

TIMEOUT = 20.0  # seconds for an answer; a reload has longer
_CREDENTIALS = struct.Struct("3i")


class Server:
    """A connection to a running server. Whatever goes wrong is `Refused`, with what to do."""

    def __init__(self, run_directory: str) -> None:
        self._numbers = itertools.count(1)
        self._place = os.path.join(run_directory, NAME)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(TIMEOUT)
        try:
            self._connect(run_directory)
        except OSError as error:
            self._sock.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise Refused(f"no server is running here: {self._place} does not answer") from None
            raise Refused(f"{self._place}: {error.strerror or error}; be root, or who started the server") from None
        raw = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(raw)[1] not in (0, os.geteuid()):
            raise Refused(f"{self._place} is answered by somebody else (uid {_CREDENTIALS.unpack(raw)[1]})")
        self._answers = self._sock.makefile("rb")

    def _connect(self, run_directory: str) -> None:
        directory = os.open(run_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sock.connect(f"/proc/self/fd/{directory}/{NAME}")  # a path of a socket has 107 octets at most
        finally:
            os.close(directory)

    def ask(self, what: str, seconds: float = TIMEOUT, **wanted: Any) -> Any:
        """The result of a request."""
        request = {"v": VERSION, "id": next(self._numbers), "do": what, "with": wanted}
        self._sock.settimeout(seconds)
        try:
            self._sock.sendall(json.dumps(request).encode("ascii") + b"\n")
            line = self._answers.readline()
        except TimeoutError:
            raise Refused(f"the server does not answer; is its parent process alive? ({self._place})") from None
        except OSError as error:
            raise Refused(f"{self._place}: {error.strerror}") from None
        if not line:
            raise Refused("the server ended the connection: be root, or who started the server; or look into its log")
        answer = json.loads(line)
        if not answer["ok"]:
            raise Refused(answer["error"]["text"])
        return answer["result"]

    def wait_for_end(self, seconds: float) -> bool:
        """Whether the server has ended, waited for at most so long."""
        self._sock.settimeout(seconds)
        try:
            return not self._answers.readline()
        except TimeoutError:
            return False
        except OSError:  # reset
            return True

    def close(self) -> None:
        """End the connection."""
        self._answers.close()
        self._sock.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connected(config: Config) -> Server:
    """The server of this configuration. Raises Refused."""
    return Server(config.run_directory)
