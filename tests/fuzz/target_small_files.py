"""Names and small files of a Maildir: read back they are what was written, and other octets are refused quietly."""

import contextlib
import logging
import os
from itertools import pairwise

from fuzz.place import fresh

from greenmail.errors import Reason, StorageError
from greenmail.runtime import direct
from greenmail.storage import dovecot_index, maildir_name, metadata, mutf7, seen_file
from greenmail.storage.data_file import NO_FILE
from greenmail.storage.filesystem import Files
from greenmail.storage.history import ranges
from greenmail.storage.locks import Waiting

logging.disable(logging.CRITICAL)

FILES = Files()
WAITING = Waiting(direct().sleep, direct().now, 5.0)
MOST = 10


def check(data: bytes) -> None:
    _name(data)
    _annotations(data)
    _annotations(b"1\n" + data)
    _annotations_on_disk(data)
    _seen(data)
    _seen(b"1 17\n" + data.split(b"\n")[0] + b"\n")
    _seen_on_disk(data)
    _file(data.replace(b"\n", b"").replace(b"/", b""))
    _names(data.split(b"\n"))
    _index(data)


def _name(data: bytes) -> None:
    with contextlib.suppress(mutf7.Malformed):
        assert mutf7.encode(mutf7.decode(data)) == data
    with contextlib.suppress(UnicodeDecodeError):
        name = data.decode("utf-8").replace("\0", "")
        coded = mutf7.encode(name)
        assert coded.isascii() and mutf7.decode(coded) == name


def _annotations(data: bytes) -> None:
    found = metadata.parse(data)
    if found is not None:
        written = metadata.render(found)
        assert metadata.parse(written) == found
        assert metadata.weight(found) <= 3 * len(data)
        assert all(not entry.startswith(metadata.PRIVATE) for entry in metadata.shared_of(found))


def _annotations_on_disk(data: bytes) -> None:
    """What was there, or CORRUPT and the file as it was; each change is there when it returns, or nothing of it."""
    home = fresh()
    store = home + b"/greenmail-data"
    os.mkdir(store)
    file = metadata.MetadataFile(FILES, store, metadata.FILE, WAITING)
    assert file.read() == {}
    octets = data if data.startswith(b"1\n") else b"1\n" + data
    with open(store + b"/metadata", "wb") as sink:
        sink.write(octets)
    lines = [line.decode("utf-8", "replace").lower() for line in data.split(b"\n")[:4]]
    values = {("/private/" if number % 2 else "/shared/") + line: data[:50] for number, line in enumerate(lines)}
    try:
        before = file.read()
    except StorageError as error:
        assert error.reason is Reason.CORRUPT and metadata.parse(octets) is None
        with contextlib.suppress(StorageError):
            file.change(values, MOST)  # what is not understood is not replaced
        assert _octets(store + b"/metadata") == octets
        return
    try:
        file.change(values, MOST)
    except StorageError as error:
        assert error.reason is Reason.LIMIT
        assert file.read() == before
        return
    assert file.read() == {**before, **values}
    file.change(dict.fromkeys(values), MOST)
    left = {entry: value for entry, value in before.items() if entry not in values}
    assert file.read() == left
    _limited(store, values)
    assert sorted(metadata.files_beside(FILES, store))[0].startswith(store)
    assert sorted(os.listdir(store)) == [b"metadata", b"private-metadata"]


def _limited(store: bytes, values: dict[str, bytes]) -> None:
    """Octets that may not be, and those of others that fail: then nothing has changed."""

    def admit(growth: int) -> None:
        if growth > 60:
            raise StorageError(Reason.OVER_QUOTA, "too many octets")

    shared: dict[str, bytes | None] = {}

    def share(others: object) -> None:
        if any(len(entry) % 3 == 0 for entry in values):
            raise StorageError(Reason.NO_PERMISSION, "not there")
        shared.update(dict(values.items() if others else ()))

    own = metadata.MetadataFile(FILES, store, metadata.PRIVATE_DIRECTORY + b"/M1", WAITING, admit)
    try:
        own.change_with(dict(values), MOST, share)
    except StorageError:
        assert own.read() == {}
        own.change({"/private/x": b"y"}, MOST)
        return
    assert set(own.read()) == {entry for entry in values if entry.startswith(metadata.PRIVATE)}
    own.change({"/private/x": b"y"}, MOST)


def _octets(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _seen(data: bytes) -> None:
    found = seen_file.parse(data)
    if found is not None:
        assert seen_file.parse(seen_file.render(*found)) == found
        assert all(one[1] + 1 < other[0] for one, other in pairwise(found[1]))


def _seen_on_disk(data: bytes) -> None:
    """Sets of small numbers, made of octets: what the file says is what sets say."""
    home = fresh()
    path = home + b"/greenmail-data/seen/M1"
    file = seen_file.SeenFile(FILES, home + b"/greenmail-data", "M1", WAITING)
    assert file.stamp() == NO_FILE and file.read(17) == []
    wanted: set[int] = set()
    live = sorted({octet + 1 for octet in data[:100]})
    for piece in (data[:20], data[20:40], data[40:60]):
        seen, unseen = sorted({octet + 1 for octet in piece[::2]}), sorted({octet + 1 for octet in piece[1::2]})
        before = file.stamp()
        file.change(17, seen, unseen, live)
        after = (wanted | set(seen)) - set(unseen)
        found = file.read(17)
        assert {uid for uid in live if seen_file.contains(found, uid)} == after & set(live)
        assert file.read(18) == [] and file.directory == os.path.dirname(path)
        assert after & set(live) == wanted & set(live) or file.stamp() != before
        wanted = {uid for first, last in found for uid in range(first, last + 1)}
        assert seen_file.union(found, []) == found == seen_file.without(found, [])
        assert seen_file.difference(found, ranges(sorted(wanted))) == []
    with open(path, "wb") as sink:
        sink.write(data)
    assert file.read(17) == [] or seen_file.parse(data) is not None
    file.change(17, [5], [], [5])
    assert seen_file.contains(file.read(17), 5)


def _file(name: bytes) -> None:
    base = maildir_name.base_name(name)
    letters = maildir_name.letters_of(name)
    assert maildir_name.base_name(maildir_name.with_letters(name, letters)) == base
    assert set(letters) <= set(maildir_name.letters_of(maildir_name.with_letters(name, letters)))
    for wanted in (b"", b"S", b"DFRSTaz"):
        changed = maildir_name.with_letters(name, wanted)
        assert maildir_name.letters_of(changed) == bytes(sorted(wanted)) and maildir_name.base_name(changed) == base
        assert maildir_name.with_letters(changed, wanted) == changed
    found = maildir_name.sizes_of(base)
    assert maildir_name.disk_size_of(base) == found.on_disk
    bare = maildir_name.without_sizes(base)
    assert maildir_name.sizes_of(bare).on_disk is None or b",S=" in bare
    made = maildir_name.with_sizes(bare, 5, 7)
    assert maildir_name.sizes_of(made) == maildir_name.Sizes(5, 7) or b",S=" in bare or b",W=" in bare
    assert maildir_name.base_name(maildir_name.in_cur(name)) == base
    if maildir_name.is_message(name):
        assert maildir_name.is_message(maildir_name.in_cur(name))


def _names(names: list[bytes]) -> None:
    """An order of names is one; ours always go up, whatever the host is called and the clock does."""
    keys = sorted(map(maildir_name.uid_order, names))
    assert sorted(map(maildir_name.uid_order, names[::-1])) == keys
    ticks = iter([float(octet) for octet in names[0][:4]] + [7.0] * 4)
    unique = maildir_name.UniqueNames(names[-1].decode("utf-8", "surrogateescape"), lambda: next(ticks))
    made = [unique.next() for _ in range(4)]
    assert len(set(made)) == 4 and sorted(made, key=maildir_name.uid_order) == made
    assert all(maildir_name.is_message(name) and not set(b"/:,\0\n") & set(name) for name in made), made


def _index(data: bytes) -> None:
    """Dovecot's index and log, read once when a Maildir is taken over."""
    log = dovecot_index.parse_log(data)
    logs = [log] if log is not None else []
    if log is not None:
        assert dovecot_index.highest_modseq(log) >= 0
    dovecot_index.parse_index(data)
    for name, uids in dovecot_index.keywords(data, logs).items():
        assert isinstance(name, str) and all(0 <= uid < 1 << 32 for uid in uids)
    home = fresh()
    index, separator, log_octets = data.partition(b"\n--\n")
    for name, octets in ((b"dovecot.index", index), (b"dovecot.index.log", log_octets if separator else data)):
        with open(home + b"/" + name, "wb") as sink:
            sink.write(octets)
    found = dovecot_index.read(FILES, home)
    assert found.modseq >= 0
