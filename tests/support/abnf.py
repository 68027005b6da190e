"""What the grammars in the RFC texts name: commands and their forms, items, keys, flags, responses, response codes.

The texts are no part of the project. They are looked for below the directory in GREENMAIL_RFC_TEXTS, else below
`../shared/rfc` beside the project; what was found in them stands in `tests/data/rfc_names.json`, made anew by

    python tests/support/abnf.py tests/data/rfc_names.json

A *form* is one way through a rule: optional parts left out and put in, every alternative once, what may be repeated
once and twice. "STORE" SP sequence-set SP store-att-flags has the form `STORE sequence-set +FLAGS.SILENT flag-list`.
"""

import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Names = dict[str, dict[str, list[str]]]  # RFC -> kind -> forms

# The grammar of grammars, RFC 5234 4:
#   alternation = cat *("/" cat)    cat = 1*(repeat element)    repeat = 1*DIGIT / (*DIGIT "*" *DIGIT)
#   element = name / "(" alternation ")" / "[" alternation "]" / <"> text <"> / "%x.." / "<" prose ">"
_TOKEN = re.compile(r'\s*("[^"]*"|<[^>]*>|%[xbd][\w.-]+|\d*\*\d*|\d+(?=[A-Za-z(\["])|[A-Za-z][\w-]*|[/()\[\]])')
_HEAD = re.compile(r"( *)([A-Za-z][\w-]*) *=(/?) ")
_COMMENT = re.compile(r'("[^"]*"|<[^>]*>|[^";<])*')
_PAGE = re.compile(r"\n+[^\n]*\[Page \d+\]\n\f?\n?RFC \d+[^\n]*\n+")
_SPELLED = {"SP": " ", "DQUOTE": '"', "CRLF": " CRLF "}


@dataclass(frozen=True)
class Word:
    text: str


@dataclass(frozen=True)
class Rule:
    name: str


@dataclass(frozen=True)
class Either:
    options: tuple["Node", ...]


@dataclass(frozen=True)
class Sequence:
    items: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    item: "Node"
    least: int
    most: int | None
    prefix: str  # as written, `1*2`


Node = Word | Rule | Either | Sequence | Repeat


def section(text: str, number: str) -> str:
    """The body of one section, without page ends."""
    text = _PAGE.sub("\n", text)
    heads = list(re.finditer(r"^(\d+(?:\.\d+)*)\.? +\S.*$", text, re.MULTILINE))
    for place, head in enumerate(heads):
        # A line of the table of contents ends in dots and a page number, or has no body.
        if head[1] != number or re.search(r"\. ?\.+ *\d+$", head[0]):
            continue
        after = [item for item in heads[place + 1 :] if not item[1].startswith(number + ".")]
        body = text[head.end() : after[0].start() if after else len(text)]
        if body.strip():
            return body
    raise ValueError(f"there is no section {number}")


def rules(text: str) -> dict[str, Node]:
    """The rules of a grammar: those lines of `text` that look like one, at the indentation of the first."""
    sources: dict[str, list[str]] = {}
    name, indent = "", None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head is not None and indent in (None, head[1]):
            indent, name = head[1], head[2]
            if not head[3]:
                sources[name] = []
            sources.setdefault(name, []).append("")  # one more alternative, perhaps to a rule of another RFC
            line = line[head.end() :]
        elif line.strip() and indent is not None and not line.startswith(indent + " "):
            name = ""  # prose has begun
        if name:
            found = _COMMENT.match(line)
            sources[name][-1] += (found[0] if found else "") + "\n"
    return {name: _alternation(_tokens(" / ".join(parts))) for name, parts in sources.items()}


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"this is no grammar: {text[place : place + 60]!r}")
        tokens.append(found[1])
        place = found.end()
    tokens.reverse()  # so that pop() takes the next
    return tokens


def _alternation(tokens: list[str]) -> Node:
    options = [_sequence(tokens)]
    while tokens and tokens[-1] == "/":
        tokens.pop()
        options.append(_sequence(tokens))
    return options[0] if len(options) == 1 else Either(tuple(options))


def _sequence(tokens: list[str]) -> Node:
    items: list[Node] = []
    while tokens and tokens[-1] not in ("/", ")", "]"):
        items.append(_repetition(tokens))
    return items[0] if len(items) == 1 else Sequence(tuple(items))


def _repetition(tokens: list[str]) -> Node:
    if "*" in tokens[-1] and not tokens[-1].startswith(('"', "<")):
        prefix = tokens.pop()
        least, _, most = prefix.partition("*")
        return Repeat(_element(tokens), int(least or 0), int(most) if most else None, prefix)
    if tokens[-1].isdigit():
        prefix = tokens.pop()
        return Repeat(_element(tokens), int(prefix), int(prefix), prefix)
    return _element(tokens)


def _element(tokens: list[str]) -> Node:
    token = tokens.pop()
    if token in "([":
        inner = _alternation(tokens)
        tokens.pop()
        return inner if token == "(" else Repeat(inner, 0, 1, "")
    if token.startswith('"'):
        return Word(token[1:-1])
    return Rule("prose" if token.startswith("<") else token)


def forms(node: Node, table: dict[str, Node], inline: frozenset[str]) -> Iterator[str]:
    """The ways through `node`; the rules in `inline` are walked through, others stand by their names."""
    match node:
        case Word(text):
            yield text
        case Rule(name) if name in inline and name in table:
            yield from forms(table[name], table, inline - {name})  # a rule within itself stands by its name
        case Rule(name):
            yield _SPELLED.get(name, name)
        case Either(options):
            for option in options:
                yield from forms(option, table, inline)
        case Sequence(items):
            for way in itertools.product(*(list(forms(item, table, inline)) for item in items)):
                yield "".join(way)
        case Repeat(Rule(name), _, _, prefix) if prefix and name not in inline:
            yield prefix + name
        case Repeat(item, least, most):
            for times in (least, least + 1) if most is None else range(least, most + 1):
                for way in itertools.product(list(forms(item, table, inline)), repeat=times):
                    if len(set(way)) <= 1:  # twice the same is enough to show that it may come twice
                        yield "".join(way)


@dataclass(frozen=True)
class Kind:
    """Where the names of a kind stand in a grammar: the forms of `rules`, walking through the rules in `inline`."""

    rules: str
    inline: str = ""
    words: bool = False  # of each form only its first word

    def of(self, table: dict[str, Node]) -> list[str]:
        found: dict[str, None] = {}
        for name in self.rules.split():
            if name in table:
                for form in forms(table[name], table, frozenset(self.inline.split())):
                    found.setdefault(self._name(form.removesuffix(" CRLF ")))
        found.pop("", None)
        return list(found)

    def _name(self, form: str) -> str:
        """Nothing for a form that is only the name of another rule: that one has its own forms, or none."""
        if not self.words:
            return form if not _IS_RULE.fullmatch(form) else ""
        found = _WORD.search(form)
        return found[0] if found else ""


_IS_RULE = re.compile(r"[a-z][a-z0-9-]*")
_WORD = re.compile(r"(?<![\w-])(?:\+|[A-Z][A-Z-]+)")

# What RFC 3501 does not have yet, or RFC 9051 not any more, is skipped.
IMAP_KINDS = {
    "command": Kind(
        "command-any command-nonauth command-auth command-select",
        "append authenticate copy create delete enable examine fetch idle list login lsub move namespace-command rename"
        " search search-return-opts search-program select status store store-att-flags subscribe uid uid-expunge"
        " unsubscribe mbox-or-pat",
    ),
    "astring": Kind("astring mailbox quoted"),
    "list-mailbox": Kind("list-mailbox list-wildcards"),
    "literal": Kind("literal"),
    "sequence-set": Kind("sequence-set seq-last-command", "seq-number seq-range"),
    "date": Kind("date"),
    "date-month": Kind("date-month"),
    "date-time": Kind("date-time", "date-day-fixed zone"),
    "flag-list": Kind("flag-list"),
    "header-list": Kind("header-list"),
    "initial-resp": Kind("initial-resp"),
    "fetch-att": Kind("fetch-att", "partial"),
    "section-spec": Kind("section-spec section-msgtext section-part", "section-text"),
    "section": Kind("section section-binary"),
    "search-key": Kind("search-key"),
    "search-return-opt": Kind("search-return-opt"),
    "status-att": Kind("status-att"),
    "list-select-opt": Kind("list-select-base-opt list-select-independent-opt list-select-mod-opt", words=True),
    "list-select-opts": Kind("list-select-opts"),
    "list-return-opts": Kind("list-return-opts"),
    "list-return-opt": Kind("return-option", "status-option"),
    "flag": Kind("flag flag-keyword flag-extension"),
    "flag-of-server": Kind("flag-perm flag-fetch obsolete-flag-recent"),
    "mbx-list-flag": Kind("mbx-list-oflag mbx-list-sflag child-mbox-flag"),
    "response": Kind(
        "resp-cond-state resp-cond-bye resp-cond-auth mailbox-data message-data capability-data enable-data"
        " continue-req esearch-response namespace-response obsolete-search-response obsolete-recent-response",
        words=True,
    ),
    "mbox-list-extended-item": Kind("childinfo-extended-item oldname-extended-item", words=True),
    "search-return-data": Kind("search-return-data"),
    "msg-att": Kind("msg-att-static msg-att-dynamic"),
    "resp-text-code": Kind("resp-text-code capability-data", "resp-code-apnd resp-code-copy", words=True),
}


def imap_names(text: str) -> dict[str, list[str]]:
    """Of RFC 9051 or RFC 3501: the grammar in section 9, and what section 7 defines in its titles and lists."""
    grammar = rules(section(text, "9"))
    names = {kind: found for kind, where in IMAP_KINDS.items() if (found := where.of(grammar))}
    seven = section(text, "7")
    codes = seven[seven.index("\n7.1.") : seven.index("\n7.1.1.")]
    listed = {
        "response": re.findall(r"^7\.\d\.\d\.? +(\w+) Response$", seven, re.M),
        "resp-text-code": re.findall(r"^ {3,6}([A-Z][A-Z-]+) *\n+ {6,9}\S", codes, re.M),
        "mbx-list-flag": re.findall(r"^ {3,6}(\\[A-Z]\w+) *\n+ {6,9}\S", seven, re.M),
    }
    for kind, more in listed.items():
        names[kind] = list(dict.fromkeys([*names[kind], *more]))
    return names


def pop3_names(texts: dict[str, str]) -> Names:
    """Of the RFCs about POP3, which have summaries and headings where others have a grammar."""
    summary = section(texts["rfc1939"], "9")
    commands = re.findall(r"^ {9}([A-Z]{3,4}(?: \[?[a-z]+\]?)*)(?:  .*)?$", summary, re.M)
    capa, auth, stls, utf8 = (texts[name] for name in ("rfc2449", "rfc5034", "rfc2595", "rfc6856"))
    grammar = rules(section(auth, "5"))
    return {
        "rfc1939": {
            "command": list(dict.fromkeys(form for line in commands for form in _with_and_without(line))),
            "reply": re.findall(r"^ {9}(\+OK|-ERR)$", summary, re.M),
        },
        "rfc2449": {
            "command": re.findall(r"^5\. +The (\S+) Command$", capa, re.M),
            "capability": re.findall(r"^6\.\d\. +(\S+) capability$", capa, re.M),
            "response code": re.findall(r"^8\.1\.\d\. +The (\S+) response code$", capa, re.M),
        },
        "rfc5034": {
            "command": sorted({form.partition(" CRLF")[0] for form in Kind("auth-command").of(grammar)}),
            "argument": Kind("initial-response cancel-response").of(grammar),
            "capability": re.findall(r"^3\. +The (\S+) Capability$", auth, re.M),
        },
        "rfc2595": {
            "command": re.findall(r"^ {6}([A-Z]+)\n+ +Arguments:", section(stls, "4"), re.M),
            "capability": re.findall(r'capability name "(\w+)"', section(stls, "4")),
        },
        "rfc6856": {
            "command": [
                *re.findall(r'^2\.1\. +The "(\w+)" Command$', utf8, re.M),
                *re.findall(r'new command: "(\w+)"', utf8),
            ],
            "capability": re.findall(r'^[23]\. +"(\w+)" Capability$', utf8, re.M),
            "argument": re.findall(r'^2\.2\. +(\w+) Argument to "UTF8" Capability$', utf8, re.M),
            "response code": re.findall(r'^5\. +"(\w+)" Response Code$', utf8, re.M),
        },
    }


def _with_and_without(line: str) -> list[str]:
    """LIST [msg]: LIST, and LIST msg."""
    bare = re.sub(r" \[.*\]", "", line)
    return list(dict.fromkeys([bare, re.sub(r"[\[\]]", "", line)]))


# RFC 3206 4, 5, 6, whose text is not among the others.
RFC3206 = {"response code": ["SYS/TEMP", "SYS/PERM", "AUTH"], "capability": ["AUTH-RESP-CODE"]}
READ = ("rfc9051", "rfc3501", "rfc1939", "rfc2449", "rfc5034", "rfc2595", "rfc6856")
ROOT = Path(__file__).parent.parent.parent


def directory() -> Path | None:
    """Where the texts are, or None."""
    place = Path(os.environ.get("GREENMAIL_RFC_TEXTS") or ROOT.parent / "shared" / "rfc")
    return place if (place / "rfc9051.txt").is_file() else None


def extract(place: Path) -> Names:
    """Everything, from the texts."""
    texts = {name: (place / f"{name}.txt").read_text("utf-8", "replace") for name in READ}
    imap = {name: imap_names(texts[name]) for name in ("rfc9051", "rfc3501")}
    return {**imap, **pop3_names(texts), "rfc3206": RFC3206}


if __name__ == "__main__":
    where = directory()
    if where is None:
        sys.exit("no RFC texts: set GREENMAIL_RFC_TEXTS to the directory with rfc9051.txt and the others")
    Path(sys.argv[1]).write_text(json.dumps(extract(where), indent=1) + "\n")
