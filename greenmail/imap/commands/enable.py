"""ENABLE, RFC 9051 6.3.1, RFC 5161."""

from greenmail.imap import grammar
from greenmail.imap.command import AUTHENTICATED, Capability, Command, Feature, always
from greenmail.imap.cursor import Cursor
from greenmail.imap.ext import condstore
from greenmail.imap.response import Ok
from greenmail.imap.session import Session

_IMPLIED = {"QRESYNC": condstore.CONDSTORE}  # RFC 7162 3.2.3
_SPELLED = {"IMAP4REV2": "IMAP4rev2"}  # names that are not written in capitals


def parse_enable(cur: Cursor, uid: bool) -> list[str]:
    """enable = "ENABLE" 1*(SP capability) — RFC 9051 9. In upper case."""
    words: list[str] = []
    while not cur.at_end() or not words:
        cur.space()
        words.append(grammar.capability(cur))
    return words


def run_enable(session: Session, words: list[str]) -> Ok:
    """ENABLED names what this command has enabled, and not what was so before; unknown words are ignored."""
    import greenmail.imap.registry as registry  # not at the top: it imports this module

    def can_be_enabled(word: str) -> bool:
        """RFC 5161 3.1: only what the server supports, and that is what CAPABILITY says of this session."""
        offered = registry.CAPABILITIES.get(_SPELLED.get(word, word))
        return word in registry.ENABLES and (offered is None or offered.when(session))

    new = [word for word in dict.fromkeys(words) if can_be_enabled(word) and word not in session.enabled]
    had_condstore = condstore.CONDSTORE in session.enabled
    session.enabled.update(new, filter(None, map(_IMPLIED.get, new)))
    if session.rev2 and session.view is not None:
        session.view.forget_recent()
    session.out.write(b" ".join([b"* ENABLED", *(_SPELLED.get(word, word).encode() for word in new)]) + b"\r\n")
    if not had_condstore and condstore.CONDSTORE in session.enabled:
        condstore.announce(session)
    return Ok("ENABLE completed")


ENABLE = Command("ENABLE", states=AUTHENTICATED, parse=parse_enable, run=run_enable)

FEATURE: Feature = Feature("enable", commands=(ENABLE,), capabilities=(Capability("ENABLE", always),))
