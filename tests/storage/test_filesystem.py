"""Durable file operations: the order of the system calls, modes, and what a failure leaves."""

import ctypes
import errno
import os
import stat

import pytest

from greenmail.errors import Reason, StorageError
from greenmail.storage import system_calls
from greenmail.storage.filesystem import Files, Ownership, ownership, refusal, refusing

PRIVATE = Ownership(0o600, 0o700, None)


class Recorder:
    """Records every system call, and fails one of them."""

    def __init__(self, fail="", error=errno.EIO, short=0):
        self.calls = []
        self.fail, self.error, self.short = fail, error, short

    def __call__(self, name, function, *args):
        self.calls.append(name)
        if name == self.fail:
            raise OSError(self.error, os.strerror(self.error))
        if name == "write" and self.short:
            return function(args[0], bytes(args[1])[: self.short])
        return function(*args)


@pytest.fixture
def folder(tmp_path):
    return os.fsencode(tmp_path)


def test_replace_syncs_the_file_before_and_the_directory_after_the_rename(folder):
    recorder = Recorder()
    Files(recorder).replace_file(folder + b"/a", b"new", PRIVATE)
    order = [name for name in recorder.calls if name in ("write", "fsync", "rename")]
    assert order == ["write", "fsync", "rename", "fsync"]


def test_replace_removes_a_leftover_and_sets_times_and_mode(folder):
    files = Files()
    files.replace_file(folder + b"/a", b"old", PRIVATE)
    with open(folder + b"/a.lock", "wb") as leftover:
        leftover.write(b"junk of a dead process")
    made = files.replace_file(folder + b"/a", b"new", Ownership(0o664, 0o775, None), folder + b"/a.lock", 1_000)
    there = os.stat(folder + b"/a")
    assert files.read_file(folder + b"/a") == b"new"
    assert (there.st_mtime_ns, stat.S_IMODE(there.st_mode)) == (1_000 * 10**9, 0o664)
    assert (made.st_ino, made.st_size, made.st_mtime_ns) == (there.st_ino, there.st_size, there.st_mtime_ns)
    assert os.listdir(folder) == [b"a"]


@pytest.mark.parametrize("call", ["open", "write", "utime", "fsync", "rename"])
def test_a_failed_replace_leaves_the_old_file_and_no_other(folder, call):
    Files().replace_file(folder + b"/a", b"old", PRIVATE)
    with pytest.raises(OSError, match="Input/output"):
        Files(Recorder(call)).replace_file(folder + b"/a", b"new", PRIVATE, mtime=5)
    assert os.listdir(folder) == [b"a"]
    assert Files().read_file(folder + b"/a") == b"old"


def test_short_writes_are_continued(folder):
    Files(Recorder(short=3)).replace_file(folder + b"/a", b"0123456789", PRIVATE)
    assert Files().read_file(folder + b"/a") == b"0123456789"


def test_append_is_synced(folder):
    Files().replace_file(folder + b"/a", b"1\n", PRIVATE)
    recorder = Recorder()
    Files(recorder).append(folder + b"/a", b"2\n")
    assert recorder.calls == ["open", "write", "fdatasync", "close"]
    assert Files().read_file(folder + b"/a") == b"1\n2\n"


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(folder, umask):
    before = os.umask(umask)
    try:
        files = Files()
        files.close(files.create_exclusive(folder + b"/a", Ownership(0o660, 0o770, None)))
        if umask != 0o777:
            files.make_directory(folder + b"/d", Ownership(0o660, 0o770, None))
            assert stat.S_IMODE(os.stat(folder + b"/d").st_mode) == 0o770
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(folder + b"/a").st_mode) == 0o660


def test_the_inherited_setgid_bit_stays(folder):
    os.chmod(folder, 0o2770)
    Files().make_directory(folder + b"/d", ownership(os.stat(folder)))
    assert stat.S_IMODE(os.stat(folder + b"/d").st_mode) == 0o2770


@pytest.mark.parametrize(
    "mode, file_mode, directory_mode, group_matters",
    [
        (0o700, 0o600, 0o700, False),
        (0o755, 0o644, 0o755, False),
        (0o770, 0o660, 0o770, True),
        (0o750, 0o640, 0o750, True),
        (0o2770, 0o660, 0o770, False),  # the kernel hands the group on
        (0o500, 0o600, 0o700, False),
        (0o777, 0o666, 0o777, False),
    ],
)
def test_ownership(folder, mode, file_mode, directory_mode, group_matters):
    os.chmod(folder, mode)
    found = os.stat(folder)
    assert ownership(found) == Ownership(file_mode, directory_mode, found.st_gid if group_matters else None)
    os.chmod(folder, 0o700)


def test_the_wrong_group_gets_no_rights(folder):
    other = os.stat(folder).st_gid + 1
    files = Files(Recorder("fchown", errno.EPERM))
    files.close(files.create_exclusive(folder + b"/a", Ownership(0o660, 0o770, other)))
    assert stat.S_IMODE(os.stat(folder + b"/a").st_mode) == 0o600


def test_create_is_exclusive_and_follows_no_link(folder):
    os.symlink(folder + b"/elsewhere", folder + b"/a")
    with pytest.raises(FileExistsError):
        Files().create_exclusive(folder + b"/a", PRIVATE)
    assert os.listdir(folder) == [b"a"]


def test_remove_tree_does_not_follow_links(folder):
    os.makedirs(folder + b"/keep")
    os.makedirs(folder + b"/gone/cur")
    with open(folder + b"/gone/cur/1:2,S", "wb"), open(folder + b"/keep/mail", "wb"):
        pass
    os.symlink(folder + b"/keep", folder + b"/gone/link")
    os.symlink(folder + b"/keep", folder + b"/toplink")
    Files().remove_tree(folder + b"/toplink")
    Files().remove_tree(folder + b"/gone")
    Files().remove_tree(folder + b"/gone")
    Files().remove_tree(b"")
    assert os.listdir(folder) == [b"keep"]
    assert os.listdir(folder + b"/keep") == [b"mail"]


@pytest.mark.parametrize(
    "number, reason",
    [
        (errno.ENOSPC, Reason.NO_SPACE),
        (errno.EDQUOT, Reason.OVER_QUOTA),
        (errno.EROFS, Reason.READ_ONLY),
        (errno.EACCES, Reason.NO_PERMISSION),
        (errno.EPERM, Reason.NO_PERMISSION),
        (errno.ENAMETOOLONG, Reason.CANNOT),
        (errno.EMLINK, Reason.LIMIT),
        (errno.ENOENT, Reason.NOT_FOUND),
        (errno.EEXIST, Reason.EXISTS),
        (errno.EIO, Reason.UNAVAILABLE),
        (errno.EMFILE, Reason.UNAVAILABLE),
        (errno.ESTALE, Reason.UNAVAILABLE),
        (None, Reason.UNAVAILABLE),
    ],
)
def test_refusal(number, reason):
    error = OSError(number, "x", "/secret/path") if number else OSError("x")
    refused = refusal(error, "the message cannot be saved")
    assert refused.reason is reason
    assert refused.text.startswith("the message cannot be saved: ") and "secret" not in refused.text


def test_refusing_leaves_other_errors_alone():
    with pytest.raises(StorageError) as caught, refusing("x"):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.reason is Reason.NO_SPACE
    with pytest.raises(StorageError) as caught, refusing("x"):
        raise StorageError(Reason.LIMIT, "as it is")
    assert caught.value.reason is Reason.LIMIT


def test_a_device_without_end_is_not_read():
    """A link to it may stand where a list is expected."""

    def few(name, function, *args):
        calls.append(name)
        assert len(calls) < 10, "it is read on and on"
        return function(*args)

    calls = []
    with pytest.raises(OSError, match="not a regular file"):
        Files(few).read_file(b"/dev/zero")
    assert calls[-1] == "close"


def test_a_long_file_is_read_whole(tmp_path):
    (tmp_path / "long").write_bytes(b"0123456789" * 300_000)
    assert Files().read_file(bytes(tmp_path / "long")) == b"0123456789" * 300_000


@pytest.fixture(params=["by the kernel", "by looking first"])
def how(request, monkeypatch):
    """NFS and old kernels know no rename that replaces nothing."""
    if request.param == "by looking first":
        monkeypatch.setattr(system_calls, "_renameat2", lambda *_: ctypes.set_errno(errno.EINVAL) or -1)


@pytest.mark.usefixtures("how")
def test_a_rename_that_replaces_nothing(folder):
    files = Files()
    for name in (b"/a", b"/b"):
        files.replace_file(folder + name, name, PRIVATE)
    os.symlink(b"nowhere", folder + b"/link")
    files.rename_new(folder + b"/a", folder + b"/c")
    assert files.read_file(folder + b"/c") == b"/a"
    for target in (b"/b", b"/link"):
        with pytest.raises(FileExistsError):
            files.rename_new(folder + b"/c", folder + target)
    with pytest.raises(FileNotFoundError):
        files.rename_new(folder + b"/a", folder + b"/d")
    with pytest.raises(ValueError, match="null"):
        files.rename_new(folder + b"/c\0", folder + b"/d")
    assert sorted(os.listdir(folder)) == [b"b", b"c", b"link"]
    assert (files.read_file(folder + b"/b"), files.read_file(folder + b"/c")) == (b"/b", b"/a")
