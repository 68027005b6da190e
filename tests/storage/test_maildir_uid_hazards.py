"""Lists of UIDs that are lost, old, damaged or another server's: no message gets a UID that another had."""

from pathlib import Path

import pytest
from support.hazard_site import Site, box, put

from greenmail.storage.maildir import MaildirMailbox


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "Maildir")
    made.worker()
    return made


def body(mailbox: MaildirMailbox, uid: int) -> bytes:
    content = mailbox.content(uid)
    try:
        return content.read()
    finally:
        content.close()


def courier(site: Site) -> None:
    """INBOX as Courier leaves it."""
    for number in (3, 1, 2):
        (site.path / "cur" / f"170000000{number}.x.mx:2,").write_bytes(b"mail %d\n" % number)
    lines = [b"1 777777 9\n", *(b"%d 170000000%d.x.mx\n" % (number + 4, number) for number in (1, 2, 3))]
    (site.path / "courierimapuiddb").write_bytes(b"".join(lines))


def test_uids_of_courier_are_taken_also_with_a_control_directory(tmp_path: Path) -> None:
    site = Site(tmp_path / "Maildir")
    for part in ("tmp", "new", "cur"):
        (site.path / part).mkdir(parents=True)
    courier(site)
    inbox = box(site.worker(control_path=str(tmp_path / "control")), "INBOX")
    assert inbox.uidvalidity == 777777 and list(inbox.table.uids) == [5, 6, 7]


def test_a_lost_uidlist_is_not_made_from_couriers_old_database(tmp_path: Path) -> None:
    site = Site(tmp_path / "Maildir")
    for part in ("tmp", "new", "cur"):
        (site.path / part).mkdir(parents=True)
    courier(site)
    inbox = box(site.worker(), "INBOX")
    assert put(inbox, b"later\r\n") == 9
    (site.path / "dovecot-uidlist").unlink()
    again = box(site.worker(), "INBOX")
    assert list(again.table.uids) == [5, 6, 7, 9] and again.uidnext == 10
    assert body(again, 9) == b"later\r\n"


def test_an_old_copy_of_the_uidlist_renumbers_nothing(site: Site) -> None:
    inbox = box(site.worker(), "INBOX")
    first = put(inbox, b"one\r\n")
    old = (site.path / "dovecot-uidlist").read_bytes()
    second, third = put(inbox, b"two\r\n"), put(inbox, b"three\r\n")
    (site.path / "dovecot-uidlist").unlink()
    (site.path / "dovecot-uidlist").write_bytes(old)
    for mailbox in (inbox, box(site.worker(), "INBOX")):
        fourth = put(mailbox, b"more\r\n")
        assert list(mailbox.table.uids)[:3] == [first, second, third] and fourth > third
        assert body(mailbox, third) == b"three\r\n"
    for part in ("greenmail.index", "greenmail.log"):
        (site.path / part).unlink()
    assert list(box(site.worker(), "INBOX").table.uids)[:3] == [first, second, third]


def test_a_damaged_line_of_the_uidlist_renumbers_nothing(site: Site) -> None:
    inbox = box(site.worker(), "INBOX")
    uids = [put(inbox, b"%d\r\n" % number) for number in range(3)]
    uidlist = site.path / "dovecot-uidlist"
    lines = uidlist.read_bytes().split(b"\n")
    lines[2] = b"garbage"
    uidlist.unlink()
    uidlist.write_bytes(b"\n".join(lines))
    put(inbox, b"last\r\n")
    assert list(inbox.table.uids)[:3] == uids
    assert [line.split()[0] for line in uidlist.read_bytes().split(b"\n")[1:4]] == [b"%d" % uid for uid in uids]


def test_what_another_server_numbered_anew_is_numbered_so(site: Site) -> None:
    inbox = box(site.worker(), "INBOX")
    uids = [put(inbox, b"%d\r\n" % number) for number in range(3)]
    uidlist = site.path / "dovecot-uidlist"
    lines = uidlist.read_bytes().split(b"\n")
    lines.insert(4, lines.pop(2).replace(b"%d " % uids[1], b"17 "))
    uidlist.unlink()
    uidlist.write_bytes(b"\n".join(lines))
    put(inbox, b"last\r\n")
    assert list(inbox.table.uids) == [uids[0], uids[2], 17, 18]
