"""The manual page, from the parser of the command line: `python tools/manual_page.py contrib/man/greenmail.1`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from greenmail import cli  # noqa: E402 # the project is found through sys.path, which stands before it

_TAIL = """\
.SH EXIT STATUS
Where a command has none of its own: 0 done, 1 not done (the message says why), 2 wrong arguments, 78 wrong
configuration.
.SH FILES
.TP
.I /etc/greenmail/imap.yaml
The settings; \\fIconf/imap.yaml\\fR of the source explains each of them.
.TP
.I /run/greenmail/control
The socket on which a running server answers these commands.
.SH SIGNALS
SIGHUP: take up the configuration. SIGTERM, SIGINT: let sessions end, and end; a second one: at once.
"""


def escaped(text: str) -> str:
    """Text as roff wants it."""
    found = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in found.split("\n"))


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command that can be given, in the order of the help."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for one in action.choices.values():
            yield from leaves(one)


def _usage(parser: argparse.ArgumentParser) -> str:
    text = " ".join(parser.format_usage().split()).removeprefix("usage: ")
    return text.replace("[-h] ", "").replace(" [-h]", "").replace("[-c FILE] ", "").replace(" [-c FILE]", "")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.dest == "config":
            continue
        if not action.help and not action.option_strings:
            continue
        shown = str(action.metavar or action.dest.upper())
        if action.choices is not None and not action.metavar:
            shown = "|".join(map(str, action.choices))
        names = ", ".join(action.option_strings)
        takes = f" {shown}" if action.option_strings and action.nargs != 0 else "" if action.option_strings else shown
        yield f".TP\n\\fB{escaped(names)}\\fR\\fI{escaped(takes)}\\fR\n{escaped(action.help or '')}\n"


def page() -> str:
    """The whole of it."""
    parser = cli.parser()
    parts = [
        '.\\" Made by tools/manual_page.py from the parser of the command line.\n'
        '.TH GREENMAIL 1 "" "GreenMail" "Mail server"\n'
        ".SH NAME\ngreenmail \\- IMAP and POP3 server over Maildirs\n"
        ".SH SYNOPSIS\n.B greenmail\n[\\fB\\-c\\fR \\fIFILE\\fR] [\\fICOMMAND\\fR ...]\n"
        f".SH DESCRIPTION\n{escaped(parser.description or '')}\n"
        ".PP\nEach command takes \\fB\\-c\\fR \\fIFILE\\fR, the settings in YAML or TOML; without it they are in\n"
        ".IR /etc/greenmail/imap.yaml .\n"
        ".SH COMMANDS\n"
    ]
    for one in leaves(parser):
        usage = _usage(one)
        parts.append(f".SS {escaped(one.prog)}\n.nf\n{escaped(usage)}\n.fi\n.PP\n{escaped(_text(one))}\n")
        parts += _options(one)
    return "".join(parts) + _TAIL


def _text(parser: argparse.ArgumentParser) -> str:
    text = " ".join((parser.description or "").split())
    return " ".join([text, *(parser.epilog or "").split()]).strip()


def main(path: str) -> None:
    """Write it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
