#!/bin/sh
# Makes .venv-compiled: GreenMail as an administrator installs it, from a wheel whose hot modules are compiled, and what its tests need.
# The checkout gets no compiled file: what is edited is what runs, everywhere but in there. Usage: tools/compiled.sh PYTHON
set -eu
python=$1

[ -x .venv-compiled/bin/python ] || "$python" -m venv .venv-compiled
pip() { .venv-compiled/bin/python -m pip --quiet --disable-pip-version-check "$@"; }
pip install --upgrade pip
rm -f dist/greenmail-*.whl
GREENMAIL_COMPILE=1 pip wheel --no-deps --wheel-dir dist .
wheel=$(echo dist/greenmail-*.whl)
pip install --force-reinstall --no-deps "$wheel"
pip install "$wheel[dev]"
