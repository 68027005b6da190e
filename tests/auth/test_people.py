"""One user or everybody, from all databases together."""

import pytest

from greenmail.auth.admission import Databases
from greenmail.auth.pam import Pam
from greenmail.auth.passwd_file import PasswdFile
from greenmail.auth.people import People
from greenmail.auth.remembered import Remembered
from greenmail.auth.static import Static
from greenmail.auth.system import SystemUsers
from greenmail.errors import Refused
from greenmail.runtime import direct


def remembered(backend):
    return Remembered(backend, lambda function, *args: function(*args))


@pytest.fixture
def file(tmp_path):
    def make(name, text):
        (tmp_path / name).write_text(text)
        return PasswdFile(str(tmp_path / name))

    return make


def people(*users, places=()):
    return People(Databases(users=users, places=places), direct().blocking, "g.yaml")


PAM = Pam("imap", "", 1.0, lambda request: {"result": "right"})


def test_the_first_database_that_has_him_tells_of_a_user(file):
    both = people(file("a", "ann:x::::/srv/a\n"), file("b", "ann:x::::/srv/b\nbob:y::::/srv/bob\n"))
    assert both.everybody() == ["ann", "bob"]
    assert both.find("ann").home == "/srv/a"
    assert both.find("bob").home == "/srv/bob"


def test_users_of_pam_are_those_whose_place_is_known(file):
    assert "root" in people(remembered(PAM), places=[remembered(SystemUsers(0, 0))]).everybody()
    assert people(remembered(PAM), places=[remembered(SystemUsers(0, 0))]).find("root").uid == 0


def test_users_of_the_system_without_a_password_in_a_file_are_not_asked_for(file):
    assert people(file("a", "ann:x\n"), places=[remembered(SystemUsers(0, 0)), Static("/srv/%n")]).everybody() == [
        "ann"
    ]


@pytest.mark.parametrize(
    "users, places, said",
    [
        ([], [], "there is no user database in g.yaml"),
        ([remembered(PAM)], [], "pam compares passwords and tells of nobody; name users"),
        ([remembered(PAM)], [Static("/srv/%n")], "pam compares passwords and tells of nobody; name users"),
        ([], [Static("/srv/%n", is_everybody=True)], "static has allow-all-users, so every name is one; name users"),
        ([PasswdFile("/etc/greenmail/%d")], [], "passwd-file /etc/greenmail/%d is one file a domain"),
        ([PasswdFile("/nowhere/users")], [], "now: /nowhere/users: No such file"),
    ],
)
def test_where_there_is_no_list_it_is_said_why(users, places, said):
    with pytest.raises(Refused) as refused:
        people(*users, places=places).everybody()
    assert said in refused.value.text


@pytest.mark.parametrize(
    "name, said",
    [
        ("carol", "there is no user carol in the databases of g.yaml"),
        ("a/b", "there is no user a/b: the name has a / in it"),
    ],
)
def test_who_is_not_there_is_named(file, name, said):
    with pytest.raises(Refused) as refused:
        people(file("a", "ann:x\n")).find(name)
    assert refused.value.text == said


def test_where_every_name_is_a_user_everybody_is_found():
    assert people(places=[Static("/srv/%n", is_everybody=True)]).find("carol").home == "/srv/carol"
