"""`type: pam`: Linux-PAM, by pamela's bindings: the modules of a service say whether the password is right (auth), and
whether the account may be used (account).

`answer` does that, in a process of its own for each question: modules may want to be root, to wait, to fork, and to
keep what they like. What it is given and gives back is JSON, so that the worker that asks can be another user.

PAM does not say whether there is such a user: after a refusal the next database is asked.
"""

import ctypes
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenmail.auth import scram_keys
from greenmail.auth.database import Entry, Found, Listed, Question, Unavailable, Unlisted, Verdict, Wrong

Ask = Callable[[dict[str, Any]], dict[str, Any]]

# /usr/include/security/_pam_types.h
_SUCCESS, _RHOST, _FAIL_DELAY = 0, 4, 10
_SILENT_NO_NULL = 0x8000 | 0x0001  # PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK
# Not "wrong" but "cannot say": something is missing or broken.
_BROKEN = frozenset({1, 2, 3, 4, 5, 9, 19, 20, 26, 28, 29})
_DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")


def missing(directory: str, services: Sequence[str]) -> str:
    """What is not there that is needed; empty: nothing."""
    try:
        importlib.import_module("pamela")
    except (ImportError, OSError, TypeError, AttributeError):  # the library itself may not be there
        return "needs libpam and the Python package pamela: pip install 'greenmail[pam]'"
    places = (directory,) if directory else _DIRECTORIES
    for service in services:
        if not any(os.path.exists(os.path.join(place, service)) for place in places):
            return f"has no file {os.path.join(places[0], service)}, which says what to ask"
    return ""


@dataclass(frozen=True, slots=True)
class Pam:
    """Satisfies `remembered.Backend`."""

    service: str  # empty: the protocol
    directory: str  # empty: the system's
    timeout: float
    ask: Ask

    label = "pam"
    compares = True
    summary = scram_keys.NOTHING

    def look_up(self, name: str) -> Found:
        """It cannot say."""
        return Entry(name, is_certain=False)

    def everybody(self) -> Listed:
        """Nobody is told."""
        return Unlisted("pam compares passwords and tells of nobody", are_placed=True)

    def verify(self, name: str, question: Question) -> Verdict:
        """By both phases."""
        try:
            password = question.password.reveal().decode("utf-8")
        except UnicodeDecodeError:
            return Wrong("the password is not UTF-8", goes_on=True)
        said = self.ask(
            {
                "service": self.service or question.protocol,
                "directory": self.directory,
                "user": name,
                "password": password,
                "address": question.address,
                "timeout": self.timeout,
            }
        )
        text = str(said.get("text", ""))
        match said.get("result"):
            case "right":
                return Entry(name, is_certain=True)
            case "closed":
                return Entry(name, no_login=f"pam: {text}")
            case "wrong":
                return Wrong(f"pam: {text}", goes_on=True)
            case _:
                return Unavailable(f"pam: {text or 'no answer'}")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What PAM says. In a process that ends after it."""
    # Here and not above: it is an optional part, which `missing` has looked for.
    pamela: Any = importlib.import_module("pamela")
    service, user = request["service"].encode(), request["user"].encode()
    converse = pamela.new_simple_password_conv([request["password"].encode()], "utf-8")
    handle, conversation = pamela.PamHandle(), pamela.PamConv(converse, 0)
    code = _start(pamela, service, user, conversation, request["directory"], handle)
    if code != _SUCCESS:
        return {"result": "broken", "text": f"service {request['service']} cannot be started (code {code})"}
    try:
        pamela.PAM_SET_ITEM(handle, _RHOST, request["address"].encode())
        pamela.PAM_SET_ITEM(handle, _FAIL_DELAY, ctypes.cast(_no_delay, ctypes.c_char_p))
        code = pamela.PAM_AUTHENTICATE(handle, _SILENT_NO_NULL)
        if code != _SUCCESS:
            return {"result": "broken" if code in _BROKEN else "wrong", "text": _text(pamela, handle, code)}
        code = pamela.PAM_ACCT_MGMT(handle, _SILENT_NO_NULL)
        if code != _SUCCESS:
            return {"result": "broken" if code in _BROKEN else "closed", "text": _text(pamela, handle, code)}
        return {"result": "right"}
    finally:
        pamela.PAM_END(handle, code)


def _start(pamela: Any, service: bytes, user: bytes, conversation: Any, directory: str, handle: Any) -> int:
    if not directory:
        return int(pamela.PAM_START(service, user, ctypes.byref(conversation), ctypes.byref(handle)))
    start = pamela.LIBPAM.pam_start_confdir  # Linux-PAM 1.4
    start.restype = ctypes.c_int
    return int(start(service, user, ctypes.byref(conversation), directory.encode(), ctypes.byref(handle)))


def _text(pamela: Any, handle: Any, code: int) -> str:
    return f"{pamela.pam_strerror(handle, code)} (code {code})"


def _nothing(status: int, microseconds: int, data: object) -> None:
    """The server has its own patience, in which no process waits."""


_no_delay = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(_nothing)
