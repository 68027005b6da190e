"""What verbs write: lines for people, or one JSON document for programs (`--json`)."""

import json
import sys
from typing import Any


def say(text: str, error: bool = False) -> None:
    """One line to standard output or standard error."""
    stream = sys.stderr if error else sys.stdout
    stream.write(text + "\n")
    stream.flush()


def say_json(value: Any) -> None:
    """One JSON document, indented, to standard output."""
    say(json.dumps(value, indent=2, ensure_ascii=True))
