"""`maildirsize`: the sum of what changed, against what is there. `formats.md` 5.

    file  = limits LF *(octets SP count LF)        ; limits: "1000000S,500C"; numbers may be negative and padded

Dovecot and maildrop count every message; Courier leaves out the Trash and what is marked as deleted. Either is right.
"""

import os
import re
from dataclasses import dataclass

from greenmail.doctor.account import Account
from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity, several
from greenmail.doctor.survey import directory_times
from greenmail.storage.filesystem import Files, ownership

_LINE = re.compile(rb"\s*(-?\d{1,18})\s+(-?\d{1,18})\s*")


@dataclass(frozen=True, slots=True)
class Quota:
    """A file as it was read; `octets` and `count` are None if it has to be worked out anew."""

    limits: bytes
    octets: int | None
    count: int | None


def parse(data: bytes) -> Quota:
    """The file. An unfinished last line does not count; a line that is none, or a sum below 0, spoils the file."""
    limits, *lines = data[: data.rfind(b"\n") + 1].split(b"\n")
    octets = count = 0
    for line in lines[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            return Quota(limits, None, None)
        octets += int(match[1])
        count += int(match[2])
    if octets < 0 or count < 0 or not lines:
        return Quota(limits, None, None)
    return Quota(limits, octets, count)


def _is_courier(account: Account) -> bool:
    around = account.around
    return not os.path.exists(around.control + b"/dovecot-uidlist") and os.path.exists(
        around.root + b"/courierimapuiddb"
    )


def _read(files: Files, path: bytes) -> bytes | None:
    try:
        return files.read_file(path)
    except FileNotFoundError:
        return None


def find(account: Account) -> list[Finding]:
    """Whether the sum is that of the messages."""
    around, sums = account.around, account.sums
    path = around.control + b"/maildirsize"
    data = _read(around.files, path)
    if data is None:
        return []
    quota = parse(data)
    right = {(sums.octets, sums.messages), (sums.kept_octets, sums.kept_messages)}
    if (quota.octets, quota.count) in right:
        return []
    octets, messages = _policy(account)
    remedy = "works it out anew; the limits stay"
    if quota.octets is None:
        text = "maildirsize cannot be read"
    else:
        said = f"{quota.octets:,} octets in {several(quota.count or 0, 'message')}"
        text = f"maildirsize says {said}; there are {octets:,} in {messages:,}"
    return [Finding("maildirsize", Severity.WARNING, "", path, text, remedy)]


def _policy(account: Account) -> tuple[int, int]:
    sums = account.sums
    courier = _is_courier(account)
    return (sums.kept_octets, sums.kept_messages) if courier else (sums.octets, sums.messages)


def mend(account: Account, bench: Bench) -> None:
    """Write the sum anew, unless mail came while it was worked out: then servers do it at their next look."""
    if not find(account):
        return
    around = account.around
    path = around.control + b"/maildirsize"
    data = _read(around.files, path)
    if data is None or not _is_still(account):
        return
    limits = parse(data).limits
    octets, messages = _policy(account)
    owner = ownership(around.files.stat(around.control))
    temporary = path + b".doctor"
    with bench.log.replacing(path):
        bench.files.replace_file(path, limits + b"\n%d %d\n" % (octets, messages), owner, temporary)
        if not _is_still(account):
            # Mail came or went meanwhile: without a file the next server works the sum out.
            bench.files.unlink(path)


def _is_still(account: Account) -> bool:
    """Whether no directory changed since it was counted."""
    times = account.sums.times.items()
    return all(directory_times(account.around.files, directory) == seen for directory, seen in times)
