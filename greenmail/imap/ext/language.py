"""LANGUAGE, RFC 5255 3: the language of what is said to people, and of the prefixes of namespaces.

language-cmd      = "LANGUAGE" *(SP lang-range-quoted)
language-data     = "LANGUAGE" SP "(" lang-tag-quoted *(SP lang-tag-quoted) ")"
namespace-trans   = SP DQUOTE "TRANSLATION" DQUOTE SP "(" string ")"

Until a client asks, everything is in i-default: English, and US-ASCII. The texts are in `greenmail.language`.
"""

from greenmail.errors import Refused
from greenmail.imap import grammar, serialize
from greenmail.imap.command import ANY, Capability, Command, Feature, always
from greenmail.imap.commands.namespace import namespace_response
from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Ok
from greenmail.imap.session import Session
from greenmail.language import choice

_MOST = 100  # ranges in one command
_LONGEST = 200  # characters of one


def parse_language(cur: Cursor, uid: bool) -> tuple[str, ...]:
    """language-cmd — RFC 5255 3.5."""
    found: list[str] = []
    while cur.take(b" "):
        start = cur.pos
        wanted = grammar.astring(cur).decode("latin-1")
        if len(wanted) > _LONGEST or not choice.is_range(wanted):
            cur.pos = start
            raise cur.wrong("expected a language")
        found.append(wanted)
        if len(found) > _MOST:
            raise cur.wrong("too many languages")
    return tuple(found)


def run_language(session: Session, ranges: tuple[str, ...]) -> Ok:
    """RFC 5255 3.2: list the languages, or speak the first that is meant and known, from this response on."""
    if not ranges:
        session.out.write(_response(*choice.TAGS))
        return Ok("Supported languages have been enumerated")
    tag = choice.chosen(ranges, session.services.preferred_language)
    if tag is None:
        raise Refused("this language is not spoken here")
    session.out.language = tag
    session.out.write(_response(tag))
    if session.account is not None:
        session.out.write(namespace_response(session))
    return Ok("Now speaking English" if tag in (choice.DEFAULT, choice.ENGLISH) else "Now speaking this language")


def _response(*tags: str) -> bytes:
    """language-data — RFC 5255 3.3."""
    return b"* LANGUAGE %b\r\n" % serialize.parenthesized([serialize.astring(tag.encode("ascii")) for tag in tags])


LANGUAGE = Command("LANGUAGE", states=ANY, parse=parse_language, run=run_language, looks=False)

FEATURE: Feature = Feature("language", commands=(LANGUAGE,), capabilities=(Capability("LANGUAGE", always),))
