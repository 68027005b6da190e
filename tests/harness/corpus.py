"""Generated messages for transcripts: message k is the same in every run."""

from datetime import UTC, datetime


def message(number: int) -> bytes:
    """Message `number`: a small text with the subject "Message k"; CRLF line ends."""
    lines = [
        f"Date: {number % 28 or 28:02} Jan 2024 12:00:00 +0000",
        f"From: Sender {number} <sender{number}@example.org>",
        "To: alice@example.org",
        f"Message-ID: <m{number}@example.org>",
        f"Subject: Message {number}",
        "",
        f"This is the text of message {number}.",
        "",
    ]
    return "\r\n".join(lines).encode()


def date(number: int) -> int:
    """INTERNALDATE of message `number` in seconds since 1970: `number` January 2024 12:00:00 +0000."""
    return int(datetime(2024, 1, number % 28 or 28, 12, tzinfo=UTC).timestamp())
