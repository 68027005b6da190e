"""The verbs `doctor`, `resync`, `index` and `to-courier` of the command line: their options."""

import argparse
from functools import partial

from greenmail.config import Config
from greenmail.doctor.target import Site

_DOCTOR = """\
Look for everything that is wrong with the mail of one user, of all users, or in directories. Nothing is changed
without --fix; with it, what was there before is kept in an undo log.
"""
_STATUS = """\
Exit status: 0 all is well (there may be notes); 3 there are warnings; 4 there are errors; 1 it could not be done.
With --fix: what is left counts.
"""
_RESYNC = "Make GreenMail's own index files anew from the Maildir and the UID list. Safe while clients are connected."
_INDEX = (
    "Complete GreenMail's own index files, so that the first clients need not wait. Safe while clients are connected."
)
_TO_COURIER = """\
Write Courier's UID lists, keywords, POP3 list and subscriptions from GreenMail's. Before going back to Courier, when
GreenMail has stopped.
"""


def register(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
    site: Site,
) -> None:
    """Add the verbs. `common`: the options of every verb; `site`: the server's half."""
    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="look for faults in users' mail, and mend them",
        description=_DOCTOR,
        epilog=_STATUS,
    )
    _whose(doctor)
    doctor.add_argument("--quick", action="store_true", help="do not read messages: W= in names is not checked")
    _with_json(doctor)
    doctor.add_argument("-v", "--verbose", action="store_true", help="list every file concerned")
    doctor.add_argument("--fix", action="store_true", help="mend what can be mended, under the locks of the servers")
    doctor.add_argument("--undo-log", metavar="FILE", default="", help="where --fix keeps what was there before")
    doctor.add_argument("--undo", metavar="FILE", default="", help="put back everything as an undo log has it")
    doctor.set_defaults(run=partial(_doctor, site))
    for verb, text, anew in (("resync", _RESYNC, True), ("index", _INDEX, False)):
        parser = commands.add_parser(verb, parents=[common], help=text.partition(". ")[0], description=text)
        _whose(parser)
        if not anew:
            parser.add_argument("--fts", action="store_true", help="fill the full-text index (full-text-search), too")
        _with_json(parser)
        parser.set_defaults(run=partial(_resync, site, anew))
    parser = commands.add_parser(
        "to-courier", parents=[common], help="write Courier's files, to go back to it", description=_TO_COURIER
    )
    _whose(parser)
    _with_json(parser)
    parser.set_defaults(run=partial(_to_courier, site))


def _whose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user", metavar="U", action="append", default=[], help="this user; may be given again; else all users"
    )
    parser.add_argument("path", metavar="PATH", nargs="*", help="Maildirs, or directories above them")


def _with_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write one JSON document to standard output")


def _doctor(site: Site, config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: the server and the other verbs need neither rich nor the checks.
    from greenmail.doctor import verbs

    return verbs.doctor(site, config, parsed)


def _resync(site: Site, anew: bool, config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: as for doctor.
    from greenmail.doctor import verbs

    return verbs.resync(site, anew, config, parsed)


def _to_courier(site: Site, config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: as for doctor.
    from greenmail.doctor import verbs

    return verbs.to_courier(site, config, parsed)
