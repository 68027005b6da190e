"""What is said to people in other languages: `greenmail.language`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmail.language import choice
from greenmail.language.choice import chosen, folder_name, is_range, known, translated

CODE = Path(choice.__file__).parent.parent
# Where a text for people is among the arguments. BadSyntax is for those who write clients: it may stay as it is.
SPEAKING = {"Ok": 0, "No": 0, "Refused": 0, "StorageError": 1, "refusing": 0, "refusal": 1}


def texts() -> Iterator[tuple[str, str]]:
    """Where, and what, with {} for what is put in."""
    for part in ("imap", "storage", "pop3"):
        for path in sorted((CODE / part).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                place = SPEAKING.get(node.func.id, len(node.args))
                text = written(node.args[place]) if place < len(node.args) else None
                if text:
                    yield f"{path.relative_to(CODE)}:{node.lineno}", text


def written(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
    return None


@pytest.mark.parametrize("tag", choice.TABLES)
def test_nearly_everything_is_translated(tag: str) -> None:
    """A new text need not be: it is sent within OTHERWISE then. But it should not stay so for long."""
    found = list(texts())
    assert len(found) > 150
    missing = [f"{where}: {text}" for where, text in found if known(text.replace("{}", "0"), tag) is None]
    assert len(missing) <= len(found) // 10, "to be added in greenmail/language:\n" + "\n".join(missing)


@pytest.mark.parametrize("tag", choice.TABLES)
def test_tables_are_whole(tag: str) -> None:
    table = choice.TABLES[tag]
    for english, translation in table.texts.items():
        assert english.count("{}") == translation.count("{}"), english
        assert english == english.rstrip(". "), english
        assert translation == translation.strip(), english
        assert not set(translation) & set("\r\n[\0"), english
    assert table.otherwise.count("{}") == 1
    assert all(name == name.lower() for name in table.names)


@pytest.mark.parametrize(
    ("text", "german"),
    [
        ("NOOP completed", "NOOP ausgeführt"),
        ("There is no such mailbox.", "Dieses Postfach gibt es nicht"),
        ("there is no such mailbox", "Dieses Postfach gibt es nicht"),
        ("expected a space at octet 7", "Erwartet: ein Leerzeichen bei Oktett 7"),
        ("The mailbox cannot be written: no space left on the device",
         "In das Postfach kann nicht geschrieben werden: auf dem Datenträger ist kein Platz mehr"),
        ("FETCH is not allowed now: log in first", "FETCH ist jetzt nicht möglich: melden Sie sich zuerst an"),
        ("Processed 17% of the messages", "17 % der Nachrichten sind bearbeitet"),
        ("the URL has no slash before UID; nothing was appended",
         "Die URL hat keinen Schrägstrich vor UID; nichts wurde angefügt"),
        ("the URL is of a mailbox that was there before; nothing was appended",
         "Die URL ist eine eines Postfachs, das es früher gab; nichts wurde angefügt"),
        ("All keys removed", "Alle Schlüssel sind gelöscht"),
        ("Not logged in", "Nicht angemeldet"),
        ("nobody has translated this", "Der Server meldet: nobody has translated this"),
        ("this: neither", "Der Server meldet: this: neither"),
        ("a {0} {x} brace", "Der Server meldet: a {0} {x} brace"),
        ("unknown command {0}", "Unbekannter Befehl {0}"),
        ("", ""),
    ],
)  # fmt: skip
def test_german(text: str, german: str) -> None:
    assert translated(text, "de") == german


@pytest.mark.parametrize("tag", ["en", "i-default"])
def test_english_is_as_it_was(tag: str) -> None:
    assert translated("There is no such mailbox.", tag) == "There is no such mailbox."
    assert folder_name("Shared", tag) is None


@given(st.text(max_size=200))
def test_any_text_becomes_some_text(text: str) -> None:
    assert text in translated(text, "de") or known(text, "de") is not None


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (["de"], "de"),
        (["DE-it"], "de"),  # RFC 5255 3.2
        (["fr-CA", "en-CA"], "en"),
        (["mul"], None),
        (["de-Latn-x-private"], "de"),  # RFC 4647 3.4: with what follows a single letter the letter goes
        (["*-de"], "de"),
        (["de-*-DE"], "de"),
        (["*"], "preferred"),
        (["fr", "default"], "preferred"),
        (["i-default"], "i-default"),
        (["i"], None),
        (["d"], None),
        (["deu"], None),
        ([], None),
    ],
)
def test_chosen(ranges: list[str], expected: str | None) -> None:
    assert chosen(ranges, "preferred") == expected


@pytest.mark.parametrize("text", ["de", "*", "de-AT", "i-default", "*-CH", "de-*-DE-x-goethe", "a1b2"[0] + "b"])
def test_ranges(text: str) -> None:
    assert is_range(text)


@pytest.mark.parametrize(
    "text", ["", "-", "de-", "-de", "de--at", "d e", "grün", "d_e", "verylongone", "1de", "**", "de\n"]
)
def test_no_ranges(text: str) -> None:
    assert not is_range(text)


def test_folder_name() -> None:
    assert folder_name("Other Users", "de") == "Andere Benutzer"
    assert folder_name("Something", "de") is None
