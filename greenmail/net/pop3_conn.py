"""POP3 connections: what a worker's sessions share, made from the configuration."""

from collections.abc import Callable

from greenmail.auth.passage import Passage
from greenmail.config import Config
from greenmail.net.engines import Means, patience
from greenmail.net.server import Talk
from greenmail.net.stream import Stream
from greenmail.pop3.serve import run as serve
from greenmail.pop3.session import Limits, Services, Session

BYE_FULL = b"-ERR [SYS/TEMP] Too many connections, try again later.\r\n"  # RFC 3206 4
BYE_END = b""  # a POP3 server speaks only when it is asked: RFC 1939 3


def limits(config: Config) -> Limits:
    """Every bound of a POP3 session."""
    return Limits(
        max_line=config.max_line,
        max_line_anonymous=config.max_line_anonymous,
        max_bad_commands=config.max_bad_commands,
        max_commands_per_minute=config.max_commands_per_minute,
        patience=patience(config),
        timeout_anonymous=config.timeout_anonymous,
        timeout_pop3=config.timeout_pop3,
        pop3_login_delay=config.pop3_login_delay,
    )


def handler(means: Means) -> Callable[..., Talk]:
    """The engine for one connection after another: of a stream, and of a `Passage` if its login was elsewhere.

    What it gives is to be called once: a POP3 session never sleeps.
    """
    config = means.config
    services = Services(
        runtime=means.runtime,
        authenticator=means.authenticator,
        open_account=means.open_account,
        register=means.register,
        guard=means.guard,
        carrier=means.carrier,
        mechanisms=config.sasl_mechanisms,
        limits=limits(config),
        traces=means.traces,
        pop3_uidl_format=config.pop3_uidl_format,
        preferred_language=config.preferred_language,
        pop3_no_flag_updates=config.pop3_no_flag_updates,
        utf8_accept=config.utf8_accept,
        pop3_apop=config.pop3_apop,
        pop3_deleted_flag=config.pop3_deleted_flag if config.pop3_delete == "flag" else "",
    )

    def begin(stream: Stream, passage: Passage | None = None) -> Talk:
        session = stream.session = Session(stream, services, means.new_sid() if passage is None else passage.sid)
        return lambda: serve(session, passage)

    return begin
