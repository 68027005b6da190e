"""UIDONLY, RFC 9586: after ENABLE UIDONLY no message sequence number is taken or told.

What changes is where it belongs: commands and keys with message numbers are refused by `execute` (BAD, UIDREQUIRED),
FETCH is answered with UIDFETCH (`Session.fetch_opening`), EXPUNGE becomes VANISHED in `imap.news`, and UNSEEN, which is
a message number, is not said by SELECT. UIDFETCH has the UID as its number; the item UID is in it only if asked for.
The numbers of EXISTS and RECENT are counts, and stay. "*" in a set of UIDs is a UID, and stays.
"""

from greenmail.imap.command import Capability, Feature, always

UIDONLY = "UIDONLY"

FEATURE: Feature = Feature("uidonly", capabilities=(Capability(UIDONLY, always),), enables=(UIDONLY,))
