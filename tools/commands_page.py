"""What GreenMail speaks in IMAP, from the tables that it runs on: `python tools/commands_page.py docs/imap.md`."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from greenmail.auth.sasl import MECHANISMS  # noqa: E402 # the project is found through sys.path, which stands before it
from greenmail.auth.scram import HASHES  # noqa: E402 # as above
from greenmail.imap import registry  # noqa: E402 # as above
from greenmail.imap.command import ANY, AUTHENTICATED, NOT_AUTHENTICATED, SELECTED, Command  # noqa: E402 # as above
from greenmail.imap.session import Services, Session  # noqa: E402 # as above
from greenmail.runtime import direct  # noqa: E402 # as above

STATES = {
    ANY: "any",
    NOT_AUTHENTICATED: "not authenticated",
    AUTHENTICATED: "authenticated, selected",
    SELECTED: "selected",
}
TRANSCRIPTS = ROOT / "tests" / "transcripts"
_RFC = re.compile(r"RFC \d{4,5}(?:,? (?:Appendix )?[0-9A-Z][0-9.]*(?:(?:,| and| to) [0-9][0-9.]*)*)?")


@dataclass
class Line:
    """A connection, as far as capabilities depend on it."""

    secure: bool
    can_start_tls: bool
    trusted: bool = False
    can_compress: bool = True
    end_point: bytes = b"a hash of the certificate"
    exporter: bytes = b""
    certified: tuple[str, ...] = ("alice",)


class Everybody:
    """Users who can all use every mechanism."""

    takes_tokens = True
    anonymous_user = "public"

    def able(self) -> frozenset[str]:
        return frozenset(HASHES)


def session(secure: bool, logged_in: bool, **services: Any) -> Session:
    nothing: Any = None
    wire: Any = Line(secure, can_start_tls=not secure)
    everybody: Any = Everybody()
    services.setdefault("mechanisms", tuple(MECHANISMS))
    made = Session(wire, Services(direct(), everybody, nothing, nothing, **services), "s1")
    made.account = object() if logged_in else nothing  # type: ignore[assignment] # only whether there is one matters
    return made


MOMENTS = {
    "before TLS": session(secure=False, logged_in=False),
    "after TLS": session(secure=True, logged_in=False),
    "logged in": session(secure=True, logged_in=True),
}


def modules() -> dict[str, ModuleType]:
    """The module of each feature, by the feature's name."""
    found = {}
    for name, module in list(sys.modules.items()):
        feature = getattr(module, "FEATURE", None) if name.startswith("greenmail.imap.") else None
        if feature in registry.FEATURES:
            found[feature.name] = module
    return found


def references(command: Command, module: ModuleType) -> str:
    """The RFCs in the docstrings of a command; those of its module if they name no more than the grammar."""
    found: dict[str, None] = {}
    for text in (command.run.__doc__, command.parse.__doc__, module.__doc__):
        if text is module.__doc__ and set(found) - {"RFC 9051 9", "RFC 3501 9"}:
            break
        found.update(dict.fromkeys(item.rstrip(".") for item in _RFC.findall(text or "")))
    return ", ".join(found)


def code(module: ModuleType) -> str:
    path = Path(module.__file__ or "").resolve().relative_to(ROOT)
    return f"[{path.relative_to('greenmail/imap')}](../{path})"


def links(names: Iterable[str]) -> str:
    unique = sorted(dict.fromkeys(names))
    return ", ".join(f"[{name.removesuffix('.txt')}](../tests/transcripts/{name})" for name in unique)


def covered(kinds: Iterable[str], belongs: Callable[[str], bool]) -> list[str]:
    """The transcripts that `tests/rfc_coverage.toml` gives for the forms of these kinds."""
    table = tomllib.loads((ROOT / "tests" / "rfc_coverage.toml").read_text())
    entries = [
        entry
        for rfc in ("rfc9051", "rfc3501")
        for kind in kinds
        for form, entry in table[rfc].get(kind, {}).items()
        if isinstance(entry, dict) and belongs(form)
    ]
    return [name for entry in entries for name in [*entry.get("good", []), *entry.get("bad", [])]]


def transcripts(command: Command, feature: str) -> list[str]:
    """Those of the coverage; of a command that it does not know, those of its extension; else those called as it is."""
    found = covered(["command"], lambda form: form.removeprefix("UID ").split(" ")[0] == command.name)
    found = found or _of_extension(feature, command.name)
    return found or [name for name in files() if re.split("[/.-]", name)[1] == command.name.lower()]


def files() -> list[str]:
    return sorted(str(path.relative_to(TRANSCRIPTS)) for path in TRANSCRIPTS.rglob("*.txt"))


def commands(homes: dict[str, ModuleType]) -> list[str]:
    lines = [
        "## Commands",
        "",
        "| command | states | UID form | RFC | code | transcripts |",
        "|---|---|---|---|---|---|",
    ]
    for feature in registry.FEATURES:
        for command in feature.commands:
            rfcs = references(command, homes[feature.name])
            uid = "yes" if command.uid else ""
            row = [command.name, STATES[command.states], uid, rfcs, code(homes[feature.name])]
            lines.append("| " + " | ".join([*row, links(transcripts(command, feature.name))]) + " |")
    return lines


def capabilities(homes: dict[str, ModuleType]) -> list[str]:
    """When each is told. Settings take some away: RFC 7888 5 wants LITERAL+ or LITERAL-, never both."""
    moments = list(MOMENTS)
    lines = [
        "## Capabilities",
        "",
        "| capability | " + " | ".join(moments) + " | code |",
        "|---" * (len(moments) + 2) + "|",
    ]
    for feature in registry.FEATURES:
        for capability in feature.capabilities:
            words = {
                moment: capability.words(made) if capability.when(made) else () for moment, made in MOMENTS.items()
            }
            name = ", ".join(dict.fromkeys(word for told in words.values() for word in told)) or capability.name
            row = [name, *("yes" if words[moment] else "" for moment in moments), code(homes[feature.name])]
            lines.append("| " + " | ".join(row) + " |")
    return [*lines, "", "`literal-minus: true` puts LITERAL- in the place of LITERAL+."]


@dataclass(frozen=True)
class Table:
    """One of the registry's tables that features add to."""

    title: str
    names: Callable[[Any], Iterable[str]]
    kinds: tuple[str, ...] = ()  # of the coverage


TABLES = (
    Table("FETCH items", lambda feature: feature.fetch_atts, ("fetch-att",)),
    Table("FETCH modifiers", lambda feature: feature.fetch_modifiers),
    Table("SEARCH keys", lambda feature: feature.search_keys, ("search-key",)),
    Table("SEARCH return options", lambda feature: feature.search_return_opts, ("search-return-opt",)),
    Table("STATUS items", lambda feature: feature.status_atts, ("status-att",)),
    Table("SELECT parameters", lambda feature: feature.select_params),
    Table("Words of ENABLE", lambda feature: feature.enables),
)


def _stem(form: str) -> str:
    """`BODY.PEEK` of `BODY.PEEKsection`, `BEFORE` of `BEFORE date`."""
    found = re.match(r"[A-Z][A-Z0-9.]*", form)
    return found[0] if found else form


def table(what: Table, homes: dict[str, ModuleType]) -> list[str]:
    lines = [f"## {what.title}", "", "| name | code | transcripts |", "|---|---|---|"]
    for feature in registry.FEATURES:
        for name in what.names(feature):
            found = covered(what.kinds, lambda form, name=name: _stem(form) == name)  # type: ignore[misc] # a default binds `name`
            lines.append(
                f"| {name} | {code(homes[feature.name])} | {links(found or _of_extension(feature.name, name))} |"
            )
    return lines


def _of_extension(feature: str, name: str) -> list[str]:
    """The transcripts in the folder of an extension in which a client sends the word."""
    sent = re.compile(rf"^C\d+: .*(?<![\w.]){re.escape(name)}(?![\w.])", re.M | re.I)
    return [
        file for file in files() if file.startswith(f"{feature}/") and sent.search((TRANSCRIPTS / file).read_text())
    ]


def page() -> str:
    homes = modules()
    parts = [
        ["# IMAP", "", "What GreenMail speaks, made from its own tables by `make docs`."],
        commands(homes),
        capabilities(homes),
        *(table(what, homes) for what in TABLES),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
