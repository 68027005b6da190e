"""Which languages there are, which one a client means, and what a text is in it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from greenmail.language import german

DEFAULT = "i-default"  # RFC 2277 4.5: English in US-ASCII, until the client asks for something else
ENGLISH = "en"
_DEEPEST = 3  # texts within texts
_LONGEST = 1000  # characters of a text that is looked up
_RANGE = re.compile(r"(?:\*|[A-Za-z]{1,8})(?>(?:-(?:\*|[A-Za-z0-9]{1,8}))*)")


@dataclass(frozen=True, slots=True)
class Table:
    """One language: `texts` by their English, in which {} stands for anything; `names` of folders likewise."""

    name: str  # in that language
    texts: Mapping[str, str]
    names: Mapping[str, str]
    otherwise: str


TABLES: Mapping[str, Table] = {"de": Table("Deutsch", german.TEXTS, german.NAMES, german.OTHERWISE)}
NAMES: Mapping[str, str] = {ENGLISH: "English", **{tag: table.name for tag, table in TABLES.items()}}
TAGS = (*NAMES, DEFAULT)


def is_range(text: str) -> bool:
    """language-range — RFC 4647 2.1, 2.2."""
    return _RANGE.fullmatch(text) is not None


def chosen(ranges: Iterable[str], preferred: str) -> str | None:
    """The tag of the first range for which there is a language; None: there is none. RFC 4647 3.4.

    "default", and "*", stand for the preferred one: RFC 5255 3.2.
    """
    for wanted in ranges:
        name = wanted.lower()
        if name in ("default", "*"):
            return preferred
        subtags = [subtag for subtag in name.split("-") if subtag != "*"]
        while subtags:
            tag = "-".join(subtags)
            if tag in TAGS:
                return tag
            subtags.pop()
            if subtags and len(subtags[-1]) == 1:  # what stood behind it said what it is
                subtags.pop()
    return None


def translated(text: str, tag: str) -> str:
    """`text`, which is English, in the language of that tag."""
    table = TABLES.get(tag)
    if table is None or not text.strip():
        return text
    found = known(text, tag)
    return table.otherwise.format(text) if found is None else found


def known(text: str, tag: str) -> str | None:
    """`translated` by the table alone; None if it is not in the table, or there is none."""
    return _found(text[:_LONGEST], tag, _DEEPEST) if tag in TABLES else None


def folder_name(name: str, tag: str) -> str | None:
    """The name of a folder, or of a prefix of folders, in that language; None if the table has none."""
    table = TABLES.get(tag)
    return table.names.get(name.lower()) if table is not None else None


@lru_cache(maxsize=1024)
def _found(text: str, tag: str, depth: int) -> str | None:
    exact, patterns = _prepared(tag)
    known = exact.get(_plain(text))
    if known is not None or not depth:
        return known
    for pattern, translation in patterns:
        match = pattern.fullmatch(text.rstrip(". "))
        if match is None:
            continue
        parts = [_found(part, tag, depth - 1) for part in match.groups()]
        if any(parts) or any(map(str.isalpha, translation)):  # else nothing of it is in that language
            return translation.format(*(part or own for part, own in zip(parts, match.groups(), strict=True)))
    return None


@lru_cache
def _prepared(tag: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """The table as it is searched: those with {} by patterns, the longest first."""
    exact: dict[str, str] = {}
    patterns: list[tuple[re.Pattern[str], str]] = []
    # What says most comes first.
    for english, translation in sorted(TABLES[tag].texts.items(), key=lambda item: -len(item[0])):
        if "{}" in english:
            first, *others = map(re.escape, english.split("{}"))
            beginning = f"(?i:{first[0]}){first[1:]}" if first[:1].isalpha() else first
            patterns.append((re.compile("(.+?)".join((beginning, *others)), re.DOTALL), translation))
        else:
            exact[_plain(english)] = translation
    return exact, patterns


def _plain(text: str) -> str:
    """However its sentence begins and ends."""
    return text[:1].lower() + text[1:].rstrip(". ")
