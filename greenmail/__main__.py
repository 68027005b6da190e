"""`python -m greenmail` is the command `greenmail`."""

import sys

from greenmail.cli import main

if __name__ == "__main__":
    sys.exit(main())
