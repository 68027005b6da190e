"""How times, sizes and rates are written for people."""

import time


def clock(since_1970: float) -> str:
    """Date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since_1970))


def span(seconds: float) -> str:
    """A length of time in its two largest units: "2d 3h", "5m 12s"."""
    parts: list[str] = []
    left = int(max(seconds, 0))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])


def size(octets: float) -> str:
    """1536 is "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} B" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"


def quick(seconds: float | None) -> str:
    """How long something took."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = 1000 * seconds
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2f} ms"


def rate(value: float) -> str:
    """So many a second."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
