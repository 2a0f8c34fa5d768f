"""The slowest of many starts: percentiles of the single starts of a cell, pooled over its storms (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .model import Run, canonical

SHARE = 0.99
LEVEL = 0.95
STARTS = 299
"""As many it takes until the greatest of them is, at that level, not below the 99th percentile."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The 99th percentile of a cell's starts."""

    starts: int
    value: float | None
    """In the metric's unit; None from fewer than 299 starts."""
    bound: float | None
    """What it is at most, at 95 %: an order statistic. As if starts of one storm did not depend on each other."""


def tail(values: Sequence[float]) -> Tail:
    """The 99th percentile of these values, with its upper bound, where there are enough for one."""
    count = len(values)
    if count < STARTS:
        return Tail(count, None, None)
    from scipy.stats import binom

    ranked = sorted(values)
    place = int(binom.ppf(LEVEL, count, SHARE))  # as many of them lie below it, at most, at that level
    return Tail(count, ranked[math.ceil(SHARE * count) - 1], ranked[min(place, count - 1)])


def tails(run: Run, metric: str) -> dict[tuple[str, str], Tail]:
    """By arm and parameters: of every measured sample of that metric, whole trials only."""
    pooled: dict[tuple[str, str], list[float]] = {}
    for trial in run.trials:
        if trial.role == "measured" and trial.status == "ok":
            found = [sample.value for sample in trial.samples if sample.metric == metric]
            pooled.setdefault((trial.cell.arm, canonical(trial.cell.params)), []).extend(found)
    return {key: tail(values) for key, values in pooled.items() if values}
