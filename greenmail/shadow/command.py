"""The verb `shadow` of the command line: its options."""

import argparse
import sys
from collections.abc import Callable
from functools import partial

from greenmail.auth.people import People
from greenmail.config import Config
from greenmail.errors import Disconnected, Refused

_TEXT = """\
The rehearsal before a switch. Logs in to the old server and to GreenMail as each user, as a mail client does, and names
everything that a client would see differently: mailboxes, their attributes and special uses, subscriptions,
UIDVALIDITY, UIDs, flags and keywords, dates, sizes, the octets of messages, and with --against-pop3 the unique ids of
POP3. If nothing differs, no client will notice the switch, and none downloads anything again.
"""
_END = """\
examples:
  One user; GreenMail runs on the other ports of rehearsal.yaml, and the password is asked for:
    greenmail shadow -c rehearsal.yaml --against imaps://mail.example.org --user ann
  Everybody, by the old server's master user, with a GreenMail that runs for the time of the comparison only:
    greenmail shadow -c rehearsal.yaml --start --against imap://localhost --all-users \\
        --master admin --master-password-file /root/master
  Users and passwords from a file with lines user:password, POP3 too:
    greenmail shadow -c rehearsal.yaml --against imaps://localhost --against-pop3 pop3s://localhost \\
        --insecure --passwords /root/passwords

what it does to the mail:
  Nothing: mailboxes are opened by EXAMINE, messages read by BODY.PEEK, so no flag changes and \\Recent stays. POP3 has
  no such mode: nothing is deleted or fetched (CAPA, UIDL, LIST, QUIT; RETR might set \\Seen), but the old server may
  take the visit for a client's and drop \\Recent. Both servers write their own index files as for any client, and
  GreenMail gives UIDs to new mail: let it have a copy, or the same Maildirs beside a Dovecot with the setting
  `coexistence: dovecot` (never beside a Courier).

what differs while the old server works:
  What differs is looked at a second time, so mail that comes and goes meanwhile is no difference. If GreenMail has a
  copy, mail that came since is missing there: --copy tells of it without calling it a difference.

passwords:
  Never on the command line. Of users: --passwords FILE, or GREENMAIL_PASSWORD for all of them, or a prompt. Of master
  users: --master-password-file, or GREENMAIL_MASTER_PASSWORD (GREENMAIL_OURS_MASTER_PASSWORD), or a prompt. Where a
  server offers no TLS they are sent within this machine only, or with --insecure.

exit status: 0 all is the same; 1 there are differences; 2 something could not be compared, or the arguments are wrong;
78 the configuration is wrong.
"""


def register(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
    people: Callable[[Config], People],
) -> None:
    """Add the verb. `common`: the options of every verb; `people`: the users of the settings' databases."""
    shadow = commands.add_parser(
        "shadow",
        parents=[common],
        help="compare with the old server, as its clients see it",
        description=_TEXT,
        epilog=_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shadow.set_defaults(run=partial(_shadow, people))
    servers = shadow.add_argument_group("servers", "URLs are imap://, imaps://, pop3:// or pop3s://HOST[:PORT]")
    servers.add_argument("--against", metavar="URL", required=True, help="the old server's IMAP")
    servers.add_argument("--against-pop3", metavar="URL", default="", help="the old server's POP3; else not compared")
    servers.add_argument("--ours", metavar="URL", default="", help="GreenMail's; else the listeners of -c, here")
    servers.add_argument("--ours-pop3", metavar="URL", default="", help="likewise")
    servers.add_argument(
        "--start",
        action="store_true",
        help="start a GreenMail with the mail settings and users of -c, on the loopback, while this runs:"
        " it needs no passwords",
    )
    servers.add_argument("--insecure", action="store_true", help="believe any certificate; allow clear text")
    servers.add_argument("--ca-file", metavar="FILE", default="", help="certificates to believe, in PEM")
    servers.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=120.0, help="for each answer (120)")
    whose = shadow.add_argument_group("users")
    whose.add_argument("--user", metavar="U", action="append", default=[], help="this user; may be given again")
    whose.add_argument("--users", metavar="FILE", default="", help="users, one a line")
    whose.add_argument("--all-users", action="store_true", help="everybody in the user databases of -c")
    whose.add_argument("--passwords", metavar="FILE", default="", help="lines user:password; all of them, if no --user")
    whose.add_argument("--master", metavar="NAME", default="", help="master user of the old server")
    whose.add_argument("--master-password-file", metavar="FILE", default="", help="whose first line is the password")
    whose.add_argument("--master-separator", metavar="C", default="*", help="logs in as USER*NAME; another than *")
    whose.add_argument("--authzid", action="store_true", help="IMAP masters name the user by SASL PLAIN instead")
    whose.add_argument("--ours-master", metavar="NAME", default="", help="master user of ours")
    whose.add_argument("--ours-master-password-file", metavar="FILE", default="", help="its password")
    what = shadow.add_argument_group("what is compared")
    what.add_argument(
        "--bodies", choices=["none", "sample", "all"], default="sample", help="octets of messages (sample)"
    )
    what.add_argument(
        "--sample", metavar="N", type=_count, default=20, help="messages of a mailbox, always the same (20)"
    )
    what.add_argument("--copy", action="store_true", help="ours is an older copy: newer mail is told, no difference")
    told = shadow.add_argument_group("report")
    told.add_argument("--json", action="store_true", help="write one JSON document to standard output")
    told.add_argument("-v", "--verbose", action="store_true", help="list every difference")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise ValueError
    return number


def _shadow(people: Callable[[Config], People], config: Config, parsed: argparse.Namespace) -> int:
    # Here and not above: the server and the other verbs need neither rich nor a client.
    from greenmail.shadow import report, verbs

    try:
        return verbs.shadow(people, config, parsed)
    except (Refused, Disconnected) as reason:
        sys.stderr.write(f"greenmail: {reason.text}\n")
        return report.NOT_COMPARED
