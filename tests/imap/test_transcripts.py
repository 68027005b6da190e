"""Every conversation below `tests/transcripts`, against each store, or against a running server."""

from pathlib import Path

import pytest
from harness.engine import memory_backend
from harness.peers import LivePeers, MemoryPeers
from harness.stores import STORES
from harness.transcript import DIRECTORY, Failure, Run, files, scenes

FILES = list(files())
NOT_LIVE = {"external", "config", "advance", "plain", "no-live", "stores", "quota", "owner", "acl"}


def _name(path: Path) -> str:
    return str(path.relative_to(DIRECTORY).with_suffix(""))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which files are run where; nothing is skipped."""
    if metafunc.function is not test_transcript:
        return
    if metafunc.config.getoption("--live"):
        pairs = [(path, "live") for path in FILES if _can_be_live(path.read_text())]
    else:
        pairs = [(path, store) for path in FILES for store in STORES if store == "memory" or not _is_bound(path)]
    metafunc.parametrize("path, where", pairs, ids=[f"{_name(path)}-{where}" for path, where in pairs])


def _can_be_live(text: str) -> bool:
    """Over a socket there is no clock and no other program, and the user has another name than in the file."""
    return not scenes(text) & NOT_LIVE and not any(word in text for word in ("alice", "YWxpY2U", "AGFsaWNl", " closed"))


def _is_bound(path: Path) -> bool:
    """@stores: to the store in memory."""
    return "stores" in scenes(path.read_text())


def test_transcript(path: Path, where: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    text = path.read_text()
    if where != "live":
        Run(text, MemoryPeers(STORES[where](tmp_path))).run()
        return
    host, port, user, password = pytestconfig.getoption("--live").split(":", 3)
    peers = LivePeers(host, int(port), user.replace("{n}", str(FILES.index(path) + 1)), password)
    try:
        Run(text, peers).run()
    finally:
        peers.close()


CORE = (DIRECTORY / "core" / "store-silent-other-session.txt").read_text()


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("S1: a1 OK ...\n", "", "the server had sent more|at the end: connection 1 also sent"),
        ("S1: a1 OK ...", "S1: a1 NO ...", "line 5: the server sent\na1 OK"),
        ("S2: b1 OK ...", "S2: b1 OK ...\nS2: more", "the server sent nothing, expected\nmore"),
        ("FLAGS (\\Seen))", "FLAGS ())", "line 7: the server sent"),
        ("@select 1 2", "@sing 1", "there is no scene @sing"),
        ("C2: b1 NOOP", "C2 b1 NOOP", "line 6: not a transcript line"),
        ("S2: b1 OK ...", "S2 closed", "the server had sent more"),
    ],
)
def test_the_runner_finds_what_is_wrong(old: str, new: str, complaint: str) -> None:
    with pytest.raises(Failure, match=complaint):
        Run(CORE.replace(old, new), MemoryPeers(memory_backend)).run()
