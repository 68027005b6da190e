"""Every command that README and docs/ show is run: here, or by a test that is named here; else the reason is.

A command that is new, and an entry whose command is gone, fail.
"""

import contextlib
import fnmatch
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.server import Server, start

from greenmail import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(page for page in sorted(ROOT.glob("docs/*.md")) if page.name != "rfc-index.md")]
PROGRAMS = (
    "apt-get awk cat chmod chown cp curl doveconf echo export fail2ban-client fail2ban-regex git greenmail head install"
    " kill ls make mkdir nc openssl pip postconf postfix postmap printf promtool psql python python3 rm runuser sed"
    " sendmail sudo systemctl systemd-analyze touch until wait ~/greenmail-env/bin/pip"
)
COMMAND = re.compile(rf"(?:[$#] )?((?:{'|'.join(map(re.escape, PROGRAMS.split()))})(?: .*)?)$")

CONTRIB, DELIVERY = "tests/test_contrib.py::", "tests/interop/test_delivery.py::"

# By page and command (with * as in a shell): the test that runs it.
ELSEWHERE = {
    ("README.md", "make run"): ".ci/smoke",
    ("README.md", "make test"): ".ci/run",
    ("README.md", "pip install ."): ".ci/packages",
    ("README.md", "greenmail -c imap.yaml"): "tests/test_site.py::test_the_tutorial",
    ("administration.md", "greenmail *"): "tests/cli/test_administration_page.py::test_every_command_of_the_page_works",
    ("control-socket.md", "*"): "tests/cli/test_operations.py::test_bad_requests_are_answered_and_the_server_goes_on",
    ("fail2ban.md", "fail2ban-regex *"): CONTRIB + "test_the_filter_finds_each_failed_login_and_nobody_else",
    ("fail2ban.md", "cp *"): CONTRIB + "test_fail2ban_takes_the_jail",
    ("migrating-from-courier.md", "*"): "tests/interop/test_migration_docs.py::test_from_courier",
    ("migrating-from-dovecot.md", "*"): "tests/interop/test_migration_docs.py::test_from_dovecot_and_back",
    ("monitoring.md", "promtool check *"): "tests/interop/test_monitoring.py::test_prometheus_scrapes_the_server",
    ("oauth.md", "curl *"): "tests/live/test_oauth.py::test_curl",
    ("postfix.md", "*vmailbox*"): DELIVERY + "test_postfix_delivers_while_a_client_idles",
    ("postfix.md", "printf *"): DELIVERY + "test_postfix_delivers_while_a_client_idles",
    ("postfix.md", "install *mailfilter"): CONTRIB + "test_maildrop_delivers_into_the_maildir_or_not_at_all",
    ("postfix.md", "postconf *"): CONTRIB + "test_postfix_takes_the_lines",
    ("tutorial.md", "python3 -m venv *"): ".ci/packages",
    ("tutorial.md", "~/greenmail-env/bin/pip *"): ".ci/packages",
    ("tutorial.md", "*"): "tests/test_site.py::test_the_tutorial",
}  # fmt: skip

# What no test can run, and why.
NOT_RUN = {
    ("*", "systemctl *"): "services of the whole machine; the sandbox of the unit is in tests/live/test_sandbox.py",
    ("*", "apt-get install *"): "installs on the whole machine; .ci/interop-packages has the same packages",
    ("administration.md", "install *"): "copies files to /etc",
    ("administration.md", "openssl s_client *"): "a server on the internet; the same handshake: tests/live/test_sni.py",
    ("fail2ban.md", "fail2ban-client *"): "asks a service that blocks addresses of the whole machine",
    ("monitoring.md", "cp *"): "copies files to /etc and /var",
    ("monitoring.md", "mkdir *"): "copies files to /etc and /var",
    ("performance.md", "*"): "benchmarks, of minutes each; make bench is how docs/performance.md is made",
    ("postfix.md", "postfix *"): "the Postfix of the whole machine; the tests have one of their own",
}  # fmt: skip


def commands(text: str) -> Iterator[str]:
    """In fenced and indented blocks; what stands behind three spaces or # is for people."""
    fence, before, indented = "", "", False
    for line in text.splitlines():
        found = re.match(r"\s*```(\w*)", line)
        if found:
            fence = "" if fence else found[1] or "plain"
            indented = False
        elif fence in ("sh", "console", "plain", "bash", "shell") and (command := COMMAND.match(line)):
            yield _alone(command[1])
        elif not fence:
            indented = line.startswith("    ") and (indented or not before.strip())
            if indented and (command := COMMAND.match(line[4:])):
                yield _alone(command[1])
        before = line


def _alone(text: str) -> str:
    return re.split(r" {3,}|\s+# ", text)[0].strip()


def shown() -> list[tuple[str, str]]:
    found = [(page.name, command) for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]
    return list(dict.fromkeys(found))


def covering(table: dict[tuple[str, str], str], page: str, command: str) -> set[tuple[str, str]]:
    """Entries of a table that are meant."""
    return {key for key in table if fnmatch.fnmatch(page, key[0]) and fnmatch.fnmatchcase(command, key[1])}


HERE = [one for one in shown() if not covering(ELSEWHERE, *one) and not covering(NOT_RUN, *one)]


def test_commands_are_found() -> None:
    text = "x\n\n    $ greenmail who    all\n    greenmail stop  # now\n\n    key: value\n\n"
    text += "```console\n# curl x\n```\nmake it\n"
    assert list(commands(text)) == ["greenmail who", "greenmail stop", "curl x"]
    assert len(shown()) > 100


@pytest.mark.parametrize("table", [ELSEWHERE, NOT_RUN], ids=["elsewhere", "not-run"])
def test_no_entry_is_stale(table: dict[tuple[str, str], str]) -> None:
    used = {key for one in shown() for key in covering(table, *one)}
    assert set(table) == used


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_the_test_that_is_named_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), place


# --- What is run here ---

# Exit statuses that say something else than "it went wrong", by verb: doctor has found mail that was never opened.
# Nothing is held against the address that `penalty clear` is shown with.
ALLOWED = {"doctor": (0, 3), "penalty": (0, 1)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("docs")
    (place / "status-token").write_text("before\n")
    users = "".join(f"{name}:{{PLAIN}}secret::::{place}/mail/{name}\n" for name in ("ann", "bob"))
    for directory in [place / "mail" / user / part for user in ("ann", "bob") for part in ("cur", "new", "tmp")]:
        directory.mkdir(parents=True)
    paths = {"status_token_path": str(place / "status-token"), "app_passwords_file": str(place / "app-passwords")}
    with start(place, f"{place}/mail/%u", users, workers=1, allow_plain_text=True, **paths) as running:
        yield running


def outcome(command: str, server: Server) -> tuple[int, str]:
    """Exit status and what it said. Verbs run in this process, which is quicker; all others in a shell."""
    if not command.startswith("greenmail "):
        done = subprocess.run(
            ["sh", "-ec", command], cwd=server.directory, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr
    words = shlex.split(command)[1:]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return cli.main(words if "-c" in words else [*words, "-c", str(server.config)]), said.getvalue()


@pytest.mark.interop
def test_commands_do_what_they_are_shown_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as somebody would who reads."""
    for program in ("curl", "openssl", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: curl, openssl, prometheus)")
    place, problems = server.directory, []
    for page, shown_command in HERE:
        command = shown_command
        for old, new in (
            ("/etc/greenmail/imap.yaml", str(server.config)), ("-c FILE", f"-c {server.config}"),
            ("-c imap.yaml", f"-c {server.config}"), ("/etc/greenmail/status-token", str(place / "status-token")),
            ("/srv/mail", str(place / "mail")), ("mail.example.org:9143", f"127.0.0.1:{server.metrics}"),
            ("127.0.0.1:9143", f"127.0.0.1:{server.metrics}"), ("contrib/", f"{ROOT}/contrib/"),
        ):  # fmt: skip
            command = command.replace(old, new)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
        if "auth test" in command:
            command += " --password-stdin"  # instead of the terminal, where it asks
        status, said = outcome(command, server)
        if status not in ALLOWED.get(command.split()[1], (0,)):
            problems.append((page, command, status, said))
    assert not problems, "\n".join(map(repr, problems))
