"""From the output of `doveconf -n` to GreenMail's configuration.

What is written is tried with GreenMail's own checks: a setting that these refuse is not written, but named.
"""

import textwrap
from dataclasses import dataclass
from typing import Any

import yaml

from greenmail import config as configuration
from greenmail.config import Config
from greenmail.config_tables import ConfigError
from greenmail.import_config import advice, listeners, mail, users
from greenmail.import_config.doveconf import Output, parse
from greenmail.import_config.draft import Draft, Left, Weight, grouped, printable

_WIDTH = 110
TITLES = {
    Weight.FIRST: "To be solved before anybody is served",
    Weight.TO_DO: "Not carried over, or not wholly",
    Weight.NOTHING: "Not carried over, and nothing to do",
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """GreenMail's configuration, and every setting of Dovecot's that is not in it."""

    yaml: str
    dropped: tuple[Left, ...]  # the weighty first

    @property
    def is_ready(self) -> bool:
        """Whether nothing stands against serving with it."""
        return all(left.weight is not Weight.FIRST for left in self.dropped)


def convert(text: str) -> Conversion:
    """The configuration for a site with these settings. Total: any text gives one."""
    output = parse(text)
    draft = Draft()
    listeners.carry(output.root, draft)
    home = users.carry(output.root, draft)
    mail.carry(output.root, draft, home)
    advice.name_rest(output.root, draft)
    if output.strange_lines:
        lines = f"{output.strange_lines} lines"
        draft.leave("(not understood)", lines, "give what `doveconf -n` of Dovecot 2.3 prints", Weight.FIRST)
    if output.version and not output.version.startswith("2.3."):
        draft.leave("Dovecot", output.version, "this reads the settings of 2.3: look at each of the lines below")
    _try(draft)
    dropped = draft.sorted()
    return Conversion(_written(output, draft.settings, dropped), dropped)


def _try(draft: Draft) -> None:
    """Take out what GreenMail refuses, until it refuses nothing."""
    while True:
        try:
            configuration.from_mapping(draft.settings)
        except ConfigError as error:
            refused = {problem.key.partition(".")[0]: problem.text for problem in error.problems}
            # A pair of files stands and falls together.
            refused = refused | {"key-path": "see cert-path"} if "cert-path" in refused else refused
            known = refused.keys() & draft.settings.keys()
            for name in known or set(draft.settings):
                value = draft.settings.pop(name)
                why = f"GreenMail refuses it ({refused.get(name, 'with the others')}): set {name} yourself"
                draft.leave(name, str(value), why, Weight.FIRST)
        else:
            return


def _written(output: Output, settings: dict[str, Any], dropped: tuple[Left, ...]) -> str:
    version = f" {output.version}" if output.version else ""
    source = f" ({output.source})" if output.source else ""
    parts = [
        f"# Made from the settings of Dovecot{printable(version)}{printable(source)} by greenmail import-config.\n"
        "# Every setting is explained in conf/imap.yaml; `greenmail check-config -c FILE` tries the whole.\n"
    ]
    for weight in (Weight.FIRST, Weight.TO_DO):
        parts += _comments(dropped, weight)
    order = [name.replace("_", "-") for name in Config.model_fields]
    parts.append("".join(_line(name, settings[name]) for name in sorted(settings, key=order.index)))
    parts += _comments(dropped, Weight.NOTHING)
    return "\n".join(parts)


def _comments(dropped: tuple[Left, ...], weight: Weight) -> list[str]:
    text = described(dropped, weight)
    return ["".join(f"# {line}".rstrip() + "\n" for line in text.split("\n"))] if text else []


def described(dropped: tuple[Left, ...], weight: Weight) -> str:
    """What is said of the settings of this weight, for people; empty if there are none."""
    lines = [f"{TITLES[weight]}:"]
    for text, heads in grouped(dropped, weight):
        lines += [f"  {head}" for head in heads]
        lines += textwrap.wrap(printable(text), _WIDTH, initial_indent="    -> ", subsequent_indent="       ")
    return "\n".join(lines) if len(lines) > 1 else ""


def _line(name: str, value: Any) -> str:
    if name != "server":
        return f"{name}: {_flow(value)}\n"
    tables = [f"    {_flow(key)}: {_flow(table)}\n" for key, table in value["listener"].items()]
    return "server:\n  listener:\n" + "".join(tables)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, sort_keys=False, width=10**9)
    return text.removesuffix("...\n").rstrip("\n")
