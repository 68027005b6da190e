"""GreenMail beside other servers, from its tables and `compare.toml`: `python tools/compare_page.py docs/compare.md`.

What the registry tells without any setting is "yes", what it has and does not tell then is "off by default", and what
it does not have is "no", with the reason from the table. What has no capability says in the table what GreenMail does
(`has`) or why it does not (`no`). No cell says that GreenMail has something without a test to open.
"""

import sys
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import commands_page  # noqa: E402 # the directory is found through sys.path, which stands before it

from greenmail.imap import registry  # noqa: E402 # as above

Row = dict[str, Any]
TABLE = tomllib.loads((ROOT / "tools" / "compare.toml").read_text())
WORDS = {"y": "yes", "n": "no", "o": "off by default", "p": "in part", "?": "doubtful", "-": "not looked up"}


def told() -> set[str]:
    """The names of capabilities that are told without any setting, at some moment of a connection."""
    found = set()
    for capability in registry.CAPABILITIES.values():
        if any(capability.when(made) and capability.words(made) for made in commands_page.MOMENTS.values()):
            found.add(capability.name)
    return found


def evidence(row: Row) -> list[str]:
    """Files and directories of tests: those that the row names, else the transcripts of the capability's module."""
    if row.get("shown"):
        return list(row["shown"])
    homes = [feature.name for feature in registry.FEATURES for item in feature.capabilities if item.name == row["name"]]
    own = [f"tests/transcripts/{home}" for home in homes if (ROOT / "tests" / "transcripts" / home).is_dir()]
    assert own, f"{row['name']} wants `shown` in tools/compare.toml"
    return own


def link(path: str) -> str:
    """`path` or `path::test`."""
    file, _, test = path.partition("::")
    text = test or file.removeprefix("tests/").removeprefix("transcripts/").removesuffix(".txt").removesuffix(".py")
    return f"[{text}](../{file})"


def ours(row: Row, always: set[str], known: Collection[str]) -> str:
    """`known` are the capabilities that there are, `always` those that are told without a setting."""
    if row["name"] in always:
        word = "yes"
    elif row["name"] in known:
        assert "setting" in row, f"{row['name']} is not told by default and wants `setting` in tools/compare.toml"
        word = f"off by default: `{row['setting']}`"
    elif "has" in row:
        word = row["has"]
    else:
        return f"no: {row['no']}"
    note = f", {row['note']}" if "note" in row else ""
    return f"{word}{note} ({', '.join(link(path) for path in evidence(row))})"


def theirs(text: str) -> str:
    """One letter, or a letter and a remark: `y only over TLS`."""
    letter, _, remark = text.partition(" ")
    return f"{WORDS[letter]}: {remark}" if remark else WORDS[letter]


def section(what: Row, servers: list[str], always: set[str], known: Collection[str]) -> list[str]:
    lines = [
        f"## {what['title']}",
        "",
        f"| {what['of']} | RFC | GreenMail | " + " | ".join(servers) + " |",
        "|---" * (len(servers) + 3) + "|",
    ]
    for row in what["rows"]:
        others = [theirs(text) for text in row["others"]]
        assert len(others) == len(servers), row["name"]
        cells = [row.get("title", row["name"]), row["rfc"], ours(row, always, known), *others]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def missing(always: set[str]) -> list[str]:
    """Capabilities that no row speaks of."""
    named = {row["name"] for what in TABLE["imap"] for row in what["rows"]}
    return sorted(set(registry.CAPABILITIES) - named)


def page() -> str:
    always = told()
    absent = missing(always)
    assert not absent, f"tools/compare.toml has no row for {', '.join(absent)}"
    parts = [["# GreenMail beside other servers", "", TABLE["about"].strip()]]
    parts += [section(what, TABLE["servers"]["imap"], always, registry.CAPABILITIES) for what in TABLE["imap"]]
    parts += [section(what, TABLE["servers"]["pop3"], set(), ()) for what in TABLE["pop3"]]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
