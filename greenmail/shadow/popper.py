"""A POP3 client that fetches nothing: CAPA, LIST and UIDL. RETR may set \\Seen, and nothing would be learned from it
that FETCH does not show.
"""

import contextlib
import poplib
from collections.abc import Iterator
from dataclasses import dataclass

from greenmail.errors import Disconnected, Refused
from greenmail.shadow.logins import Login
from greenmail.shadow.place import Place, Trust, reason


@dataclass(frozen=True, slots=True)
class Drop:
    """What POP3 shows of a user's mail: unique ids and sizes, by number from 1 on."""

    ids: tuple[str, ...]
    sizes: tuple[int, ...]
    capabilities: frozenset[str]


@contextlib.contextmanager
def _translated(where: Place) -> Iterator[None]:
    try:
        yield
    except poplib.error_proto as error:
        said = error.args[0] if error.args else b""
        text = said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else str(said)
        if text == "-ERR EOF":
            raise Disconnected(f"{where}: it hung up") from None
        raise Refused(f"{where}: {text.removeprefix('-ERR ')}") from None
    except TimeoutError:
        raise Disconnected(f"{where}: no answer in time") from None
    except OSError as error:
        raise Disconnected(f"{where}: {reason(error)}") from None
    except (ValueError, IndexError):
        raise Refused(f"{where}: an answer that cannot be understood") from None


def look(where: Place, trust: Trust, login: Login, timeout: float) -> Drop:
    """Log in, look, and leave all as it is. Raises Refused, Disconnected."""
    with _translated(where):
        pop = _connected(where, trust, timeout)
        try:
            pop.user(login.name)
            pop.pass_(login.password)
            capabilities = frozenset(_capabilities(pop))
            ids = dict(_pairs(pop.uidl()[1]))
            sizes = {number: int(size) for number, size in _pairs(pop.list()[1])}
            if ids.keys() != sizes.keys():
                raise Refused(f"{where}: UIDL and LIST tell different messages")
            pop.quit()
            return Drop(tuple(ids.values()), tuple(sizes[number] for number in ids), capabilities)
        finally:
            with contextlib.suppress(OSError, AttributeError):  # it is closed after QUIT
                pop.close()


def _connected(where: Place, trust: Trust, timeout: float) -> poplib.POP3:
    if where.implicit_tls:
        return poplib.POP3_SSL(where.host, where.port, context=trust.context(where), timeout=timeout)
    with contextlib.ExitStack() as on_error:
        pop = poplib.POP3(where.host, where.port, timeout=timeout)
        on_error.callback(pop.close)
        if "STLS" in _capabilities(pop):
            pop.stls(trust.context(where))
        elif not trust.allows_clear_text(where):
            raise Refused(f"{where} offers no STLS; --insecure sends passwords in clear text")
        on_error.pop_all()
        return pop


def _capabilities(pop: poplib.POP3) -> list[str]:
    try:
        return sorted(name.upper() for name in pop.capa())
    except poplib.error_proto:
        return []  # CAPA came with RFC 2449; older servers know no STLS either


def _pairs(lines: list[bytes]) -> Iterator[tuple[int, str]]:
    for line in lines:
        number, value = line.split(b" ")[:2]
        yield int(number), value.decode("utf-8", "backslashreplace")
