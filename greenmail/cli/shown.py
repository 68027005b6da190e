"""How times, sizes and tables are written for people."""

import time
from collections.abc import Sequence

from greenmail.terminal import say, shown

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def size(octets: float) -> str:
    """1536 is "1.5 KiB"."""
    step = 0
    while octets >= 1024 and step < len(_SIZES) - 1:
        octets /= 1024
        step += 1
    return f"{octets:.0f} B" if not step else f"{octets:.1f} {_SIZES[step]}"


def span(seconds: float) -> str:
    """A length of time in its two largest units: "2d 3h", "5m 12s", "4s"."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])


def quick(seconds: float | None) -> str:
    """How long something took: "0.35 ms", "12 ms", "1.20 s"; "-" if nothing is known."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = 1000 * seconds
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2f} ms"


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
