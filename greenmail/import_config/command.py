"""The verb `import-config` of the command line."""

import argparse
import os
import subprocess
import sys

from greenmail.import_config.doveconf import HIDDEN, parse

_TEXT = """\
Read what `doveconf -n` of Dovecot 2.3 prints, from standard input, and write GreenMail's configuration for the same
site to standard output. Every setting that was not carried over is named there, in comments, and on standard error.
"""
_STATUS = "Exit status: 0 it can be served with; 3 something must be solved before, which the first comment names."
NOT_READY = 3
_PATIENCE = 20.0


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    text = "make a configuration from that of a Dovecot"
    verb = commands.add_parser("import-config", help=text, description=_TEXT, epilog=_STATUS)
    verb.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="the output of doveconf; - is standard input"
    )
    verb.set_defaults(standalone=_import)


def _import(parsed: argparse.Namespace) -> int:
    # Here and not above: no other verb needs the tables of Dovecot's settings.
    from greenmail.import_config.convert import convert, described
    from greenmail.import_config.draft import Weight

    if parsed.file == "-":
        octets = sys.stdin.buffer.read()
    else:
        try:
            with open(parsed.file, "rb") as file:
                octets = file.read()
        except OSError as error:
            sys.stderr.write(f"greenmail: {parsed.file} cannot be read: {error.strerror}\n")
            return 1
    text = octets.decode("utf-8", "replace")
    if not parse(text).root.values and not parse(text).root.blocks:
        sys.stderr.write("greenmail: there are no settings in it: run `doveconf -n | greenmail import-config`\n")
        return 1
    found = convert(_with_key(text))
    sys.stdout.write(found.yaml)
    sys.stdout.flush()
    for weight in Weight:
        said = described(found.dropped, weight)
        sys.stderr.write(f"{said}\n" if said else "")
    return 0 if found.is_ready else NOT_READY


def _with_key(text: str) -> str:
    """With the path of the private key, which `doveconf -n` hides and `doveconf -P` tells, if this is the machine."""
    output = parse(text)
    hidden = output.root.values.get("ssl_key", "")
    # doveconf says the whole name of the machine, the kernel often the first part alone.
    is_here = output.host.partition(".")[0] == os.uname().nodename.partition(".")[0]
    if not hidden.startswith(HIDDEN) or not os.path.isabs(output.source) or not is_here:
        return text
    try:
        asked = subprocess.run(
            ["doveconf", "-P", "-h", "-c", output.source, "ssl_key"],
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return text
    told = asked.stdout.decode("utf-8", "replace").strip()
    if asked.returncode or not told.startswith("<") or "\n" in told:
        return text
    return text.replace(f"ssl_key = {hidden}", f"ssl_key = {told}", 1)
