"""The build of GreenMail: `pip install .` gives the command `greenmail`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
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
        "watchdog>=7.1,<8",
        "prometheus-client>=0.20,<1",
        "cryptography>=42",  # pyOpenSSL's own foundation; makes the development certificate
        "pydantic>=2.7,<3",  # docs/decisions/0001-configuration-by-pydantic.md
        "rich>=13,<15",  # docs/decisions/0003-rich-for-progress-and-tables.md
        "selectolax>=1.0,<2",  # docs/decisions/0013-html-to-text.md
        # docs/decisions/0009-compressed-messages.md; from Python 3.14 on it is in the standard library
        'backports.zstd>=1.3,<2; python_version < "3.14"',
        "argon2-cffi>=23.1,<26",  # docs/decisions/0002-password-schemes.md
    ],
    extras_require={
        "bench": ["matplotlib>=3.8,<4"],  # docs/decisions/0018-matplotlib-for-plots.md
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "scramp>=1.5,<2",
            "ruff>=0.6",
            "mypy>=1.11",
            "types-PyYAML",
            "imapclient>=3",
            "imap-tools>=1.7",
            "aioimaplib>=2",
        ],
    },
    entry_points={"console_scripts": ["greenmail = greenmail.cli:main"]},
)
