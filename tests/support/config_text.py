"""Configurations as files, and what is said of them."""

from pathlib import Path

CERT = {"cert-path": "/c", "key-path": "/k"}


def write(tmp_path: Path, text: str, name: str = "imap.yaml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)
