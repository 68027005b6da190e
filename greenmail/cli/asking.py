"""One question to the running server, for the verbs that have no more."""

from typing import Any

from greenmail.config import Config


def asked(config: Config, what: str, seconds: float | None = None, **wanted: Any) -> Any:
    """The answer at the control socket, waited for so long. Raises Refused."""
    # Here and not above: the other verbs need no sockets.
    from greenmail.net import control_client

    with control_client.connected(config) as server:
        return server.ask(what, control_client.TIMEOUT if seconds is None else seconds, **wanted)
