"""The import rules and sizes of the code: CONTRIBUTING.md, "The house"."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "greenmail"
FILES = sorted(ROOT.rglob("*.py"))

# What each part may import of GreenMail. `metrics` may be used anywhere.
ALLOWED = {
    "errors": set(),
    "runtime": set(),
    "pace": set(),
    "transcript": set(),
    "language": {"language"},
    "preload": set(),
    "metrics": {"metrics_labels", "metrics_tally"},
    "metrics_labels": set(),
    "metrics_tally": set(),
    "log": set(),
    "terminal": set(),
    "built": {"message"},
    "message": {"errors", "message"},
    "storage": {"errors", "runtime", "message", "storage"},
    "auth": {"errors", "runtime", "auth"},
    "fulltext": {"errors", "runtime", "message", "storage", "fulltext"},
    "imap": {"errors", "runtime", "message", "storage", "auth", "language", "imap", "log", "pace", "transcript"},
    "pop3": {"errors", "runtime", "message", "storage", "auth", "language", "pop3", "log", "pace", "transcript"},
    "config": {"errors", "config", "auth", "language", "storage"},
    "doctor": {
        "errors",
        "fulltext",
        "runtime",
        "message",
        "storage",
        "auth",
        "config",
        "pop3",
        "preload",
        "terminal",
        "doctor",
    },  # of pop3: the ids
    "shadow": {"errors", "config", "auth", "terminal", "shadow"},
    "import_config": {"errors", "config", "storage", "import_config"},
}
FREE = {"net", "cli", "__main__", "__init__"}  # these may import everything of ours
# `shadow` is a client, in a process of its own without gevent: it needs an SSLContext and a free port.
ALSO = {"shadow": {"ssl", "socket"}}
SHELL_ONLY = {"gevent", "socket", "ssl", "select", "selectors", "watchdog", "greenlet"}
NOWHERE = {"asyncio", "crypt", "telnetlib"}
MAX_LINES, MAX_FUNCTION = 500, 60


def part(path: Path) -> str:
    """`imap` for greenmail/imap/x.py, `config` for greenmail/config.py and greenmail/config_text.py."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "config" if first.startswith("config") else first


def imports(path: Path) -> list[tuple[str, int]]:
    """Every module that `path` imports, with the line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    own = part(path)
    for name, line in imports(path):
        top, _, rest = name.partition(".")
        where = f"{path}:{line}"
        assert top not in NOWHERE, f"{where} imports {top}"
        assert "monkey" not in name, f"{where}: no monkey patching"
        if top in SHELL_ONLY:
            assert own == "net" or top in ALSO.get(own, ()), f"{where} imports {top}: only net/ may"
        if top == "prometheus_client":
            assert own == "metrics", f"{where}: greenmail/metrics.py is the only importer of prometheus_client"
        if top == "greenmail" and own not in FREE:
            used = "config" if rest.startswith("config") else rest.partition(".")[0]
            assert used in {own, "metrics", "__version__"} | ALLOWED[own], f"{where}: {own} imports {used}"


# Modules whose questions may have "no" for an answer whatever went wrong: who may not look has nothing there.
MAY_GUESS = {"maildir_namespaces.py": 4, "maildir_box.py": 1, "account.py": 1}


@pytest.mark.parametrize("path", sorted((ROOT / "storage").glob("*.py")), ids=lambda path: path.name)
def test_whether_mail_is_there_is_asked_through_the_layer(path: Path) -> None:
    """`storage/presence.py` says why."""
    guesses = re.findall(r"\bos\.path\.(?:isdir|isfile|exists|lexists|islink)\(", path.read_text(encoding="utf-8"))
    assert len(guesses) == MAY_GUESS.get(path.name, 0), guesses


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= MAX_LINES, f"{path} has {lines} lines: split it by RFC section or by what it knows"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_have_a_docstring_and_wide_excepts_stand_where_they_may(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.stat().st_size == 0 or ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            short = isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno <= 3
            assert short or ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler):
            wide = handler.type is None or (
                isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
            )
            may = part(path) == "net" or path.name in {"execute.py", "serve.py"}
            assert not wide or may, (
                f"{path}:{handler.lineno}: a wide except belongs to execute.py and the connection loops"
            )
