"""How moments and tables are written to a terminal."""

import time
from collections.abc import Sequence

from greenmail.terminal import say, shown


def moment(since_1970: float) -> str:
    """A time of day, with the date if it is not today's."""
    at = time.localtime(since_1970)
    same = at[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M", at)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: frozenset[int] = frozenset()) -> None:
    """Columns below their heads; the columns in `right` are numbers. What names hold cannot move the cursor."""
    cells = [[shown(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in [list(head), *cells]) for place in range(len(head))]
    for row in [list(head), *cells]:
        padded = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(padded).rstrip())
