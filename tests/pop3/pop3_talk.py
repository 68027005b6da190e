"""What is said in a POP3 session, as tests write it down."""

import re


def shown(answer: bytes) -> list[str]:
    """Status lines without their texts, and all other lines, so that texts may change."""
    lines = []
    for line in answer.decode("latin-1").removesuffix("\r\n").split("\r\n"):
        status = re.match(r"(\+OK|-ERR(?: \[[A-Z/-]+\])?)( .*)?$", line)
        lines.append(status[1] if status else line)
    return lines
