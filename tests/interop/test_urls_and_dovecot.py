"""CATENATE and URLAUTH beside a real Dovecot 2.3: the same commands give the same messages, refusals and parts.

Where Dovecot does otherwise, the RFC says why we do not follow it; each of these cases is here, too.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import dovecot
from support import server as greenmail
from support.interop_site import make_box, need
from support.wire_client import Imap, flat

pytestmark = pytest.mark.interop

HOST = "mail.example.org"
MAIL = (
    b"Subject: one\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\ntext\r\n"
    b"--a\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--a--\r\n"
)
DOVECOT = f"""
imap_urlauth_host = {HOST}
mail_attribute_dict = file:%s/attributes
imap_metadata = yes
service imap-urlauth-login {{
  chroot =
}}
"""
ADDRESS = f"imap://alice@{HOST}/INBOX/;uid=1"


@dataclass
class Both:
    """One client of each server; each of these has a copy of the mail."""

    ours: Imap
    theirs: Imap
    server: greenmail.Server


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with tempfile.TemporaryDirectory(prefix="greenmail-test-", dir="/tmp") as made:
        place = Path(made)
        place.chmod(0o755)
        for user in ("alice", "dovecot"):
            for name in ("", ".Sent"):
                make_box(place / user, name)
        extra = DOVECOT % (place / "dovecot")
        with (
            dovecot.start(place / "d", place / "dovecot", extra=extra) as other,
            greenmail.start(place / "g", str(place / "%u"), workers=1, url_hosts=[HOST], separator="/") as server,
            Imap(server.imaps, tls=True).login() as ours,
            Imap(other.imap).login() as theirs,
        ):
            for client in (ours, theirs):
                client.ok("APPEND INBOX", MAIL)
            yield Both(ours, theirs, server)


def appended(client: Imap, parts: str) -> str:
    """The message that was made; or the code of the refusal."""
    answer, _ = client.command(f"APPEND Sent CATENATE ({parts})")
    found = re.match(rb"OK \[APPENDUID \d+ (\d+)\]", answer)
    if found is None:
        return re.sub(r"(NO \[[^]]*\]|NO|BAD).*", r"\1", answer.decode())
    client.ok("EXAMINE Sent")
    (message,) = client.fetch(f"{int(found[1])} BODY.PEEK[]").values()
    client.ok("UNSELECT")
    return str(message["BODY[]"])


@pytest.mark.parametrize(
    "parts",
    [
        "URL /INBOX/;UID=1",
        "URL /INBOX/;UID=1/;SECTION=HEADER",
        'URL "/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(Subject)"',
        'URL "/INBOX/;UID=1/;SECTION=HEADER.FIELDS.NOT%20(Subject)"',
        "URL /INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=3.20",
        "URL /INBOX/;UID=1/;PARTIAL=9.5",
        "URL /INBOX/;UID=1/;SECTION=2.MIME URL /inbox/;uid=1/;section=2 TEXT {3+}\r\nabc",
        "TEXT {8+}\r\na: b\r\n\r\n URL /INBOX/;UID=1/;SECTION=1 TEXT {0+}\r\n TEXT {2+}\r\nxy",
        # Refused
        "URL /INBOX/;UID=9",
        "URL /Missing/;UID=1",
        "URL /INBOX;UIDVALIDITY=1/;UID=1",
        "URL ;UID=1",
        "URL /INBOX/;UID=1 URL /INBOX/;UID=2/;SECTION=1",
        "URL /INBOX/;UID=0",
        "URL imap://alice@elsewhere.example/INBOX/;UID=1",
        "TEXT {3+}\r\nabc TEXT ~{3+}\r\na\0b",
        "",
        "FILE x",
        "TEXT abc",
    ],
)  # fmt: skip
def test_the_same_message_or_the_same_refusal(parts: str, both: Both) -> None:
    assert appended(both.ours, parts) == appended(both.theirs, parts)


@pytest.mark.parametrize(
    "parts, ours, theirs",
    [
        # RFC 4469 4.1: an invalid body part; Dovecot takes it for an empty one.
        ("URL /INBOX/;UID=1/;SECTION=9", "NO [BADURL /INBOX/;UID=1/;SECTION=9]", ""),
        # RFC 4469 4.1: bad URL syntax; to Dovecot the message is gone then.
        ("URL /INBOX/;UID=1/;SECTION=1.X", "NO [BADURL /INBOX/;UID=1/;SECTION=1.X]", "NO [EXPUNGEISSUED]"),
        # RFC 5092 7.2: implementations must not accept a relative path.
        ("URL INBOX/;UID=1", "NO [BADURL INBOX/;UID=1]", MAIL.decode()),
        # RFC 3502 6.3.11: no message of no octets.
        ("TEXT {0+}\r\n", "NO", ""),
        # RFC 4469 5: 1*TEXT-CHAR
        ('URL ""', 'NO [BADURL ""]', "NO [BADURL ]"),
        # RFC 4469 3 leaves it to others: this server, by its name, and the user.
        (f"URL imap://alice@{HOST}/INBOX/;UID=1", MAIL.decode(), f"NO [BADURL imap://alice@{HOST}/INBOX/;UID=1]"),
        # RFC 3516 4.4: what is binary becomes base64, whose lines end.
        (
            "TEXT ~{41+}\r\nContent-Transfer-Encoding: binary\r\n\r\na\0\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\nYQANCg==\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\nYQANCg==",
        ),
    ],
)
def test_where_dovecot_does_otherwise(parts: str, ours: str, theirs: str, both: Both) -> None:
    assert appended(both.ours, parts) == ours
    assert appended(both.theirs, parts) == theirs


def fetched(client: Imap, access: str, items: str = "", section: str = "/;section=2") -> str:
    """What URLFETCH gives for a URL that was authorized before, without the URL."""
    rump = f"{ADDRESS}{section};urlauth={access}"
    (line,) = client.lines(f'GENURLAUTH "{rump}" INTERNAL')
    url = line.split()[-1].decode().strip('"')
    assert re.fullmatch(re.escape(rump) + ":internal:01[0-9a-f]{40,64}", url)
    found = client.ok(f'URLFETCH ("{url}"{items})' if items else f'URLFETCH "{url}"')
    return flat(found[0]).decode("latin-1").replace(f'"{url}"', url).removeprefix(f"* URLFETCH {url} ")


@pytest.mark.parametrize("access", ["anonymous", "authuser", "user+alice"])
def test_a_part_by_its_url(access: str, both: Both) -> None:
    for items in ("", " BODY", " BINARY", " BODYPARTSTRUCTURE"):
        assert fetched(both.ours, access, items) == fetched(both.theirs, access, items)
    assert fetched(both.ours, "user+nobody") == "NIL"
    assert fetched(both.theirs, "user+nobody") == "AAEC"  # by its owner; RFC 4467 3 limits it to the one user
    assert fetched(both.ours, access, "", "/;section=HEADER") == fetched(both.theirs, access, "", "/;section=HEADER")


def test_more_than_one_item_of_a_part(both: Both) -> None:
    """RFC 5524 3.2, 5: each in its parentheses, and the structure is that of what is given."""
    png = '"image" "png" NIL NIL NIL'
    assert fetched(both.ours, "anonymous", " BINARY BODYPARTSTRUCTURE") == (
        f'(BODYPARTSTRUCTURE ({png} "BINARY" 3 NIL NIL NIL NIL)) (BINARY \0\1\2)'
    )
    assert fetched(both.theirs, "anonymous", " BINARY BODYPARTSTRUCTURE") == (
        f'(BODYPARTSTRUCTURE ({png} "base64" 3 NIL NIL NIL NIL) BINARY \0\1\2)'
    )


@pytest.mark.parametrize(
    "command",
    [
        f'GENURLAUTH "{ADDRESS}" INTERNAL',
        f'GENURLAUTH "imap://{HOST}/INBOX/;uid=1;urlauth=anonymous" INTERNAL',
        f'GENURLAUTH "imap://bob@{HOST}/INBOX/;uid=1;urlauth=anonymous" INTERNAL',
        f'GENURLAUTH "imap://alice@{HOST}/Missing/;uid=1;urlauth=anonymous" INTERNAL',
        'GENURLAUTH "imap://alice@elsewhere.example/INBOX/;uid=1;urlauth=anonymous" INTERNAL',
        f'GENURLAUTH "{ADDRESS};urlauth=anonymous" XSAMPLE',
        "RESETKEY INBOX",
        "RESETKEY INBOX XSAMPLE",
        "RESETKEY Missing",
        "RESETKEY",
        "URLFETCH",
        'URLFETCH "nonsense"',
        f'URLFETCH "{ADDRESS}"',
        f'URLFETCH ("{ADDRESS}" BODY BINARY)',
        f'URLFETCH ("{ADDRESS}" X)',
    ],
)
def test_the_same_answer_to_what_is_wrong(command: str, both: Both) -> None:
    answers = []
    for client in (both.ours, both.theirs):
        answer, untagged = client.command(command)
        answers.append((answer.split()[0], any(flat(parts).endswith(b" NIL") for parts in untagged)))
    assert answers[0] == answers[1]


def test_curl_is_a_client(both: Both) -> None:
    """As the submission server of a small site might do it."""
    curl = need("curl", "curl")
    (line,) = both.ours.lines(f'GENURLAUTH "{ADDRESS}/;section=1;urlauth=user+alice" INTERNAL')
    url = json.loads(line.split()[-1])
    done = subprocess.run(
        [curl, "-sSk", "-u", "alice:secret", f"imaps://127.0.0.1:{both.server.imaps}/", "-X", f'URLFETCH "{url}"'],
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.startswith(f'* URLFETCH "{url}" {{4}}'.encode()), done
