"""Which line of GreenMail does what which section of which RFC asks for: `python tools/rfc_index.py docs/rfc-index.md`.

References look like `RFC 9051 6.4.5`, several like `RFC 9051 6.4.6, 7.1` or `RFC 9051 6.3.2 and 6.3.3`, a whole
document like `RFC 2045`. Every section named must exist. The RFC texts are no part of the project: they are looked for
in the directory GREENMAIL_RFC_TEXTS, else in `../shared/rfc` beside the project; without them nothing is checked, and
titles are those that stand in the index already.
"""

import itertools
import os
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "greenmail"

_NUMBER = r"(?:\d+|[A-Z](?=\.\d))(?:\.\d+)*(?![\w-])"
_JOINED = r"(?:,? and |,? to |, )"
# An RFC, and then sections; of `Appendix E` the E.
_REFERENCE = re.compile(
    rf"RFC (?P<rfc>\d{{3,5}})(?P<sections>(?:,? (?:Appendix [A-Z](?:\.\d+)*|{_NUMBER}))(?:{_JOINED}{_NUMBER})*)?"
)
_SECTION = re.compile(rf"(?:Appendix )?([A-Z](?:\.\d+)*(?![\w-])|{_NUMBER})")
_PAGE = re.compile(r"\n+[^\n]*\[Page \d+\]\n\f?\n?RFC \d+[^\n]*\n+")
_HEADING = re.compile(r"(?:Appendix )?(\d+(?:\.\d+)*|[A-Z](?:\.\d+)*)(?:\. {1,4}|\.? {2,6}|\. +-- | )(\S.*)$")

Sections = dict[str, str]  # number -> title; "" stands for the whole RFC
Index = dict[int, dict[str, set[str]]]  # RFC -> section -> files


def references(text: str) -> list[tuple[int, int, str]]:
    """(line, RFC, section) of every reference; a section of "" is the whole RFC."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for reference in _REFERENCE.finditer(line):
            named = _SECTION.findall(reference["sections"] or "")
            others = [section for section in named if re.fullmatch(r"\d{4,}", section)]  # RFC 2045, 2046
            own = [section for section in named if section not in others] or [""]
            found += [(number, int(reference["rfc"]), section) for section in own]
            found += [(number, int(rfc), "") for rfc in others]
    return found


def sections(text: str) -> Sections:
    """The headings of an RFC: they begin in the first column, and the lines of a table of contents end in a number."""
    found: Sections = {"": _title(text)}
    for paragraph in _PAGE.sub("\n\n", text).split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        heading = _HEADING.match(lines[0]) if lines else None
        if heading is not None and not re.search(r"\.\s?\.|\s\d+$", lines[0]):
            more = itertools.takewhile(lambda line: line.startswith("      "), lines[1:])
            found.setdefault(heading[1], " ".join(" ".join([heading[2], *more]).split()))
    return found


def _title(text: str) -> str:
    """What stands between the names of the authors and the first heading, in the middle of its lines."""
    head = re.split(r"^(?:Status of [Tt]his Memo|Abstract|Table of Contents)", text, maxsplit=1, flags=re.M)[0]
    paragraphs = [part for part in head.strip("\n").split("\n\n") if part.strip()]
    return " ".join(paragraphs[-1].split()) if len(paragraphs) > 1 else ""


def texts() -> dict[int, Sections]:
    """The sections of each RFC whose text is at hand."""
    place = Path(os.environ.get("GREENMAIL_RFC_TEXTS") or ROOT.parent / "shared" / "rfc")
    if not place.is_dir():
        return {}
    return {int(path.stem[3:]): sections(path.read_text("utf-8", "replace")) for path in place.glob("rfc[0-9]*.txt")}


def index() -> tuple[Index, list[tuple[str, int, str]]]:
    """What the code refers to; and each place once more, as (file:line, RFC, section), to be checked."""
    found: Index = defaultdict(lambda: defaultdict(set))
    places = []
    for path in sorted(CODE.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for line, rfc, section in references(path.read_text()):
            found[rfc][section].add(name)
            places.append((f"{name}:{line}", rfc, section))
    return found, places


def wrong(places: list[tuple[str, int, str]], known: dict[int, Sections]) -> list[str]:
    """One line for each reference to a section that is not there."""
    return [
        f"{place}: RFC {rfc} has no section {section}"
        for place, rfc, section in places
        if rfc in known and section not in known[rfc]
    ]


def page(found: Index, known: dict[int, Sections], old: str) -> str:
    """The index in Markdown."""
    kept = _titles(old)
    lines = [
        "# RFC index",
        "",
        "Where GreenMail does what which section asks for. Made from the references in the code by `make docs`.",
    ]
    for rfc in sorted(found):
        title = known.get(rfc, {}).get("") or kept.get((rfc, ""), "")
        lines += [
            "",
            f"## RFC {rfc}" + (f": {title}" if title else ""),
            "",
            "| section | title | code |",
            "|---|---|---|",
        ]
        for section in sorted(found[rfc], key=_order):
            title = known.get(rfc, {}).get(section, "") if section else "(as a whole)"
            title = title or kept.get((rfc, section), "")
            links = ", ".join(f"[{name.removeprefix('greenmail/')}](../{name})" for name in sorted(found[rfc][section]))
            lines.append(f"| {section} | {title} | {links} |")
    return "\n".join(lines) + "\n"


def _titles(old: str) -> dict[tuple[int, str], str]:
    """The titles in an index that was made before."""
    titles: dict[tuple[int, str], str] = {}
    rfc = 0
    for line in old.splitlines():
        if heading := re.match(r"## RFC (\d+)(?:: (.*))?$", line):
            rfc = int(heading[1])
            titles[rfc, ""] = heading[2] or ""
        elif (row := re.match(r"\| (\S+) \| (.*?) \| \[", line)) and row[1] != "section":
            titles[rfc, row[1]] = row[2]
    return titles


def _order(section: str) -> list[tuple[int, str]]:
    """1, 2, 10, 10.1, A, A.1."""
    return [(int(part), "") if part.isdigit() else (1000, part) for part in section.split(".") if part]


def main(out: Path) -> int:
    found, places = index()
    known = texts()
    mistakes = wrong(places, known)
    out.write_text(page(found, known, out.read_text() if out.exists() else ""))
    unchecked = sorted(rfc for rfc in found if rfc not in known)
    if unchecked:
        print("not checked, the texts are not there: RFC " + ", ".join(map(str, unchecked)))
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
