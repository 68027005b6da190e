"""Pages that `make docs` makes of the code are what it makes now; the code names sections that exist, pages files."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


rfc_index, commands_page, compare_page = tool("rfc_index"), tool("commands_page"), tool("compare_page")


@pytest.mark.generated
def test_the_rfc_index_is_up_to_date() -> None:
    old = (ROOT / "docs" / "rfc-index.md").read_text()
    assert rfc_index.page(rfc_index.index()[0], {}, old) == old, "make docs"


@pytest.mark.generated
@pytest.mark.interpreted
def test_the_commands_page_is_up_to_date() -> None:
    assert commands_page.page() == (ROOT / "docs" / "imap.md").read_text(), "make docs"


@pytest.mark.generated
@pytest.mark.interpreted
def test_the_comparison_is_up_to_date() -> None:
    assert compare_page.page() == (ROOT / "docs" / "compare.md").read_text(), "make docs"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_what_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [link for link in links if not link.startswith("http") and not (page.parent / link).exists()] == []


def test_every_command_has_a_transcript() -> None:
    commands = (ROOT / "docs" / "imap.md").read_text().partition("## Capabilities")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in commands.splitlines() if "](../greenmail" in line]
    assert len(rows) > 50
    assert [row[1] for row in rows if not row[6]] == ["COMPRESS"]  # octets, not lines: test_compress.py
    assert {rfc for row in rows for rfc in re.findall(r"RFC \d+", row[4]) if len(rfc) > 8} == {"RFC 10022"}


def test_generated_pages_link_to_what_they_speak_of() -> None:
    for page in ("compare.md", "imap.md", "rfc-index.md"):
        assert len(set(re.findall(r"\]\(\.\./([^)#]+)\)", (ROOT / "docs" / page).read_text()))) > 50, page


def compared() -> list[dict[str, Any]]:
    return [row for protocol in ("imap", "pop3") for what in compare_page.TABLE[protocol] for row in what["rows"]]


def test_tests_and_settings_of_the_comparison_exist() -> None:
    settings = (ROOT / "conf" / "imap.yaml").read_text()
    for row in compared():
        for file, test in (path.split("::") for path in row.get("shown", ()) if "::" in path):
            assert f"\ndef {test}(" in (ROOT / file).read_text(), (row["name"], file, test)
        words = f"{row.get('has', '')} {row.get('note', '')} `{row.get('setting', 'bind-addr')}`"
        for setting in re.findall(r"`([^`:]+)[^`]*`", words):
            assert re.search(rf"^#?{re.escape(setting)}:", settings, re.M), (row["name"], setting)


def test_nothing_is_compared_twice() -> None:
    names = [row["name"] for row in compared()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "row, expected",
    [
        ({"name": "A", "shown": ["tests/a.txt"]}, "yes ([a](../tests/a.txt))"),
        ({"name": "A", "no": "not made yet", "shown": ["tests/a.txt"]}, "yes ([a](../tests/a.txt))"),
        ({"name": "B", "setting": "b", "shown": ["tests/b"]}, "off by default: `b` ([b](../tests/b))"),
        ({"name": "C", "no": "not made yet"}, "no: not made yet"),
        ({"name": "C", "has": "in part", "shown": ["tests/c.py::test_c"]}, "in part ([test_c](../tests/c.py))"),
    ],
)
def test_what_the_comparison_says_of_us(row: dict[str, Any], expected: str) -> None:
    assert compare_page.ours(row, {"A"}, ("A", "B")) == expected


@pytest.mark.parametrize("row", [{"name": "B", "shown": []}, {"name": "D"}, {"name": "D", "has": "yes"}])
def test_the_comparison_says_nothing_without_a_reason_or_a_test(row: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        compare_page.ours(row, {"A"}, ("A", "B"))


def test_every_section_that_the_code_names_exists() -> None:
    """Only where the RFC texts are: they are no part of the project."""
    assert rfc_index.wrong(rfc_index.index()[1], rfc_index.texts()) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("RFC 9051 6.4.5", [(9051, "6.4.5")]),
        ("see RFC 9051 6.4.5.", [(9051, "6.4.5")]),
        ("RFC 9051 6.4.6, RFC 7162 3.1.3", [(9051, "6.4.6"), (7162, "3.1.3")]),
        ("RFC 9051 6.4.6, 7.1 and more", [(9051, "6.4.6"), (9051, "7.1")]),
        ("RFC 9051 6.3.2 and 6.3.3", [(9051, "6.3.2"), (9051, "6.3.3")]),
        ("RFC 1939 5 to 7", [(1939, "5"), (1939, "7")]),
        ("RFC 9051 Appendix E", [(9051, "E")]),
        ("RFC 9051, Appendix A.1", [(9051, "A.1")]),
        ("RFC 9051 A.1", [(9051, "A.1")]),
        ("RFC 2045, 2046", [(2045, ""), (2046, "")]),
        ("RFC 3339 in UTC", [(3339, "")]),
        ("RFC 7888 4: BYE", [(7888, "4")]),
        ("RFC 2045 A comment", [(2045, "")]),
        ("RFC 9051 9 seq-range", [(9051, "9")]),
        ("RFC 9051 eid 7323", [(9051, "")]),
    ],
)
def test_references(text: str, expected: list[tuple[int, str]]) -> None:
    assert [(rfc, section) for _, rfc, section in rfc_index.references(f"# {text}\n")] == expected


TEXT = """
Network Working Group                                          A. Author
Request for Comments: 1                                         May 1996


                     A Protocol with
                         Sections

Status of this Memo

   Words.

Table of Contents

   1. First ........................................ 2
1. First ........................................ 2

1. First

   Words of the first.
   9. Not a heading

Author                      Standards Track                     [Page 1]

RFC 1                        A Protocol                         May 1996

1.1.  Second, which is
      long
   Words.

Appendix A.  More

A.1.  Of it
"""


def test_sections_of_a_text() -> None:
    assert rfc_index.sections(TEXT) == {
        "": "A Protocol with Sections",
        "1": "First",
        "1.1": "Second, which is long",
        "A": "More",
        "A.1": "Of it",
    }


def test_a_section_that_does_not_exist_is_found() -> None:
    known = {1: rfc_index.sections(TEXT)}
    assert rfc_index.wrong([("a.py:1", 1, "1.1"), ("a.py:2", 1, "1.2"), ("a.py:3", 2, "9")], known) == [
        "a.py:2: RFC 1 has no section 1.2"
    ]


def test_titles_are_kept_where_there_are_no_texts() -> None:
    found = {1: {"": {"greenmail/a.py"}, "1.1": {"greenmail/b.py"}}}
    first = rfc_index.page(found, {1: rfc_index.sections(TEXT)}, "")
    assert "## RFC 1: A Protocol with Sections" in first and "| 1.1 | Second, which is long | [b.py]" in first
    assert rfc_index.page(found, {}, first) == first
