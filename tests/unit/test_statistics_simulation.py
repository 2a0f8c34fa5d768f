"""What the statistics promise, seen in simulation: seeded, so that these numbers are always the same ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from statistics import NormalDist, mean, median, stdev

import pytest
from tare_bench import stats
from tare_bench.plan import orders
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


# Whole runs: arms on one machine that drifts, steps and stalls, in the order that a plan has

LEVEL = 0.97
REGION = stats.log_region(0.05)


@dataclass(frozen=True)
class Machine:
    """What the host does to a value at a place of the run (from 0 to 1), as a factor."""

    drift: float = 0.0
    step: float = 0.0
    stragglers: float = 0.0
    """The share of values that take three times as long."""

    def factor(self, place: float, dice: random.Random) -> float:
        found = 1 + self.drift * place + (self.step if place > 0.5 else 0.0)
        return found * (3.0 if dice.random() < self.stragglers else 1.0)


MACHINES = {
    "quiet": Machine(),
    "drift": Machine(drift=0.3),
    "step": Machine(step=0.3),
    "stragglers": Machine(stragglers=0.08),
    "all": Machine(drift=0.2, step=0.2, stragglers=0.05),
}

Order = Callable[[int, random.Random], list[str]]


def in_blocks(n: int, dice: random.Random) -> list[str]:
    """The order of a plan."""
    return [arm for row in islice(orders(["a", "b"], dice), n) for arm in row]


def one_after_the_other(n: int, dice: random.Random) -> list[str]:
    """Wrong: all of A, then all of B."""
    return ["a"] * n + ["b"] * n


def run(machine: Machine, order: Order, n: int, effect: float, dice: random.Random) -> tuple[list[float], list[float]]:
    """The values of both arms, by block."""
    sequence = order(n, dice)
    values: dict[str, list[float]] = {"a": [], "b": []}
    for place, arm in enumerate(sequence):
        noise = math.exp(dice.gauss(0, 0.03))
        true = effect if arm == "b" else 1.0
        values[arm].append(true * noise * machine.factor(place / len(sequence), dice))
    return values["a"], values["b"]


def share(machine: str, order: Order, effect: float, held: Callable[[Estimate], bool], n: int = 15) -> float:
    """In how many of the runs that holds of the paired interval."""
    dice, found = random.Random(f"{machine} {effect}"), 0
    for _ in range(ROUNDS):
        estimate = stats.estimate(stats.paired(*run(MACHINES[machine], order, n, effect, dice), ratio=True), LEVEL)
        assert estimate is not None
        found += held(estimate)
    return found / ROUNDS


def covers(truth: float) -> Callable[[Estimate], bool]:
    return lambda found: _held(found, math.log(truth))


def called_different(found: Estimate) -> bool:
    return stats.place(found, REGION) in ("above", "below")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("effect", [1.0, 1.1])
def test_whatever_the_machine_does_the_interval_covers_the_truth(machine: str, effect: float) -> None:
    assert share(machine, in_blocks, effect, covers(effect)) >= 0.955


@pytest.mark.parametrize("machine", MACHINES)
def test_whatever_the_machine_does_equal_arms_are_not_called_different(machine: str) -> None:
    assert share(machine, in_blocks, 1.0, called_different) <= 0.01


@pytest.mark.parametrize("machine", ["drift", "step"])
def test_all_of_one_arm_before_the_other_breaks_both(machine: str) -> None:
    assert share(machine, one_after_the_other, 1.0, called_different) > 0.5
    assert share(machine, one_after_the_other, 1.0, covers(1.0)) < 0.5


def unpaired(a: list[float], b: list[float]) -> Estimate:
    """Wrong: the arms' means with their own spreads (Welch), blocks forgotten."""
    left, right = [math.log(value) for value in a], [math.log(value) for value in b]
    middle = mean(right) - mean(left)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(stdev(left) ** 2 / len(a) + stdev(right) ** 2 / len(b))
    return Estimate(middle, middle - half, middle + half, len(a))


@pytest.mark.parametrize("machine", ["drift", "step", "stragglers"])
def test_the_paired_interval_finds_what_an_unpaired_one_misses(machine: str) -> None:
    dice, found = random.Random(machine), {"paired": 0, "unpaired": 0}
    for _ in range(ROUNDS):
        a, b = run(MACHINES[machine], in_blocks, 15, 1.12, dice)
        paired = stats.estimate(stats.paired(a, b, ratio=True), LEVEL)
        assert paired is not None
        found["paired"] += stats.place(paired, REGION) == "above"
        found["unpaired"] += stats.place(unpaired(a, b), REGION) == "above"
    assert found["paired"] > 0.75 * ROUNDS
    assert found["unpaired"] < 0.6 * found["paired"]


# Stopping

BUDGET = 60


def verdict(values: Callable[[], float], standing: Callable[[list[float]], bool], level: float) -> str:
    """Measured until it is closed, and judged then."""
    kept = [values() for _ in range(stats.pairs_least(level))]
    while not standing(kept):
        kept.append(values())
    found = stats.estimate(kept, level)
    assert found is not None
    return stats.place(found, REGION)


def by_the_rule(kept: list[float]) -> bool:
    return bool(stats.standing(kept, REGION, LEVEL, budget=BUDGET - len(kept)).closed)


def at_the_full_level(kept: list[float]) -> bool:
    """Wrong: each look spends the whole risk."""
    found = stats.estimate(kept, LEVEL)
    assert found is not None
    further = (stats.pairs_predicted(kept, REGION, LEVEL) or 1_000) - len(kept)
    return stats.place(found, REGION) != "undecided" or max(1, further) > BUDGET - len(kept)


def at_p_below_five_percent(kept: list[float]) -> bool:
    """Wrong: stop as soon as the mean differs from zero at 5 %."""
    error = stdev(kept) / math.sqrt(len(kept))
    return abs(mean(kept)) > 1.96 * error or len(kept) >= BUDGET


def false_verdicts(standing: Callable[[list[float]], bool], spread: float, runs: int) -> float:
    dice = random.Random(f"stopping {spread}")
    found = [verdict(lambda: dice.gauss(0, spread), standing, LEVEL) for _ in range(runs)]
    return sum(each in ("above", "below") for each in found) / runs


@pytest.mark.parametrize("spread", [0.002, 0.07, 0.22, 0.39])
def test_the_stopping_rule_makes_a_false_verdict_in_one_run_of_a_hundred_at_most(spread: float) -> None:
    # all of it, with more pairs in a run, is in docs/evidence/stopping.json
    assert false_verdicts(by_the_rule, spread, 2_000) <= 0.0125


def test_looks_at_the_full_level_make_more_than_the_rule_allows() -> None:
    assert false_verdicts(at_the_full_level, 0.39, 2_000) > 0.02


def test_stopping_at_five_percent_calls_equal_arms_different_in_a_fifth_of_runs() -> None:
    dice, alarms = random.Random(24), 0
    for _ in range(ROUNDS):
        kept = [dice.gauss(0, 0.07) for _ in range(6)]
        while not at_p_below_five_percent(kept):
            kept.append(dice.gauss(0, 0.07))
        alarms += abs(mean(kept)) > 1.96 * stdev(kept) / math.sqrt(len(kept))
    assert alarms / ROUNDS > 0.18


def test_what_is_said_to_be_needed_is_about_what_is_needed() -> None:
    dice, used, predicted = random.Random(9), [], []
    for _ in range(ROUNDS):
        kept = [dice.gauss(math.log(1.15), 0.1) for _ in range(10)]
        first = stats.standing(kept, REGION, LEVEL, budget=BUDGET - 10)
        while not by_the_rule(kept):
            kept.append(dice.gauss(math.log(1.15), 0.1))
        if not first.closed:
            used.append(len(kept))
            predicted.append(len(kept[:10]) + (first.further or 0))
    assert 0.6 < median(used) / median(predicted) < 1.6
