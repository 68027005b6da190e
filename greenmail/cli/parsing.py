"""What the modules of the verbs share of argparse."""

import argparse
from collections.abc import Callable
from typing import TypeAlias

from greenmail.config import Config

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[Config, argparse.Namespace], int]


def with_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give it the option `--json`."""
    parser.add_argument("--json", action="store_true", help="write one JSON document to standard output")
    return parser
