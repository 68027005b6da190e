"""Whether octets are responses by the grammar of RFC 9051 9, to the letter; with what rev1, CONDSTORE and ID add.

A recognizer of its own: it shares nothing with the engine, and gives no values. `responses` raises `Wrong` with the
place. Rules are functions of their ABNF names.
"""

import re
from collections.abc import Callable

from harness.response_messages import bodystructure, message_data
from harness.response_octets import (
    ASTRING_ATOM,
    ATOM,
    FLAG,
    NZ,
    QUOTED,
    SET,
    TAG,
    TEXT,
    Octets,
    astring,
    binary,
    flag_list,
    literal,
    nstring,
    number,
    string,
)

LIST_FLAGS = {
    b"\\Noinferiors", b"\\Subscribed", b"\\Remote", b"\\HasChildren", b"\\HasNoChildren", b"\\NonExistent",
    b"\\Noselect", b"\\Marked", b"\\Unmarked", b"\\All", b"\\Archive", b"\\Drafts", b"\\Flagged", b"\\Junk",
    b"\\Sent", b"\\Trash", b"\\Inbox",
}  # fmt: skip
STATUS_ATTS = {b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"DELETED", b"SIZE", b"RECENT", b"HIGHESTMODSEQ"}


def responses(data: bytes, utf8: bool = False) -> None:
    """*(continue-req / response-data / response-done)"""
    octets = Octets(data, utf8)
    while octets.at < len(data):
        if octets.take(b"+ "):
            octets.match(TEXT, "text")
        elif octets.take(b"* "):
            response_data(octets)
        else:
            octets.match(TAG, "tag")
            octets.expect(b" ")
            resp_cond_state(octets)
        octets.expect(b"\r\n")


def response_data(octets: Octets) -> None:
    if octets.next().isdigit():
        number = octets.match(rb"[0-9]+", "number")
        octets.expect(b" ")
        if not (octets.take(b"EXISTS") or octets.take(b"RECENT")):
            if number.startswith(b"0"):
                raise octets.wrong("nz-number")
            message_data(octets)
        return
    word = octets.match(rb"[A-Z]+", "response name")
    if word in (b"OK", b"NO", b"BAD", b"BYE"):
        octets.at -= len(word)
        resp_cond_state(octets)
    elif word in (b"CAPABILITY", b"ENABLED"):
        words = octets.match(rb"(?: " + ATOM + rb")*", "capability-data")
        if word == b"CAPABILITY" and b"IMAP4rev2" not in words.split():
            raise octets.wrong("IMAP4rev2")
    elif word in (b"SEARCH", b"SORT"):  # RFC 9051 Appendix E, RFC 5256 5: of no message at all, too; RFC 7162 7
        octets.match(rb"(?:(?: " + NZ + rb")+(?: \(MODSEQ " + NZ + rb"\))?)?(?=\r\n)", "search-data or sort-data")
    elif word == b"THREAD":
        thread_data(octets)
    else:
        octets.expect(b" " if word != b"ESEARCH" else b"")
        DATA.get(word, unknown)(octets)


def thread_data(octets: Octets) -> None:
    """thread-data = "THREAD" [SP 1*thread-list] — RFC 5256 5."""
    if octets.take(b" "):
        thread_list(octets)
        while octets.next() == b"(":
            thread_list(octets)


def thread_list(octets: Octets) -> None:
    """ "(" (thread-members / thread-nested) ")"; thread-members = nz-number *(SP nz-number) [SP thread-nested]"""
    octets.expect(b"(")
    members = octets.match(rb"(?:" + NZ + rb"(?: " + NZ + rb")*)?", "thread-members")
    if not members or octets.take(b" "):
        thread_list(octets)  # thread-nested = 2*thread-list
        thread_list(octets)
        while octets.next() == b"(":
            thread_list(octets)
    octets.expect(b")")


def unknown(octets: Octets) -> None:
    raise octets.wrong("known response")


def resp_cond_state(octets: Octets) -> None:
    octets.match(rb"(?:OK|NO|BAD|BYE) ", "resp-cond-state")
    if octets.next() == b"[":
        code = octets.match(rb"\[[^\x00\r\n\]]*\] ", "resp-text-code")[1:-2]
        resp_text_code(octets, code)
    text = octets.match(TEXT, "text")
    if octets.utf8:
        text.decode("utf-8")
    elif not text.isascii():
        raise octets.wrong("US-ASCII text")


def resp_text_code(octets: Octets, code: bytes) -> None:
    name = code.split(b" ")[0]
    wanted = {
        b"PERMANENTFLAGS": rb" \((?:(?:" + FLAG + rb"|\\\*)(?: (?:" + FLAG + rb"|\\\*))*)?\)",
        b"UIDNEXT": b" " + NZ,
        b"UIDVALIDITY": b" " + NZ,
        b"UNSEEN": b" " + NZ,
        b"HIGHESTMODSEQ": b" " + NZ,
        b"MODIFIED": b" " + SET,
        b"MAILBOXID": rb" \([A-Za-z0-9_-]{1,255}\)",  # RFC 8474 7
        b"APPENDUID": b" " + NZ + b" " + SET,
        b"COPYUID": b" " + NZ + b" " + SET + b" " + SET,
        b"BADURL": rb" [ -\[^-~]+",  # RFC 4469 5
        b"URLMECH": b" INTERNAL",  # RFC 4467 9
        b"BADEVENT": rb" \([A-Za-z]+(?: [A-Za-z]+)*\)",  # RFC 5465 8
        b"METADATA": rb" (?:LONGENTRIES [0-9]+|MAXSIZE [0-9]+|TOOMANY|NOPRIVATE)",
        b"CAPABILITY": rb"(?: " + ATOM + rb")+",
        b"UNDEFINED-FILTER": b" " + ATOM,
        b"INPROGRESS": rb'(?: \((?:NIL|"' + TAG + rb'") (?:NIL NIL|[0-9]+ (?:NIL|' + NZ + rb"))\))?",  # RFC 9585 5
        b"MESSAGELIMIT": b" " + NZ + b"(?: " + NZ + b")?",  # RFC 9738 5
        b"NOUPDATE": rb' "' + TAG + rb'"',
        b"BADCHARSET": rb"(?: \(" + ATOM + rb"(?: " + ATOM + rb")*\))?",
    }.get(name, rb"")
    if re.fullmatch(re.escape(name) + wanted, code) is None or re.fullmatch(ATOM, name) is None:
        raise octets.wrong(f"resp-text-code {code!r}")


def mailbox_list(octets: Octets) -> None:
    flags = octets.match(rb"\((?:\\[A-Za-z]+(?: \\[A-Za-z]+)*)?\)", "mbx-list-flags")[1:-1].split()
    if set(flags) - LIST_FLAGS or len(flags) != len(set(flags)):
        raise octets.wrong(f"attributes {flags!r}")
    if {b"\\HasChildren", b"\\HasNoChildren"} <= set(flags) or {b"\\Noselect", b"\\NonExistent"} <= set(flags):
        raise octets.wrong(f"attributes beside each other {flags!r}")
    octets.match(rb' (?:"(?:[^\x00\r\n"\\]|\\["\\])"|NIL) ', "hierarchy separator")
    astring(octets)
    if octets.take(b" "):
        octets.some(list_extended_item, least=0)


def list_extended_item(octets: Octets) -> None:
    tag = octets.match(rb'"(?:CHILDINFO|OLDNAME)"', "mbox-list-extended-item-tag")
    octets.expect(b" ")
    octets.some(string if tag == b'"CHILDINFO"' else astring)


def status(octets: Octets) -> None:
    astring(octets)
    octets.expect(b" ")
    octets.some(status_att_val, least=0)


def status_att_val(octets: Octets) -> None:
    name = octets.match(rb"[A-Z]+", "status-att")
    if name not in STATUS_ATTS:
        raise octets.wrong("known status-att")
    octets.expect(b" ")
    number(octets)


def esearch(octets: Octets) -> None:
    octets.match(
        rb'(?: \(TAG (?:"'
        + TAG
        + rb'"|'
        + ASTRING_ATOM
        + rb")(?: MAILBOX (?:"
        + QUOTED
        + rb"|"
        + ASTRING_ATOM
        + rb") UIDVALIDITY "
        + NZ
        + rb")?\))?(?: UID)?",
        "search-correlator",
    )  # RFC 7377 4
    octets.match(
        rb"(?: MIN "
        + NZ
        + rb")?(?: MAX "
        + NZ
        + rb")?(?: ALL "
        + SET
        + rb")?(?: COUNT [0-9]+)?(?: PARTIAL \((?:[0-9]+:[0-9]+|-[0-9]+:-[0-9]+) (?:NIL|"
        + SET
        + rb")\))?(?: RELEVANCY \((?:[0-9]{1,3}(?: [0-9]{1,3})*)?\))?(?: MODSEQ "
        + NZ
        + rb")?(?: (?:ADDTO|REMOVEFROM) \((?:[0-9]+ "
        + SET
        + rb" ?)+(?<=[0-9])\))*",
        "search-return-data",
    )


def uid_batches(octets: Octets) -> None:
    """search-correlator [SP uid-range *("," uid-range)]. RFC 10022 4."""
    uid_range = NZ + rb":" + NZ
    octets.match(
        rb'\(TAG (?:"' + TAG + rb'"|' + ASTRING_ATOM + rb")\)(?: " + uid_range + rb"(?:," + uid_range + rb")*)?",
        "uidbatches-response",
    )


def jmap_access(octets: Octets) -> None:
    octets.match(QUOTED, "resp-jmapaccess")


def namespace(octets: Octets) -> None:
    for end in (b" ", b" ", b""):
        octets.match(rb"(?:NIL|\((?:\(" + QUOTED + rb' (?:"[^\x00\r\n]{1,2}"|NIL)\))+\))', "namespace") + end
        octets.expect(end)


def id_response(octets: Octets) -> None:
    if not octets.take(b"NIL"):
        octets.some(nstring)


def metadata(octets: Octets) -> None:
    """mailbox SP (entry-values / entry-list), of which the second tells that something changed. RFC 5464 5."""
    astring(octets)
    octets.expect(b" ")
    if octets.next() == b"(":
        octets.some(entry_value)
        return
    astring(octets)
    while octets.take(b" "):
        astring(octets)


def entry_value(octets: Octets) -> None:
    astring(octets)
    octets.expect(b" ")
    if octets.next() == b"~":
        literal(octets, rb"~\{")
    else:
        nstring(octets)


def quota(octets: Octets) -> None:
    """quota-response, RFC 9208 7; the list may be empty, RFC 9208 4.2.1."""
    astring(octets)
    octets.expect(b" ")
    octets.some(quota_resource, least=0)


def quota_resource(octets: Octets) -> None:
    octets.match(ATOM, "resource-name")
    for _ in range(2):
        octets.expect(b" ")
        number(octets)


def quota_root(octets: Octets) -> None:
    """mailbox *(SP quota-root-name), RFC 9208 7."""
    astring(octets)
    while octets.take(b" "):
        astring(octets)


def vanished(octets: Octets) -> None:
    """expunged-resp, RFC 7162 7."""
    octets.match(rb"(?:\(EARLIER\) )?" + SET, "expunged-resp")


def gen_url_auth(octets: Octets) -> None:
    """genurlauth-data — RFC 4467 9."""
    string(octets)
    while octets.take(b" "):
        string(octets)


def url_fetch(octets: Octets) -> None:
    """urlfetch-data — RFC 4467 9, RFC 5524 5; for one URL."""
    string(octets)
    octets.expect(b" ")
    if octets.next() != b"(":
        return nstring(octets)
    while True:
        octets.expect(b"(")
        item = octets.match(rb"BODYPARTSTRUCTURE|BODY|BINARY", "url-metadata-el")
        octets.expect(b" ")
        if item == b"BODYPARTSTRUCTURE":
            bodystructure(octets)
        else:
            (binary if item == b"BINARY" else nstring)(octets)
        octets.expect(b")")
        if not octets.take(b" "):
            return None


def acl(octets: Octets) -> None:
    """acl-data = "ACL" SP mailbox *(SP identifier SP rights) — RFC 4314 6."""
    astring(octets)
    while octets.take(b" "):
        astring(octets)
        octets.expect(b" ")
        astring(octets)


def list_rights(octets: Octets) -> None:
    """listrights-data = "LISTRIGHTS" SP mailbox SP identifier SP rights *(SP rights) — RFC 4314 6."""
    astring(octets)
    for _ in range(2):
        octets.expect(b" ")
        astring(octets)
    while octets.take(b" "):
        astring(octets)


def my_rights(octets: Octets) -> None:
    """myrights-data = "MYRIGHTS" SP mailbox SP rights — RFC 4314 6."""
    astring(octets)
    octets.expect(b" ")
    astring(octets)


def language(octets: Octets) -> None:
    """language-data = "LANGUAGE" SP "(" lang-tag-quoted *(SP lang-tag-quoted) ")" — RFC 5255 6."""
    octets.some(astring)


def comparator(octets: Octets) -> None:
    """comparator-data = "COMPARATOR" SP comp-sel-quoted [SP "(" comp-id-quoted *(SP ...) ")"] — RFC 5255 6."""
    astring(octets)
    if octets.take(b" "):
        octets.some(astring)


DATA: dict[bytes, Callable[[Octets], None]] = {
    b"LIST": mailbox_list,
    b"LSUB": mailbox_list,
    b"XLIST": mailbox_list,
    b"STATUS": status,
    b"ESEARCH": esearch,
    b"UIDBATCHES": uid_batches,
    b"JMAPACCESS": jmap_access,
    b"NAMESPACE": namespace,
    b"ID": id_response,
    b"FLAGS": flag_list,
    b"METADATA": metadata,
    b"VANISHED": vanished,
    b"QUOTA": quota,
    b"QUOTAROOT": quota_root,
    b"GENURLAUTH": gen_url_auth,
    b"URLFETCH": url_fetch,
    b"ACL": acl,
    b"LISTRIGHTS": list_rights,
    b"MYRIGHTS": my_rights,
    b"LANGUAGE": language,
    b"COMPARATOR": comparator,
}
