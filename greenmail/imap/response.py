"""Completions, and response codes next to their RFCs. Codes are written without brackets.

`NO` texts with the codes below come from `errors.Refused`; what a store's refusal looks like is in `REASON_CODES`.
"""

from typing import NamedTuple

from greenmail.errors import Reason


class Ok(NamedTuple):
    """The tagged OK of a command; `code` without brackets, already rendered: `b"READ-WRITE"`."""

    text: str
    code: bytes = b""
    expunged: bool = False  # messages went away: HIGHESTMODSEQ is told once their VANISHED is, RFC 7162 3.2.7
    added: bytes = b""  # COPYUID or APPENDUID, where it was told before this


class No(NamedTuple):
    """A tagged NO of a command that nevertheless did a part of its work and wrote it, for example `EXPUNGEISSUED`."""

    text: str
    code: bytes = b""


Completion = Ok | No

# RFC 5530 3 unless noted.
ALREADYEXISTS = "ALREADYEXISTS"
AUTHENTICATIONFAILED = "AUTHENTICATIONFAILED"
BADURL = "BADURL"  # RFC 4469 4.1
CANNOT = "CANNOT"
CLIENTBUG = "CLIENTBUG"
EXPUNGEISSUED = "EXPUNGEISSUED"
HASCHILDREN = "HASCHILDREN"  # RFC 9051 7.1
INUSE = "INUSE"
LIMIT = "LIMIT"
MESSAGELIMIT = "MESSAGELIMIT"  # RFC 9738 3.1
NONEXISTENT = "NONEXISTENT"
NOPERM = "NOPERM"
OVERQUOTA = "OVERQUOTA"
PRIVACYREQUIRED = "PRIVACYREQUIRED"
SERVERBUG = "SERVERBUG"
TOOFEW = "TOOFEW"  # RFC 10022 3.1.3.2
TOOMANY = "TOOMANY"  # RFC 10022 3.1.7
TOOBIG = "TOOBIG"  # RFC 4469 4.2
TRYCREATE = "TRYCREATE"  # RFC 9051 7.1
UIDREQUIRED = "UIDREQUIRED"  # RFC 9586 3
UNAVAILABLE = "UNAVAILABLE"
CORRUPTION = "CORRUPTION"
BADCOMPARATOR = "BADCOMPARATOR"  # RFC 5255 4.9
COMPRESSIONACTIVE = "COMPRESSIONACTIVE"  # RFC 4978
USEATTR = "USEATTR"  # RFC 6154 3
UNKNOWN_CTE = "UNKNOWN-CTE"  # RFC 9051 7.1

REASON_CODES: dict[Reason, str] = {
    Reason.NOT_FOUND: NONEXISTENT,
    Reason.EXISTS: ALREADYEXISTS,
    Reason.GONE: NONEXISTENT,
    Reason.EXPUNGED: EXPUNGEISSUED,
    Reason.READ_ONLY: NOPERM,
    Reason.NO_PERMISSION: NOPERM,
    Reason.IN_USE: INUSE,
    Reason.OVER_QUOTA: OVERQUOTA,
    Reason.NO_SPACE: UNAVAILABLE,
    Reason.LIMIT: LIMIT,
    Reason.CANNOT: CANNOT,
    Reason.HAS_CHILDREN: HASCHILDREN,
    Reason.CORRUPT: CORRUPTION,
    Reason.UNAVAILABLE: UNAVAILABLE,
}
