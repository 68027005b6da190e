"""SETQUOTA by a master user, and what the user and other programs see of it: RFC 9208 4.1.3."""

import pytest
from support import server as greenmail
from support.server import Server
from support.wire_client import Imap

RULE = "userdb_quota_rule=*:messages=2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> object:
    where = tmp_path_factory.mktemp("site")
    (where / "masters").write_text("admin:{PLAIN}boss\n")
    settings = {"master-passwd-file": str(where / "masters"), "quota-annotations": "1k"}
    passwd = f"alice:{{PLAIN}}secret:::::: {RULE}\n"
    with greenmail.start(where, str(where / "mail/%u"), passwd=passwd, **settings) as running:
        yield running


def words(client: Imap) -> set[str]:
    (line,) = client.lines("CAPABILITY")
    return set(line.decode().split())


def test_a_master_user_sets_what_the_user_may_not(server: Server) -> None:
    with (
        Imap(server.imaps, tls=True).login() as user,
        Imap(server.imaps, tls=True).login('"alice*admin"', "boss") as boss,
    ):
        assert "QUOTASET" not in words(user)
        assert "QUOTASET" in words(boss)
        assert user.command('SETQUOTA "User quota" (MESSAGE 9)')[0].startswith(b"NO [NOPERM]")
        assert user.lines('GETQUOTA "User quota"') == [b'* QUOTA "User quota" (MESSAGE 0 2 ANNOTATION-STORAGE 0 1)']
        assert boss.lines('SETQUOTA "User quota" (STORAGE 100 MAILBOX 3)') == [
            b'* QUOTA "User quota" (STORAGE 0 100 MAILBOX 1 3)'
        ]
        assert user.lines('GETQUOTA "User quota"') == [b'* QUOTA "User quota" (STORAGE 0 100 MAILBOX 1 3)']
        for name in ("one", "two"):
            user.ok(f"CREATE {name}")
        assert user.command("CREATE three")[0].startswith(b"NO [OVERQUOTA]")
    maildir = server.directory / "mail" / "alice"
    assert (maildir / "maildirsize").read_text().splitlines()[0] == "102400S", "as maildrop and Exim read it"
    assert "setquota" in server.logged()
    assert "master='admin'" in server.logged()
