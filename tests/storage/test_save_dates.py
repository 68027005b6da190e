"""When a message came into its mailbox: `storage.save_dates`, decision 0020."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.maildir_site import ADD, REMOVE, Site, change, put

from greenmail.errors import StorageError
from greenmail.runtime import Runtime, direct
from greenmail.storage.maildir import MaildirMailbox
from greenmail.storage.save_dates import UNKNOWN, field, named
from greenmail.storage.uidlist_format import RECORD
from greenmail.storage.uidlist_records import BLOCK, Records

SECOND = 1_700_000_000
OLD = f"{SECOND}.M1P1.mx,S=18,W=21"


class Racing(Site):
    """A Maildir where other programs are faster."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fails: Callable[[str, bytes], bool] = lambda name, path: False

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if args and isinstance(args[0], bytes) and self.fails(name, args[0]):
            raise FileNotFoundError(2, "renamed by now")
        return super().call(name, function, *args)


@pytest.fixture
def site(tmp_path: Path) -> Racing:
    made = Racing(tmp_path / "Maildir")
    made.worker().close()
    return made


def at(moment: float) -> Runtime:
    """A runtime whose clock stands."""
    return replace(direct(), now=lambda: moment)


def dates(mailbox: MaildirMailbox) -> list[int]:
    mailbox.look()
    found = mailbox.save_dates(mailbox.table.uids)
    assert found is not None
    return list(found)


def lines(site: Site, folder: str = "") -> list[str]:
    return (site.path / folder / "dovecot-uidlist").read_text().splitlines()[1:]


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (b"1795343252.M946854P6340.mx.example.org,S=620,W=637", 1795343252),  # Dovecot, GreenMail
        (b"1704103200.V801I2f00M100001.mx1", 1704103200),  # Postfix
        (b"1704300000.4711_2.otherhost", 1704300000),
        (b"1704300000_0.4711.host,U=1,FMD5=7e33429f656f1e6e9d79b29c3f82c57e", 1704300000),  # OfflineIMAP
        (b"1704300000.H1P2.host:2,S", 1704300000),
        (b"999999999.1.host", 999999999),
        (b"788918400.1.host", 788918400),
        (b"788918399.1.host", UNKNOWN),  # before there were Maildirs
        (b"4294967296.1.host", UNKNOWN),
        (b"9999999999.1.host", UNKNOWN),
        (b"17043000001.1.host", UNKNOWN),
        (b"1704300000abc.1.host", UNKNOWN),  # digits of something else
        (b"1704300000", UNKNOWN),
        (b"20240104.1.host", UNKNOWN),
        (b"mail.eml", UNKNOWN),
        (b"", UNKNOWN),
    ],
)
def test_named(base: bytes, expected: int) -> None:
    assert named(base) == expected


def test_a_field_only_where_the_name_does_not_tell() -> None:
    assert field(b"1704300000.1.mx", 1704300000) == b""
    assert field(b"1704300000.1.mx", 1704300001) == b"D1704300001"
    assert field(b"mail", 5) == b"D5"


def test_delivered_is_by_name(site: Site) -> None:
    site.deliver(name=OLD)
    assert dates(site.inbox()) == [SECOND]
    assert lines(site) == [f"1 :{OLD}"]


def test_appended_has_the_time_of_its_end_not_of_its_beginning(site: Site) -> None:
    clock = [float(SECOND)]
    mailbox = site.worker(replace(direct(), now=lambda: clock[0])).open("INBOX")
    assert isinstance(mailbox, MaildirMailbox)
    first, second = mailbox.upload(), mailbox.upload()
    for upload in (first, second):
        upload.write(b"Subject: hi\r\n\r\nbody\r\n")
        upload.date = 5
    clock[0] += 1000
    assert mailbox.save([first, second]) == [1, 2]
    assert dates(mailbox) == [SECOND + 1000] * 2
    assert all("D" not in line.partition(":")[0] for line in lines(site))
    assert sorted(mailbox.box.index.names) == mailbox.box.index.names  # in the order in which they were appended
    assert not [name for name in os.listdir(site.path / "tmp") if name[0].isdigit()]


def test_copied_and_moved_have_the_time_of_that(site: Site) -> None:
    name = site.deliver(name=OLD)
    account = site.worker(at(SECOND + 500.5))
    account.create("Trash")
    inbox, trash = account.open("INBOX"), account.open("Trash")
    assert isinstance(inbox, MaildirMailbox) and isinstance(trash, MaildirMailbox)
    inbox.look()
    inbox.copy([1], trash)
    inbox.copy([1], inbox)  # under another name
    inbox.move([2], trash)
    assert dates(inbox) == [SECOND]
    assert dates(trash) == [SECOND + 500] * 2
    assert lines(site, ".Trash")[0] == f"1 D{SECOND + 500} :{name}"
    guid = lines(site, ".Trash")[1]
    assert guid.startswith(f"2 G{name} :{SECOND + 500}.M"), "a name that tells the time, and whose copy it is"


def test_by_way_of_tmp_too(site: Site) -> None:
    """A name without W is linked into tmp/ where its sizes are to be made sure of."""
    bad = f"{SECOND}.M1P1.mx,S=9999"
    site.deliver(name=bad)
    short = f"{SECOND}.M2P1.mx"
    site.deliver(name=short)
    account = site.worker(at(SECOND + 500))
    account.create("Other")
    inbox, other = account.open("INBOX"), account.open("Other")
    assert isinstance(inbox, MaildirMailbox) and isinstance(other, MaildirMailbox)
    inbox.look()
    inbox.copy([1, 2], other)
    assert dates(other) == [SECOND + 500] * 2
    assert f"G{bad} :" in lines(site, ".Other")[0]
    assert lines(site, ".Other")[1] == f"2 W21 D{SECOND + 500} :{short}"


def test_nothing_changes_it(site: Site) -> None:
    site.deliver(name=OLD)
    account = site.worker(at(SECOND + 500))
    account.create("Trash")
    inbox, trash = account.open("INBOX"), account.open("Trash")
    assert isinstance(inbox, MaildirMailbox) and isinstance(trash, MaildirMailbox)
    inbox.look()
    inbox.move([1], trash)
    put(trash)
    before = dates(trash)
    trash.store([1, 2], change(ADD, "\\Seen", "\\Flagged"))
    trash.store([1], change(REMOVE, "\\Flagged"))
    trash.copy([1], inbox)
    trash.expunge([2], flagged=False)
    assert dates(trash) == before[:1]
    for own in (site.path / ".Trash").glob("greenmail.*"):
        own.unlink()
    again = site.worker().open("Trash")
    assert isinstance(again, MaildirMailbox)
    assert dates(again) == before[:1]
    again.box.uidlist.must_rewrite = True
    with again.box.locked():
        again.box.uidlist.rewrite()
    assert dates(site.worker().open("Trash")) == before[:1]  # type: ignore[arg-type]  # a MaildirMailbox it is


def test_who_was_moved_here_by_hand_came_then(site: Site) -> None:
    """By the time at which the file changed, if the mailbox was known before; and durable, as that time changes."""
    inbox = site.inbox()
    inbox.look()
    began = int(time.time())
    for name in (OLD, "mail.eml"):
        (site.path / "tmp" / name).write_bytes(b"Subject: hi\n\nbody\n")
        os.utime(site.path / "tmp" / name, (SECOND, SECOND))
        os.rename(site.path / "tmp" / name, site.path / "cur" / f"{name}:2,S")
    fresh = site.deliver(name=f"{began}.M1P9.mx")
    found = dates(inbox)
    by_name = dict(zip((name.partition(b":")[0].decode() for name in inbox.box.index.names), found, strict=True))
    assert by_name[fresh] == began
    assert began <= by_name[OLD] <= time.time() and began <= by_name["mail.eml"] <= time.time()
    looks = [call for call, path in site.calls if call == "lstat" and str(path).endswith(f"{fresh}'")]
    assert looks == ["lstat"]  # whether it is a file; not for its time
    assert f" D{by_name[OLD]} :{OLD}" in "\n".join(lines(site))
    assert dates(site.inbox()) == found


def test_what_the_first_look_finds_is_by_name(site: Site) -> None:
    """It may have been restored from a backup; without a time in the name it is INTERNALDATE."""
    for name in (OLD, "mail.eml"):
        site.deliver(name=name, where="cur")
        os.utime(site.path / "cur" / name, (77, 77))
    inbox = site.inbox()
    assert dates(inbox) == [77, SECOND]
    assert [line.partition(":")[0] for line in lines(site)] == ["1 ", "2 "]
    assert (
        "lstat",
        os.fsencode(site.path / "cur" / "mail.eml"),
    ) not in site.calls  # the listing told that it is a file


def test_what_cannot_be_looked_at_is_by_name(site: Racing) -> None:
    inbox = site.inbox()
    inbox.look()
    site.deliver(name=OLD)
    looks: list[bytes] = []

    def fails(name: str, path: bytes) -> bool:
        if name != "lstat" or not path.endswith(os.fsencode(OLD)):
            return False
        looks.append(path)
        return len(looks) > 1  # the first asks whether it is a file

    site.fails = fails
    assert dates(inbox) == [SECOND]
    assert len(looks) >= 2


def test_gone_and_unknown(site: Site) -> None:
    inbox = site.inbox()
    uid = put(inbox)
    inbox.expunge([uid], flagged=False)
    assert inbox.save_dates([uid, 99]) == [-1, -1]
    assert inbox.save_dates([]) == []


@pytest.mark.parametrize("value", ["", "x", "-5", "12345678901", "1.5"])
def test_another_field_of_that_letter_is_none(site: Site, value: str) -> None:
    site.deliver(name=OLD, where="cur")
    (site.path / "dovecot-uidlist").write_text(f"3 V5 N2 G{'0' * 32}\n1 D{value} :{OLD}\n")
    assert dates(site.inbox()) == [SECOND]
    assert lines(site) == [f"1 D{value} :{OLD}"]


def test_read_only_is_by_name(site: Site) -> None:
    site.deliver(name=OLD, where="cur")
    inbox = site.inbox()
    inbox.box.read_only = True
    with pytest.raises(StorageError):
        inbox.touch()
    assert dates(inbox) == [SECOND]


FIELDS = st.sampled_from([b"", b"W5", b"D7", b"W5 D8", b"GaD9", b"Ga Db D10"])


@given(st.lists(FIELDS, max_size=5 * BLOCK), st.sets(st.integers(1, 6 * BLOCK)), st.booleans())
def test_fields_of_many_are_those_of_each(fields: list[bytes], wanted: set[int], is_packed: bool) -> None:
    records = [(uid, raw, b"n%d" % uid) for uid, raw in enumerate(fields, 1)]
    made = Records.of(records)
    if is_packed:
        made = Records()
        text = b"".join(b"%d %b%b:%b\n" % (uid, raw, b" " if raw else b"", base) for uid, raw, base in records)
        assert made.take(RECORD.findall(text))
    expected = {
        uid: raw for uid, raw, _ in records if uid in wanted and raw and b"D" in raw[:1] + raw.partition(b" D")[1]
    }
    found = dict(made.raw_with(sorted(wanted), b"D"))
    assert expected.items() <= found.items()
    assert all(found[uid] == made.raw(uid) for uid in found)
