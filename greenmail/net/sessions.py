"""Sessions of a worker as an administrator sees them."""

import fnmatch
import ipaddress
import time
from collections.abc import Iterable, Sequence
from typing import Any

from greenmail.net.stream import Stream

_LONGEST = 200  # characters of a name


def described(stream: Stream, now: float) -> dict[str, Any]:
    """One line of `who`."""
    session = stream.session
    found: dict[str, Any] = {
        "id": session.sid if session is not None else "",
        "user": _user(stream),
        "address": stream.peer,
        "port": stream.peer_port,
        "protocol": stream.protocol,
        "tls": stream.tls_version,
        "compressed": stream.compressed,
        "mailbox": "",
        "state": "connecting",
        "command": "",
        "since": stream.since,
        "idle": max(0.0, now - stream.since),
        "received": stream.received,
        "sent": stream.sent,
        "commands": 0,
        "seconds": 0.0,
        "computed": 0.0,
    }
    if session is None:
        return found
    transcript = session.transcript
    found["mailbox"] = _mailbox(session)
    found["state"] = _state(stream)
    found["command"] = transcript.running or transcript.last
    if transcript.began:
        found["idle"] = transcript.idle(now)
    found["commands"] = transcript.commands
    found["seconds"] = transcript.seconds
    found["computed"] = transcript.computed
    if session.user is not None and session.user.master:
        found["master"] = session.user.master[:_LONGEST]
    return found


def _user(stream: Stream) -> str:
    user = stream.session.user if stream.session is not None else None
    return user.name[:_LONGEST] if user is not None else ""


def _mailbox(session: Any) -> str:
    view = getattr(session, "view", None)  # a POP3 session has a maildrop, which is INBOX
    if view is not None:
        return str(view.name)[:_LONGEST]
    return "INBOX" if getattr(session, "maildrop", None) is not None else ""


def _state(stream: Stream) -> str:
    """ "login", "idle" (IDLE or NOTIFY wait for news), "busy" (a command is carried out), or "ready"."""
    session = stream.session
    if session.transcript.running == "IDLE":
        return "idle"
    if session.transcript.running:
        return "busy"
    if session.user is None:
        return "login"
    return "idle" if getattr(session, "listening", None) is not None else "ready"


def matching(streams: Iterable[Stream], words: Sequence[str]) -> list[Stream]:
    """Those that one of `words` names: by session id, user (`*` and `?` as in a shell), address or network.

    All of them, if there are no words.
    """
    tests = [(word, _network(word)) for word in words]
    return [stream for stream in streams if not tests or any(_fits(stream, *test) for test in tests)]


def _network(word: str) -> Any:
    try:
        return ipaddress.ip_network(word, strict=False)
    except ValueError:
        return None


def _fits(stream: Stream, word: str, network: Any) -> bool:
    if network is not None and ipaddress.ip_address(stream.peer.partition("%")[0]) in network:
        return True
    if stream.session is not None and stream.session.sid == word:
        return True
    user = _user(stream)
    return bool(user) and fnmatch.fnmatchcase(user, word)


def explained(stream: Stream) -> dict[str, Any]:
    """The answer of `explain`: the session, and its last commands."""
    session = stream.session
    steps = [
        {
            "began": step.began,
            "seconds": round(step.seconds, 6),
            "computed": round(max(0.0, step.computed), 6),
            "received": step.received,
            "sent": step.sent,
            "command": step.text,
            "answer": step.answer,
        }
        for step in session.transcript.steps()
    ]
    return {**described(stream, time.time()), "steps": steps}
