"""Python's IMAP and POP3 libraries, unmodified, over TLS."""

import asyncio
import imaplib
import poplib
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.interop_site import Site

pytestmark = [pytest.mark.interop]


def trusting(cert: Path) -> ssl.SSLContext:
    """A context that trusts our certificate and nothing else."""
    return ssl.create_default_context(cafile=str(cert))


def later(seconds: float, action: Callable[[], Any]) -> threading.Thread:
    thread = threading.Timer(seconds, action)
    thread.start()
    return thread


def test_imaplib_walks_through_a_mailbox(site: Site) -> None:
    with imaplib.IMAP4_SSL("localhost", site.server.imaps, ssl_context=trusting(site.server.cert)) as client:
        client.login("alice", "secret")
        assert client.list()[0] == "OK"
        assert client.select("INBOX") == ("OK", [b"10"])
        assert client.search(None, "SUBJECT", '"message 3"') == ("OK", [b"3"])
        assert client.search(None, "SUBJECT", '"nothing like that"') == ("OK", [b""])
        _, data = client.fetch("3", "(RFC822)")
        assert b"Body of message 3.\r\n.\r\n..dots\r\n" in data[0][1]
        assert client.store("3", "+FLAGS", "\\Seen")[1] == [b"3 (FLAGS (\\Seen \\Recent))"]
        assert client.append("Sent", "\\Seen", None, b"Subject: sent\r\n\r\nhello\r\n")[0] == "OK"
        assert client.copy("1:2", "Archive")[0] == "OK"
        client.store("1:2", "+FLAGS", "\\Deleted")
        assert client.expunge() == ("OK", [b"1", b"1"]) or client.select("INBOX")[1] == [b"8"]
        assert client.status("Archive", "(MESSAGES)")[1] == [b"Archive (MESSAGES 2)"]
        assert client.select("Nonsense")[0] == "NO"


def test_imaplib_starttls_and_refusal_without_it(site: Site) -> None:
    with imaplib.IMAP4("localhost", site.server.imap) as client:
        assert "LOGINDISABLED" in client.capabilities and "AUTH=PLAIN" not in client.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.login("alice", "secret")
        client.starttls(trusting(site.server.cert))
        assert "LOGINDISABLED" not in client.capabilities and "AUTH=PLAIN" in client.capabilities
        assert client.login("alice", "secret")[0] == "OK"


def test_poplib_reads_and_deletes(site: Site) -> None:
    client = poplib.POP3_SSL("localhost", site.server.pop3s, context=trusting(site.server.cert))
    client.user("alice")
    client.pass_("secret")
    count, octets = client.stat()
    assert count == 10
    listed = [int(line.split()[1]) for line in client.list()[1]]
    assert sum(listed) == octets
    _, lines, size = client.retr(4)
    assert b"..dots" in lines and size >= listed[3]
    assert sum(len(line) + 2 for line in lines) == listed[3]
    assert len(set(client.uidl()[1])) == 10
    assert client.top(1, 1)[1][-1] == b"Body of message 1."
    client.dele(1)
    assert client.stat()[0] == 9
    client.quit()
    client = poplib.POP3("localhost", site.server.pop3)
    client.stls(trusting(site.server.cert))
    client.user("alice")
    client.pass_("secret")
    assert client.stat()[0] == 9
    client.quit()


def test_imapclient_does_a_days_work(site: Site) -> None:
    imapclient = pytest.importorskip("imapclient", reason="PyPI: imapclient")
    with imapclient.IMAPClient("localhost", site.server.imaps, ssl_context=trusting(site.server.cert)) as client:
        client.login("alice", "secret")
        names = [name for _, _, name in client.list_folders()]
        assert "Entwürfe" in names and "Archive/2024" in names
        client.create_folder("Projekte/Grün")
        client.subscribe_folder("Projekte/Grün")
        assert "Projekte/Grün" in [name for _, _, name in client.list_sub_folders()]
        client.rename_folder("Projekte/Grün", "Projekte/Blau")
        assert client.folder_exists("Projekte/Blau") and not client.folder_exists("Projekte/Grün")
        assert client.select_folder("INBOX")[b"EXISTS"] == 10
        found = client.search(["SINCE", "01-Jan-2024", "NOT", "SEEN"])
        assert len(found) == 10
        data = client.fetch(found, ["ENVELOPE", "FLAGS", "INTERNALDATE", "BODYSTRUCTURE", "RFC822.SIZE"])
        assert data[found[0]][b"ENVELOPE"].subject == b"message 1"
        client.add_flags(found[:3], ["$Label1", imapclient.SEEN])
        assert b"$Label1" in client.get_flags(found[:1])[found[0]]
        assert client.search(["KEYWORD", "$Label1"]) == found[:3]
        assert client.search(["TEXT", "Body of message 7"], "UTF-8") == [found[6]]
        client.move(found[:2], "Projekte/Blau")
        client.copy(found[2:4], "Projekte/Blau")
        assert client.folder_status("Projekte/Blau", ["MESSAGES"])[b"MESSAGES"] == 4
        client.delete_messages(found[4:6])
        client.expunge()
        assert client.select_folder("INBOX")[b"EXISTS"] == 6
        assert client.multiappend("Sent", [b"Subject: one\r\n\r\n1\r\n", b"Subject: two\r\n\r\n2\r\n"])
        client.delete_folder("Projekte/Blau")
        assert client.namespace().personal[0][1] == "/"
        client.id_({"name": "interop"})


def test_imapclient_with_mod_sequences(site: Site) -> None:
    """CONDSTORE, and QRESYNC by ENABLE: what it takes no notice of does not disturb it."""
    imapclient = pytest.importorskip("imapclient", reason="PyPI: imapclient")
    with imapclient.IMAPClient("localhost", site.server.imaps, ssl_context=trusting(site.server.cert)) as client:
        client.login("alice", "secret")
        assert client.enable("QRESYNC") == [b"QRESYNC"]
        before = client.select_folder("INBOX")[b"HIGHESTMODSEQ"]
        uids = client.search()
        client.add_flags(uids[:2], ["$Label1"])
        changed = client.fetch(uids, ["FLAGS"], [f"CHANGEDSINCE {before}"])
        assert sorted(changed) == uids[:2] and all(item[b"MODSEQ"][0] > before for item in changed.values())
        assert client.search(["MODSEQ", str(before + 1)]).modseq > before
        client.delete_messages(uids[:1])
        said, _ = client.expunge()
        assert b"HIGHESTMODSEQ" in said, said
        assert client.search() == uids[1:]


def test_imapclient_idle_hears_of_new_mail(site: Site) -> None:
    imapclient = pytest.importorskip("imapclient", reason="PyPI: imapclient")
    with imapclient.IMAPClient("localhost", site.server.imaps, ssl_context=trusting(site.server.cert)) as client:
        client.login("alice", "secret")
        client.select_folder("INBOX")
        client.idle()
        later(0.2, lambda: site.deliver(11))
        heard: list[Any] = []
        deadline = time.monotonic() + 10
        while (11, b"EXISTS") not in heard and time.monotonic() < deadline:
            heard += client.idle_check(timeout=1)
        assert (11, b"EXISTS") in heard
        client.idle_done()


def test_imap_tools_reads_marks_and_moves(site: Site) -> None:
    imap_tools = pytest.importorskip("imap_tools", reason="PyPI: imap-tools")
    with imap_tools.MailBox("localhost", site.server.imaps, ssl_context=trusting(site.server.cert)).login(
        "alice", "secret"
    ) as box:
        messages = list(box.fetch(imap_tools.AND(seen=False), mark_seen=False))
        assert [message.subject for message in messages] == [f"message {number}" for number in range(1, 11)]
        box.flag([message.uid for message in messages[:2]], imap_tools.MailMessageFlags.FLAGGED, True)
        box.move([messages[0].uid], "Archive")
        box.append(b"Subject: appended\r\n\r\nhello\r\n", "Archive", flag_set=[imap_tools.MailMessageFlags.SEEN])
        box.folder.set("Archive")
        assert sorted(message.subject for message in box.fetch()) == ["appended", "message 1"]
        assert {folder.name for folder in box.folder.list()} >= {"INBOX", "Archive", "Sent"}


def test_aioimaplib_idles_and_fetches(site: Site) -> None:
    aioimaplib = pytest.importorskip("aioimaplib", reason="PyPI: aioimaplib")

    async def work() -> None:
        client = aioimaplib.IMAP4_SSL("localhost", site.server.imaps, ssl_context=trusting(site.server.cert))
        await client.wait_hello_from_server()
        assert (await client.login("alice", "secret")).result == "OK"
        assert (await client.select("INBOX")).result == "OK"
        idle = await client.idle_start(timeout=20)
        later(0.2, lambda: site.deliver(11))
        pushed = b" ".join(await asyncio.wait_for(client.wait_server_push(), 10))
        assert b"EXISTS" in pushed
        client.idle_done()
        await asyncio.wait_for(idle, 10)
        answer = await client.uid("fetch", "1:*", "(UID FLAGS)")
        assert answer.result == "OK" and len([line for line in answer.lines if b"FETCH (" in line]) == 11
        await client.logout()

    asyncio.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions_that_are_spoken(site: Site, version: ssl.TLSVersion) -> None:
    context = trusting(site.server.cert)
    context.minimum_version = context.maximum_version = version
    with imaplib.IMAP4_SSL("localhost", site.server.imaps, ssl_context=context) as client:
        assert client.sock.version() == version.name.replace("_", ".")
        assert client.login("alice", "secret")[0] == "OK"
    client = poplib.POP3("localhost", site.server.pop3)
    client.stls(context)
    assert client.sock.version() == version.name.replace("_", ".")
    client.quit()


def test_tls_1_1_is_refused(site: Site) -> None:
    context = trusting(site.server.cert)
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL itself would not even ask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    for port in (site.server.imaps, site.server.pop3s):
        refused = pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION")
        with socket.create_connection(("localhost", port), 20) as plain, refused:
            context.wrap_socket(plain, server_hostname="localhost")
