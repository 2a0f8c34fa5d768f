"""Statistics: numbers in, numbers out. It knows no records and no units.

One arm is described by its median, two arms by the median of their paired differences; both get the interval of
Hettmansperger and Sheather (`scipy.stats.mstats.median_cihs`), whose coverage stays within 94.5 to 95.6 % for 6 to 30
values, where bootstrap intervals of a median fall short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Literal, NamedTuple

EXPLORATORY_LEVEL = 0.95
"""The level of an interval that steers no stopping and makes no headline."""

PRIMARY_LEVEL_FLOOR = 0.97
"""No primary pair is judged at less, however few there are."""

LEAST_PAIRS = 10
"""What a plan must give a pair for it to be a primary one: with fewer, a few odd trials would make the verdict."""

MAX_LOST = 0.10
"""The share of pairs that may be lost before there is no verdict."""

STOP_SHARE = 0.1
"""How much of a pair's risk of a wrong verdict may be spent on ending early. The interval is looked at after every
block, and each look is one more chance to be wrong: with the whole risk at each, up to 5 % of runs would hold a false
verdict in simulation; with a tenth of it, less than 1 %, for a pair or two more."""

GIVE_UP_SPARE = 1.0
"""A pair is given up where it would take more than the budget even if its median lay so many standard errors further
from the edge of the region. Without that, a chance estimate near the edge ends it: of pairs 10 % apart, with a spread
of 0.1, half were given up in simulation, and one in ten with it, for one to three blocks more where there is no hope.
"""

_SE_OF_MEDIAN = 1.253
"""The standard error of a median is sqrt(pi / 2) times that of a mean, for normal values."""

_MAD_TO_SIGMA = 1.4826
"""The spread of normal values for each unit of their median absolute deviation."""

_FAR = 1e300
"""Stands in for infinity while scipy interpolates between order statistics: 0 x infinity would be no number."""

Place = Literal["below", "above", "inside", "undecided"]
"""Where an interval lies with respect to a region."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median, and its interval where there are enough values for one."""

    value: float
    low: float | None
    high: float | None
    n: int


class Region(NamedTuple):
    """The differences that do not matter, on the scale that the differences are on."""

    low: float
    high: float


def values_needed(level: float) -> int:
    """The least number of values for which a median has an interval at this level.

    The widest that order statistics give, least to greatest value, covers with 1 - 2 / 2^n: 6 values for 95 %, 7 for
    97 %. Raises ValueError where the level is not a probability.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, not {level}")
    return max(2, math.ceil(math.log2(2 / (1 - level)) - 1e-9))


def enough(n: int, level: float) -> bool:
    """Whether n values are enough for an interval: the one place that says "not enough data"."""
    return n >= values_needed(level)


def primary_level(pairs: int) -> float:
    """The level for each of this many primary pairs: 1 - 0.05 / m, never under 97 %."""
    return max(PRIMARY_LEVEL_FLOOR, 1 - 0.05 / max(1, pairs))


def estimate(values: Iterable[float], level: float = EXPLORATORY_LEVEL, half_width: float = 0.0) -> Estimate | None:
    """The median of values with its interval, in the values' unit; None without a value.

    Infinite values are kept (a timeout is one). `half_width` is the least that the interval may extend to either
    side: the resolution of the instrument, since ties would make it narrower than what can be seen.
    """
    kept = [_near(value) for value in values if not math.isnan(value)]
    if not kept:
        return None
    middle = median(kept)
    if not enough(len(kept), level):
        return Estimate(_far(middle), None, None, len(kept))
    low, high = _median_interval(kept, level)
    return Estimate(_far(middle), _far(min(low, middle - half_width)), _far(max(high, middle + half_width)), len(kept))


def _median_interval(values: Sequence[float], level: float) -> tuple[float, float]:
    from numpy import asarray
    from scipy.stats.mstats import median_cihs  # heavy, and not needed by what only counts values

    # of a list, numpy's masked arrays would look at each value by itself for a mask
    low, high = median_cihs(asarray(values), alpha=1 - level)
    # Interpolation may round to just outside of the two values that it lies between.
    return max(float(low), min(values)), min(float(high), max(values))


def _near(value: float) -> float:
    return math.copysign(_FAR, value) if math.isinf(value) else value


def _far(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) > _FAR / 1e6 else value


def log_differences(baseline: Sequence[float], other: Sequence[float]) -> list[float]:
    """log(other) - log(baseline) for each pair; NaN where a value is not positive or both are infinite.

    Minus infinity stands for a rate that timed out: below every other.
    """
    return [_log(b) - _log(a) for a, b in zip(baseline, other, strict=True)]


def _log(value: float) -> float:
    if value == -math.inf:  # a rate that timed out: less than every other
        return value
    return math.log(value) if value > 0 else math.nan


def differences(baseline: Sequence[float], other: Sequence[float]) -> list[float]:
    """other - baseline for each pair, in their unit; NaN where both are infinite."""
    return [b - a for a, b in zip(baseline, other, strict=True)]


def log_region(share: float) -> Region:
    """The region of a ratio that lies within a share of 1, as differences of logs: 0.05 means 1/1.05 to 1.05."""
    return Region(-math.log1p(share), math.log1p(share))


def place(interval: Estimate, region: Region) -> Place:
    """Where the interval lies: wholly below or above the region, wholly inside it, or neither (also: no interval)."""
    if interval.low is None or interval.high is None:
        return "undecided"
    if interval.high < region.low:
        return "below"
    if interval.low > region.high:
        return "above"
    return "inside" if region.low <= interval.low and interval.high <= region.high else "undecided"


def distance_to_edge(values: Sequence[float], region: Region) -> float:
    """How far the median lies from the nearest edge of the region; 0 without a value."""
    finite = [value for value in values if math.isfinite(value)]
    return min(abs(median(finite) - edge) for edge in region) if finite else 0.0


def paired(baseline: Sequence[float], other: Sequence[float], *, ratio: bool) -> list[float]:
    """The differences of pairs on their scale, of logs for a ratio; NaN where a pair has none."""
    return log_differences(baseline, other) if ratio else differences(baseline, other)


def region(share: float, *, ratio: bool) -> Region:
    """The differences that do not matter: a share of 1 for a ratio, else that much in the unit to either side."""
    return log_region(share) if ratio else Region(-share, share)


Closed = Literal["", "different", "equivalent", "beyond the budget", "pairs lost"]
"""Why no more pairs are measured; empty: more are."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a primary pair is, after a block."""

    closed: Closed
    further: int | None
    """About how many more pairs a decision takes; None where that cannot be foreseen."""


def pairs_least(level: float) -> int:
    """The pairs that are measured before any result is looked at."""
    return max(LEAST_PAIRS, values_needed(level))


def standing(
    values: Sequence[float], where: Region, level: float, *, lost: int = 0, half_width: float = 0.0, budget: int
) -> Standing:
    """Whether a pair with these differences goes on: the stopping rule.

    It is closed when its interval lies wholly beyond the region or wholly inside it, at a level that spends
    STOP_SHARE of its risk, or when the number of further pairs predicted exceeds `budget`, even by an estimate that is
    GIVE_UP_SPARE better than it is; not before `pairs_least`, and never because of a p-value. `half_width` is the
    instrument's, on the scale of the differences.
    """
    n = len(values)
    if lost and lost > MAX_LOST * (lost + n) and lost + n >= pairs_least(level):
        return Standing("pairs lost", None)
    if n < pairs_least(level):
        further = pairs_least(level) - n
        return Standing("" if further <= budget else "beyond the budget", further)
    strict = 1 - STOP_SHARE * (1 - level)
    found = estimate(values, strict, half_width)
    place_now = place(found, where) if found is not None else "undecided"
    if place_now != "undecided":
        return Standing("equivalent" if place_now == "inside" else "different", 0)
    if half_width >= distance_to_edge(values, where):
        return Standing("beyond the budget", None)
    predicted, at_best = (pairs_predicted(values, where, level, spare=spare) for spare in (0.0, GIVE_UP_SPARE))
    soonest = max(1, values_needed(strict) - n)
    hopeless = at_best is None or max(soonest, at_best - n) > budget
    return Standing("beyond the budget" if hopeless else "", predicted and max(soonest, predicted - n))


def detectable(spread: float, pairs: int, where: Region, level: float) -> float:
    """The smallest difference beyond the region that so many pairs show 8 times in 10, on the differences' scale.

    The prediction of `pairs_predicted` turned round: `spread` is the standard deviation of one pair's difference.
    """
    quantile = NormalDist().inv_cdf((1 + level) / 2)
    return where.high + _SE_OF_MEDIAN * (quantile + 0.84) * spread / math.sqrt(pairs)


def spread(values: Sequence[float]) -> float:
    """The robust spread, 1.4826 times the median distance from the median: the standard deviation of normal values."""
    middle = median(values)
    return _MAD_TO_SIGMA * median(abs(value - middle) for value in values)


def pairs_predicted(
    values: Sequence[float], region: Region, level: float = PRIMARY_LEVEL_FLOOR, *, spare: float = 0.0
) -> int | None:
    """About how many pairs in all it would take to decide, given these; None where no number can be foreseen.

    n = (1.253 (q + z) s / D)^2 with s = 1.4826 MAD, D the distance from the estimate to the nearest edge of the
    region, q the two-sided normal quantile of the level (2.17 for 97 %), and z = 1.28 where the estimate lies inside
    the region (equivalent), 0.84 outside (different). Never fewer than an interval needs. `spare`: how many standard
    errors of the median D is taken to be longer.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    middle = median(finite)
    varies = spread(finite)
    distance = distance_to_edge(finite, region) + spare * _SE_OF_MEDIAN * varies / math.sqrt(len(finite))
    if distance == 0:
        return None
    z = 1.28 if region.low <= middle <= region.high else 0.84
    quantile = NormalDist().inv_cdf((1 + level) / 2)
    predicted = (_SE_OF_MEDIAN * (quantile + z) * varies / distance) ** 2
    return max(values_needed(level), math.ceil(predicted))
