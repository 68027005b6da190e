"""The build backend that pyproject.toml names: setuptools, and wheels whose hot modules are compiled.

A wheel is compiled where a C compiler is; docs/decisions/0016-compiled-modules.md says why and by what. If there is
none, or it fails, the wheel has the same modules as Python. GREENMAIL_COMPILE decides otherwise: 0 does not compile,
1 fails where it cannot. An editable installation is never compiled: what is edited must be what runs.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import build_meta

MYPY = "mypy>=2.4,<2.5"  # mypyc is a part of it; a new version is measured and tested before it is taken
CHOICE = "GREENMAIL_COMPILE"

get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
build_sdist = build_meta.build_sdist
build_editable = build_meta.build_editable


def choice() -> str:
    """What is wanted: "0", "1" or "auto"."""
    wanted = os.environ.get(CHOICE, "auto") or "auto"
    if wanted not in {"0", "1", "auto"}:
        raise SystemExit(f"greenmail: {CHOICE} is {wanted!r}; it may be 0, 1 or auto")
    return wanted


def lacking() -> str:
    """What a compilation needs and is not here; empty if nothing."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if sys.implementation.name != "cpython":
        return "CPython"
    if os.name == "posix" and shutil.which(compiler) is None:
        return f"the C compiler {compiler}"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if header.exists() else f"Python's header files ({header}; Debian: python3-dev)"


def get_requires_for_build_wheel(config_settings=None):
    """Mypy where modules will be compiled, and nothing more."""
    wanted = choice()
    needed = [MYPY] if wanted == "1" or (wanted == "auto" and not lacking()) else []
    return [*build_meta.get_requires_for_build_wheel(config_settings), *needed]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Try the compiled wheel, then the one in Python."""
    wanted = choice()
    missing = lacking()
    if wanted == "0" or (wanted == "auto" and missing):
        if missing:
            _say(f"{missing} is not here")
        return _wheel("", wheel_directory, config_settings, metadata_directory)
    if wanted == "1":
        return _wheel("1", wheel_directory, config_settings, metadata_directory)
    try:
        return _wheel("1", wheel_directory, config_settings, metadata_directory)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever the compiler does, there is the other wheel
        _say(f"compiling failed ({error})")
    return _wheel("", wheel_directory, config_settings, metadata_directory)


def _wheel(compiled, wheel_directory, config_settings, metadata_directory):
    """One wheel, built in a directory of its own: nothing of an earlier build gets in, and the sources stay clean."""
    with tempfile.TemporaryDirectory(prefix="greenmail-build-") as place:
        os.environ["GREENMAIL_BUILD_BASE"] = place
        os.environ["GREENMAIL_BUILD_COMPILED"] = compiled
        try:
            return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
        finally:
            del os.environ["GREENMAIL_BUILD_BASE"], os.environ["GREENMAIL_BUILD_COMPILED"]


def _say(why):
    print(f"greenmail: {why}: the modules are installed as Python, which runs slower; see {CHOICE}", file=sys.stderr)
