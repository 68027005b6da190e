"""IMAP connections: what a worker's sessions share, made from the configuration."""

import logging
from collections.abc import Callable

from greenmail import __version__
from greenmail.auth.passage import Passage
from greenmail.config import Config
from greenmail.imap.execute import Serving
from greenmail.imap.ext.filters import wrong
from greenmail.imap.session import Limits, Others, Services, Session
from greenmail.net.engines import Means, patience
from greenmail.net.server import Talk
from greenmail.net.stream import Stream
from greenmail.storage.text_index import FullText

log = logging.getLogger(__name__)

BYE_FULL = b"* BYE [LIMIT] Too many connections, try again later.\r\n"
BYE_END = b"* BYE [UNAVAILABLE] Server is shutting down, connect again.\r\n"  # RFC 9051 7.1.5, RFC 5530 3


def limits(config: Config) -> Limits:
    """Every bound of an IMAP session."""
    return Limits(
        max_line=config.max_line,
        max_line_anonymous=config.max_line_anonymous,
        max_command_size=config.max_command_size,
        max_request_size=config.max_request_size,
        max_drain=config.drain,
        max_append_messages=config.max_append_messages,
        message_limit=config.message_limit,
        save_limit=config.save_limit,
        max_metadata_size=config.max_metadata_size,
        max_metadata_entries=config.max_metadata_entries,
        min_uid_batch_size=config.min_uid_batch_size,
        max_uid_batches=config.max_uid_batches,
        max_search_contexts=config.max_search_contexts,
        max_notify_mailboxes=config.max_notify_mailboxes,
        max_depth=config.max_depth,
        max_bad_commands=config.max_bad_commands,
        max_commands_per_minute=config.max_commands_per_minute,
        patience=patience(config),
        timeout_anonymous=config.timeout_anonymous,
        timeout_authenticated=config.timeout_authenticated,
        timeout_idle=config.timeout_idle,
        idle_keepalive=config.idle_keepalive,
        progress_interval=config.progress_interval,
    )


def handler(means: Means, full_text: FullText | None = None, others: Others | None = None) -> Callable[..., Talk]:
    """The engine for one connection after another: of a stream, and of a `Passage` if its login was elsewhere.

    What it gives is to be called until it gives None: `Serving.go_on`.
    """
    config = means.config
    for name, text in config.shared_filters.items():
        if problem := wrong(text):
            log.error("shared-filters name=%r criteria=%r: nobody can use it: %s", name, text, problem)
    services = Services(
        runtime=means.runtime,
        authenticator=means.authenticator,
        open_account=means.open_account,
        register=means.register,
        guard=means.guard,
        carrier=means.carrier,
        mechanisms=config.sasl_mechanisms,
        limits=limits(config),
        literal_minus=config.literal_minus,
        utf8_accept=config.utf8_accept,
        full_text=full_text,
        time_zone=config.time_zone,
        condstore=config.coexistence == "none",
        server_comment=config.server_comment,
        server_admin=config.server_admin,
        shared_filters=config.shared_filters,
        quota_set_by=config.quota_set_by,
        jmap_url=config.jmap_url,
        preferred_language=config.preferred_language,
        url_hosts=config.url_hosts,
        submit_users=tuple(map(means.authenticator.normalize, config.submit_users)),
        others=others,
        server_id={"name": "GreenMail", "version": __version__},
        normalize=means.authenticator.normalize,
        traces=means.traces,
    )

    def begin(stream: Stream, passage: Passage | None = None) -> Talk:
        stream.session = Session(stream, services, means.new_sid() if passage is None else passage.sid)
        return Serving(stream.session, passage).go_on

    return begin
