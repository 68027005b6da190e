"""What the log says of failed logins, in words that fail2ban's stock filter `dovecot` takes.

    imap-login: Disconnected (auth failed, 3 attempts in 12 secs): user=<bob>, method=PLAIN, rip=192.0.2.7,
    lip=192.0.2.1, TLS, session=<gX2>

That is one line. With `log-format: text` on standard error or in a file the filter needs no changes; in syslog, where
the program's name stands before the text, use `filter = dovecot[_daemon=greenmail]`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed logins of one connection."""

    protocol: str  # "imap" or "pop3"
    attempts: int
    seconds: float  # since the first of them
    login: str  # as the client gave it; the last one
    method: str  # "PLAIN", "LOGIN" ...
    address: str
    local: str
    secure: bool
    session: str


def refused_login(failures: Failures) -> str:
    """The line, for `log.warning("%s", ...)`. Holds nothing of the client's that could end it or forge an address."""
    fields = [
        f"user=<{harmless(failures.login)}>",
        f"method={harmless(failures.method)}",
        f"rip={failures.address}",
        f"lip={failures.local}",
        *(["TLS"] if failures.secure else []),
        f"session=<{failures.session}>",
    ]
    attempts = f"auth failed, {failures.attempts} attempts in {max(0, round(failures.seconds))} secs"
    return f"{failures.protocol}-login: Disconnected ({attempts}): {', '.join(fields)}"


def harmless(text: str) -> str:
    """`text` with "?" for what would end a field: angle brackets, blanks and all that is not printable."""
    return "".join(char if char.isprintable() and char not in "<> " else "?" for char in text[:255])
