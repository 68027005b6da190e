"""JMAPACCESS, RFC 9698: where the same mail is to be had by JMAP, if the setting `jmap-url` says so.

By it the administrator asserts that the object IDs of RFC 8474 are the same there, and that one logs in there as here.

    resp-jmapaccess = "JMAPACCESS" SP quoted
"""

from greenmail.errors import BadSyntax
from greenmail.imap import serialize
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, after_login
from greenmail.imap.commands.basic import parse_nothing
from greenmail.imap.response import Ok
from greenmail.imap.session import Session


def run_getjmapaccess(session: Session, argument: None) -> Ok:
    """RFC 9698 4: BAD if no such server is known."""
    url = session.services.jmap_url
    if not url:
        raise BadSyntax("there is no access by JMAP here")
    session.out.write(b"* JMAPACCESS %b\r\n" % serialize.string(url.encode("ascii")))
    return Ok("GETJMAPACCESS completed")


GETJMAPACCESS = Command("GETJMAPACCESS", states=AUTHENTICATED, parse=parse_nothing, run=run_getjmapaccess, looks=False)


def _is_known(session: Session) -> bool:
    return bool(session.services.jmap_url) and after_login(session)


FEATURE: Feature = Feature(
    "jmapaccess", commands=(GETJMAPACCESS,), capabilities=(Capability("JMAPACCESS", _is_known, settled=True),)
)
