"""ANONYMOUS: whoever comes may read what is for everybody. RFC 4505.

message = [email / token]           ; trace information: nobody vouches for it, it is for the log
email   = addr-spec                 ; RFC 5322 3.4.1, here without comments, and with UTF-8 as in RFC 6532
token   = 1*255TCHAR                ; any character but "@"
"""

import re

from greenmail.auth.saslprep import is_trace, utf8_text
from greenmail.errors import BadSyntax

ANONYMOUS = "ANONYMOUS"

_LONGEST = 255  # characters; of an address RFC 5321 4.5.3.1 allows one less
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_EMAIL = re.compile(rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\\r\n]|\\.)*")@(?:{_ATOM}(?:\.{_ATOM})*|\[[^\[\]\\\r\n]*\])')


def trace(message: bytes) -> str:
    """The client's message. Raises BadSyntax for what is none: the log is no place for it."""
    text = utf8_text(message, "the trace information")
    if len(text) > _LONGEST:
        raise BadSyntax(f"trace information has at most {_LONGEST} characters")
    if not is_trace(text):
        raise BadSyntax("trace information has no control characters, and is written in one direction")
    if "@" in text and not _EMAIL.fullmatch(text):
        raise BadSyntax("trace information with @ in it is an email address, or it is none")
    return text
