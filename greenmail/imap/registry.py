"""Every feature of the engine, and the tables computed from them."""

from greenmail.imap.command import Command, Feature

# One import and one line a module, alphabetical within `commands` and `ext`.
FEATURES: tuple[Feature, ...] = ()

COMMANDS: dict[str, Command] = {command.name: command for feature in FEATURES for command in feature.commands}
