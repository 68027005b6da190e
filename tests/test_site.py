"""The pages of docs/: each is in the site, no link is broken, and the tutorial's commands do what it says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.server import free_port

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def navigation(items: object) -> Iterator[str]:
    """Pages in `nav` of mkdocs.yml."""
    if isinstance(items, str):
        yield items
    for item in items.values() if isinstance(items, dict) else items if isinstance(items, list) else ():
        yield from navigation(item)


def test_every_page_is_in_the_site() -> None:
    named = set(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert named == {page for page in PAGES if not page.startswith("decisions/0")}


def test_every_decision_is_in_the_index() -> None:
    text = (DOCS / "decisions/index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.startswith("decisions/0"):
            title = (DOCS / page).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            assert f"[{title}]({Path(page).name})" in text


@pytest.mark.parametrize("page", [*PAGES, "../README.md", "../CHANGES.md", "../CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, _ in LINK.findall(text):
        if "://" not in target and not target.startswith("mailto:"):
            assert ((DOCS / page).parent / target).exists(), target


@pytest.mark.slow
def test_the_site_can_be_built(tmp_path: Path) -> None:
    """Strictly: a warning is an error."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(ROOT / "mkdocs.yml"), "-d", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ten minutes" in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.interop
def test_the_tutorial(tmp_path: Path) -> None:
    """Its commands, one after the other, in one shell; only the ports are others."""
    for program in ("openssl", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    commands = "\n".join(
        line.removeprefix("$ ")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    )
    for port in ("1993", "9143"):
        commands = commands.replace(port, str(free_port()))
    greenmail = tmp_path / "bin/greenmail"
    greenmail.parent.mkdir()
    greenmail.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m greenmail "$@"\n', encoding="utf-8")
    greenmail.chmod(0o755)
    (tmp_path / "site").mkdir()
    path = f"{greenmail.parent}:{os.environ['PATH']}"
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = f"trap 'kill %1 2>/dev/null || true' EXIT\n{commands}\nwait\n"
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path / "site", capture_output=True, text=True, timeout=100,
        env={**os.environ, "PATH": path, "PYTHONPATH": python_path}, check=False,
    )  # fmt: skip
    log = tmp_path / "site/log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    assert "It works." in done.stdout, done.stdout
    assert "users=2" in done.stdout or "alice" in done.stdout
    assert 'greenmail_logins_total{protocol="imap",result="ok"} 2.0' in done.stdout
    assert log.read_text().rstrip().endswith("stop")
