"""Every name of the RFCs has its transcripts: `tests/rfc_coverage.toml` against the grammars.

The names are in `tests/data/rfc_names.json`; where the RFC texts are at hand they are extracted again and must be the
same (`tests/support/abnf.py`). The names of POP3 have test functions in `tests/pop3` instead of transcripts.
"""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from harness.transcript import DIRECTORY, parse
from support import abnf

TESTS = Path(__file__).parent.parent
NAMES: abnf.Names = json.loads((TESTS / "data" / "rfc_names.json").read_text())
COVERAGE: dict[str, dict[str, dict[str, Any]]] = tomllib.loads((TESTS / "rfc_coverage.toml").read_text())
IMAP = ("rfc9051", "rfc3501")

# What stands for the name of a rule in a form, in transcripts.
_ASTRING = r'(?:"(?:[^"\\]|\\.)*"|\{[\d*]+\+?\}\n[^\n]*?|[^\s(){"\\]+)'
_FLAG = r"[\\$]?[A-Za-z]\w*"
_SET = r"[\d*$][\d:*,$]*"
_DATE = r'(?:"\d\d?-\w{3}-\d{4}"|\d\d?-\w{3}-\d{4})'
_VALUE = r"(?:\d+|<[a-z]\w*>|\.\.\.)"
RULES = {
    "prose": r".*",
    "number64": r"\d+",
    "nz-number64": r"\d+",
    "number": r"\d+",
    "nz-number": r"\d+",
    "uniqueid": _VALUE,
    "astring": _ASTRING,
    "mailbox": _ASTRING,
    "userid": _ASTRING,
    "password": _ASTRING,
    "header-fld-name": _ASTRING,
    "charset": _ASTRING,
    "list-mailbox": r'(?:"[^"]*"|\{\d+\+?\}\n[^\n]*|[^\s(){"]+)',
    "patterns": r"\(.+\)",
    "list-char": r'[^\s(){"]+',
    "ASTRING-CHAR": r'[^\s(){"%*]+',
    "QUOTED-CHAR": r'(?:[^"\\]|\\.)*',
    "CHAR8": r"(?s:.*)",
    "literal": r"\{[\d*]+\+?\}\n(?s:.*)",
    "flag-list": rf"\((?:{_FLAG}(?: {_FLAG})*)?\)",
    "flag": _FLAG,
    "flag-fetch": _FLAG,
    "flag-keyword": r"[$A-Za-z]\w*",
    "date-time": r'"[^"]+"',
    "date": _DATE,
    "date-text": r"\d\d?-\w{3}-\d{4}",
    "date-month": r"\w{3}",
    "date-year": r"\d{4}",
    "time": r"\d\d:\d\d:\d\d",
    "4DIGIT": r"\d{4}",
    "-4DIGIT": r"-\d{4}",
    "DIGIT-date-month-date-year": r"\d-\w{3}-\d{4}",
    "2DIGIT-date-month-date-year": r"\d\d-\w{3}-\d{4}",
    "sequence-set": _SET,
    "fetch-att": r"[A-Z][A-Z0-9.]*(?:\[[^]]*\](?:<\d+\.\d+>)?)?",
    "section": r"\[[^]]*\]",
    "section-spec": r"[^]]+",
    "section-part": r"\d+(?:\.\d+)*",
    "section-binary": r"\[[\d.]*\]",
    "section-msgtext": r"(?:HEADER|TEXT)",
    "header-list": r"\([^)]+\)",
    "search-key": r'(?:\([^)]*\)|"[^"]*"|[^\s()]+)(?: [^\s)]+)*?',
    "search-return-opt": r"[A-Z]+",
    "list-select-opts": r"\([^)]*\)",
    "list-select-opt": r"[A-Z]+",
    "list-select-base-opt": r"SUBSCRIBED",
    "list-select-independent-opt": r"(?:REMOTE|SPECIAL-USE)",
    "list-return-opts": r"RETURN \(.*\)",
    "list-return-opt": r"[A-Z-]+(?: \([^)]*\))?",
    "status-att": r"[A-Z]+",
    "capability": r"[A-Z0-9-]+",
    "auth-type": r"[A-Z-]+",
    "base64": r"[A-Za-z0-9+/=]*",
    "initial-resp": r"[A-Za-z0-9+/=]+",
    "atom": r"[A-Za-z]\w*",
    "envelope": r"\(",
    "body": r"\(",
    "nstring": r'(?:"|\{|NIL)',
    "literal8": r"~\{",
}
_RULE = re.compile(r"(?<![a-z-])(" + "|".join(sorted(map(re.escape, RULES), key=len, reverse=True)) + r")(?![a-z-])")
_REPEATED = re.compile(r"(1?)\\\*(?=[A-Z]|list-char)")


@dataclass(frozen=True)
class Place:
    """Where the names of a kind stand: a pattern around {}; in what a client sends, or in a line of the server."""

    around: str
    client: bool = True
    verbs: str = ""  # a bad case is a command of these


_SETS = "(?:UID )?(?:FETCH|STORE|COPY|MOVE|SEARCH|EXPUNGE)"
PLACES = {
    "command": Place(r"^{}$"),
    "astring": Place(r"^[A-Z]+(?: .*)? {}(?=[ \n]|$)", verbs="LIST|LOGIN|SELECT|CREATE|STATUS|DELETE|RENAME"),
    "list-mailbox": Place(r"^L(?:IST|SUB)(?: \([^)]*\))? \S+ {}(?: |$)", verbs="LIST|LSUB"),
    "literal": Place(r" {}$"),
    "sequence-set": Place(rf"^{_SETS} {{}}(?: |$)", verbs=_SETS),
    "date": Place(r"^(?:UID )?SEARCH .*{}", verbs="(?:UID )?SEARCH"),
    "date-month": Place(r"^(?:UID )?SEARCH .*-{}-", verbs="(?:UID )?SEARCH"),
    "date-time": Place(r"^APPEND .*{}", verbs="APPEND"),
    "flag-list": Place(r"^(?:(?:UID )?STORE|APPEND) .*{}", verbs="(?:UID )?STORE|APPEND"),
    "header-list": Place(r"^(?:UID )?FETCH .*HEADER\.FIELDS(?:\.NOT)? {}\]", verbs="(?:UID )?FETCH"),
    "initial-resp": Place(r"^AUTHENTICATE \S+ {}$", verbs="AUTHENTICATE"),
    "fetch-att": Place(rf"^(?:UID )?FETCH {_SET} (?:.*[ (])?{{}}(?=[ )]|$)", verbs="(?:UID )?FETCH"),
    "section-spec": Place(r"^(?:UID )?FETCH .*\[{}\]", verbs="(?:UID )?FETCH"),
    "section": Place(r"^(?:UID )?FETCH .*(?:BODY|BINARY)(?:\.PEEK|\.SIZE)?{}", verbs="(?:UID )?FETCH"),
    "search-key": Place(r"^(?:UID )?SEARCH (?:.*[ (])?{}(?=[ )]|$)", verbs="(?:UID )?SEARCH"),
    "search-return-opt": Place(r"^(?:UID )?SEARCH RETURN \((?:.* )?{}[ )]", verbs="(?:UID )?SEARCH"),
    "status-att": Place(r"^STATUS .*[( ]{}[ )]", verbs="STATUS"),
    "list-select-opt": Place(r"^LIST \((?:.* )?{}[ )]", verbs="LIST"),
    "list-select-opts": Place(r"^LIST {} ", verbs="LIST"),
    "list-return-opts": Place(r"^LIST .* {}$", verbs="LIST"),
    "list-return-opt": Place(r"^LIST .*RETURN \((?:.* )?{}[ )]", verbs="LIST"),
    "flag": Place(r"^(?:(?:UID )?STORE|APPEND) .*[ (]{}(?=[ )]|$)", verbs="(?:UID )?STORE|APPEND"),
    "flag-of-server": Place(r"FLAGS \(.*{}[ )]", client=False),
    "mbx-list-flag": Place(r"^\* LIST \((?:[^)]* )?{}[ )]", client=False),
    "response": Place(r"^(?:\*|[^ *+]+)(?: \d+)? {}(?= |$)", client=False),
    "mbox-list-extended-item": Place(r'^\* LIST .*"?{}"? ', client=False),
    "search-return-data": Place(r"^\* ESEARCH .*{}", client=False),
    "msg-att": Place(r"(?:^|[ (]){}", client=False),
    "resp-text-code": Place(r"\[{}[ \]]", client=False),
}


def pattern(kind: str, form: str) -> re.Pattern[str]:
    """What a form looks like in a transcript."""
    text = re.escape(form).replace(r"\ ", " ").replace(r"\-", "-").replace(" CRLF ", "\n")
    text = _REPEATED.sub("", text)
    text = _RULE.sub(lambda found: RULES[found[1]], text)
    if (kind, form) == ("response", "+"):
        return re.compile(r"^\+ ")
    return re.compile(PLACES[kind].around.replace("{}", f"(?:{text})", 1).replace("{{", "{").replace("}}", "}"), re.I)


@dataclass(frozen=True)
class Told:
    """One transcript: each command with its tagged answer, and every line of the server."""

    commands: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]


@cache
def told(name: str) -> Told:
    lines = parse((DIRECTORY / name).read_text())
    commands = []
    for place, line in enumerate(lines):
        words = line.text.decode().split(" ", 2)
        if line.side != "S" or len(words) < 2 or words[1] not in ("OK", "NO", "BAD") or words[0] == "*":
            continue
        sent: list[str] = []
        for earlier in reversed(lines[:place]):
            if earlier.side == "C" and earlier.connection == line.connection:
                sent.append(earlier.text.decode())
                if earlier.kind in (":", "-:") and sent[-1].startswith(words[0] + " "):
                    break
        sent.reverse()
        commands.append((_without_later_commands(sent, lines, words[0]), words[1]))
    return Told(tuple(commands), tuple(line.text.decode() for line in lines if line.side == "S"))


def _without_later_commands(sent: list[str], lines: list[Any], tag: str) -> str:
    """The command with `tag`, and the lines behind it that belong to it: no other tag stands before them."""
    tags = {line.text.decode().partition(" ")[0] for line in lines if line.side == "S"} - {"*", "+", tag}
    kept = [sent[0].partition(" ")[2]] if sent else []
    for text in sent[1:]:
        if text.partition(" ")[0] in tags and " " in text:
            break
        kept.append(text)
    return "\n".join(kept)


def is_good(kind: str, form: str, name: str) -> bool:
    """The file shows the form: in a command that is answered OK, or in a line of the server."""
    looks_like = pattern(kind, form)
    if not PLACES[kind].client:
        return any(looks_like.search(line) for line in told(name).lines)
    return any(result == "OK" and looks_like.search(command) for command, result in told(name).commands)


def stem(form: str) -> str:
    """What a form begins with, before the first name of a rule: `BODY.PEEK` of `BODY.PEEKsection`."""
    form = form.partition(" CRLF ")[0]
    found = _RULE.search(form)
    return re.sub(r"1?\*$", "", (form[: found.start()] if found else form).strip())


def is_bad(kind: str, form: str, name: str) -> bool:
    """The file shows the form gone wrong: a command with what it begins with, that is answered BAD or NO."""
    start = re.escape(stem(form))
    if start[:1].isalpha():
        start = rf"(?<![\w.]){start}(?!\w)"
    looks_like = start if kind == "command" else rf"(?:{PLACES[kind].verbs})\b(?s:.*){start}"
    return any(result != "OK" and re.match(looks_like, command, re.I) for command, result in told(name).commands)


def entries(*rfcs: str) -> Iterator[tuple[str, str, str, Any]]:
    for rfc in rfcs:
        for kind, forms in COVERAGE.get(rfc, {}).items():
            for form, entry in forms.items():
                yield rfc, kind, form, entry


def all_names(*rfcs: str) -> set[tuple[str, str, str]]:
    return {(rfc, kind, form) for rfc in rfcs for kind, forms in NAMES[rfc].items() for form in forms}


def test_the_names_are_those_of_the_texts() -> None:
    """Only where the texts are: they are no part of the project."""
    where = abnf.directory()
    if where is not None:
        assert abnf.extract(where) == NAMES, "python tests/support/abnf.py tests/data/rfc_names.json"


def test_no_name_is_missing_and_none_is_unknown() -> None:
    listed = {(rfc, kind, form) for rfc, kind, form, _ in entries(*COVERAGE)}
    assert listed - all_names(*NAMES) == set(), "not in the RFCs"
    assert all_names(*NAMES) - listed == set(), "without an entry in tests/rfc_coverage.toml"


def test_there_are_as_many_names_as_the_rfcs_have() -> None:
    """Against an extraction that finds nothing."""
    assert len(all_names("rfc9051")) > 300
    assert len(all_names("rfc3501")) > 240
    assert {len(forms) > 0 for kinds in NAMES.values() for forms in kinds.values()} == {True}


def speaks_of(test: str, word: str) -> bool:
    """`pop3/test_x.py::test_y[STAT bad]` is there, and `word` is in the case; without a case, in the function."""
    name, _, function = test.removesuffix("]").partition("::")
    function, _, case = function.partition("[")
    source = functions(TESTS / name)[function]
    return word.upper() in source.upper() and (not case or (f'("{case}"' in source and word.upper() in case.upper()))


@cache
def functions(path: Path) -> dict[str, str]:
    """The test functions of a file with their source, and that of the tables they use."""
    source = path.read_text()
    tree = ast.parse(source)
    tables = {
        target.id: ast.get_source_segment(source, node) or ""
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            text = "\n".join(ast.get_source_segment(source, part) or "" for part in [*node.decorator_list, node])
            used = [table for name, table in tables.items() if re.search(rf"\b{name}\b", text)]
            found[node.name] = "\n".join([text, *used])
    return found


STORY = """
C1: a SEARCH UNSEEN
C1: b SEARCH SEEN "x y"
S1: * SEARCH
S1: a OK done
S1: b BAD no
C1: c APPEND INBOX (\\Seen) {*+}
C1| d NOOP
C1:
S1: c OK [APPENDUID 1 2] done
C1: e FETCH 1 BODYSTRUCTURE
S1: e NO [CANNOT] no
"""


@pytest.mark.parametrize(
    "kind, form, good, bad",
    [
        ("search-key", "UNSEEN", True, False),
        ("search-key", "SEEN", False, True),
        ("search-key", "NEW", False, False),
        ("command", "SEARCH search-key", True, True),
        ("command", "SEARCH search-key search-key", False, True),
        ("command", "APPEND mailbox flag-list literal", True, False),
        ("command", "APPEND mailbox literal", False, False),
        ("command", "NOOP", False, False),
        ("fetch-att", "BODYSTRUCTURE", False, True),
        ("fetch-att", "BODY", False, False),
        ("response", "SEARCH", True, False),
        ("response", "ESEARCH", False, False),
        ("resp-text-code", "APPENDUID", True, False),
        ("resp-text-code", "UIDNEXT", False, False),
    ],
)
def test_what_counts_as_shown(kind: str, form: str, good: bool, bad: bool, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}-{form}.txt".replace(" ", "-")
    path.write_text(STORY)
    assert is_good(kind, form, str(path)) == good
    assert (PLACES[kind].client and is_bad(kind, form, str(path))) == bad


@pytest.mark.parametrize("rfc, kind, form, entry", [*entries(*IMAP)], ids=lambda value: str(value)[:60])
def test_imap(rfc: str, kind: str, form: str, entry: Any) -> None:
    if isinstance(entry, str):  # "rfc9051": as there
        assert entry == "rfc9051" != rfc
        assert form in COVERAGE[entry][kind]
        return
    assert set(entry) <= {"good", "bad", "tests", "note"}
    assert entry.get("good") or entry.get("tests") or entry.get("note"), "no good case, and no word why"
    assert "bad" in entry or entry.get("note") or not PLACES[kind].client, "no bad case, and no word why"
    for name in entry.get("good", []):
        assert is_good(kind, form, name), f"{name} does not show {pattern(kind, form).pattern}"
    for name in entry.get("bad", []):
        assert is_bad(kind, form, name), f"{name} has no {stem(form)!r} that is answered BAD or NO"
    for test in entry.get("tests", []):
        assert speaks_of(test, stem(form)), f"{test} does not speak of {form}"


@pytest.mark.parametrize(
    "rfc, kind, form, entry", [*entries(*(rfc for rfc in NAMES if rfc not in IMAP))], ids=lambda value: str(value)[:60]
)
def test_pop3(rfc: str, kind: str, form: str, entry: dict[str, Any]) -> None:
    assert set(entry) <= {"good", "bad", "note"}
    assert entry.get("good") or entry.get("note"), "no test, and no word why"
    for test in [*entry.get("good", []), *entry.get("bad", [])]:
        assert speaks_of(test, form.split()[0]), f"{test} does not speak of {form}"
