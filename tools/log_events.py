"""Every event of the log, from the code: `python tools/log_events.py docs/log-events.md` writes the table there."""

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from greenmail.log import event  # noqa: E402 # the project is found through sys.path, which stands before it

BEGIN = "<!-- from here on by tools/log_events.py -->\n"
_LEVELS = {"debug": "debug", "info": "info", "warning": "warn", "error": "error", "exception": "error"}
_NUMBERS = {10: "debug", 20: "info", 30: "warn", 40: "error"}


@dataclass
class Event:
    """What the code logs by one name."""

    levels: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)


def events() -> dict[str, Event]:
    """All of them, by name."""
    found: dict[str, Event] = {}
    for path in sorted((ROOT / "greenmail").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            template, level = _logged(node)
            if not template or not event(template):
                continue
            one = found.setdefault(event(template), Event())
            one.levels.add(level)
            one.places.add(str(path.relative_to(ROOT / "greenmail")))
            one.messages.add(template)
    return found


def _logged(node: ast.AST) -> tuple[str, str]:
    """The format and the level, if this is a call of a logger; else nothing."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return "", ""
    if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "log"):
        return "", ""
    name, arguments = node.func.attr, node.args
    if name == "log":
        level, arguments = ast.unparse(arguments[0]).rpartition(".")[2].lower(), arguments[1:]
        level = "trace" if level == "trace" else "by case"
    elif name in _LEVELS:
        level = _LEVELS[name]
    else:
        return "", ""
    template = arguments[0]
    if not isinstance(template, ast.Constant) or not isinstance(template.value, str):
        return "", ""
    return template.value, level


def table() -> str:
    """The rows of the page."""
    lines = ["| event | level | from | line |", "|---|---|---|---|"]
    for name, one in sorted(events().items()):
        messages = "<br>".join(f"`{message.replace('|', chr(92) + '|')}`" for message in sorted(one.messages))
        lines.append(f"| `{name}` | {', '.join(sorted(one.levels))} | {', '.join(sorted(one.places))} | {messages} |")
    return "\n".join(lines) + "\n"


def main(path: str) -> None:
    """Write the table below what people have written."""
    page = Path(path)
    head = page.read_text(encoding="utf-8").partition(BEGIN)[0]
    page.write_text(head + BEGIN + "\n" + table(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
