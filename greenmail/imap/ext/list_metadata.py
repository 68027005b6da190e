"""LIST-METADATA, RFC 9590: LIST tells with each mailbox the annotations that were asked for.

    return-option =/ "METADATA" SP "(" entry *(SP entry) ")"      ; entry of RFC 5464

Lenient: one entry may stand without parentheses, as in GETMETADATA; RFC 9590 5 wants them.

An entry that has no value is NIL, as in GETMETADATA.
"""

from greenmail.errors import StorageError
from greenmail.imap.command import Capability, Feature, ListRender, after_login
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext.metadata import chosen, entries, entry, metadata_response
from greenmail.imap.session import Session


def option(cur: Cursor) -> ListRender:
    """What is written behind the LIST answer of a mailbox; nothing if it cannot be found out. RFC 9590 3."""
    cur.space()
    wanted = entries(cur) if cur.peek() == b"(" else (entry(cur),)

    def render(session: Session, name: str) -> bytes:
        try:
            return metadata_response(session, name, chosen(session, name, wanted, 0))
        except StorageError:
            return b""

    return render


FEATURE: Feature = Feature(
    "list-metadata",
    capabilities=(Capability("LIST-METADATA", after_login),),
    list_return_opts={"METADATA": option},
)
