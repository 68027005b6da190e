"""Which of several certificates a client is shown: by the name that it says in the handshake (SNI, RFC 6066 3).

A listener has one certificate for who says no name, or one that nobody here has. Beside it stand those of
`certificates`, for all listeners. The names are those in the certificates themselves, and change when one is renewed.
A name as it is goes before a `*`, which stands for one label (RFC 9525 6.3), and the listener's own certificate before
the others, which count in the order of the settings.
"""

# mypy: allow-untyped-calls
# (gevent has no type hints)

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from greenmail.net import tls

log = logging.getLogger(__name__)


class Chooser:
    """Contexts (of `ssl`, or `client_certificates.AskingContext`) by name. They live on when their content changes."""

    def __init__(self, contexts: Sequence[Any]) -> None:
        self._contexts = list(contexts)
        self._stamp: list[frozenset[str]] = []
        self._by_name: dict[str, Any] = {}

    def choose(self, name: str | None, default: Any) -> Any:
        """The context for a client that wants `name`, or says none, at a listener whose own is `default`."""
        if not name:
            return default
        self._look()
        name = name.lower().removesuffix(".")
        for one in (name, _any_of(name)):
            if one in tls.names(default):
                return default
            if one in self._by_name:
                return self._by_name[one]
        return default

    def _look(self) -> None:
        """A renewed certificate may have other names; mostly they are the same objects as before."""
        stamp = [tls.names(context) for context in self._contexts]
        if stamp != self._stamp:
            self._stamp = stamp
            pairs = zip(reversed(stamp), reversed(self._contexts), strict=True)
            self._by_name = {name: context for names, context in pairs for name in names}

    def serve(self, context: Any) -> None:
        """Have connections that begin with `context` choose."""
        context.sni_callback = self._chosen
        if not isinstance(sys.unraisablehook, _Unreadable):
            sys.unraisablehook = _Unreadable(sys.unraisablehook)

    def _chosen(self, sock: Any, name: str | None, context: Any) -> None:
        """In the handshake, which goes on with this certificate, whatever the context gets meanwhile."""
        found = self.choose(name, context)
        if found is not context:
            sock.context = found
            sock.greenmail_end_point = tls.end_point(found)


def _any_of(name: str) -> str:
    """The name with a `*` that has this one in it."""
    return f"*.{name.partition('.')[2]}"


class _Unreadable:
    """Names that are not ASCII, which RFC 6066 3 does not allow: `ssl` ends the handshake, and tells of it only here.

    One line of the log, and not a traceback for whoever wants to fill a disk with them.
    """

    def __init__(self, others: Callable[[Any], object]) -> None:
        self._others = others

    def __call__(self, found: Any) -> None:
        """See `sys.unraisablehook`."""
        if isinstance(found.exc_value, UnicodeDecodeError) and isinstance(found.object, bytes):
            log.info("tls-name-unreadable name=%r", found.object)
        else:
            self._others(found)
