"""Options of the benchmarks of Tare itself."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("overhead", "what Tare itself costs")
    group.addoption("--evidence", metavar="DIR", help="Keep the result there as JSON: docs/evidence.")
    group.addoption("--pairs", type=int, metavar="N", help="Pairs of boots, in place of the 60 or 30 of the claim.")
