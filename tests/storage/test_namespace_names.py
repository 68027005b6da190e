"""Which namespace a name lies in, and what it is called there: RFC 2342, RFC 9051 6.3.10."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.namespaces import ALIAS, ALL, ARCHIVE, OWN, PUBLIC, SHARED

from greenmail.errors import StorageError
from greenmail.storage.namespace_names import INBOX, Kind, Located, Space, Translation, locate, prefix_for

BY_DOMAIN = Space(Kind.SHARED, "users/%d/%n/")
BY_NAME = Space(Kind.SHARED, "user.%n.", ".")
COURIER = Space(Kind.PRIVATE, "INBOX.", ".", is_inbox=True)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("INBOX", Located(OWN, "", "INBOX")),
        ("inbox", Located(OWN, "", "INBOX")),
        ("Work", Located(OWN, "", "Work")),
        ("INBOX/Sub", Located(OWN, "", "INBOX/Sub")),
        ("INBOX.Work", Located(ALIAS, "INBOX.", "Work")),
        ("inbox.Work.Deep", Located(ALIAS, "INBOX.", "Work.Deep")),
        ("INBOX.", Located(ALIAS, "INBOX.", ".")),  # a level is missing: no mailbox has this name
        ("INBOXES", Located(OWN, "", "INBOXES")),
        ("Public", Located(PUBLIC, "Public/", "")),
        ("Public/", Located(PUBLIC, "Public/", "/")),
        ("Public/News", Located(PUBLIC, "Public/", "News")),
        ("Publications", Located(OWN, "", "Publications")),
        ("public/News", Located(OWN, "", "public/News")),  # only INBOX is spelled in any case
        ("Archive/2020/May", Located(ARCHIVE, "Archive/", "2020/May")),
        ("shared", Located(SHARED, "shared/", "")),
        ("shared/", Located(SHARED, "shared/", "")),
        ("shared//x", Located(SHARED, "shared/", "")),
        ("shared/bob", Located(SHARED, "shared/bob/", "", "bob")),
        ("shared/bob/", Located(SHARED, "shared/bob/", "/", "bob")),
        ("shared/b@x.org/Work/Deep", Located(SHARED, "shared/b@x.org/", "Work/Deep", "b@x.org")),
        ("share", Located(OWN, "", "share")),
    ],
)  # fmt: skip
def test_locate(name: str, expected: Located) -> None:
    assert locate(ALL, name) == expected


@pytest.mark.parametrize(
    "name, domain, owner, rest",
    [
        ("users/example.org/bob/Work", "", "bob@example.org", "Work"),
        ("users/example.org/bob", "", "bob@example.org", ""),
        ("users/example.org", "", "", ""),  # above all users
        ("user.bob.Work", "example.org", "bob@example.org", "Work"),  # %n alone: a user of the reader's own domain
        ("user.bob.Work", "", "bob", "Work"),
    ],
)
def test_locate_by_parts_of_the_owners_name(name: str, domain: str, owner: str, rest: str) -> None:
    found = locate((OWN, BY_DOMAIN, BY_NAME), name, domain)
    assert found is not None and (found.owner, found.rest) == (owner, rest)


def test_a_name_outside_of_every_namespace_is_in_none() -> None:
    assert locate((COURIER,), "Work") is None
    assert locate((COURIER,), "inbox.Work") == Located(COURIER, "INBOX.", "Work")


@pytest.mark.parametrize(
    "space, owner, domain, expected",
    [
        (SHARED, "bob", "", "shared/bob/"),
        (SHARED, "bob@example.org", "example.com", "shared/bob@example.org/"),
        (BY_DOMAIN, "bob@example.org", "example.com", "users/example.org/bob/"),
        (BY_DOMAIN, "bob", "", None),  # no domain to write there
        (BY_NAME, "bob@example.org", "example.org", "user.bob."),
        (BY_NAME, "bob@example.org", "example.com", None),  # would be another bob
        (BY_NAME, "b.ob@example.org", "example.org", None),  # would be two levels
        (SHARED, "bob/x", "", None),
    ],
)
def test_prefix_for(space: Space, owner: str, domain: str, expected: str | None) -> None:
    assert prefix_for(space, owner, domain) == expected


LEVEL = st.text("abIN.é ", min_size=1, max_size=5)
USER = st.from_regex(r"[a-z.]{1,5}(@[a-z.]{1,5})?", fullmatch=True)


@given(st.sampled_from([SHARED, BY_DOMAIN, BY_NAME]), USER, st.lists(LEVEL, max_size=3), st.sampled_from(["", "x.y"]))
def test_a_name_leads_back_to_the_owner_it_was_made_for(
    space: Space, owner: str, levels: list[str], domain: str
) -> None:
    prefix = prefix_for(space, owner, domain)
    rest = space.separator.join(level.replace(".", "_") for level in levels)
    if prefix is not None:
        name = prefix + rest if rest else prefix[:-1]
        assert locate((OWN, space), name, domain) == Located(space, prefix, rest, owner)


@pytest.mark.parametrize(
    "translation, rest, inner",
    [
        (Translation("INBOX.", ".", "", "/", True), "Work.Deep", "Work/Deep"),
        (Translation("INBOX.", ".", "", "/", True), "INBOX", "INBOX"),
        (Translation("shared/bob/", "/", "INBOX.", ".", True), "Work/Deep", "INBOX.Work.Deep"),
        (Translation("shared/bob/", "/", "INBOX.", ".", True), "", "INBOX"),
        (Translation("Public/", "/", "", "/", False), "News", "News"),
    ],
)
def test_inside(translation: Translation, rest: str, inner: str) -> None:
    assert translation.inside(rest) == inner


@pytest.mark.parametrize(
    "translation, rest",
    [
        (Translation("INBOX.", ".", "", "/", True), "a/b"),  # would be two levels within
        (Translation("Public/", "/", "", "/", False), ""),  # the root is no mailbox
        (Translation("Public/", "/", "", "/", False), "inbox"),
    ],
)
def test_inside_refuses(translation: Translation, rest: str) -> None:
    with pytest.raises(StorageError):
        translation.inside(rest)


@given(st.sampled_from(["", "INBOX.", "x/"]), st.sampled_from("/."), st.sampled_from("/."), st.lists(LEVEL, min_size=1))
def test_names_go_out_as_they_came_in(inner_prefix: str, separator: str, inner: str, levels: list[str]) -> None:
    translation = Translation("P" + separator, separator, inner_prefix, inner, True)
    name = inner_prefix + inner.join(levels)
    outside = translation.outside(name)
    if outside is not None and outside != "P" and name.upper() != INBOX:
        rest = outside.removeprefix("P" + separator)
        if rest.upper() != INBOX:
            assert translation.inside(rest) == name
