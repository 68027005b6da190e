"""`dovecot-keywords` and the keywords beyond its 26 letters. `formats.md` 3.1. (Signatures; the bodies follow.)"""

from collections.abc import Collection, Iterable, Mapping

from greenmail.storage.filesystem import Files


class Keywords:
    """The 26 letters of one mailbox and their names. "Locked": the caller holds the mailbox's lock."""

    names: dict[int, str]  # letter (an octet, ord("a")..ord("z")) -> keyword, as shown to clients

    def __init__(self, files: Files, path: bytes) -> None:
        """`path` of `dovecot-keywords`; nothing is read."""

    def refresh(self) -> bool:
        """Read the file if it changed; whether it did."""
        raise NotImplementedError

    def letter(self, name: str) -> int | None:
        """The letter of a keyword, compared without case."""
        raise NotImplementedError

    def add(self, names: Iterable[str]) -> list[str]:
        """Locked: refresh, give letters to `names` that have none (lowest free first) and write; those that got none."""
        raise NotImplementedError

    def name_letters(self, letters: Iterable[int], write: bool) -> bool:
        """Give `unknown-<index>` to every letter without a name; locked if `write`. Whether there was any."""
        raise NotImplementedError


class OverflowKeywords:
    """`greenmail-data/keywords`: keywords that have no letter, per base name. Changed under the mailbox's lock only."""

    names: list[str]  # every overflow keyword of the mailbox, in the order of first use

    def __init__(self, files: Files, directory: bytes) -> None:
        """`directory`: the mailbox's `greenmail-data`, made when first needed; nothing is read."""

    def refresh(self) -> bool:
        """Read the file if it changed; whether it did."""
        raise NotImplementedError

    def of(self, base: bytes) -> frozenset[str]:
        """The overflow keywords of a message."""
        raise NotImplementedError

    def change(self, messages: Mapping[bytes, Collection[str]], live: Collection[bytes] | None = None) -> None:
        """Locked: refresh, set the keywords of these base names, forget those not in `live` if given, and write.

        Raises LIMIT when there would be too many keywords.
        """
