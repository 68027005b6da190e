"""A command, and a feature, as values: what the engine must know to run, enforce and advertise them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from greenmail.imap.cursor import Cursor
from greenmail.imap.response import Completion
from greenmail.imap.session import Session


class State(Enum):
    """RFC 9051 3. Derived from the session, never stored."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"


ANY = frozenset(State)
NOT_AUTHENTICATED = frozenset({State.NOT_AUTHENTICATED})
AUTHENTICATED = frozenset({State.AUTHENTICATED, State.SELECTED})
SELECTED = frozenset({State.SELECTED})


@dataclass(frozen=True, slots=True)
class Command:
    """One command of one RFC section.

    `parse(cursor, uid)` reads what follows the name (a leading SP included) and gives `run` its argument; grammar
    alone, no session and no files. `run(session, argument)` writes untagged data to `session.out` and returns the
    completion; or raises. It never checks the state, never writes a tag, never reports news: `execute` does.
    """

    name: str
    states: frozenset[State]
    parse: Callable[[Cursor, bool], Any]
    run: Callable[[Session, Any], Completion]
    uid: bool = False  # there is a UID form
    uses_seqs: bool = False  # takes or answers message sequence numbers: EXPUNGE may not renumber under it
    may_expunge: bool = True  # EXPUNGE may be sent while the sequence form runs; a UID form always may: RFC 9051 7.5.1
    needs: str = ""  # rights on the selected mailbox without which it is refused, beside `r`: RFC 4314 4
    looks: bool = True  # look at the selected mailbox before it runs, and report news before the tagged OK
    literal: Callable[[Session, Cursor, int], Any] | None = None
    # literal(session, cursor over the text so far behind the name, octets): for a command whose literals are streamed.
    # Gives a `framing.Sink`, or raises Refused or StorageError: then the literal is refused (or drained) and the
    # command answered NO. None: literals are kept in the frame, within `max-command-size`.


@dataclass(frozen=True, slots=True)
class Capability:
    """A word of the CAPABILITY answer, RFC 9051 7.2.2, and when it is true.

    If the word depends on the settings, `render` gives the words that stand for `name`: AUTH=PLAIN AUTH=LOGIN.
    `settled`: both look at the settings alone (`services`, `limits`), and whether somebody is logged in. They are asked
    once then, not with each greeting.
    """

    name: str
    when: Callable[[Session], bool]
    render: Callable[[Session], tuple[str, ...]] | None = None
    settled: bool = False

    def words(self, session: Session) -> tuple[str, ...]:
        return (self.name,) if self.render is None else self.render(session)


def always(session: Session) -> bool:
    return True


def after_login(session: Session) -> bool:
    return session.account is not None


ListRender = Callable[[Session, str], bytes]  # of a mailbox that exists, by its name; nothing if it fails


@dataclass(frozen=True, slots=True)
class Feature:
    """What one module brings into the engine."""

    name: str
    commands: tuple[Command, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    enables: tuple[str, ...] = ()  # arguments of ENABLE that do something, RFC 5161 3.1
    fetch_atts: Mapping[str, Any] = field(default_factory=dict)  # name -> imap.fetch_att.FetchAtt
    search_keys: Mapping[str, Any] = field(default_factory=dict)  # name -> imap.search_key.SearchKey
    status_atts: Mapping[str, Any] = field(default_factory=dict)  # name -> commands.status.StatusAtt
    select_params: Mapping[str, Any] = field(default_factory=dict)  # name -> commands.select.SelectParam
    fetch_modifiers: Mapping[str, Any] = field(default_factory=dict)  # name -> imap.fetch_att.FetchModifier
    search_return_opts: Mapping[str, Any] = field(default_factory=dict)  # name -> imap.esearch.ReturnOpt
    list_return_opts: Mapping[str, Callable[[Cursor], ListRender]] = field(default_factory=dict)
    # name -> reads what follows it, and gives what is written behind the LIST answer of a mailbox that was asked for
