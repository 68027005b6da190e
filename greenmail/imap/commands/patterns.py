"""Mailbox patterns of LIST and LSUB, RFC 9051 6.3.9: `*` matches anything, `%` anything but the separator.

Matching is a walk of a set of states, held in the bits of one integer, along the name: time grows with the name and not
with the number of ways to match it.
"""

from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

_INBOX = "INBOX"
_CAPITALS = str.maketrans(ascii_lowercase, ascii_uppercase)  # str.upper() would make an I of a dotless one


@dataclass(frozen=True, slots=True)
class _Pattern:
    """`prefix` has no wildcards; `items` are the characters and wildcards behind it, no two wildcards side by side."""

    prefix: str
    items: tuple[str, ...]
    literals: int  # characters in `items`


@dataclass(frozen=True, slots=True)
class Patterns:
    """What `matches` needs: any one pattern is enough. `inbox` are the same in capitals, for INBOX alone."""

    separator: str
    plain: tuple[_Pattern, ...]
    inbox: tuple[_Pattern, ...]
    asks_levels: bool  # some pattern ends in "%": levels of hierarchy are wanted, RFC 3501 6.3.9


def compile_patterns(texts: tuple[str, ...], separator: str) -> Patterns:
    """Patterns with their reference in front. A first level INBOX in any case means INBOX, RFC 9051 5.1."""
    distinct = tuple(dict.fromkeys(_canonical(text, separator) for text in texts))
    return Patterns(
        separator,
        tuple(_compile(text) for text in distinct),
        tuple(_compile(text.translate(_CAPITALS)) for text in distinct),
        any(text.endswith("%") for text in distinct),
    )


def _canonical(text: str, separator: str) -> str:
    if text[:5].translate(_CAPITALS) == _INBOX and (len(text) == 5 or text[5] in separator + "%*"):
        return _INBOX + text[5:]
    return text


def _compile(text: str) -> _Pattern:
    start = next((place for place, char in enumerate(text) if char in "%*"), len(text))
    items: list[str] = []
    for char in text[start:]:
        if char in "%*" and items and items[-1] in "%*":
            items[-1] = "*" if "*" in (char, items[-1]) else "%"
        else:
            items.append(char)
    return _Pattern(text[:start], tuple(items), sum(item not in "%*" for item in items))


def matches(patterns: Patterns, name: str) -> bool:
    """Whether one of the patterns matches the whole of `name`."""
    wanted = patterns.inbox if name == _INBOX else patterns.plain
    return any(_matches(pattern, name, patterns.separator) for pattern in wanted)


def _matches(pattern: _Pattern, name: str, separator: str) -> bool:
    if not name.startswith(pattern.prefix):
        return False
    rest = name[len(pattern.prefix) :]
    if not pattern.items:
        return not rest
    if pattern.items == ("*",):
        return True
    if pattern.items == ("%",):
        return not separator or separator not in rest
    # Too many characters for this name: also keeps the sets of states no larger than the name.
    return pattern.literals <= len(rest) and _walk(pattern.items, rest, separator)


def _walk(items: tuple[str, ...], rest: str, separator: str) -> bool:
    """State n: the first n items have matched. A wildcard may also match nothing, so n goes on to n + 1 by itself."""
    literals: dict[str, int] = {}
    anything = level = 0
    for place, item in enumerate(items):
        if item == "*":
            anything |= 1 << place
        elif item == "%":
            level |= 1 << place
        else:
            literals[item] = literals.get(item, 0) | 1 << place
    wildcards = anything | level
    states = 1 | (wildcards & 1) << 1
    for char in rest:
        stays = states & (anything if char == separator else wildcards)
        states = (states & literals.get(char, 0)) << 1 | stays
        states |= (states & wildcards) << 1
        if not states:
            return False
    return bool(states >> len(items) & 1)
