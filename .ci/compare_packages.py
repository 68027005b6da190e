"""Whether an unpacked sdist is whole and two wheels have the same files: compare_packages.py SDIST WHEEL WHEEL"""

import sys
import zipfile
from pathlib import Path

# What somebody wants who has nothing but the sdist.
NEEDED = (
    "LICENSE", "README.md", "CHANGES.md", "setup.py", "pyproject.toml", "tools/build_backend.py", "conf/imap.yaml",
    "contrib/systemd/greenmail.service", "contrib/systemd/greenmail.socket", "contrib/man/greenmail.1",
    "contrib/fail2ban/filter.d", "contrib/grafana/greenmail.json", "docs/tutorial.md", "greenmail/py.typed",
)  # fmt: skip


def files(wheel: str) -> dict[str, int]:
    """Name -> checksum, of all but the list of them."""
    with zipfile.ZipFile(wheel) as archive:
        return {found.filename: found.CRC for found in archive.infolist() if not found.filename.endswith("/RECORD")}


def main(sdist: str, first: str, second: str) -> int:
    problems = [f"not in the sdist: {name}" for name in NEEDED if not Path(sdist, name).exists()]
    one, two = files(first), files(second)
    problems += [
        f"not the same in both wheels: {name}"
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    ]
    modules = {str(path.relative_to(sdist)) for path in Path(sdist, "greenmail").rglob("*.py")}
    problems += [f"not in the wheel: {name}" for name in sorted(modules - one.keys())]
    for line in problems:
        print(line)
    if not problems:
        print(f"sdist and wheels: {len(one)} files, {len(modules)} modules, the same from checkout and sdist")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
