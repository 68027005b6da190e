"""What the administrator's verbs write to a terminal: lines, labels, a progress bar.

Names come from disk and from servers, where anybody may have put anything: whatever could move a cursor or end a line
is escaped.
"""

import sys
import unicodedata

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

INDENT = 11  # of what stands below the first line of a labelled one
_NAME_WIDTH = 24


def several(number: int, singular: str, plural: str = "") -> str:
    """ "1 file", "2 files"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def shown(text: str | bytes) -> str:
    """Anything, fit for a terminal and for one line."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    decoded = raw.decode("utf-8", "backslashreplace")
    return "".join(_escaped(char) if unicodedata.category(char)[0] in "CZ" else char for char in decoded)


def _escaped(char: str) -> str:
    return char if char == " " else char.encode("unicode_escape").decode("ascii")


def say(text: str, error: bool = False) -> None:
    """One line to standard output or standard error."""
    stream = sys.stderr if error else sys.stdout
    stream.write(text + "\n")
    stream.flush()


def plain_console() -> Console:
    """Standard output, nothing in the text taken for markup."""
    return Console(markup=False, highlight=False, emoji=False)


def write_labelled(console: Console, label: tuple[str, str], text: str) -> None:
    """A line behind a label, which is a word and its style."""
    if console.is_terminal:
        grid = Table.grid(padding=(0, 0))
        grid.add_column(width=INDENT, no_wrap=True)
        grid.add_column()
        grid.add_row(Text("  " + label[0], style=label[1]), Text(text))
        console.print(grid)
        return
    write_line(console, 2, Text.assemble((label[0].ljust(INDENT - 2), label[1]), text))


def write_line(console: Console, indent: int, text: Text) -> None:
    """On a terminal wrapped below itself; in a pipe one line, for grep."""
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent)))
    else:
        console.print(Text(" " * indent) + text, soft_wrap=True)


class Bar:
    """Accounts done of all, on standard error if that is a terminal; a context manager."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[messages]:,} messages"),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False, highlight=False, emoji=False),
            transient=True,
            disable=not sys.stderr.isatty(),
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=8,
        )
        self._task = self._progress.add_task("", total=total, messages=0)
        self._messages = 0

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, account: str, mailbox: str, messages: int, accounts: int = 0) -> None:
        """`messages` and `accounts` more are done; this mailbox is looked at now."""
        self._messages += messages
        name = shown(f"{account} {mailbox}".strip())
        name = name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"
        text = name.ljust(_NAME_WIDTH).replace("[", "(")
        self._progress.update(self._task, description=text, advance=accounts, messages=self._messages)
