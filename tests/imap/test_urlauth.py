"""`imap.ext.urlauth` between users: who may use which URL, what it is worth then, and what nobody gets to see."""

import logging
import re
from collections.abc import Callable

import pytest
from harness.engine import Backend, Engine, deliver
from harness.green import Scheduler
from harness.wire import MemoryWire
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth.api import User
from greenmail.errors import Reason, StorageError
from greenmail.imap.ext import urlauth
from greenmail.imap.ext.urlauth import token
from greenmail.storage.api import Account, AclAction
from greenmail.storage.memory import MemoryAccount, MemoryStore

HOST = "example.com"
MAIL = b"Subject: one\r\n\r\nSi vis pacem, para bellum.\r\n"
USERS = ("joe", "fred", "submitserver")


class Town:
    """Some users of one server, each with mail of his own."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.store = MemoryStore(now=self.scheduler.clock.now)
        self.locked: set[str] = set()
        self.is_down = False
        backend = Backend(lambda: self.store.open_account("joe"), self.store.open_account("joe"))
        self.engine = Engine(
            self.scheduler,
            backend,
            url_hosts=(HOST,),
            submit_users=("submitserver",),
            open_account=lambda user: self.store.open_account(user.name),
            others=self,
            normalize=str.lower,
        )
        self.engine.users.passwords = dict.fromkeys(USERS, "secret")
        for name in USERS:
            deliver(self.store.open_account(name), "INBOX", [(MAIL.replace(b"one", name.encode()), 0)])

    def find(self, name: str) -> User | None:
        if self.is_down:
            raise StorageError(Reason.UNAVAILABLE, "The user database does not answer; try again later.")
        return User(name) if name in USERS and name not in self.locked else None

    def account(self, user: User) -> Account | None:
        return self.store.open_account(user.name)

    def login(self, name: str) -> MemoryWire:
        wire = self.engine.connect()
        assert b"a OK" in self.engine.talk(wire, f"a LOGIN {name} secret\r\n".encode())
        return wire

    def authorized(self, rump: str, name: str = "joe") -> str:
        """The URL that GENURLAUTH gives."""
        answer = self.engine.talk(self.login(name), f'g GENURLAUTH "{rump}" INTERNAL\r\n'.encode()).decode()
        found = re.match(r'\* GENURLAUTH "([^"]+)"\r\ng OK', answer)
        assert found is not None, answer
        return found[1]

    def fetched(self, url: str, name: str) -> bytes | None:
        """What URLFETCH gives to a user."""
        answer = self.engine.talk(self.login(name), f'u URLFETCH "{url}"\r\n'.encode())
        assert answer.endswith(b"u OK URLFETCH completed\r\n"), answer
        data = answer.removeprefix(f'* URLFETCH "{url}" '.encode())
        if data.startswith(b"NIL\r\n"):
            return None
        size, _, rest = data.removeprefix(b"{").partition(b"}\r\n")
        return rest[: int(size)]


def rump(access: str, user: str = "joe", what: str = "INBOX/;uid=1/;section=TEXT") -> str:
    return f"imap://{user}@{HOST}/{what};urlauth={access}"


@pytest.mark.parametrize(
    "access, who",
    [
        ("anonymous", {"joe", "fred", "submitserver"}),
        ("authuser", {"joe", "fred", "submitserver"}),
        ("user+fred", {"fred"}),
        ("user+FRED", {"fred"}),  # as it is normalized when he logs in
        ("user+joe", {"joe"}),
        ("submit+fred", {"submitserver"}),
        ("submit+joe", {"submitserver"}),
        ("user+nobody", set()),
        ("submit+nobody", set()),
        ("user+no%2Fbody", set()),
    ],
)
def test_who_may_use_a_url(access: str, who: set[str]) -> None:
    """RFC 4467 3."""
    town = Town()
    url = town.authorized(rump(access))
    assert {name for name in USERS if town.fetched(url, name) is not None} == who
    if who:
        assert town.fetched(url, min(who)) == b"Si vis pacem, para bellum.\r\n"


def test_a_url_leads_into_the_mail_of_its_owner() -> None:
    town = Town()
    what = "INBOX/;uid=1/;section=HEADER"
    assert town.fetched(town.authorized(rump("authuser", "joe", what)), "fred") == b"Subject: joe\r\n\r\n"
    assert town.fetched(town.authorized(rump("authuser", "fred", what), "fred"), "joe") == b"Subject: fred\r\n\r\n"


@pytest.mark.parametrize("user", ["fred", "nobody", "Fred"])
def test_nobody_authorizes_for_others(user: str) -> None:
    """RFC 4467 10: whether they are there or not."""
    town = Town()
    answer = town.engine.talk(town.login("joe"), f'g GENURLAUTH "{rump("authuser", user)}" INTERNAL\r\n'.encode())
    assert answer.startswith(b"g BAD The URL is not one of this server and of yourself")


def test_the_keys_are_each_users_own() -> None:
    """RFC 4467 2.2: of two who share a mailbox, one does not revoke what the other one has authorized."""
    town = Town()
    url = town.authorized(rump("authuser"))
    assert b"r OK" in town.engine.talk(town.login("fred"), b"r RESETKEY INBOX\r\ns RESETKEY\r\n")
    assert town.fetched(url, "fred") is not None
    assert b"r OK" in town.engine.talk(town.login("joe"), b"r RESETKEY INBOX\r\n")
    assert town.fetched(url, "fred") is None


def _lock(town: Town) -> None:
    town.locked.add("joe")


def _revoke(town: Town) -> None:
    joes = town.store.open_account("joe")
    assert isinstance(joes, MemoryAccount)
    joes.set_acl("INBOX", "joe", AclAction.REPLACE, frozenset("la"))


def _expunge(town: Town) -> None:
    mailbox = town.store.open_account("joe").open("INBOX")
    mailbox.expunge([1], flagged=False)


@pytest.mark.parametrize("change", [_lock, _revoke, _expunge])
def test_a_url_is_worth_what_its_owner_may_do_now(change: Callable[[Town], None]) -> None:
    """RFC 4467 7, URLFETCH. Who may not log in any more has no access that he could give."""
    town = Town()
    url = town.authorized(rump("authuser"))
    change(town)
    assert town.fetched(url, "fred") is None


def test_what_cannot_be_found_out_now_is_no() -> None:
    """RFC 4467 7, URLFETCH: NO is for what may be better later; so a good URL is not taken for a bad one."""
    town = Town()
    url = town.authorized(rump("authuser"))
    town.is_down = True
    answer = town.engine.talk(town.login("fred"), f'u URLFETCH "{url}"\r\n'.encode())
    assert answer.startswith(b"u NO [UNAVAILABLE] ")
    answer = town.engine.talk(town.login("joe"), f'u GENURLAUTH "{rump("user+fred")}" INTERNAL\r\n'.encode())
    assert answer.startswith(b"u NO [UNAVAILABLE] ")
    assert town.fetched(url, "joe") is not None, "his own mail is open already"


def test_only_some_mailboxes_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of users and mailboxes a command names."""
    monkeypatch.setattr(urlauth, "KEPT_OPEN", 1)
    town = Town()
    urls = []
    for name in (*USERS, *USERS):
        box = f"box{len(urls)}"
        town.store.open_account(name).create(box)
        deliver(town.store.open_account(name), box, [(b"%d\r\n" % len(urls), 0)])
        urls.append(town.authorized(f"imap://{name}@{HOST}/{box}/;uid=1;urlauth=anonymous", name))
    urls += urls[::-1]
    answer = town.engine.talk(town.login("fred"), b"u URLFETCH %b\r\n" % " ".join(urls).encode())
    assert re.findall(rb"\{3\}\r\n(\d)\r\n", answer) == [
        b"%d" % number for number in (0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0)
    ]


@pytest.mark.parametrize("selects", [b"s SELECT INBOX\r\n", b"s EXAMINE INBOX\r\n", b"s RESETKEY INBOX\r\n"])
def test_the_mechanisms_are_told_where_nobody_listens_in(selects: bytes) -> None:
    """RFC 4467 10."""
    for secure, trusted in ((True, False), (False, True), (False, False)):
        town = Town()
        wire = town.login("joe")
        wire.secure, wire.trusted = secure, trusted
        assert (b"[URLMECH INTERNAL]" in town.engine.talk(wire, selects)) == (secure or trusted)


def test_keys_and_tokens_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    town = Town()
    url = town.authorized(rump("authuser"))
    assert town.fetched(url, "fred") and town.fetched(url[:-1] + ("0" if url[-1] != "0" else "1"), "fred") is None
    mailbox = town.store.open_account("joe").open("INBOX")
    key = town.store.open_account("joe").url_keys.get(mailbox.mailbox_id)
    assert key is not None and token(key, rump("authuser")) in url
    assert "urlfetch sid=" in caplog.text and "urlfetch-refused sid=" in caplog.text
    assert key.hex() not in caplog.text and url.rpartition(":")[2] not in caplog.text and repr(key) not in caplog.text


@given(st.binary(min_size=32, max_size=32), st.text(st.characters(min_codepoint=33, max_codepoint=126)), st.data())
def test_another_key_or_another_url_has_another_token(key: bytes, url: str, data: st.DataObject) -> None:
    """At least 128 bits (RFC 4467 2.5), in hexadecimal digits, and which algorithm it is."""
    found = token(key, url)
    assert re.fullmatch("01[0-9a-f]{64}", found)
    assert token(key, url) == found
    assert token(key, url + "x") != found
    place = data.draw(st.integers(0, 31))
    assert token(key[:place] + bytes([key[place] ^ 1]) + key[place + 1 :], url) != found
