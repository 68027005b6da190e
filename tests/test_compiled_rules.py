"""What mypyc believes wrongly does not stand in the modules that it compiles: docs/decisions/0016-compiled-modules.md.

It compiles what mypy believes. Where that is not what happens, Python as it is interpreted does not mind, and the
compiled module raises a TypeError, waits for ever, or leaves a file open. Each rule has examples that break it.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What goes through all of a generator expression at once, so that it does not matter that mypyc makes it a list.
EAGER_ASSIGN = (ast.Tuple, ast.List)
BASES = {"Protocol", "Enum", "IntEnum", "NamedTuple", "Exception", "ValueError"}
VIEWS = {"keys", "items"}
# The same of what is called; mypyc makes loops of `all`, `any`, `next` and `sum`. Last those of ours.
GO_THROUGH_ALL = {
    *("all", "any", "next", "sum", "bytes", "dict", "extend", "from_iterable", "fromkeys", "frozenset", "join", "list"),
    *("max", "min", "set", "sorted", "tuple", "update", "zip", "Counter", "Acl", "flag_words", "ranges_of"),
    *("_changes", "_gather", "_joined", "_must_fit", "_told"),
}
TUPLES_OWN = {"__bool__", "__len__", "__eq__", "__hash__", "__iter__", "__contains__", "__getitem__", "__lt__"}

Rule = Callable[[ast.AST], Iterator[str]]


PACKAGES = ("imap", "message", "pop3", "storage")
# What cannot be compiled as it is, or shall not be; of all others setup.py may take what is worth it.
UNFIT = {
    "imap/digest": "its generators close messages, also when nobody asks them any more, which compiled ones do not",
    "imap/ext/inprogress": "as imap/digest",
    "imap/ext/sort": "long loops in the pool",
    "imap/ext/thread": "long loops in the pool",
    "imap/registry": "its tables are made while the modules that they are made of are imported in a circle",
    "imap/threads": "long loops in the pool",
    "message/turn": "to enter its functions is where threads take turns",
    "pop3/login": "as storage/locks",
    "storage/directory_lock": "as storage/locks",
    "storage/file_lock": "as storage/locks",
    "storage/locks": "a TypeError while a lock is given back would leave it there",
    "storage/maildir_first": "long loops in the pool",
    "storage/maildir_link": "its exception is an OSError",
    "storage/maildir_number": "long loops in the pool",
    "storage/maildir_scan": "long loops in the pool",
    "storage/maildir_slices": "long loops in the pool",
    "storage/maildrop_lock": "as storage/locks",
    "storage/memory": "tests put faults into the place of its parts",
    "storage/memory_mailbox": "as storage/memory",
    "storage/quota": "its objects are held by weak references",
    "storage/snapshot": "long loops in the pool",
    "storage/stale_lock": "as storage/locks",
    "storage/uidlist": "long loops in the pool",
    "storage/uidlist_file": "long loops in the pool",
    "storage/uidlist_format": "long loops in the pool",
    "storage/uidlist_records": "long loops in the pool",
}


def _compiled() -> set[str]:
    """The modules that setup.py compiles, by its own text: it cannot be imported."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            found: dict[str, str] = ast.literal_eval(node.value)
            return {f"{package}/{name}" for package, names in found.items() for name in names.split()}
    raise AssertionError("setup.py has no COMPILED")


def _fit() -> list[Path]:
    package = ROOT / "greenmail"
    files = [path for name in PACKAGES for path in sorted((package / name).rglob("*.py"))]
    return [path for path in files if path.name != "__init__.py" and _name(path) not in UNFIT]


def _name(path: Path) -> str:
    return path.relative_to(ROOT / "greenmail").with_suffix("").as_posix()


FILES = _fit()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a node, without what is in functions in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield from _own(child)


def narrowed(tree: ast.AST) -> Iterator[str]:
    """An attribute that was found to be None is None for mypy until it is assigned, whatever is called meanwhile."""
    for function in _functions(tree):
        for block, body in _blocks(function):
            for place, statement in enumerate(body):
                if isinstance(statement, ast.If | ast.While):
                    for name in _nones(statement.test):
                        yield from _believed(name, statement.body)
                    if isinstance(statement, ast.If) and _leaves(statement.body):
                        for name in _nones(statement.test, negative=True):
                            yield from _believed(name, body[place + 1 :])
            del block


def _blocks(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, list[ast.stmt]]]:
    for node in [function, *_own(function)]:
        for field in ("body", "orelse", "finalbody"):
            found = getattr(node, field, None)
            if isinstance(found, list):
                yield node, found


def _nones(test: ast.expr, negative: bool = False) -> Iterator[str]:
    """The attributes that are None where `test` is true; `negative`: where it is false."""
    joins = ast.Or if negative else ast.And
    for part in test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, joins) else [test]:
        if (
            isinstance(part, ast.Compare)
            and isinstance(part.ops[0], ast.IsNot if negative else ast.Is)
            and isinstance(part.left, ast.Attribute)
            and ast.unparse(part.comparators[0]) == "None"
        ):
            yield ast.unparse(part.left)


def _leaves(body: list[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)


def _believed(name: str, body: list[ast.stmt]) -> Iterator[str]:
    was_called = False
    for statement in body:
        parts = [statement, *_own(statement)]
        if was_called:
            for part in parts:
                if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Load) and ast.unparse(part) == name:
                    yield f"{part.lineno}: {name} was None before something was called; keep what the call gives back"
                    return
        if any(isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and ast.unparse(part) == name
               for part in parts):  # fmt: skip
            return
        was_called = was_called or any(isinstance(part, ast.Call) for part in parts)


def caught(tree: ast.AST) -> Iterator[str]:
    """One name for two kinds of exceptions has the type of the first."""
    for function in _functions(tree):
        kinds: dict[str, str] = {}
        for node in _own(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                kind = ast.unparse(node.type)
                if kinds.setdefault(node.name, kind) != kind:
                    yield f"{node.lineno}: {node.name} is {kinds[node.name]} and {kind}; give each its own name"


def views(tree: ast.AST) -> Iterator[str]:
    """A set and a view of a dict give a set; typeshed says that a frozenset and a view give a frozenset."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and _is_view(node.right) and not _is_view(node.left):
            yield f"{node.lineno}: {ast.unparse(node)}; say .intersection(), .difference() or .union()"


def _is_view(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in VIEWS


def lazy(tree: ast.AST) -> Iterator[str]:
    """A generator expression becomes a list: it has no `next`, and all of it is made before the first is asked for."""
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.GeneratorExp) or isinstance(parent, ast.Call | ast.Starred):
                continue
            if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], EAGER_ASSIGN):
                continue
            yield f"{node.lineno}: a generator expression that is kept; write a function that yields, or a list"


def handed(tree: ast.AST) -> Iterator[str]:
    """The same where one is given to what may stop before its end: all of it is made nevertheless."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] not in GO_THROUGH_ALL:
            for given in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(given, ast.GeneratorExp):
                    yield f"{given.lineno}: {ast.unparse(node.func)} may not want all; write a function that yields"


def held(tree: ast.AST) -> Iterator[str]:
    """A generator that nobody asks any more is not ended: what it would do at its end is never done."""
    for function in _functions(tree):
        if any("contextmanager" in ast.unparse(decorator) for decorator in function.decorator_list):
            continue  # `with` goes on with it, whatever happens
        for node in _own(function):
            has_end = isinstance(node, ast.With) or (isinstance(node, ast.Try) and node.finalbody)
            if has_end and any(isinstance(part, ast.Yield | ast.YieldFrom) for part in _own(node)):
                yield f"{node.lineno}: {function.name} yields within something that it has to end"


def ended(tree: ast.AST) -> Iterator[str]:
    """In `finally` a name has for mypy the type that it has at the end of `try`, though that was not reached."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try):
            continue
        given = {
            target.id
            for part in _parts(node.body)
            if isinstance(part, ast.Assign)
            for target in part.targets
            if isinstance(target, ast.Name)
        }
        for part in _parts(node.finalbody):
            is_asked = isinstance(part, ast.Compare) and isinstance(part.left, ast.Name) and part.left.id in given
            if is_asked and ast.unparse(part).endswith("None"):
                yield f"{part.lineno}: {part.left.id} is given in `try`; ask a bool whether it was"


def _parts(body: list[ast.stmt]) -> Iterator[ast.AST]:
    return (part for statement in body for part in [statement, *_own(statement)])


def based(tree: ast.AST) -> Iterator[str]:
    """Few classes of Python can be the base of a compiled one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                if ast.unparse(base) not in BASES:
                    yield f"{node.lineno}: {node.name} is a {ast.unparse(base)}"


def skipped(tree: ast.AST) -> Iterator[str]:
    """`continue` and `break` within `try: ... finally` are not known to mypyc."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and node.finalbody:
            for part in [part for statement in node.body for part in [statement, *_own(statement)]]:
                if isinstance(part, ast.Continue | ast.Break) and not _is_in_loop(node, part):
                    yield f"{part.lineno}: leaves a loop out of try: ... finally"


def _is_in_loop(outer: ast.Try, wanted: ast.AST) -> bool:
    loops = [part for part in _own(outer) if isinstance(part, ast.For | ast.While)]
    return any(part is wanted for loop in loops for part in _own(loop))


def chained(tree: ast.AST) -> Iterator[str]:
    """`from` is left out of a `raise`, and `filesystem.is_stale` asks a StorageError for its cause."""
    for node in ast.walk(tree):
        is_chained = isinstance(node, ast.Raise) and isinstance(node.cause, ast.Name)
        if is_chained and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "StorageError":
            yield f"{node.lineno}: its cause is not kept; use `filesystem.refusal`"


def tuples(tree: ast.AST) -> Iterator[str]:
    """A named tuple is a tuple: true if it has fields, equal if they are, whatever its methods say."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "NamedTuple" for base in node.bases):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name in TUPLES_OWN:
                    yield f"{part.lineno}: {node.name}.{part.name} is not asked"


RULES: dict[Rule, tuple[str, str]] = {
    narrowed: (
        "def f(self):\n    if self.x is None:\n        self.load()\n        return self.x",
        "def f(self):\n    if self.x is None:\n        self.load()\n    return self.x",
    ),
    caught: (
        "def f():\n    try: g()\n    except KeyError as error: h(error)\n    except OSError as error: h(error)",
        "def f():\n    try: g()\n    except KeyError as lack: h(lack)\n    except OSError as error: h(error)",
    ),
    views: ("wanted & known.keys()", "known.keys() & wanted"),
    lazy: ("def f(): return (x for x in y)", "def f(): return sum(x for x in y)"),
    handed: ("compare(noted, (x for x in y))", "sum(x for x in y)"),
    held: (
        "def f():\n    with g() as h:\n        yield h",
        "@contextmanager\ndef f():\n    with g() as h:\n        yield h",
    ),
    ended: (
        "x = None\ntry:\n    x = f()\nfinally:\n    if x is None: g()",
        "try:\n    x = f()\n    is_there = True\nfinally:\n    if not is_there: g()",
    ),
    based: ("class A(OSError): pass", "class A(Exception): pass"),
    chained: ("raise StorageError(x, y) from error", "raise refusal(error, y) from error"),
    tuples: (
        "class A(NamedTuple):\n    b: int\n    def __bool__(self): return self.b > 0",
        "class A(NamedTuple):\n    b: int\n    def is_there(self): return self.b > 0",
    ),
    skipped: (
        "for x in y:\n    try:\n        continue\n    finally: g()",
        "for x in y:\n    try:\n        for z in x: break\n    finally: g()",
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_finds_what_breaks_it_and_nothing_else(rule: Rule) -> None:
    bad, good = RULES[rule]
    assert list(rule(ast.parse(bad)))
    assert not list(rule(ast.parse(good)))


def test_narrowing_is_seen_behind_a_way_out_as_well() -> None:
    text = "def f(self):\n    if self.x is not None:\n        return\n    self.load()\n    print(self.x)"
    assert list(narrowed(ast.parse(text)))
    assert not list(narrowed(ast.parse(text.replace("self.load()", "self.x = load()"))))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "greenmail")))
def test_modules_that_may_be_compiled_keep_the_rules(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"{path}:{what}" for rule in RULES for what in rule(tree)]
    assert not found, "\n".join(found)


def test_what_is_compiled_is_fit_for_it() -> None:
    assert _compiled() <= {_name(path) for path in FILES}
    assert not [name for name in UNFIT if not (ROOT / "greenmail" / f"{name}.py").exists()]


def test_what_is_held_by_weak_references_is_not_compiled() -> None:
    """Compiled objects cannot be."""
    names = {
        name
        for path in (ROOT / "greenmail").rglob("*.py")
        for name in re.findall(r"weakref\.\w+\[[^\]]*?(\w+)\]", path.read_text(encoding="utf-8"))
    }
    assert names
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not [name for name in names if f"\nclass {name}:" in text or f"\nclass {name}(" in text], path
