"""Change points of a series: from which night on a cell is on another level. Numbers in, numbers out; pure.

Kernel change point detection with a radial basis function and a penalty of 4, at least three nights a level, on values
that are standardised by their median and their robust spread: a straggler makes no level. What it may be trusted with
is simulated in the tests: false alarms in 90 nights, and how soon a step of 10 % is found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from . import stats

PENALTY = 4.0
LEAST_NIGHTS = 3
"""Of a level."""
LEAST_HISTORY = 12
"""Nights without which no step, however large, outweighs the penalty."""


def change_points(values: Sequence[float], least_spread: float = 0.0) -> list[int]:
    """The places in `values` at which another level begins, on the scale on which they are compared (logs of ratios).

    `least_spread` is what the instrument can tell apart, in the values' unit: a series that never varies by more has
    none. Raises ValueError for a value that is not finite.
    """
    if not all(map(math.isfinite, values)):
        raise ValueError("a series of finite values has change points")
    if len(values) < LEAST_HISTORY:
        return []
    scale = max(stats.spread(values), least_spread)
    if scale <= 0 or max(values) - min(values) <= least_spread:
        return []
    import numpy as np
    from ruptures import KernelCPD  # heavy

    middle = median(values)
    signal = np.array([(value - middle) / scale for value in values]).reshape(-1, 1)
    found = KernelCPD(kernel="rbf", min_size=LEAST_NIGHTS).fit(signal).predict(pen=PENALTY)
    return [int(place) for place in found[:-1]]


def levels(values: Sequence[float], places: Sequence[int]) -> list[float]:
    """The median of each level, in their order: one more than there are change points."""
    edges = [0, *places, len(values)]
    return [median(values[start:stop]) for start, stop in pairwise(edges)]
