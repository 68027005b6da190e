"""What Python would import later is imported now, while all of it can be read.

A worker has dropped its privileges, and perhaps stands in a sandbox or under a root of its own: it may not be able to
read Python's library any more. Codecs are looked up by the names that mail gives them, and time zones by name. What
the parent has imported is also shared by all workers.
"""

import codecs
import encodings.aliases
from contextlib import suppress
from zoneinfo import ZoneInfo

# Not charsets of mail, and some of them pull in half of the library.
_NO_CHARSETS = frozenset({"mbcs", "oem", "undefined", "bz2_codec", "zlib_codec", "uu_codec"})
_WITHOUT_ALIAS = ("utf-8-sig", "utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le", "idna", "punycode", "unicode_escape")


def preload(time_zone: str) -> None:
    """Import every codec, and the time zone called `time_zone` (empty: the system's)."""
    for name in {*encodings.aliases.aliases.values(), *_WITHOUT_ALIAS} - _NO_CHARSETS:
        with suppress(LookupError, ImportError):  # a codec of another system
            codecs.lookup(name)
    if time_zone:
        ZoneInfo(time_zone)
