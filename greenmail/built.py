"""Whether the modules that a wheel may carry compiled are compiled: docs/decisions/0016-compiled-modules.md."""

from importlib.machinery import EXTENSION_SUFFIXES

from greenmail.message import headers


def is_compiled() -> bool:
    """Whether C runs, or the same modules as Python."""
    return str(headers.__file__).endswith(tuple(EXTENSION_SUFFIXES))


def kind() -> str:
    """The same in words, for people."""
    return "compiled" if is_compiled() else "pure Python"
