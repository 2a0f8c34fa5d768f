"""What Tare itself costs, against a bare script that does the same: `nox -s overhead`, never part of `nox -s tests`."""

from __future__ import annotations

import sys
from pathlib import Path

import overhead
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tare_bench.errors import DriverUnavailable

NOT_GIVEN = None
"""Also where pytest was started from elsewhere and has not read this folder's options."""


def say(text: str) -> None:
    """Shown with `pytest -s`, and with a test that fails."""
    sys.stderr.write(f"{text}\n")


@pytest.mark.parametrize("driver", list(overhead.CLAIMS))
def test_boot_costs_no_more_than_the_bare_script(
    driver: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> None:
    if benchmark.disabled:
        pytest.skip("it measures: nox -s overhead")
    claim = overhead.CLAIMS[driver]
    pairs = request.config.getoption("--pairs", NOT_GIVEN) or claim.pairs
    try:
        # One round of it is the whole comparison: its arms are paired, which rounds of one function cannot be.
        document = benchmark.pedantic(  # type: ignore[no-untyped-call]
            overhead.measure, args=(claim, pairs, say), rounds=1, iterations=1
        )
    except DriverUnavailable as error:
        pytest.skip(str(error))
    benchmark.extra_info |= {key: document[key] for key in ("claim", "shown", "ratio", "milestones", "ratios")}
    if folder := request.config.getoption("--evidence", NOT_GIVEN):
        say(f"evidence: {overhead.write(document, Path(folder))}")
    say(overhead.summary(document))
    assert document["ratio"]["high"] is not None, f"{pairs} pairs are too few for an interval"
    assert document["ratio"]["high"] < claim.bound, overhead.summary(document)
