"""Mail with UTF-8 in its header, for clients that use UTF8 and for those that do not: RFC 6856, docs/decisions/0014."""

import json

from harness.wire import MemoryWire

from greenmail.auth.api import User
from greenmail.auth.passage import HandOver, Passage
from greenmail.pop3 import serve
from greenmail.pop3.session import Session
from greenmail.runtime import Wire
from greenmail.storage.api import SEEN

from .pop3_host import LOGIN, Host

UTF_8_MAIL = [
    "Subject: grün\r\n\r\nx\r\n".encode(),
    "Subject: plain\r\n\r\ngrün\r\n".encode("latin-1"),
    b"X: " + b"x" * 70_000 + b"\r\nSubject: " + b"y" * 8000 + b"\xfc\r\n\r\nx\r\n",
    b"Subject: no body \xe4",
    b"\r\n\xe4\r\n",
]


def test_mail_with_utf8_in_its_header_is_for_clients_that_use_utf8() -> None:
    """RFC 6856 2.1, 5: where UTF8 is offered; its size is told all the same. An 8bit body was always allowed."""
    host = Host(UTF_8_MAIL, utf8_accept=True)
    wire = host.login()
    for command in (b"RETR %d\r\n", b"TOP %d 0\r\n"):
        answers = [host.talk(wire, command % number)[:11] for number in range(1, 6)]
        assert [answer == b"-ERR [UTF8]" for answer in answers] == [True, False, True, True, False]
        assert [answer[:3] == b"+OK" for answer in answers] == [False, True, False, False, True]
    assert host.talk(wire, b"LIST 1\r\n") == b"+OK 1 %d\r\n" % len(UTF_8_MAIL[0])
    host.talk(wire, b"QUIT\r\n")
    assert [SEEN in host.flags(uid) for uid in host.uids()] == [False, True, False, False, True]
    wire = host.connect()
    host.talk(wire, b"UTF8\r\n" + LOGIN)
    assert host.talk(wire, b"RETR 1\r\n").endswith(b"\r\n" + UTF_8_MAIL[0] + b".\r\n")
    assert host.talk(wire, b"TOP 1 0\r\n").endswith("\r\nSubject: grün\r\n\r\n.\r\n".encode())


def test_mail_is_sent_as_it_is_where_utf8_is_not_offered() -> None:
    host = Host(UTF_8_MAIL)
    wire = host.connect()
    assert b"UTF8" not in host.talk(wire, b"CAPA\r\n")
    assert host.talk(wire, b"UTF8\r\n").startswith(b"-ERR ")
    host.talk(wire, LOGIN)
    assert host.talk(wire, b"RETR 1\r\n").endswith(b"\r\n" + UTF_8_MAIL[0] + b".\r\n")
    assert host.talk(wire, b"TOP 1 0\r\n").endswith("\r\nSubject: grün\r\n\r\n.\r\n".encode())


class Carrying:
    """Carries every session on; where to, the test says."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []

    def must_carry(self, user: User) -> bool:
        return True

    def carry(self, wire: Wire, passage: Passage) -> HandOver:
        self.passages.append(Passage.decode(json.loads(json.dumps(passage.encode()))))
        return HandOver(lambda rest: None)


def test_what_was_said_before_login_goes_along_into_another_process() -> None:
    """UTF8 and LANG are of the session, wherever it goes on: RFC 6856 2.1, 3.2."""
    carrier = Carrying()
    first, second = Host(utf8_accept=True, carrier=carrier), Host(UTF_8_MAIL, utf8_accept=True)
    first.talk(first.connect(), b"UTF8\r\nLANG de\r\n" + LOGIN)
    wire = MemoryWire(second.scheduler, secure=True)
    session = Session(wire, second.services, "s1")
    second.scheduler.spawn(lambda: serve.run(session, carrier.passages[0]))
    second.scheduler.run()
    assert wire.take().startswith(b"+OK ")
    assert second.talk(wire, b"TOP 1 0\r\n").endswith("\r\nSubject: grün\r\n\r\n.\r\n".encode())
    assert second.talk(wire, b"RETR 9\r\n") == b"-ERR Diese Nachricht gibt es nicht, es sind 5\r\n"
