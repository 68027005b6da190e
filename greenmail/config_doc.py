"""Writes the example file `conf/imap.yaml` from the settings: `python -m greenmail.config_doc > conf/imap.yaml`."""

import sys
import textwrap
from typing import Any

import yaml

from greenmail.config import Config

_HEAD = """\
# GreenMail's settings, each with its default. Remove the # before a line to change it, then try the file:
#
#     greenmail check-config -c imap.yaml
#
# Sizes are octets, or have a unit ("50 MiB"); times are seconds, or have one ("30 min"). The same settings can be
# written as TOML in a file whose name ends in .toml. Relative paths begin at the directory of the file.
"""
# The first setting of each section.
SECTIONS = {
    "bind-addr": "Listening",
    "cert-path": "TLS",
    "mail-path": "Mail",
    "passwd-file": "Users",
    "tls-client-certificate": "Certificates and tokens",
    "processes": "Processes",
    "max-request-size": "Limits",
    "log-level": "To be seen",
}


def render() -> str:
    """The whole file."""
    return _HEAD + "".join(map(_setting, settings()))


def settings() -> list[str]:
    """The names of all settings, as the file spells them."""
    return [name.replace("_", "-") for name in Config.model_fields]


def _setting(name: str) -> str:
    field = Config.model_fields[name.replace("-", "_")]
    text = field.description or ""
    example = (field.examples or [""])[0]
    if example:
        text += " Not set by default; an example:"
    lines = textwrap.wrap(text, 116, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    value = example or _literal(field.default)
    head = f"\n\n# ---- {SECTIONS[name]} ----\n" if name in SECTIONS else ""
    return head + "\n" + "\n".join(lines) + f"\n#{name}: {value}\n"


def _literal(value: Any) -> str:
    """A default as YAML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {use}" for name, use in value.items()) + "}"
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


if __name__ == "__main__":
    sys.stdout.write(render())
