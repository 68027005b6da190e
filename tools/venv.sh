#!/bin/sh
# Makes .venv with GreenMail and what its tests need. Usage: tools/venv.sh PYTHON
set -eu
python=$1

if ! command -v "$python" >/dev/null 2>&1; then
    echo "GreenMail needs Python 3.11 or newer, and '$python' was not found. Try:" >&2
    echo "    sudo apt-get install -y python3 python3-venv" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "GreenMail needs Python 3.11 or newer; $python is $("$python" -c 'import platform; print(platform.python_version())')." >&2
    echo "Name another one with: make PYTHON=python3.12 run" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Python's venv module is missing. Try:" >&2
    echo "    sudo apt-get install -y python3-venv" >&2
    exit 1
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
