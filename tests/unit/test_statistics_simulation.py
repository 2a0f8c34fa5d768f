"""What the statistics promise, seen in simulation: seeded, so that these numbers are always the same ones."""

from __future__ import annotations

import random

import pytest
from tare_bench import stats
from tare_bench.stats import Estimate, Region

ROUNDS = 400


def _held(found: Estimate | None, truth: float) -> bool:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


@pytest.mark.parametrize("n", [6, 12, 30])
def test_the_paired_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    dice = random.Random(n)
    kept = sum(_held(stats.estimate([dice.gauss(0.3, 0.1) for _ in range(n)]), 0.3) for _ in range(ROUNDS))
    assert 0.92 <= kept / ROUNDS <= 0.98


def _false_alarms(interleaved: bool) -> float:
    """How often two equal arms under a 5 % drift are said to differ, at 95 %."""
    dice, n, alarms = random.Random(15), 15, 0
    for _ in range(ROUNDS):
        places = list(range(2 * n))
        if interleaved:
            blocks = [dice.sample([2 * block, 2 * block + 1], 2) for block in range(n)]
            first, second = [pair[0] for pair in blocks], [pair[1] for pair in blocks]
        else:
            first, second = places[:n], places[n:]
        values = [0.05 * place / (2 * n) + dice.gauss(0, 0.03) for place in places]
        found = stats.estimate(stats.differences([values[i] for i in first], [values[i] for i in second]))
        alarms += not _held(found, 0.0)
    return alarms / ROUNDS


def test_drift_is_taken_for_a_difference_unless_the_arms_are_interleaved() -> None:
    assert _false_alarms(interleaved=True) < 0.08
    assert _false_alarms(interleaved=False) > 0.35


def test_equal_arms_are_seldom_called_different_and_often_equivalent() -> None:
    dice, region = random.Random(3), stats.log_region(0.05)
    places = []
    for _ in range(ROUNDS):
        found = stats.estimate([dice.gauss(0, 0.03) for _ in range(12)], level=0.97)
        assert found is not None
        places.append(stats.place(found, region))
    assert places.count("below") + places.count("above") == 0
    assert places.count("inside") > 0.85 * ROUNDS


def test_the_predicted_number_of_pairs_decides_mostly() -> None:
    dice, region, decided = random.Random(5), Region(-0.05, 0.05), 0
    for _ in range(ROUNDS // 2):
        pilot = [dice.gauss(0.12, 0.1) for _ in range(31)]
        n = stats.pairs_predicted(pilot, region)
        assert n is not None
        found = stats.estimate([dice.gauss(0.12, 0.1) for _ in range(n)], level=0.97)
        decided += found is not None and stats.place(found, region) == "above"
    assert decided > 0.6 * ROUNDS / 2
