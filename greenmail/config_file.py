"""Reads a configuration file into one tree of keys, and remembers the line of each.

YAML and TOML give the same tree; the file's ending decides (`.toml`, anything else is YAML). Keys may be dotted where
the listener tables are: all of these are the same setting.

    server: {listener: {imaps: {tls: {implicit: true}}}}        YAML
    server.listener.imaps: {tls.implicit: true}                 YAML
    [server.listener."imaps"]                                   TOML
    tls.implicit = true

A key that is given twice, in one way or in two, is an error: the second would silently win.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Key = tuple[str, ...]

_DEEPEST = 16  # tables within tables; also ends the walk through an alias that contains itself
_TOML_LINE = re.compile(r"line (\d+)")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration file."""

    line: int  # from 1; 0: the file as a whole
    key: str  # "server.listener.imaps.bind"; empty: not about one key
    text: str


@dataclass(slots=True)
class Tree:
    """What a file holds: nested dicts with text keys, the line of every key, and what was wrong with its form."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Key, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, key: Key) -> int:
        """The line of `key`, or of the closest table around it; 0 if nothing of it is in the file."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key as written, before dotted keys are taken apart."""

    key: str
    value: Any  # a value, or a list of entries
    line: int


@dataclass(frozen=True, slots=True)
class _Table:
    entries: list[_Entry]


def read(text: str, toml: bool) -> Tree:
    """The tree of a configuration file's text."""
    tree = Tree()
    table = _toml(text, tree) if toml else _yaml(text, tree)
    _merge(table, (), tree)
    return tree


def from_mapping(settings: Mapping[str, Any]) -> Tree:
    """The tree of settings that are in memory already."""
    tree = Tree()
    _merge(_toml_table(dict(settings), ""), (), tree)
    return tree


def parts(around: Key, key: str) -> Key:
    """The levels that `key`, written inside the table `around`, goes down.

    Only the tables of the specification pages take dotted keys; a listener's own name may have dots in it.
    """
    if not around and key.startswith("server.listener."):
        return ("server", "listener", key.removeprefix("server.listener."))
    if not around and key == "server.listener":
        return ("server", "listener")
    if around == ("server",) and key.startswith("listener."):
        return ("listener", key.removeprefix("listener."))
    if len(around) == 3 and around[:2] == ("server", "listener"):
        if key.startswith("tls."):
            return ("tls", key.removeprefix("tls."))
        if key in ("cert-path", "key-path"):  # written as for the flat ports
            return ("tls", key)
    return (key,)


def _merge(table: _Table, around: Key, tree: Tree) -> None:
    for entry in table.entries:
        full = around + parts(around, entry.key)
        at = _table_at(tree, full[:-1], entry.line)
        if at is None:
            continue
        tree.lines.setdefault(full, entry.line)
        if isinstance(entry.value, _Table) and isinstance(at.setdefault(full[-1], {}), dict):
            _merge(entry.value, full, tree)
        elif full[-1] in at:
            text = f"given twice, first in line {tree.lines[full]}" if tree.lines[full] else "given twice"
            tree.problems.append(Problem(entry.line, ".".join(full), text))
        else:
            at[full[-1]] = entry.value


def _table_at(tree: Tree, key: Key, line: int) -> dict[str, Any] | None:
    at = tree.values
    for depth, part in enumerate(key, start=1):
        tree.lines.setdefault(key[:depth], line)
        inner = at.setdefault(part, {})
        if not isinstance(inner, dict):
            tree.problems.append(
                Problem(line, ".".join(key[:depth]), "given twice, once as a table and once as a value")
            )
            return None
        at = inner
    return at


def _toml(text: str, tree: Tree) -> _Table:
    try:
        return _toml_table(tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.search(str(error))
        tree.problems.append(Problem(int(found[1]) if found else 0, "", f"not TOML: {error}"))
    except (ValueError, RecursionError) as error:  # ValueError: a number that is too long, a date such as 2026-99-99
        tree.problems.append(Problem(0, "", f"not TOML: {error}"))
    return _Table([])


def _toml_table(table: dict[str, Any], text: str) -> _Table:
    return _Table(
        [
            _Entry(key, _toml_table(value, text) if isinstance(value, dict) else value, _toml_line(key, text))
            for key, value in table.items()
        ]
    )


def _toml_line(key: str, text: str) -> int:
    """The line of `key` if it is in one line only: tomllib tells no positions, and a wrong one is worse than none."""
    name = re.compile(r"(?:[\[.\s]|\A)[\"']?" + re.escape(key) + r"[\"']?\s*[\].=]")
    found = [number for number, line in enumerate(text.splitlines(), start=1) if name.search(line.split("#")[0])]
    return found[0] if len(found) == 1 else 0


def _yaml(text: str, tree: Tree) -> _Table:
    try:
        return _yaml_document(yaml.SafeLoader(text), tree)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        if "cannot start any token" in reason:  # %Lu, @name, `name`
            reason += "; put the value between quotes"
        tree.problems.append(Problem(mark.line + 1 if mark else 0, "", f"not YAML: {reason}"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-99-99
        tree.problems.append(Problem(0, "", f"not YAML: {' '.join(str(error).split())}"))
    return _Table([])


def _yaml_document(loader: yaml.SafeLoader, tree: Tree) -> _Table:
    try:
        node = loader.get_single_node()
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return _Table([])
        if isinstance(node, yaml.MappingNode):
            return _yaml_table(loader, node, (), tree)
        text = "not a table of settings: write `name: value` lines"
        tree.problems.append(Problem(node.start_mark.line + 1, "", text))
        return _Table([])
    finally:
        loader.dispose()


def _yaml_table(loader: yaml.SafeLoader, node: yaml.MappingNode, around: Key, tree: Tree) -> _Table:
    if len(around) > _DEEPEST:
        raise yaml.YAMLError("tables nested too deeply")
    entries: list[_Entry] = []
    seen: dict[str, int] = {}
    own = list(_own_keys(node))
    loader.flatten_mapping(node)  # takes in what `<<` names; our own keys come last
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        name = ".".join((*around, str(key)))
        if not isinstance(key, str):
            tree.problems.append(Problem(line, name, f"found {key!r} as a key; put it between quotes if it is a name"))
        elif key in seen and key_node in own:
            tree.problems.append(Problem(line, name, f"given twice, first in line {seen[key]}"))
        else:
            if key_node in own:
                seen[key] = line
            entries = [entry for entry in entries if entry.key != key]
            entries.append(_Entry(key, _yaml_value(loader, value_node, (*around, key), tree), line))
    return _Table(entries)


def _own_keys(node: yaml.MappingNode) -> Iterator[yaml.Node]:
    return (key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge")


def _yaml_value(loader: yaml.SafeLoader, node: yaml.Node, around: Key, tree: Tree) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _yaml_table(loader, node, around, tree)
    return loader.construct_object(node, deep=True)
