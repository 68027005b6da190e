"""`tls-exporter` and ANONYMOUS with a client that others wrote: gsasl, whose TLS is GnuTLS."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from support import server as greenmail
from support.interop_site import need

from greenmail.auth import schemes

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[greenmail.Server]:
    directory = tmp_path_factory.mktemp("exporter")
    with greenmail.start(
        directory,
        f"{directory}/mail/%u",
        f"alice:{schemes.make('SCRAM-SHA-256', b'secret')}\npublic:*\n",
        workers=1,
        tls_exporter=True,
        anonymous_user="public",
        auth_failure_delay=0.01,
    ) as started:
        yield started


def gsasl(server: greenmail.Server, mechanism: str, *more: str) -> bool:
    command = [
        need("gsasl", "gsasl"), "--client", "--imap", f"--connect=localhost:{server.imap}", "--starttls",
        f"--x509-ca-file={server.cert}", "--mechanism", mechanism, "-a", "alice", "-p", "secret", *more,
    ]  # fmt: skip
    done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def test_scram_is_bound_to_the_connection(server: greenmail.Server) -> None:
    """Over TLS 1.3 it knows no other binding."""
    assert gsasl(server, "SCRAM-SHA-256-PLUS")
    assert re.search(r"login sid=\S+ user='alice' mech=SCRAM-SHA-256-PLUS ", server.logged())


def test_anonymous(server: greenmail.Server) -> None:
    assert gsasl(server, "ANONYMOUS", "-n", "me@example.org")
    assert "trace='me@example.org'" in server.logged()
