"""User names and paths built from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.auth.names import expand, mail_template, normalize, refusal
from greenmail.errors import Refused


@pytest.mark.parametrize(
    "login, username_format, domain, name",
    [
        ("Alice", "%Lu", "", "alice"),
        ("Alice@Example.ORG", "%Lu", "", "alice@example.org"),
        ("Alice", "%Lu", "example.org", "alice@example.org"),
        ("Alice@a.org", "%Lu", "example.org", "alice@a.org"),
        ("Alice@a.org", "%u", "", "Alice@a.org"),
        ("Alice@A.org", "%Ln@%d", "", "alice@A.org"),
        ("Alice@A.org", "%n", "", "Alice"),
        ("alice@a.org", "%Un", "", "ALICE"),
        ("a@b@c", "%n+%d", "", "a+b@c"),  # Dovecot's %d begins behind the first @
        ("alice", "100%%-%u", "", "100%-alice"),
        ("İÄ", "%Lu", "", "İÄ"),  # only ASCII: directories are named so
        ("%d", "%u", "", "%d"),  # what a client sends is never a template
        ("", "%Lu", "example.org", ""),
    ],
)
def test_normalize(login, username_format, domain, name):
    assert normalize(login, username_format, domain) == name


@pytest.mark.parametrize(
    "name",
    ["alice", "alice@example.org", "a.b", "..a", "a..b", "...", "~root", "ä", "a b", "%u", "-x", "a:b", "*", "a" * 255],
)
def test_names_that_are_allowed(name):
    assert refusal(name) == ""


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/", "../a", "a\0", "a\nb", "a\r", "a\x7f", "a\x85b", "a\u2028b", "\ud800", ".@example.org",
     "..@example.org", "a@.", "a@..", "@example.org", "a@", "@", "a@b@..", "a" * 256, "ä" * 128],
)  # fmt: skip
def test_names_that_are_refused_before_any_path_is_built(name):
    assert refusal(name)
    with pytest.raises(Refused):
        expand("/srv/%u", name)
    with pytest.raises(Refused):
        expand("/srv", name)


@pytest.mark.parametrize(
    "template, name, home, path",
    [
        ("/var/mail/%u", "alice", "", "/var/mail/alice"),
        ("/srv/%d/%n/Maildir", "alice@example.org", "", "/srv/example.org/alice/Maildir"),
        ("~/Maildir", "alice", "/home/alice", "/home/alice/Maildir"),
        ("~/Maildir", "alice", "/home/alice/", "/home/alice/Maildir"),
        ("~", "alice", "/home/alice", "/home/alice"),
        ("%h/mail", "alice", "/home/a%u", "/home/a%u/mail"),  # a home is no template
        ("/srv/%u", "%n", "", "/srv/%n"),  # nor is a name
        ("/srv/~/100%%", "alice", "", "/srv/~/100%"),
    ],
)
def test_expand(template, name, home, path):
    assert expand(template, name, home) == path


@pytest.mark.parametrize("template, lacking", [("~/Maildir", "home"), ("/srv/%h", "home"), ("/srv/%d/%n", "domain")])
def test_a_part_that_is_missing_is_refused(template, lacking):
    with pytest.raises(Refused, match=lacking):
        expand(template, "alice")


@given(st.text(max_size=12))
def test_a_name_never_leaves_its_directory(name):
    try:
        path = expand("/srv/%d/%n/%u", name)
    except Refused:
        return
    parts = path.split("/")
    assert len(parts) == 5 and parts[:2] == ["", "srv"]
    assert not {"", ".", ".."} & set(parts[2:])


@pytest.mark.parametrize(
    "location, template",
    [
        ("", "/default"),
        ("maildir:~/Maildir", "~/Maildir"),
        ("maildir:/srv/%u:INDEX=/var/index", "/srv/%u"),
        ("/srv/mail", "/srv/mail"),
    ],
)
def test_mail_of_the_user_database(location, template):
    assert mail_template("/default", location) == template


@pytest.mark.parametrize(
    "location", ["mbox:~/mail", "maildir:Maildir", "maildir:", "x", "maildir:../x", "~other/Maildir"]
)
def test_mail_of_the_user_database_that_is_refused(location):
    with pytest.raises(Refused):
        mail_template("/default", location)
