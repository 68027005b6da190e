"""What a user sees by IMAP and POP3 at this machine, as one line of JSON. Usage: mail_state.py USER [IMAPS POP3S]

Run as a program: `own_machine.run` calls it inside.
"""

import contextlib
import functools
import imaplib
import json
import poplib
import re
import ssl
import sys
from typing import Any

PASSWORD = "secret"
_LIST = re.compile(rb'\(([^)]*)\) ("[^"]*"|NIL) (.*)')
_NOT_OF_USE = {"\\HasChildren", "\\HasNoChildren", "\\NoInferiors", "\\UnMarked", "\\Marked", "\\Subscribed"}


@functools.cache
def unverified() -> ssl.SSLContext:
    """Without the certificates of the system, which take long to read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def listed(lines: list[Any]) -> list[tuple[str, str, list[str]]]:
    """(name, separator, attributes that both servers must agree on), sorted."""
    found = []
    for line in lines:
        match = _LIST.match(line) if isinstance(line, bytes) else None
        if match:
            name = match[3].decode().strip('"').replace("\\\\", "\\")
            attributes = sorted(set(match[1].decode().split()) - _NOT_OF_USE)
            found.append((name, match[2].decode(), attributes))
    return sorted(found)


def mailbox(client: imaplib.IMAP4, name: str) -> dict[str, Any]:
    quoted = '"' + name.replace("\\", "\\\\") + '"'
    status, data = client.select(quoted, readonly=True)
    assert status == "OK", (name, data)
    count = int(data[0] or b"0")
    found: dict[str, Any] = {"validity": client.response("UIDVALIDITY")[1], "next": client.response("UIDNEXT")[1]}
    lines = client.uid("FETCH", "1:*", "(UID FLAGS RFC822.SIZE INTERNALDATE)")[1] if count else []
    messages = {}
    for line in lines:
        uid = re.search(rb"UID (\d+)", line)
        flags = re.search(rb"FLAGS \(([^)]*)\)", line)
        size = re.search(rb"RFC822\.SIZE (\d+)", line)
        date = re.search(rb'INTERNALDATE ("[^"]*")', line)
        assert uid and flags and size and date, line
        kept = sorted(set(flags[1].decode().split()) - {"\\Recent"})
        messages[uid[1].decode()] = [
            kept,
            size[1].decode(),
            date[1].decode().replace('"0', '" '),
        ]  # both are date-day-fixed
    found["messages"] = messages
    return json.loads(json.dumps(found, default=str))  # type: ignore[no-any-return]  # a dict comes back


def state(user: str, imaps: int = 993, pop3s: int = 995) -> dict[str, Any]:
    """Folders with their uses, subscriptions, every message of every folder, and the ids of POP3."""
    with imaplib.IMAP4_SSL("127.0.0.1", imaps, ssl_context=unverified(), timeout=30) as client:
        client.login(user, PASSWORD)
        folders = listed(
            client._simple_command("LIST", '""', "*", "RETURN", "(SPECIAL-USE)") and client.response("LIST")[1]
        )
        subscribed = listed(client.lsub()[1])
        names = [name for name, _, attributes in folders if not {"\\Noselect", "\\NonExistent"} & set(attributes)]
        boxes = {name: mailbox(client, name) for name in names}
    ids: list[str] = []
    with contextlib.closing(poplib.POP3_SSL("127.0.0.1", pop3s, context=unverified(), timeout=30)) as pop:
        pop.user(user)
        pop.pass_(PASSWORD)
        ids = [line.decode() for line in pop.uidl()[1]]
    return {"folders": folders, "subscribed": [name for name, *_ in subscribed], "boxes": boxes, "uidl": ids}


if __name__ == "__main__":
    print(json.dumps(state(sys.argv[1], *map(int, sys.argv[2:]))))
