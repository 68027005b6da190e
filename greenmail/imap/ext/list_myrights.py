"""LIST-MYRIGHTS, RFC 8440: LIST tells with each mailbox what the user may do with it."""

from greenmail.errors import StorageError
from greenmail.imap import rights
from greenmail.imap.command import Capability, Feature, after_login
from greenmail.imap.ext import acl
from greenmail.imap.session import Session


def myrights(session: Session, name: str) -> bytes:
    """The MYRIGHTS answer behind a LIST answer; none if the rights cannot be found out. RFC 8440 3."""
    try:
        return acl.myrights(session, name, rights.my_rights(session, name))
    except StorageError:
        return b""


FEATURE: Feature = Feature(
    "list-myrights",
    capabilities=(Capability("LIST-MYRIGHTS", after_login),),
    list_return_opts={"MYRIGHTS": lambda cur: myrights},
)
