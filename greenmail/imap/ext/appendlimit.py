"""APPENDLIMIT, RFC 7889: the largest message that APPEND takes. It is `max-request-size`, for every mailbox.

capability =/ "APPENDLIMIT" ["=" number]
status-att =/ "APPENDLIMIT"
"""

from greenmail.imap.command import Capability, Feature, always
from greenmail.imap.commands.status import StatusAtt
from greenmail.imap.session import Session
from greenmail.storage.api import Counters, Mailbox


def _words(session: Session) -> tuple[str, ...]:
    return (f"APPENDLIMIT={session.limits.max_request_size}",)


def _status(session: Session, mailbox: Mailbox, counters: Counters) -> bytes:
    """RFC 7889 3.1: neither quota nor rights count."""
    return b"%d" % session.limits.max_request_size


FEATURE: Feature = Feature(
    "appendlimit",
    capabilities=(Capability("APPENDLIMIT", always, render=_words, settled=True),),
    status_atts={"APPENDLIMIT": StatusAtt("APPENDLIMIT", _status)},
)
