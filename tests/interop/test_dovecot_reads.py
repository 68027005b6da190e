"""Dovecot 2.3, started on what GreenMail wrote, sees the same mailbox: checks 14-25 of `formats.md` 9."""

import itertools
import re
import time
from pathlib import Path

import pytest
from support import dovecot, trees
from support.in_turns import Site, body, file_of, files, mail, names, record, state, uids_of
from support.wire_client import flat, parse

pytestmark = pytest.mark.interop


@pytest.fixture
def site(place: Path) -> Site:
    return Site(place, trees.unpack("dovecot", place))


def test_check_14_a_stored_flag_is_seen_and_no_uid_changes(site: Site) -> None:
    with site.greenmail() as client:
        before = state(client, "INBOX")
        client.ok("UID STORE 6 +FLAGS (\\Flagged)")
    with site.dovecot() as client:
        validity, flags = state(client, "INBOX")
    assert validity == before[0]
    assert flags[6] == before[1][6] | {"\\Flagged"}
    assert {uid: f for uid, f in flags.items() if uid != 6} == {uid: f for uid, f in before[1].items() if uid != 6}


def test_check_15_keywords_old_and_new(site: Site) -> None:
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        client.ok("UID STORE 5 +FLAGS (NonJunk)")
        client.ok("UID STORE 6 +FLAGS (brand-new)")
    lines = dict(
        line.split(" ", 1) for line in (site.maildir / "dovecot-keywords").read_text().splitlines()
    )  # index -> name
    assert "brand-new" in lines.values()
    indexes = sorted(int(index) for index in lines)
    assert indexes == list(range(len(indexes)))
    with site.dovecot() as client:
        _, flags = state(client, "INBOX")
    assert "NonJunk" in flags[5] and "brand-new" in flags[6]


def test_check_16_the_time_of_dovecot_keywords_grows_by_a_second_each_time(site: Site) -> None:
    path = site.maildir / "dovecot-keywords"
    seconds = [int(path.stat().st_mtime)]
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        for number in range(3):
            client.ok(f"UID STORE 6 +FLAGS (fresh{number})")
            seconds.append(int(path.stat().st_mtime))
    assert all(later > earlier for earlier, later in itertools.pairwise(seconds)), seconds


def test_check_17_the_27th_keyword_is_kept_outside_the_letters(site: Site) -> None:
    box = site.maildir / ".Many Keywords"
    with site.greenmail() as client:
        client.ok('SELECT "Many Keywords"')
        client.ok("UID STORE 4 +FLAGS (number27)")
    assert len((box / "dovecot-keywords").read_text().splitlines()) == 26
    assert all(re.fullmatch(r"[^:]+:2,[DFRST]*[a-z]*", name) for name in names(box / "cur")), names(box / "cur")
    with site.greenmail() as client:
        client.ok('SELECT "Many Keywords"')
        assert "number27" in client.fetch("4 (FLAGS)")[4]["FLAGS"]


def test_check_18_unknown_letters_and_tails_stay(site: Site) -> None:
    old = site.maildir / ".Archive" / "cur" / "1704500001.9999.foreign:2,FSabz"
    strange = old.with_name("1704500001.9999.foreign:2,FSXZz,extra")
    old.rename(strange)
    with site.greenmail() as client:
        client.ok("SELECT Archive")
        client.ok("UID STORE 4 +FLAGS (\\Deleted)")
    assert "1704500001.9999.foreign:2,FSTXZz,extra" in names(strange.parent)


def test_check_19_a_message_without_flags_ends_in_an_empty_info(site: Site) -> None:
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        client.ok("UID STORE 1 FLAGS ()")
    assert file_of(site.maildir, 1).name.endswith(":2,")


def test_check_20_append_without_flags(site: Site) -> None:
    data = mail("twenty")
    with site.greenmail() as client:
        client.ok('APPEND INBOX "05-Mar-2023 10:11:12 +0200"', data)
        (uid,) = uids_of("APPENDUID", client.answer)
    path = file_of(site.maildir, uid)
    lf = data.replace(b"\r\n", b"\n")
    assert f",S={len(lf)},W={len(data)}" in path.name
    assert path.read_bytes() == lf
    assert int(path.stat().st_mtime) == 1678003872
    with site.dovecot() as client:
        client.ok("SELECT INBOX")
        seen = client.fetch(f"{uid} (INTERNALDATE RFC822.SIZE BODY.PEEK[])")[uid]
    assert seen["RFC822.SIZE"] == len(data) and seen["BODY[]"].encode() == data
    assert "Mar-2023" in seen["INTERNALDATE"]


def test_check_21_append_with_flag_and_keyword(site: Site) -> None:
    with site.greenmail() as client:
        client.ok("APPEND INBOX (\\Seen kw)", mail("twentyone"))
        (uid,) = uids_of("APPENDUID", client.answer)
    path = file_of(site.maildir, uid)
    assert path.parent.name == "cur" and re.search(r":2,S[a-z]$", path.name), path
    with site.dovecot() as client:
        assert state(client, "INBOX")[1][uid] == {"\\Seen", "kw"}


def test_check_22_multiappend_keeps_the_order_of_the_command(site: Site) -> None:
    with site.greenmail() as client:
        bodies = [mail(f"multi{number}") for number in range(3)]
        text = b"APPEND Empty" + b"".join(b" () {%d+}\r\n" % len(data) + data for data in bodies)
        client.ok(text)
        uids = uids_of("APPENDUID", client.answer)
    assert uids == list(range(uids[0], uids[0] + 3))
    with site.dovecot() as client:
        client.ok("SELECT Empty")
        assert [body(client, uid) for uid in uids] == bodies


def test_check_23_copies_share_the_file_and_the_second_gets_its_own_name_and_guid(site: Site) -> None:
    with site.greenmail() as client:
        client.ok("SELECT INBOX")
        client.ok("UID STORE 4 +FLAGS (only-here)")
        client.ok("UID COPY 4 Empty")
        (first,) = uids_of("COPYUID", client.answer)
        client.ok("UID COPY 4 Empty")
        (second,) = uids_of("COPYUID", client.answer)
    source = file_of(site.maildir, 4)
    box = site.maildir / ".Empty"
    one, two = file_of(box, first), file_of(box, second)
    base = source.name.split(":")[0]
    assert one.name.split(":")[0] == base and one.stat().st_ino == source.stat().st_ino
    assert two.name.split(":")[0] != base
    assert f" G{base} " in record(box, second)
    with site.dovecot() as client:
        flags = state(client, "Empty")[1]
        assert "only-here" in flags[first] and "only-here" in flags[second]
        assert body(client, first) == body(client, second)


def test_check_24_move_takes_the_message_along(site: Site) -> None:
    with site.greenmail() as client:
        (answer,) = client.ok("STATUS Archive (UIDNEXT)")
        following = parse(answer)[-1][1]
        client.ok("SELECT INBOX")
        before = body(client, 5)
        count = len(files(site.maildir)) + len(files(site.maildir / ".Archive"))
        untagged = client.ok("UID MOVE 5 Archive")
        told = b" ".join(flat(parts) for parts in untagged) + client.answer
        assert uids_of("COPYUID", told) == [following]
    assert count == len(files(site.maildir)) + len(files(site.maildir / ".Archive"))
    with site.dovecot() as client:
        assert 5 not in state(client, "INBOX")[1]
        client.ok("SELECT Archive")
        assert body(client, following) == before


def test_check_25_the_highest_uid_is_never_given_again(site: Site) -> None:
    with site.greenmail() as client:
        client.ok("SELECT Empty")
        client.ok("APPEND Empty", mail("one"))
        (first,) = uids_of("APPENDUID", client.answer)
        client.ok("NOOP")
        client.ok(f"UID STORE {first} +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
        client.ok("APPEND Empty", mail("two"))
        (second,) = uids_of("APPENDUID", client.answer)
        client.ok("NOOP")
        client.ok(f"UID STORE {second} +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
    with site.dovecot() as client:
        client.ok("APPEND Empty", mail("three"))
        (third,) = uids_of("APPENDUID", client.answer)
        client.ok("SELECT Empty")
        client.ok("STORE 1 +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
    with site.greenmail() as client:
        client.ok("APPEND Empty", mail("four"))
        (fourth,) = uids_of("APPENDUID", client.answer)
    assert first < second < third < fourth


def test_both_at_the_same_time_see_each_others_changes(site: Site) -> None:
    """Section 7.1: a change made by one is there at the other's next NOOP."""
    dovecot.give(site.maildir)
    with site.greenmail() as ours, site.dovecot() as theirs:
        ours.ok("SELECT INBOX")
        theirs.ok("SELECT INBOX")
        theirs.ok("UID STORE 6 +FLAGS (\\Flagged seen-by-both)")
        ours.ok("NOOP")
        assert {"\\Flagged", "seen-by-both"} <= set(ours.fetch("6 (FLAGS)")[6]["FLAGS"])
        ours.ok("UID STORE 7 +FLAGS (\\Answered from-green)")
        deadline = time.monotonic() + 10
        while "from-green" not in theirs.fetch("7 (FLAGS)")[7]["FLAGS"]:
            assert time.monotonic() < deadline, "Dovecot has not seen the change"
            theirs.ok("NOOP")
        ours.ok("APPEND INBOX", mail("shared"))
        (uid,) = uids_of("APPENDUID", ours.answer)
        theirs.ok("NOOP")
        assert body(theirs, uid) == mail("shared")
