"""Letters in file names against `dovecot-keywords`. `formats.md` 3.1."""

from greenmail.doctor.bench import Bench
from greenmail.doctor.finding import Finding, Severity
from greenmail.doctor.survey import Circumstances, Mailbox
from greenmail.storage.keywords import Keywords
from greenmail.storage.maildir_name import FLAG_OF_LETTER, letters_of
from greenmail.terminal import several

_FILE = b"dovecot-keywords"


def _nameless(mailbox: Mailbox, keywords: Keywords) -> dict[int, int]:
    """Letter -> number of messages, for letters that no keyword has."""
    used: dict[int, int] = {}
    for entry in mailbox.messages():
        if entry.part == b"cur":
            for letter in letters_of(entry.name):
                if letter not in FLAG_OF_LETTER and letter not in keywords.names:
                    used[letter] = used.get(letter, 0) + 1
    return dict(sorted(used.items()))


def find(mailbox: Mailbox, around: Circumstances) -> list[Finding]:
    """Letters without a name, and lines that do not count."""
    place, path = mailbox.place, mailbox.path(_FILE)
    keywords = Keywords(around.files, path)
    keywords.refresh()
    found = []
    nameless = _nameless(mailbox, keywords)
    if nameless:
        items = tuple(b"%c: %d" % (letter, number) for letter, number in nameless.items())
        text = f"{several(len(nameless), 'letter')} in file names that dovecot-keywords has no keyword for"
        remedy = "names them unknown-<number>, as Dovecot does"
        found.append(
            Finding("letters", Severity.WARNING, place.name, path, text, remedy, items=items, count=len(nameless))
        )
    lines = [line for line in _lines(around, path) if line]
    surplus = len(lines) - len(keywords.names)
    if surplus > 0:
        text = f"{several(surplus, 'line')} that every server ignores (no number from 0 to 25, or a name twice)"
        advice = "they go with the next new keyword"
        found.append(Finding("keyword-lines", Severity.NOTE, place.name, path, text, advice=advice, count=surplus))
    return found


def _lines(around: Circumstances, path: bytes) -> list[bytes]:
    try:
        return around.files.read_file(path).split(b"\n")
    except FileNotFoundError:
        return []


def mend(mailbox: Mailbox, bench: Bench) -> None:
    """Name the nameless letters."""
    keywords = Keywords(bench.files, mailbox.path(_FILE))
    keywords.refresh()
    nameless = _nameless(mailbox, keywords)
    if nameless:
        with bench.log.replacing(mailbox.path(_FILE)):
            keywords.name_letters(nameless, write=True)
