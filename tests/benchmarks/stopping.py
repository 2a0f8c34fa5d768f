"""The stopping rule in simulation, with the spreads that pairs have on real hardware: how often a run is wrong.

Nothing here is measured. Each pair is drawn from a normal distribution, given to `stats.standing` block after block, as
a run does, and judged when it is closed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from tare_bench import stats, store

SPREADS = (0.002, 0.07, 0.22, 0.39)
"""Standard deviations of one pair's log-ratio: sysbench, a container's boot, random writes, sequential reads."""
PAIRS = (1, 10, 60)
"""Primary pairs of a run: they share the risk."""
BUDGET = 60
BOUND = 0.01
"""The share of runs that may hold a false verdict."""
SEED = 11

Say = Callable[[str], None]


def judged(dice: random.Random, spread: float, truth: float, level: float) -> tuple[str, int, int | None]:
    """One pair, measured until it is closed: its verdict, its pairs, and how many the first look predicted."""
    region = stats.log_region(0.05)
    values = [dice.gauss(truth, spread) for _ in range(stats.pairs_least(level))]
    first: int | None = None
    while True:
        found = stats.standing(values, region, level, budget=BUDGET - len(values))
        if first is None:
            first = len(values) + (found.further or 0)
        if found.closed:
            interval = stats.estimate(values, level)
            assert interval is not None
            return stats.place(interval, region), len(values), first
        values.append(dice.gauss(truth, spread))


def line(spread: float, m: int, trials: int, seed: int = SEED) -> dict[str, Any]:
    """How one pair of m fares: no true difference, and a true one of 20 %."""
    level, dice = stats.primary_level(m), random.Random(f"{seed} {spread} {m}")
    equal = [judged(dice, spread, 0.0, level) for _ in range(trials)]
    other = [judged(dice, spread, math.log(1.2), level) for _ in range(max(1, trials // 10))]
    false = sum(verdict in ("above", "below") for verdict, _, _ in equal) / trials
    false_same = sum(verdict in ("inside", "below") for verdict, _, _ in other) / len(other)
    decided = [(pairs, first) for verdict, pairs, first in other if verdict == "above" and first]
    return {
        "spread": spread,
        "pairs in a run": m,
        "level": level,
        "simulated": trials,
        "false": false,
        "runs with a false verdict": 1 - (1 - false) ** m,
        "called equivalent though 20 % apart": false_same,
        "20 % found": len(decided) / len(other),
        "pairs used where equal": sum(pairs for _, pairs, _ in equal) / trials,
        "pairs used over predicted": sum(pairs for pairs, _ in decided) / max(1, sum(first for _, first in decided)),
    }


def simulate(say: Say, trials: int = 20_000) -> dict[str, Any]:
    """All of it: a document for JSON."""
    lines = []
    for m in PAIRS:
        for spread in SPREADS:
            lines.append(line(spread, m, trials))
            say(f"m = {m}, spread {spread}: {100 * lines[-1]['runs with a false verdict']:.2f} % of runs")
    worst = max(each["runs with a false verdict"] for each in lines)
    return {
        "claim": f"At each spread that real pairs have, at most {100 * BOUND:g} % of runs hold a false verdict.",
        "shown": worst <= BOUND,
        "date": store.utc_now(),
        "worst": worst,
        "budget": BUDGET,
        "seed": SEED,
        "lines": lines,
    }
