"""The counter of UIDVALIDITY values, `dovecot-uidvalidity`. `formats.md` 3.3. (Signatures; the bodies follow.)"""

from greenmail.storage.filesystem import Files


def next_uidvalidity(files: Files, control: bytes, now: float) -> int:
    """A value that no mailbox of this account ever had; `control`: the root or the control root. Never fails."""
    raise NotImplementedError
