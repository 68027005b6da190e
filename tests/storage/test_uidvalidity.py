"""The counter of UIDVALIDITY values: formats.md 3.3."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from greenmail.storage.filesystem import Files
from greenmail.storage.uidvalidity import next_uidvalidity

NOW = 0x6B02C400


@pytest.fixture
def root(tmp_path):
    return os.fsencode(tmp_path)


def counter(root, text, *suffixes):
    if text is not None:
        with open(root + b"/dovecot-uidvalidity", "wb") as file:
            file.write(text)
    for suffix in suffixes:
        with open(root + b"/dovecot-uidvalidity." + suffix, "wb"):
            pass


@pytest.mark.parametrize(
    "text, suffixes, value",
    [
        (b"6b02c3a6", [b"6b02c3a6"], 0x6B02C3A7),  # as Dovecot left it
        (b"6b02c3a6", [b"6b02c3a9"], 0x6B02C3AA),  # the first file is a little old
        (b"00000001", [b"6b02c3a9"], 0x6B02C3AA),  # very old: the directory is looked through
        (b"junk", [b"6b02c3a9"], 0x6B02C3AA),
        (None, [b"6b02c3a9"], 0x6B02C3AA),
        (None, [b"00000005", b"6b02c3a9"], 0x6B02C3AA),
        (b"00000005", [b"00000005", b"00000006"], 7),
        (b"ffffffff", [b"ffffffff"], 1),  # 0 is no UIDVALIDITY
        (None, [], NOW),
        (b"6b02c500", [], 0x6B02C501),
    ],
)
def test_next_value(root, text, suffixes, value):
    counter(root, text, *suffixes)
    assert next_uidvalidity(Files(), root, NOW) == value
    assert Files().read_file(root + b"/dovecot-uidvalidity") == b"%08x" % value
    assert sorted(os.listdir(root)) == [b"dovecot-uidvalidity", b"dovecot-uidvalidity.%08x" % value]
    assert next_uidvalidity(Files(), root, NOW) == value + 1


def test_a_new_counter_is_read_only(root):
    next_uidvalidity(Files(), root, NOW)
    assert stat.S_IMODE(os.stat(root + b"/dovecot-uidvalidity.%08x" % NOW).st_mode) == 0o444


def test_the_value_is_durable_before_it_is_used(root):
    calls = []

    def record(name, function, *args):
        calls.append(name)
        return function(*args)

    counter(root, b"6b02c3a6", b"6b02c3a6")
    next_uidvalidity(Files(record), root, NOW)
    counted = calls.index("rename")
    assert "fsync" in calls[counted : calls.index("rename", counted + 1)]  # before the hint, which is not synced


def test_the_first_file_is_only_a_hint(root):
    def fail(name, function, *args):
        if name == "write":
            raise OSError(errno.ENOSPC, "full")
        return function(*args)

    counter(root, b"6b02c3a6", b"6b02c3a6")
    assert next_uidvalidity(Files(fail), root, NOW) == 0x6B02C3A7
    assert next_uidvalidity(Files(), root, NOW) == 0x6B02C3A8


@pytest.mark.parametrize("call", ["rename", "listdir"])
def test_without_a_counter_the_time_is_the_value(root, call):
    def fail(name, function, *args):
        if name == call:
            raise OSError(errno.EROFS, "read-only")
        return function(*args)

    counter(root, b"6b02c3a6", b"6b02c3a6")
    assert next_uidvalidity(Files(fail), root, NOW) == NOW


def test_processes_get_distinct_values(root):
    counter(root, b"6b02c3a6", b"6b02c3a6")
    code = (
        "import os, sys\n"
        "from greenmail.storage.filesystem import Files\n"
        "from greenmail.storage.uidvalidity import next_uidvalidity\n"
        "sys.stdin.readline()\n"
        f"for _ in range(40): print(next_uidvalidity(Files(), os.fsencode(sys.argv[1]), {NOW}))\n"
    )
    command = [sys.executable, "-c", code, os.fsdecode(root)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    values = [int(line) for process in processes for line in process.communicate()[0].split()]
    assert len(values) == 120 == len(set(values))
    assert min(values) > 0x6B02C3A6
