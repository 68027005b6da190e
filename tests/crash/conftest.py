"""Options and totals of the crash tests."""

from collections import Counter

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--crash-rounds", type=int, default=None, help="how often the running server is killed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much was tried."""
    totals: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                if isinstance(value, int):
                    totals[name] += value
    if totals:
        terminalreporter.write_line("crash: " + ", ".join(f"{name} {number}" for name, number in totals.items()))
