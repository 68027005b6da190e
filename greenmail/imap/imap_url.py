"""IMAP URLs, RFC 5092: which message, or which part of one, a client means.

    imap://joe;AUTH=*@mail.example.com:143/INBOX;UIDVALIDITY=7/;UID=20/;SECTION=1.2/;PARTIAL=0.1024
           └─────────── iserver ─────────┘ └ mailbox ┘
    and behind that of a URL with an authorization, RFC 4467 3
    ;EXPIRE=2026-12-31T00:00:00Z;URLAUTH=submit+fred:INTERNAL:91354a473744909de610943775f92038

A ";" stands in a URL only where a parameter begins, and everything else that is special is percent-encoded: so a URL is
taken apart at its ";", and each piece decoded by itself. Dot segments (RFC 3986 5.2.4) are removed before, and what is
percent-encoded is none: RFC 5092 7.

Of relative references those are understood that begin with "/", with "//", or with ";UID=", which is in the mailbox of
the base URL. The name of a mailbox in front of everything is refused: RFC 5092 7.2.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from urllib.parse import unquote_to_bytes

from greenmail.errors import BadSyntax
from greenmail.imap.cursor import Cursor
from greenmail.imap.grammar import MAX_NUMBER, MAX_NUMBER64
from greenmail.imap.section import WHOLE, Partial, Section, section
from greenmail.storage.api import is_inbox

LONGEST = 8192  # octets of a URL

_ACHAR = r"(?:[\w.~!$'()*+,&=-]|%[0-9a-f]{2})"  # unreserved / sub-delims but ";" / pct-encoded; \w is ASCII's
_BCHAR = r"(?:[\w.~!$'()*+,&=:@/-]|%[0-9a-f]{2})"
_FLAGS = re.IGNORECASE | re.ASCII
_BCHARS = re.compile(f"(?>{_BCHAR}+)", _FLAGS)
_AUTHORITY = re.compile(
    rf"(?:(?P<user>(?>{_ACHAR}*))(?:;AUTH=(?P<auth>(?>{_ACHAR}+)))?@)?"
    rf"(?P<host>\[[0-9a-f:.]++\]|(?>(?:{_ACHAR}|;)+))(?::(?P<port>[0-9]{{0,5}}+))?",
    _FLAGS,
)
_RANGE = re.compile(r"([0-9]{1,19})(?:\.([1-9][0-9]{0,18}))?", _FLAGS)
_NZ_NUMBER = re.compile(r"[1-9][0-9]{0,9}", _FLAGS)
_URLAUTH = re.compile(
    rf"(?P<access>(?:submit|user)(?=\+)|authuser|anonymous)(?:\+(?P<userid>(?>{_ACHAR}+)))?"
    r"(?P<verifier>:(?P<mechanism>[a-z0-9.-]++):(?P<token>[0-9a-f]{32,}+))?",
    _FLAGS,
)
_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d++)?(?:Z|([+-])(\d\d):(\d\d))", _FLAGS
)  # RFC 3339 5.6
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Each parameter once at most, in this order; and whether a "/" stands before it.
_PARAMETERS = {"UIDVALIDITY": False, "UID": True, "SECTION": True, "PARTIAL": True, "EXPIRE": False, "URLAUTH": False}


class Access(Enum):
    """Whom an authorization is for: access, RFC 4467 3."""

    SUBMIT = "submit"
    USER = "user"
    AUTHUSER = "authuser"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Server:
    """iserver = [iuserinfo "@"] host [ ":" port ] — RFC 5092 11. The host in lower case; an empty user is none."""

    host: str
    user: str = ""
    port: int | None = None
    auth: str = ""


@dataclass(frozen=True, slots=True)
class Authorization:
    """iurlauth, or iurlauth-rump without mechanism and token — RFC 5092 11."""

    access: Access
    userid: str = ""  # of SUBMIT and USER
    expires: float | None = None  # seconds since 1970
    rump: str = ""  # the URL as it is without ":" mechanism ":" token
    mechanism: str = ""  # in upper case
    token: str = ""


@dataclass(frozen=True, slots=True)
class ImapUrl:
    """A URL that was taken apart; without `uid` it is a server's, a mailbox's or a search's."""

    server: Server | None = None  # None: that of the base URL
    mailbox: str = ""  # empty: that of the base URL, if `uid` is set
    uidvalidity: int | None = None
    uid: int = 0
    section: Section = WHOLE
    partial: Partial | None = None
    authorization: Authorization | None = None


def imap_url(octets: bytes) -> ImapUrl:
    """imapurl / imapurl-rel — RFC 5092 11, RFC 4467 9. Raises BadSyntax that says what is wrong."""
    if len(octets) > LONGEST:
        raise BadSyntax("the URL is too long")
    if not octets.isascii():
        raise BadSyntax("the URL has octets that are not ASCII")
    text = octets.decode("ascii")
    if text[:7].lower() == "imap://":
        return _with_authority(text, text[7:])
    if text.startswith("//"):
        return _with_authority(text, text[2:])
    if text.startswith("/"):
        return _icommand(text, text[1:])
    if text[:5].upper() == ";UID=":
        return _icommand(text, text, is_relative=True)
    raise BadSyntax("the URL is not imap:// and does not begin with a slash")


def _with_authority(text: str, rest: str) -> ImapUrl:
    """iserver ipath-query."""
    end = next((place for place, char in enumerate(rest) if char in "/?"), len(rest))
    found = _AUTHORITY.fullmatch(rest[:end])
    if found is None or (found["user"] == "" and not found["auth"]):
        raise BadSyntax("the URL has no good server")
    port = int(found["port"]) if found["port"] else None
    server = Server(_decoded(found["host"]).lower(), _decoded(found["user"] or ""), port, _decoded(found["auth"] or ""))
    path = rest[end:]
    return replace(_icommand(text, path[1:]) if path.startswith("/") and path != "/" else ImapUrl(), server=server)


def _icommand(text: str, rest: str, is_relative: bool = False) -> ImapUrl:
    """icommand = imessagelist / imessagepart [iurlauth], or what is relative to a mailbox — RFC 5092 11."""
    path, is_search, _ = _without_dots(rest).partition("?")
    name, values = _pieces(path)
    if name and _BCHARS.fullmatch(name) is None:
        raise BadSyntax("the URL has no good mailbox name")
    if not name and not values:
        return ImapUrl()
    if not name and not is_relative:
        raise BadSyntax("the URL has no mailbox")
    mailbox = _decoded(name)
    found = ImapUrl(
        mailbox="INBOX" if is_inbox(mailbox) else mailbox,
        uidvalidity=_nz_number(values["UIDVALIDITY"]) if "UIDVALIDITY" in values else None,
    )
    if "UID" not in values:
        if len(values) > ("UIDVALIDITY" in values) or not name:
            raise BadSyntax("the URL has no UID")
        return found
    if is_search:
        raise BadSyntax("the URL is one of a message and of a search")
    return replace(
        found,
        uid=_nz_number(values["UID"]),
        section=_section(values["SECTION"]) if "SECTION" in values else WHOLE,
        partial=_partial(values["PARTIAL"]) if "PARTIAL" in values else None,
        authorization=_authorization(text, values),
    )


def _without_dots(path: str) -> str:
    """remove_dot_segments of RFC 3986 5.2.4; "/foo/;UID=20/.." is "/foo" as well as "/foo/": RFC 5092 9.1."""
    if "/." not in "/" + path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)


def _pieces(path: str) -> tuple[str, dict[str, str]]:
    """The name of the mailbox, and the values of the parameters behind it."""
    name, *parameters = path.split(";")
    previous, values = "", {"": name}
    order = list(_PARAMETERS)
    for place, parameter in enumerate(parameters):
        key, equals, value = parameter.partition("=")
        key = key.upper()
        if not equals or key not in _PARAMETERS or (previous and order.index(key) <= order.index(previous)):
            raise BadSyntax("the URL has a parameter that is unknown or in the wrong place")
        is_first_of_all = place == 0 and not name  # relative to the mailbox of the base URL
        if _PARAMETERS[key] and not is_first_of_all:
            if not values[previous].endswith("/"):
                raise BadSyntax(f"the URL has no slash before {key}")
            values[previous] = values[previous][:-1]
        previous = key
        values[key] = value
    return values.pop(""), values


def _decoded(text: str) -> str:
    """What is percent-encoded, as UTF-8: RFC 5092 8."""
    try:
        found = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("the URL has a name that is not UTF-8") from None
    if _CONTROL.search(found):
        raise BadSyntax("the URL has a name with a control character")
    return found


def _nz_number(text: str) -> int:
    number = int(text) if _NZ_NUMBER.fullmatch(text) else 0
    if not 0 < number <= MAX_NUMBER:
        raise BadSyntax("the URL has a wrong number")
    return number


def _section(text: str) -> Section:
    """enc-section = 1*bchar ; %-encoded version of section-spec — RFC 5092 11."""
    if _BCHARS.fullmatch(text) is None:
        raise BadSyntax("the URL has no good section")
    cur = Cursor(b"[" + unquote_to_bytes(text) + b"]")
    found = section(cur)
    cur.end()
    return found


def _partial(text: str) -> Partial:
    """partial-range = number ["." nz-number] — RFC 5092 11. Without a length all that follows is meant."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise BadSyntax("the URL has no good range of octets")
    origin, length = int(found[1]), int(found[2] or MAX_NUMBER64)
    if max(origin, length) > MAX_NUMBER64:
        raise BadSyntax("the URL has a wrong number")
    return Partial(origin, length)


def _authorization(text: str, values: dict[str, str]) -> Authorization | None:
    """[expire] ";URLAUTH=" access [":" uauth-mechanism ":" enc-urlauth] — RFC 5092 11."""
    if "URLAUTH" not in values:
        if "EXPIRE" in values:
            raise BadSyntax("the URL expires and has no authorization")
        return None
    found = _URLAUTH.fullmatch(values["URLAUTH"])
    if found is None or (found["userid"] is not None) != (found["access"].lower() in ("submit", "user")):
        raise BadSyntax("the URL has no good access identifier")
    return Authorization(
        access=Access(found["access"].lower()),
        userid=_decoded(found["userid"] or ""),
        expires=_date_time(values["EXPIRE"]) if "EXPIRE" in values else None,
        rump=text.removesuffix(found["verifier"] or ""),
        mechanism=(found["mechanism"] or "").upper(),
        token=found["token"] or "",
    )


def _date_time(text: str) -> float:
    """date-time of RFC 3339 5.6, as seconds since 1970; a leap second counts as the one before it."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        raise BadSyntax("the URL has no good date of expiry")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    offset = timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
    try:
        zone = timezone(-offset if found[7] == "-" else offset)
        return datetime(year, month, day, hour, minute, 59 if second == 60 else second, tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        raise BadSyntax("the URL has no good date of expiry") from None


def shown(octets: bytes) -> str:
    """A URL as it can stand in a response code: url-resp-text of RFC 4469 5; for an empty one quotes."""
    fit = [
        chr(octet) if 0x20 <= octet < 0x7F and octet not in b"\\]" else f"%{octet:02X}" for octet in octets[:LONGEST]
    ]
    return "".join(fit) or '""'
