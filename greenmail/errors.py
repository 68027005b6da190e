"""The four exceptions of GreenMail. Anything else that is raised is a bug.

=================  ==========================================  ==========  ===============
exception          meaning                                     IMAP        POP3
=================  ==========================================  ==========  ===============
`BadSyntax`        not the protocol, or not in this state      BAD         -ERR
`Refused`          understood, not done                        NO [code]   -ERR [code]
`StorageError`     the store says no                           NO [table]  -ERR [table]
`Disconnected`     the peer is gone or too slow                close       close
=================  ==========================================  ==========  ===============
"""

from enum import Enum


class Reason(Enum):
    """Why a store refuses. The protocols map each to their own response codes."""

    NOT_FOUND = "no such mailbox"
    EXISTS = "mailbox exists already"
    GONE = "mailbox was deleted, renamed or replaced while it was open"
    EXPUNGED = "message is gone"
    READ_ONLY = "store cannot be written"
    NO_PERMISSION = "permission denied"
    IN_USE = "locked by another program"
    OVER_QUOTA = "over quota"
    NO_SPACE = "no space left on the device"
    LIMIT = "limit reached"
    CANNOT = "can never be done, for example an impossible mailbox name"
    HAS_CHILDREN = "mailbox has children"
    CORRUPT = "data on disk is damaged beyond repair"
    UNAVAILABLE = "input/output error, perhaps for a time only"


class BadSyntax(Exception):
    """The client's octets are not the protocol, or the command is not allowed in this state.

    `code` is an optional response code without brackets, for example `TOOBIG`.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Refused(Exception):
    """A command that was understood and is not carried out; `code` is a response code without brackets."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class StorageError(Exception):
    """The store says no. `text` is for the user: what happened and what to do."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class Disconnected(Exception):
    """The peer closed the connection, or was too slow; `text` says which, for the log and for a farewell."""

    def __init__(self, text: str = "connection closed by peer") -> None:
        super().__init__(text)
        self.text = text
