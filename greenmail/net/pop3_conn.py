"""POP3 connections: what a worker's sessions share, made from the configuration."""

from collections.abc import Callable
from typing import Any

from greenmail.config import Config
from greenmail.net.stream import Stream

BYE_FULL = b"-ERR [SYS/TEMP] Too many connections, try again later.\r\n"  # RFC 3206 4
BYE_END = b""  # a POP3 server speaks only when it is asked: RFC 1939 3


def handler(config: Config, *shared: Any) -> Callable[[Stream], None]:
    """The engine for one connection after another."""

    def run(stream: Stream) -> None:
        stream.write(BYE_FULL)
        stream.flush()

    return run
