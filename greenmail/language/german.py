"""Deutsch. A text begins with a capital and has no full stop at its end; see `choice` for {}."""

from greenmail.language import german_imap, german_store

OTHERWISE = "Der Server meldet: {}"

TEXTS: dict[str, str] = {**german_imap.TEXTS, **german_store.TEXTS}

# Names of folders, in small letters, as administrators call namespaces.
NAMES: dict[str, str] = {
    "archive": "Archiv",
    "lists": "Verteiler",
    "mailing lists": "Verteiler",
    "other users": "Andere Benutzer",
    "public": "Öffentlich",
    "public folders": "Öffentliche Ordner",
    "shared": "Geteilt",
    "shared folders": "Geteilte Ordner",
    "shared mailboxes": "Geteilte Postfächer",
    "user": "Andere Benutzer",
    "users": "Benutzer",
}
