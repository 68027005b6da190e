"""What all tests share: options, that `harness` can be imported, and which tests go to which worker."""

import functools
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

sys.path.insert(0, str(Path(__file__).parent))

from support.descriptors import LetGo  # from the path that was just set

# One machine is slow, another fast: no example fails because of its time. A change is judged by the same examples each
# time; others are drawn by `make properties`.
_PATIENT = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("greenmail", _PATIENT, derandomize=True)
settings.register_profile("long", _PATIENT, max_examples=20000)
settings.load_profile("greenmail")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers: what takes long is begun first, so that all end together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class _Together(LoadScopeScheduling):
    """Tests go one by one to the workers, but for those that share what is costly to make.

    xdist's own `loadgroup` does not do it: it writes the groups where pytest 9 does not read them.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _shared(nodeid.partition("::")[0]) or nodeid


@functools.cache
def _shared(path: str) -> str:
    """What the tests of a module share: its xdist_group, or else the module if it has a fixture for all of it."""
    text = (Path(__file__).parent.parent / path).read_text(encoding="utf-8")
    named = re.search(r'\bxdist_group\("([^"]+)"\)', text)
    return named[1] if named else path if '@pytest.fixture(scope="module")' in text else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Together | None:
    return _Together(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--live",
        metavar="HOST:PORT:USER:PASSWORD",
        help="run the transcripts against this server; {n} in USER becomes the number of the transcript",
    )
    parser.addoption(
        "--interleavings", type=int, default=3000, help="orders of the concurrency tests; make check: 10000"
    )
    parser.addoption("--interleaving-seed", type=int, default=None, help="run this one order again")


@pytest.fixture(scope="module", autouse=True)
def let_all_go() -> Iterator[None]:
    """The few that each test of a module may leave are many together."""
    made = LetGo()
    yield
    made()


@pytest.fixture(autouse=True)
def let_go(request: pytest.FixtureRequest) -> Iterator[LetGo]:
    """No test leaves hundreds of open files to the next ones: a limit of 1,024, as shells have it, is enough.

    What the tests of a module share stays: who uses it may have opened more of it. And what was there before the test
    is no garbage of its own: after thousands of tests a search of it all takes half a second, each time.
    """
    gc.freeze()
    made = LetGo()
    yield made
    if not _shared(request.node.nodeid.partition("::")[0]):
        made()
    gc.unfreeze()
