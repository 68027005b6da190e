"""A configuration file: a configuration, or ConfigError with the line and what is wrong."""

from greenmail import config_file
from greenmail.config import _checked
from greenmail.config_tables import ConfigError


def check(data: bytes) -> None:
    if not data:
        return
    try:
        text = data[1:].decode("utf-8-sig")
    except UnicodeDecodeError:
        return  # `load` says so before anything reads it
    try:
        tree = config_file.read(text, toml=bool(data[0] & 1))
        for problem in tree.problems:
            assert 0 <= problem.line <= text.count("\n") + text.count("\r") + 2, problem
        _checked(tree, "imap.yaml", "")
    except ConfigError as error:
        assert str(error)
