"""The tables of features: what is advertised is there, and each thing has one owner."""

import re
from types import SimpleNamespace

import pytest
from harness.engine import Engine, memory_backend
from harness.green import Scheduler

from greenmail.imap import registry
from greenmail.imap.command import ANY, AUTHENTICATED, NOT_AUTHENTICATED, SELECTED

REV1 = {
    "CAPABILITY", "NOOP", "LOGOUT", "STARTTLS", "AUTHENTICATE", "LOGIN", "SELECT", "EXAMINE", "CREATE", "DELETE",
    "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "LIST", "LSUB", "STATUS", "APPEND", "CHECK", "CLOSE", "EXPUNGE", "SEARCH",
    "FETCH", "STORE", "COPY",
}  # fmt: skip
REV2 = (REV1 - {"LSUB", "CHECK"}) | {"ENABLE", "NAMESPACE", "IDLE", "UNSELECT", "MOVE"}


def test_every_command_of_both_revisions_is_there() -> None:
    """RFC 3501 9 command-any, command-auth, command-nonauth, command-select; RFC 9051 9."""
    assert set(registry.COMMANDS) >= REV1 | REV2


@pytest.mark.parametrize(
    "states, names",
    [
        (ANY, {"CAPABILITY", "LANGUAGE", "NOOP", "LOGOUT", "ID"}),
        (NOT_AUTHENTICATED, {"STARTTLS", "AUTHENTICATE", "LOGIN"}),
        (
            SELECTED,
            {"CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "SEARCH", "SORT", "THREAD", "FETCH", "STORE", "COPY", "MOVE"}
            | {"CANCELUPDATE", "REPLACE", "UIDBATCHES"},
        ),
    ],
)
def test_states(states: frozenset[object], names: set[str]) -> None:
    """RFC 9051 6.1 to 6.4: all others are for those who are logged in, selected or not."""
    assert {name for name, command in registry.COMMANDS.items() if command.states == states} == names
    assert {command.states for command in registry.COMMANDS.values()} == {
        ANY,
        NOT_AUTHENTICATED,
        AUTHENTICATED,
        SELECTED,
    }


def test_uid_forms() -> None:
    """RFC 9051 6.4.9; of ESEARCH it is the text of RFC 7377 2 that has one, not the grammar."""
    with_uid = {name for name, command in registry.COMMANDS.items() if command.uid} - {"ESEARCH"}
    assert with_uid == {"COPY", "MOVE", "FETCH", "STORE", "EXPUNGE", "REPLACE", "SEARCH", "SORT", "THREAD"}


def test_expunge_is_forbidden_where_the_rfc_forbids_it() -> None:
    """RFC 9051 7.5.1."""
    assert {name for name, command in registry.COMMANDS.items() if not command.may_expunge} == {
        "FETCH",
        "STORE",
        "SEARCH",
        "SORT",
        "THREAD",
        "ESEARCH",
    }


def words(engine: Engine, data: bytes, secure: bool) -> set[str]:
    """The words of the CAPABILITY answer behind the commands in `data`."""
    answer = engine.talk(engine.connect(secure), data + b"x CAPABILITY\r\n").decode()
    found = re.findall(r"\* CAPABILITY (.*)\r\n", answer)[-1].split(" ")
    assert len(found) == len(set(found)), "a capability is there twice"
    return set(found)


def test_capabilities_by_state() -> None:
    """RFC 9051 6.1.1, 6.2.1, 6.2.3."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    plain, secure = words(engine, b"", False), words(engine, b"", True)
    upgraded, inside = words(engine, b"s STARTTLS\r\n", True), words(engine, b"l LOGIN alice secret\r\n", True)
    assert plain - inside == {"STARTTLS", "LOGINDISABLED", "SASL-IR"}
    assert secure - inside == {"SASL-IR", "AUTH=PLAIN", "AUTH=LOGIN"}
    assert upgraded == secure
    assert inside >= {
        "IMAP4rev1", "IMAP4rev2", "LITERAL+", "ENABLE", "ID", "IDLE", "UIDPLUS", "MOVE", "UNSELECT", "MULTIAPPEND",
        "NAMESPACE", "CHILDREN", "ESEARCH", "SEARCHRES", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "STATUS=SIZE",
        "CONDSTORE",
    }  # fmt: skip
    assert "LITERAL-" not in inside


@pytest.mark.interpreted
def test_what_is_settled_asks_for_the_settings_alone() -> None:
    """`Capability.settled`: another session has the same answer."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler))
    session = engine.sessions[-1] if engine.login() else None
    assert session is not None
    settled = [item for item in registry.CAPABILITIES.values() if item.settled]
    assert settled
    for account in (None, session.account):
        bare = SimpleNamespace(services=session.services, limits=session.limits, account=account)
        for item in settled:
            if item.when(bare):
                item.words(bare)


@pytest.mark.parametrize("settings", [{}, {"literal_minus": True, "condstore": False}, {"message_limit": 0}], ids=str)
@pytest.mark.parametrize("secure", [False, True])
def test_what_is_joined_once_is_what_each_capability_says(settings: dict[str, object], secure: bool) -> None:
    """RFC 9051 7.2.2."""
    scheduler = Scheduler()
    engine = Engine(scheduler, memory_backend(scheduler), **settings)
    wire = engine.connect(secure)
    scheduler.run()
    for commands in (b"", b"l LOGIN alice secret\r\n", b"e ENABLE IMAP4rev2\r\n", b"u UNAUTHENTICATE\r\n"):
        engine.talk(wire, commands)
        session = engine.sessions[-1]
        said = [item.words(session) for item in registry.CAPABILITIES.values() if item.when(session)]
        assert registry.capabilities(session).decode() == " ".join(word for words in said for word in words)
