"""The owner's part of a session that another process has logged in (`auth.passage`).

It runs as the mail's uid: it opens the account, answers the login, and serves the session as if the client had come
here. Its stream is a socket to the login worker (`carrier`), which has the client's connection and its TLS.
"""

import logging
import socket
from collections.abc import Mapping
from typing import Any

from greenmail.auth.passage import Passage
from greenmail.net.addresses import plain_address
from greenmail.net.shared import Shared
from greenmail.net.stream import Stream

log = logging.getLogger(__name__)


class Hosted(Stream):
    """A session's octets, as a worker carries them; its client and TLS are that worker's."""

    def __init__(self, sock: socket.socket, ends: Mapping[str, Any], shared: Shared) -> None:
        super().__init__(sock, (ends["peer"], ends["peer_port"]), shared)
        self.local, self.local_port = plain_address(str(ends["local"])), int(ends["local_port"])
        self.tls_version, self.tls_cipher = str(ends["tls_version"]), str(ends["tls_cipher"])

    def unreported(self) -> tuple[int, int]:
        """Nothing: octets are counted where the client is."""
        return 0, 0


def decoded(message: Mapping[str, Any]) -> tuple[Passage, Mapping[str, Any]]:
    """What the parent has passed on. Raises KeyError, TypeError and ValueError."""
    return Passage.decode(message["session"]), message["ends"]
