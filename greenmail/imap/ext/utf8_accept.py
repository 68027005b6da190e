"""UTF8=ACCEPT, RFC 9755: mailbox names and quoted strings in UTF-8 for clients of IMAP4rev1 that ENABLE it.

What it changes for those clients is in `grammar` and `serialize`, which ask `session.utf8`. Offering it binds the
server towards all others: APPEND of a message with 8-bit header fields is NO for them (RFC 9755 4). So it is a setting,
`utf8-accept`; docs/decisions/0014 says why it is not on from the start.
"""

from greenmail.errors import Refused
from greenmail.imap.command import Capability, Feature
from greenmail.imap.response import CANNOT
from greenmail.imap.session import Session

UTF8_ACCEPT = "UTF8=ACCEPT"


class HeaderCheck:
    """Looks at a message as it arrives: may its header be stored for this client?"""

    __slots__ = ("_is_over", "_is_wrong", "_tail")

    def __init__(self) -> None:
        self._is_over = False
        self._is_wrong = False
        self._tail = b"\r\n"  # the end of what came before: the header may end across pieces, or at once

    def feed(self, data: bytes) -> None:
        """The next octets of the message."""
        if self._is_over:
            return
        data = self._tail + data
        end = data.find(b"\r\n\r\n")
        self._is_over = end >= 0
        self._is_wrong = self._is_wrong or not (data[:end] if self._is_over else data).isascii()
        self._tail = data[-3:]

    def end(self) -> None:
        """Raises Refused."""
        if self._is_wrong:
            raise Refused(f"the header has 8-bit octets: ENABLE {UTF8_ACCEPT} first", CANNOT)


def header_check(session: Session) -> HeaderCheck | None:
    """What an APPEND of this session must pass; None: nothing."""
    return HeaderCheck() if session.services.utf8_accept and not session.utf8 else None


FEATURE: Feature = Feature(
    "utf8-accept",
    capabilities=(Capability(UTF8_ACCEPT, lambda session: session.services.utf8_accept, settled=True),),
    enables=(UTF8_ACCEPT,),
)
