"""The build of GreenMail: `pip install .` gives the command `greenmail`.

`tools/build_backend.py` decides whether the modules below are compiled and sets GREENMAIL_BUILD_*.
"""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
# User databases that not everybody has: docs/decisions/0022-user-databases.md
DATABASES = {
    "sql": ["SQLAlchemy>=2.0,<3", "psycopg[binary]>=3.1,<4", "PyMySQL>=1.1,<2"],
    "ldap": ["ldap3>=2.9.1,<3", "pyasn1>=0.5,<0.7"],
    "pam": ["pamela>=1.2,<2"],
}
# What is compiled: docs/decisions/0016-compiled-modules.md says by which rules.
COMPILED = {
    "imap": "append_data chars columns command cursor date_time esearch execute fetch_att flag_search framing grammar"
    " header_column header_record incoming listening made message_set news octets parts recent render repeats"
    " response results rights search_key section sequence_set serialize session slices trace view"
    " commands/append commands/basic commands/copy commands/expunge commands/fetch commands/idle"
    " commands/listing commands/login commands/patterns commands/search commands/select commands/status"
    " commands/store ext/condstore ext/qresync",
    "message": "collation content decode envelope headers measured search sort_keys structure subject to_disk",
    "pop3": "commands framing maildrop serve session uidl",
    "storage": "account answers cache filesystem flag_names folder_names folders history index_files index_place"
    " journal keywords lost_answers maildir maildir_box maildir_change maildir_content maildir_copy maildir_data"
    " maildir_find maildir_flags maildir_index maildir_lines maildir_measure maildir_name maildir_octets"
    " maildir_open maildir_save maildir_settings maildir_store maildir_twins maildir_unlink maildir_write"
    " maildrop_items mutf7 parked places presence rights save_dates",
}


# On Linux another library may bring any function of this one, so calls inside it go by a table, and none is inlined.
# Here none may: docs/decisions/0016-compiled-modules.md
_INSIDE = ["-fno-semantic-interposition", "-fno-plt"]


class ParallelBuild(build_ext):
    """Compiles the C files of one extension side by side."""

    def build_extensions(self) -> None:
        compile_files = self.compiler.compile

        def side_by_side(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: compile_files([source], **options), sources)
                return [name for names in made for name in names]

        self.compiler.compile = side_by_side
        super().build_extensions()


def modules() -> list[str]:
    """The files that are compiled, below the directory of this one."""
    return [f"greenmail/{package}/{name}.py" for package, names in COMPILED.items() for name in names.split()]


def extensions(base: str) -> list[object]:
    """One library with all compiled modules, so that calls among them are calls in C."""
    from mypyc.build import mypycify  # not at the top: it is here only where modules are compiled

    # What GreenMail depends on may be missing here, and only the modules below count: all others are for `make types`.
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    made = mypycify(
        [*options, *modules()],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=base,
        group_name="greenmail",
    )
    for extension in made if sys.platform == "linux" else ():
        extension.extra_compile_args += _INSIDE
        extension.extra_link_args += ["-Wl,-Bsymbolic"]
    return made


BASE = os.environ.get("GREENMAIL_BUILD_BASE", "")
IS_COMPILED = bool(os.environ.get("GREENMAIL_BUILD_COMPILED"))
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "greenmail" / "__init__.py").read_text(encoding="utf-8"))
assert VERSION is not None, "greenmail/__init__.py has no __version__"

setup(
    name="greenmail",
    version=VERSION.group(1),
    description="IMAP4rev2, IMAP4rev1 and POP3 server over the Maildirs you have",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["greenmail", "greenmail.*"]),
    package_data={"greenmail": ["py.typed"]},
    install_requires=[
        "gevent>=24.10,<27",
        "greenlet>=3.1,<4",
        "pyOpenSSL>=24.3,<27",
        "PyYAML>=6.0.1,<7",
        "watchdog>=7.1,<7.2",
        "prometheus-client>=0.20,<1",
        "cryptography>=42",  # pyOpenSSL's own foundation; makes the development certificate
        "pydantic>=2.7,<3",  # docs/decisions/0001-configuration-by-pydantic.md
        "rich>=13,<15",  # docs/decisions/0003-rich-for-progress-and-tables.md
        "selectolax>=1.0,<2",  # docs/decisions/0013-html-to-text.md
        # docs/decisions/0009-compressed-messages.md; from Python 3.14 on it is in the standard library
        'backports.zstd>=1.3,<2; python_version < "3.14"',
        "shtab>=1.7,<2",  # docs/decisions/0024-shtab-for-completion.md
        "argon2-cffi>=23.1,<26",  # docs/decisions/0002-password-schemes.md
        "PyJWT>=2.11,<3",  # docs/decisions/0021-tokens-and-certificates.md
        "proxy-protocol>=0.11.3,<0.12",  # docs/decisions/0023-proxy-protocol.md
    ],
    extras_require={
        **DATABASES,
        "bench": ["matplotlib>=3.8,<4"],  # docs/decisions/0018-matplotlib-for-plots.md
        "fuzz": ["atheris>=3,<4; python_version < '3.15'", "coverage>=7.6,<8"],  # docs/decisions/0026-atheris.md
        "dev": [
            *(name for names in DATABASES.values() for name in names),  # they are tested
            "pytest>=8",
            "matplotlib>=3.8,<4",  # the plots of bench/ are tested
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.3",
            "coverage>=7.6,<8",  # docs/decisions/0026-atheris.md
            "hypothesis>=6.100",
            "scramp>=1.5,<2",
            "mkdocs-material>=9.5,<10",  # docs/decisions/0025-mkdocs-material.md
            "ruff>=0.6",
            "mypy>=1.11",
            "types-PyYAML",
            "imapclient>=3",
            "imap-tools>=1.7",
            "aioimaplib>=2",
        ],
    },
    ext_modules=extensions(BASE) if IS_COMPILED else [],
    cmdclass={"build_ext": ParallelBuild},
    options={"build": {"build_base": BASE}} if BASE else {},
    entry_points={"console_scripts": ["greenmail = greenmail.cli:main"]},
)
