"""Who may log in, by a web service: what it is asked, and what its answers mean."""

import pytest
from support.login_service import serving

from greenmail.auth import remembered
from greenmail.auth.api import Secret
from greenmail.auth.database import Entry, Question, StandIn, Unavailable, Wrong
from greenmail.auth.http_service import HttpService, Settings
from greenmail.net.web import WebClient

QUESTION = Question(Secret("geheím".encode()), "192.0.2.7", "imap", "PLAIN")


@pytest.fixture(scope="module")
def service():
    with serving(lambda question: (200, {"result": "unknown"})) as found:
        yield found


@pytest.fixture
def make(service):
    service.asked.clear()
    service.headers.clear()

    def make_it(answer, **settings):
        service.answer = lambda question: answer
        web = WebClient(5)
        return HttpService(Settings(service.url, **settings), remembered.summary((), 20000), web)

    return make_it


def test_it_is_asked_all_that_is_known(make, service):
    database = make((200, {"result": "ok"}), token=Secret(b"abc"))
    assert database.verify("bob@example.org", QUESTION) == Entry("bob@example.org")
    assert service.asked == [{
        "user": "bob@example.org", "name": "bob", "domain": "example.org", "address": "192.0.2.7", "protocol": "imap",
        "mechanism": "PLAIN", "password": "geheím",
    }]  # fmt: skip
    assert service.headers[0]["Authorization"] == "Bearer abc"
    assert service.headers[0]["Content-Type"] == "application/json"


def test_without_a_token_none_is_sent_and_without_a_password_none_either(make, service):
    assert make((200, {"result": "ok"})).look_up("bob") == Entry("bob")
    assert service.asked == [{"user": "bob", "name": "bob", "domain": ""}]
    assert "Authorization" not in service.headers[0]


@pytest.mark.parametrize(
    "answer, expected",
    [
        ((200, {"result": "ok", "home": "/srv/bob", "uid": 5000, "gid": "5001", "allow_nets": "10.0.0.0/8", "mail": "",
                "extra": {"quota_rule": "*:storage=1G", "n": 3}}),
         Entry("bob", uid=5000, gid=5001, home="/srv/bob", allow_nets=("10.0.0.0/8",),
               extra={"quota_rule": "*:storage=1G", "n": "3"})),
        ((200, {"result": "ok", "user": "another"}), Entry("another")),
        ((200, {"result": "ok", "nologin": True}), Entry("bob", no_login="nologin is set")),
        ((200, {"result": "denied"}), Wrong("denied by the service")),
        ((200, {"result": "denied", "reason": "locked" * 100}), Wrong(("locked" * 100)[:200])),
        ((200, {"result": "denied", "reason": {}}), Wrong("denied by the service")),
        ((200, {"result": "unknown"}), StandIn()),
    ],
)  # fmt: skip
def test_answers(make, answer, expected):
    assert make(answer).verify("bob", QUESTION) == expected


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"result": "yes"}), (200, {}), (200, []), (200, b""), (200, b"[" * 10000), (200, b"\xff"),
        (200, {"result": "ok", "uid": "who"}),
        (200, {"result": "ok", "user": "../x"}), (302, {"result": "ok"}), (401, {"result": "denied"}),
        (404, {"result": "unknown"}), (500, {"result": "ok"}), (200, b" " * (1 << 21)),
    ],
)  # fmt: skip
def test_what_is_no_answer_lets_nobody_in_and_is_nobodys_wrong_password(make, service, answer):
    found = make(answer).verify("bob", QUESTION)
    assert isinstance(found, Unavailable) and "geheím" not in found.text
    assert len(service.asked) == 1  # a redirection is not followed


@pytest.mark.parametrize(
    "said, expected",
    [
        ({"password": "{SCRAM-SHA-256}x"}, Entry("bob", "{SCRAM-SHA-256}x")),
        ({"password": "secret"}, Entry("bob", "{PLAIN}secret")),
        ({}, Unavailable("http://127.0.0.1:PORT/login told no password of user bob", True)),
    ],
)
def test_what_is_stored_is_told_where_no_password_is_sent(make, service, said, expected):
    database = make((200, {"result": "ok", **said}), send_password=False, default_scheme="PLAIN")
    found = database.look_up("bob")
    assert not database.compares and "password" not in service.asked[0]
    if isinstance(expected, Unavailable):
        expected = Unavailable(expected.text.replace("PORT", str(service.port)), True)
    assert found == expected


def test_a_denial_of_a_question_without_a_password_is_no_answer(make):
    assert isinstance(make((200, {"result": "denied"})).look_up("bob"), Unavailable)


def test_a_password_that_is_not_utf8_is_not_sent(make, service):
    assert make((200, {"result": "ok"})).verify("bob", Question(Secret(b"\xff"), "::1", "imap", "PLAIN")) == Wrong(
        "the password is not UTF-8"
    )
    assert service.asked == []


def test_nobody_there_is_no_answer():
    database = HttpService(Settings("http://127.0.0.1:1/"), remembered.summary((), 20000), WebClient(5))
    assert isinstance(database.verify("bob", QUESTION), Unavailable)
