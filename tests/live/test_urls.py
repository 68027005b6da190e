"""CATENATE and URLAUTH over sockets, with two workers and several users: any worker serves the URLs of any user."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import server as greenmail
from support.interop_site import make_box
from support.server import Server
from support.wire_client import Imap, flat

HOST = "mail.example.org"
PASSWD = "".join(f"{user}:{{PLAIN}}secret\n" for user in ("joe", "fred", "submit", "gone", "new", "quiet"))
BODY = b"Si vis pacem, para bellum.\r\n"
MAIL = b"Subject: one\r\nContent-Type: text/plain\r\n\r\n" + BODY


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("urls")
    for user in ("joe", "fred", "submit", "gone", "quiet"):
        make_box(place / user / "Maildir", "")
        make_box(place / user / "Maildir", ".Sent")
    denied = place / "denied"
    denied.write_text("")
    with greenmail.start(
        place / "run",
        str(place / "%u" / "Maildir"),
        PASSWD,
        url_hosts=[HOST],
        submit_users=["submit"],
        deny_file=str(denied),
        log_level="debug",
        namespaces=[
            {"type": "private", "inbox": True},
            {"type": "shared", "prefix": "shared/%u/", "separator": "/"},
        ],
    ) as server:
        yield server


def login(server: Server, user: str) -> Imap:
    return Imap(server.imaps, tls=True).login(user)


def authorized(client: Imap, rump: str) -> str:
    (line,) = client.lines(f'GENURLAUTH "{rump}" INTERNAL')
    found = re.fullmatch(rb'\* GENURLAUTH "([^"]+)"', line)
    assert found is not None, line
    return found[1].decode()


def fetched(server: Server, user: str, url: str) -> set[bytes | None]:
    """What URLFETCH gives on some connections, which are in one worker or the other."""
    found = set()
    for _ in range(2):
        with login(server, user) as client:
            (parts,) = client.ok(f'URLFETCH "{url}"')
            assert flat(parts).startswith(b'* URLFETCH "%b" ' % url.encode())
            octets = [part[1] for part in parts if isinstance(part, tuple)]
            found.add(octets[0] if octets else None)
            assert octets or flat(parts).endswith(b" NIL")
    return found


def put(server: Server, user: str, mailbox: str = "INBOX", mail: bytes = MAIL) -> int:
    with login(server, user) as client:
        client.ok(f"APPEND {mailbox}", mail)
        found = re.search(rb"APPENDUID \d+ (\d+)", client.answer)
        assert found is not None, client.answer
        return int(found[1])


def test_a_url_of_one_user_is_fetched_by_another(town: Server) -> None:
    uid = put(town, "joe")
    with login(town, "joe") as client:
        assert b" URLAUTH URLAUTH=BINARY " in b" ".join(client.lines("CAPABILITY")) + b" "
        for access, who in (
            ("user+fred", "fred"),
            ("submit+fred", "submit"),
            ("authuser", "gone"),
            ("anonymous", "fred"),
        ):
            url = authorized(client, f"imap://joe@{HOST}/INBOX/;uid={uid}/;section=TEXT;urlauth={access}")
            assert fetched(town, who, url) == {BODY}
        url = authorized(client, f"imap://joe@{HOST}/INBOX/;uid={uid};urlauth=user+fred")
        assert fetched(town, "submit", url) == {None}
        client.ok("RESETKEY INBOX")
        assert fetched(town, "fred", url) == {None}


def test_keys_and_tokens_stay_where_they_are(town: Server) -> None:
    """The file is its owner's, and no log has any of it, not even with everything that clients say."""
    uid = put(town, "fred")
    with login(town, "fred") as client:
        url = authorized(client, f"imap://fred@{HOST}/INBOX/;uid={uid};urlauth=authuser")
    assert fetched(town, "joe", url) == {MAIL}
    maildir = town.directory.parent / "fred" / "Maildir"
    path = maildir / "greenmail-data" / "url-keys"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_text().split()[2]
    assert re.fullmatch("[0-9a-f]{64}", key)
    logged = town.logged()
    assert "urlfetch sid=" in logged and key not in logged and url.rpartition(":")[2] not in logged


def test_who_may_not_log_in_any_more_has_authorized_nothing(town: Server) -> None:
    uid = put(town, "gone")
    with login(town, "gone") as client:
        url = authorized(client, f"imap://gone@{HOST}/INBOX/;uid={uid};urlauth=authuser")
    assert fetched(town, "joe", url) == {MAIL}
    denied = Path(town.settings["deny-file"])
    denied.write_text("gone\n")
    try:
        assert fetched(town, "joe", url) == {None}
    finally:
        denied.write_text("")


def test_asking_for_a_url_makes_nothing(town: Server) -> None:
    """Of users who are not there, of one who has no mail yet, and of one who has authorized nothing."""
    for user in ("nobody", "new", "quiet", "..%2Fjoe", "."):
        url = f"imap://{user}@{HOST}/INBOX/;uid=1;urlauth=anonymous:internal:{'0' * 66}"
        assert fetched(town, "joe", url) == {None}
    assert not (town.directory.parent / "new").exists()
    assert not (town.directory.parent / "nobody").exists()
    assert sorted(path.name for path in (town.directory.parent / "quiet/Maildir").iterdir()) == [
        ".Sent",
        "cur",
        "new",
        "tmp",
    ]


def test_a_shared_mailbox_is_authorized_by_who_may_read_it(town: Server) -> None:
    """RFC 4467 7, URLFETCH: with the rights that the user in the URL has at that time, in his own namespace."""
    uid = put(town, "joe", "Sent")
    with login(town, "joe") as owner, login(town, "fred") as client:
        owner.ok("SETACL Sent fred lr")
        url = authorized(client, f"imap://fred@{HOST}/shared/joe/Sent/;uid={uid};urlauth=user+submit")
        assert fetched(town, "submit", url) == {MAIL}
        owner.ok("RESETKEY Sent")  # joe's key, not fred's
        assert fetched(town, "submit", url) == {MAIL}
        owner.ok("DELETEACL Sent fred")
        assert fetched(town, "submit", url) == {None}
        owner.ok("SETACL Sent fred lr")
        # And CATENATE takes from there.
        client.ok(
            f"APPEND Sent CATENATE (URL /shared/joe/Sent/;UID={uid}/;SECTION=HEADER URL /shared/joe/Sent/;UID={uid})"
        )
        client.ok("SELECT Sent")
        (found,) = client.fetch("* (BODY.PEEK[])").values()
        assert found["BODY[]"].encode() == MAIL[: -len(BODY)] + MAIL
        owner.ok("DELETEACL Sent fred")
        answer, _ = client.command(f"APPEND Sent CATENATE (URL /shared/joe/Sent/;UID={uid})")
        assert answer.startswith(b"NO [BADURL /shared/joe/Sent/;UID=")
