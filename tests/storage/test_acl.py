"""`dovecot-acl` and `courierimapacl`: what is read, who may what, and what is written. `formats.md` 3.5, 6.1."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenmail.errors import Reason, StorageError
from greenmail.storage.acl import KEPT, Acl, Viewer, grantable, parse
from greenmail.storage.api import ALL_RIGHTS, LETTERS, AclAction, AclEntry
from greenmail.storage.courier_acl import parse_courier

OWNER = Viewer("alice", "alice")
BOB = Viewer("bob", "alice")
FRIEND = Viewer("bob", "alice", frozenset({"friends", "team"}))
NOBODYS = Viewer("alice", "")


def letters(acl: Acl, viewer: Viewer) -> str:
    return "".join(sorted(acl.my_rights(viewer)))


@pytest.mark.parametrize(
    "text, viewer, expected",
    [
        # No file: the owner may do everything, and nobody else anything.
        ("", OWNER, "aeiklprstwx"),
        ("", BOB, ""),
        ("", NOBODYS, ""),
        # Whom an entry is about.
        ("user=bob lr\n", BOB, "lr"),
        ("user=bobby lr\n", BOB, ""),
        ("anyone lr\n", BOB, "lr"),
        ("anonymous lr\n", BOB, "lr"),
        ("authenticated lr\n", BOB, "lr"),
        ("group=friends lr\n", BOB, ""),
        ("group=friends lr\n", FRIEND, "lr"),
        ("owner lr\n", BOB, ""),
        ("owner lr\n", NOBODYS, ""),
        ("owner lr\n", OWNER, "lr"),
        ('"user=bob" lr\n', BOB, "lr"),
        ('"group=fri\\ends" lr\n', FRIEND, "lr"),
        # What is said of anyone and of groups does not concern the owner, what is said of him by name does.
        ("anyone lr\nauthenticated l\n", OWNER, "aeiklprstwx"),
        ("group=friends lr\n", Viewer("alice", "alice", frozenset({"friends"})), "aeiklprstwx"),
        ("user=alice lr\n", OWNER, "lr"),
        ("owner lrw\nuser=alice lr\n", OWNER, "lr"),
        ("-owner s\n", OWNER, "aeiklprtwx"),
        ("-anyone s\n", OWNER, "aeiklprstwx"),
        ("group-override=friends l\n", Viewer("alice", "alice", frozenset({"friends"})), "l"),
        # Line ends of another system.
        ("user=bob lr\r\n\r\n#\r\nanyone l\r\n", BOB, "lr"),
        ("user=bob\r\nanyone l\r\n", BOB, ""),
        # The most special entry alone counts.
        ("anyone lrwsti\nuser=bob l\n", BOB, "l"),
        ("user=bob l\nanyone lrwsti\n", BOB, "l"),
        ("anyone l\nauthenticated r\n", BOB, "r"),
        ("authenticated lrs\ngroup=friends lr\n", FRIEND, "lr"),
        ("group=friends lr\nuser=bob x\n", FRIEND, "x"),
        ("user=bob lrx\ngroup-override=team l\n", FRIEND, "l"),
        # Groups are added up.
        ("group=friends lr\ngroup=team is\n", FRIEND, "ilrs"),
        ("group-override=friends lr\ngroup-override=team is\n", FRIEND, "ilrs"),
        # What is taken away: by the same rule, for itself.
        ("anyone lrs\n-user=bob s\n", BOB, "lr"),
        ("-anyone s\nuser=bob lrs\n", BOB, "lr"),
        ("-anyone s\n-user=bob r\nuser=bob lrs\n", BOB, "ls"),
        ("-group=friends s\ngroup=team lrs\n", FRIEND, "lr"),
        ("-user=bob s\n", BOB, ""),
        # Dovecot: two lines about one say what he gets and what he does not get, if only that it is nothing.
        ("-anyone lr\nuser=bob l\nuser=bob r\n", BOB, "lr"),
        ("anyone lr\n-user=bob x\n-user=bob w\n", BOB, ""),
        # Forms: order, names, comments, white space, a last line without an end.
        ("# comment\n\nuser=bob rl", BOB, "lr"),
        ("user=bob \t lr \n", BOB, "lr"),
        ("user=bob :lookup,read write-deleted,\tunknown\n", BOB, "lrt"),
        ("user=bob l:read\n", BOB, "lr"),
        ("user=bob\n", BOB, ""),
        ("user= lr\n", BOB, ""),
    ],
)
def test_rights(text: str, viewer: Viewer, expected: str) -> None:
    acl = parse(text.encode())
    assert (acl.wrong, letters(acl, viewer)) == ("", expected)


@pytest.mark.parametrize(
    "line",
    [
        "bob lr", "users=bob lr", "user=bob lrq", "user=bob LR", "user=bob d", "user=bob lr x", '"user=bob lr',
        '"user=bob"lr', "\x00", "user=bob\tlr lr\x00", "Anyone lr", "- lr", "-", " user=bob lr", "global=x lr",
    ],
)  # fmt: skip
def test_a_line_that_is_not_understood_lets_nobody_in_but_the_owner(line: str) -> None:
    acl = parse(f"user=bob lr\n{line}\nowner l\n".encode())
    assert acl.wrong.startswith("line 2")
    assert acl.my_rights(BOB) == frozenset() and acl.my_rights(OWNER) == ALL_RIGHTS
    with pytest.raises(StorageError) as refusal:
        acl.changed("bob", AclAction.REPLACE, frozenset("lr"), "alice")
    assert refusal.value.reason is Reason.CANNOT
    with pytest.raises(StorageError):
        acl.removed("bob", "alice")


@pytest.mark.parametrize(
    "text, owner, expected",
    [
        ("", "alice", [("alice", ALL_RIGHTS)]),
        ("", "", []),
        # The recorded tree: `formats.md` 9, check 11.
        (
            "user=bob lrs\nuser=carol akxeilprwts\n-user=dave w\n", "alice",
            [("alice", ALL_RIGHTS), ("bob", frozenset("lrs")), ("carol", ALL_RIGHTS), ("-dave", frozenset("w"))],
        ),
        ("owner lr\n", "alice", [("alice", frozenset("lr"))]),
        ("owner lr\n", "", [("owner", frozenset("lr"))]),
        ("-owner w\n", "alice", [("alice", ALL_RIGHTS), ("-alice", frozenset("w"))]),
        ("owner lr\nuser=alice l\n", "alice", [("owner", frozenset("lr")), ("alice", frozenset("l"))]),
        (
            "group-override=g x\ngroup=g r\nauthenticated l\nanyone i\n-anyone s\n", "",
            [("anyone", frozenset("i")), ("-anyone", frozenset("s")), ("authenticated", frozenset("l")),
             ("$g", frozenset("r")), ("!$g", frozenset("x"))],
        ),
        ('"user=john doe" lr\n', "", [("john doe", frozenset("lr"))]),
    ],
)  # fmt: skip
def test_entries(text: str, owner: str, expected: list[tuple[str, frozenset[str]]]) -> None:
    assert parse(text.encode()).entries(owner) == [AclEntry(*pair) for pair in expected]


ADD, REMOVE, REPLACE = AclAction.ADD, AclAction.REMOVE, AclAction.REPLACE


@pytest.mark.parametrize(
    "before, identifier, action, rights, after",
    [
        # RFC 4314 3.1: replace, add, remove. Letters in Dovecot's order.
        ("", "bob", REPLACE, "lrwstipekxa", "user=bob akxeilprwts\n"),
        ("user=bob l\n", "bob", ADD, "rs", "user=bob lrs\n"),
        ("user=bob lrs\n", "bob", REMOVE, "sx", "user=bob lr\n"),
        ("user=bob lrs\n", "bob", REPLACE, "", "user=bob \n"),
        ("", "bob", REPLACE, "", "user=bob \n"),
        ("", "bob", REMOVE, "lr", ""),
        ("", "-bob", ADD, "w", "-user=bob w\n"),
        ("user=bob lr\n", "-bob", REPLACE, "r", "user=bob lr\n-user=bob r\n"),
        # Identifiers.
        ("", "$team", REPLACE, "l", "group=team l\n"),
        ("", "!$team", REPLACE, "l", "group-override=team l\n"),
        ("", "-$team", REPLACE, "l", "-group=team l\n"),
        ("", "anyone", REPLACE, "l", "anyone l\n"),
        ("", "authenticated", REPLACE, "l", "authenticated l\n"),
        ("", "john doe", REPLACE, "l", '"user=john doe" l\n'),
        ("", "-john \"o'doe\\", REPLACE, "l", '"-user=john \\"o\\\'doe\\\\" l\n'),
        ("", "Grün", REPLACE, "l", "user=Grün l\n"),
        # Everything else stays, to the byte, and in its place.
        ("# who\n\nuser=bob  lr :foo\nuser=carol rl", "bob", ADD, "s", "# who\n\nuser=bob lrs :foo\nuser=carol rl"),
        ("anyone l\nuser=carol rl", "bob", REPLACE, "l", "anyone l\nuser=bob l\nuser=carol rl"),
        ("anyone l", "bob", REPLACE, "l", "anyone l\nuser=bob l\n"),
        ("user=bob l\nanyone r\nuser=bob r\n", "bob", ADD, "s", "user=bob lrs\nanyone r\n"),
        # The owner: as GETACL shows him, and he keeps l and a.
        ("", "alice", REMOVE, "w", "user=alice akxeilprts\n"),
        ("", "alice", REPLACE, "r", "user=alice alr\n"),
        ("", "owner", REPLACE, "", "owner al\n"),
        ("owner alr\n", "alice", ADD, "s", "owner alrs\n"),
        ("owner alr\nuser=alice al\n", "alice", ADD, "s", "owner alr\nuser=alice als\n"),
        ("", "-alice", REPLACE, "law", "-user=alice w\n"),
        ("-owner w\n", "alice", REMOVE, "x", "owner akeilprwts\n-owner w\n"),
    ],
)
def test_setacl(before: str, identifier: str, action: AclAction, rights: str, after: str) -> None:
    acl = parse(before.encode())
    new = acl.changed(identifier, action, frozenset(rights), "alice")
    assert new.data.decode() == after
    assert parse(new.data).entries("alice") == new.entries("alice")


@pytest.mark.parametrize(
    "before, identifier, after",
    [
        ("user=bob l\n-user=bob r\n", "bob", "-user=bob r\n"),  # RFC 4314 3.2
        ("user=bob l\n-user=bob r\n", "-bob", "user=bob l\n"),
        ("user=bob l\n#\nuser=bob r\n", "bob", "#\n"),
        ("user=bob l\n", "carol", "user=bob l\n"),
        ("owner al\n", "alice", ""),
        ("owner al\nuser=alice l\n", "alice", "owner al\n"),
        ('"user=john doe" l\n', "john doe", ""),
    ],
)
def test_deleteacl(before: str, identifier: str, after: str) -> None:
    assert parse(before.encode()).removed(identifier, "alice").data.decode() == after


@pytest.mark.parametrize("identifier", ["", "-", "bob\nanyone lrwstipekxa", "bob\r", "a\0b", "-a\x1b", "\x7f"])
def test_an_identifier_that_cannot_be(identifier: str) -> None:
    """A line end in it would be another entry."""
    for act in (
        lambda: Acl().changed(identifier, REPLACE, ALL_RIGHTS, "alice"),
        lambda: Acl().removed(identifier, "alice"),
        lambda: grantable(identifier, "alice"),
    ):
        with pytest.raises(StorageError) as refusal:
            act()
        assert refusal.value.reason is Reason.CANNOT


def test_listrights_says_what_setacl_does() -> None:
    for identifier in ("alice", "owner", "bob", "-alice", "-owner", "-bob", "anyone", "$team"):
        always, possible = grantable(identifier, "alice")
        assert all(len(one) == 1 for one in possible)
        least = Acl().changed(identifier, REPLACE, frozenset(), "alice")
        most = Acl().changed(identifier, REPLACE, ALL_RIGHTS, "alice")
        found = [{e.identifier: e.rights for e in acl.entries("alice")} for acl in (least, most)]
        shown = identifier.replace("owner", "alice")
        assert found[0].get(shown) == always
        assert found[1].get(shown) == always.union(*possible)


NAMES = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=("Cs",)), min_size=1)


@given(
    st.lists(st.tuples(NAMES, st.sampled_from(AclAction), st.sets(st.sampled_from(LETTERS)))),
    st.binary(max_size=40),
)
@example([("-", AclAction.ADD, set())], b"")
@example([("a b", AclAction.ADD, {"l"}), ("-a b", AclAction.ADD, {"l"})], b"#\xff\n")
def test_what_is_written_is_read_again(steps: list[tuple[str, AclAction, set[str]]], comment: bytes) -> None:
    acl = parse(b"#" + comment.replace(b"\n", b"") + b"\n")
    for identifier, action, rights in steps:
        if identifier == "-":
            continue
        acl = acl.changed(identifier, action, frozenset(rights), "alice")
    again = parse(acl.data)
    assert again.wrong == "" and again.lines == acl.lines
    assert acl.data.startswith(b"#" + comment.replace(b"\n", b"") + b"\n")
    assert acl.my_rights(OWNER) >= KEPT


@given(st.binary())
def test_any_octets_are_some_list(data: bytes) -> None:
    acl = parse(data)
    assert acl.data == data
    if acl.wrong:
        assert acl.my_rights(BOB) == frozenset()
    parse_courier(data).my_rights(BOB)


@pytest.mark.parametrize(
    "text, viewer, expected",
    [
        ("owner aceilrstwx\n", OWNER, "aeiklrstwx"),
        ("owner aceilrstwx\nuser=bob lr\n", BOB, "lr"),
        ("user=bob c\n", BOB, "k"),
        # Courier adds up what is said of somebody.
        ("anyone lr\nuser=bob i\n", BOB, "ilr"),
        ("anyone lr\ngroup=friends i\n", FRIEND, "ilr"),
        ("anyone lrs\n-user=bob s\n", BOB, "lr"),
        ("-anyone s\nuser=bob lrs\n-user=bob r\n", BOB, "l"),
        ("-group=friends s\nuser=bob lrs\n-user=bob r\n", FRIEND, "l"),
        ("administrators lr\n", Viewer("bob", "alice", frozenset({"administrators"})), "lr"),
        # Nobody is anonymous here: Dovecot would take it for anyone.
        ("anonymous lr\n", BOB, ""),
        ("user=john doe lr\n", Viewer("john doe", "alice"), "lr"),
        ("user=bob lr\nwhat is this\n", BOB, ""),
        ("user=bob lr\nwhat is this\n", OWNER, "aeiklprstwx"),
    ],
)
def test_courier(text: str, viewer: Viewer, expected: str) -> None:
    acl = parse_courier(text.encode())
    assert letters(acl, viewer) == expected
    if not acl.wrong:
        assert letters(parse(acl.data), viewer) == expected
