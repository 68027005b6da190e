"""What all tests share: options, and that `harness` can be imported."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# One machine is slow, another fast: no example fails because of its time.
settings.register_profile("greenmail", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=20000)  # make properties
settings.load_profile("greenmail")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers: what takes long is begun first, so that all end together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
