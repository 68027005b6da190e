"""Names and small files of a Maildir: read back they are what was written, and other octets are refused quietly."""

import contextlib

from greenmail.storage import dovecot_index, maildir_name, metadata, mutf7, seen_file


def check(data: bytes) -> None:
    _name(data)
    _annotations(data)
    _annotations(b"1\n" + data)
    _seen(data)
    _seen(b"1 17\n" + data.split(b"\n")[0] + b"\n")
    _file(data.replace(b"\n", b"").replace(b"/", b""))
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


def _seen(data: bytes) -> None:
    found = seen_file.parse(data)
    if found is not None:
        assert seen_file.parse(seen_file.render(*found)) == found


def _file(name: bytes) -> None:
    base = maildir_name.base_name(name)
    letters = maildir_name.letters_of(name)
    assert maildir_name.base_name(maildir_name.with_letters(name, letters)) == base
    assert set(letters) <= set(maildir_name.letters_of(maildir_name.with_letters(name, letters)))
    maildir_name.sizes_of(base)
    maildir_name.uid_order(name)
    assert maildir_name.base_name(maildir_name.in_cur(name)) == base


def _index(data: bytes) -> None:
    """Dovecot's index and log, read once when a Maildir is taken over."""
    log = dovecot_index.parse_log(data)
    logs = [log] if log is not None else []
    if log is not None:
        assert dovecot_index.highest_modseq(log) >= 0
    dovecot_index.parse_index(data)
    for name, uids in dovecot_index.keywords(data, logs).items():
        assert isinstance(name, str) and all(0 <= uid < 1 << 32 for uid in uids)
