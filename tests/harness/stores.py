"""The stores that transcripts run against."""

from collections.abc import Callable
from pathlib import Path

from harness.engine import Backend, memory_backend
from harness.green import Scheduler

Maker = Callable[[Scheduler], Backend]

STORES: dict[str, Callable[[Path], Maker]] = {"memory": lambda directory: memory_backend}
