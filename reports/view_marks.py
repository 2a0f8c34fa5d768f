"""Where the dot and the whisker of a comparison stand: on an axis that a table shares."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tare_bench.metrics import Metric
from tare_bench.stats import Estimate

WIDTH = 168.0
"""Of a mark's drawing, in its own units."""
INSET = 10.0
"""Room at both ends for half a dot and for the arrow of an interval without end."""

LABEL = 30.0
"""The width of a tick's label, with room beside it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One labelled place on an axis."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From a value to a place in a mark; a ratio's axis is logarithmic."""

    low: float
    high: float
    log: bool
    ticks: tuple[Tick, ...] = ()

    def x(self, value: float) -> float:
        """The place of a value, held inside the drawing, to a tenth so that a page is the same to the byte."""
        if self.log:
            value = math.log(value) if value > 0 else -math.inf
        share = (value - self.low) / (self.high - self.low)
        return round(INSET + (WIDTH - 2 * INSET) * min(1.0, max(0.0, share)), 1)


@dataclass(frozen=True, slots=True)
class Mark:
    """A dot and its whisker, with the region that does not matter and the line of the baseline."""

    middle: float
    low: float | None
    high: float | None
    region_low: float
    region_high: float
    baseline: float


def ratio_axis(effects: Iterable[Estimate]) -> Axis:
    """The axis for all ratios of a table: always with 1 on it, and room around it.

    The medians span it, and intervals up to a factor of 3 beyond them: one that is wider than that runs off the
    drawing, and must not squeeze all others.
    """
    found = [effect for effect in effects if 0 < effect.value < math.inf]
    least, most = min((e.value for e in found), default=1.0), max((e.value for e in found), default=1.0)
    lows = [max(effect.low, least / 3) for effect in found if effect.low is not None]
    highs = [min(effect.high, most * 3) for effect in found if effect.high is not None]
    low, high = math.log(min([least, *lows, 0.8])), math.log(max([most, *highs, 1.25]))
    room = 0.04 * (high - low)
    axis = Axis(low - room, high + room, log=True)
    kept: dict[float, str] = {}
    # 1 is the tick that must be there; the others where their labels don't touch one that is.
    for value in sorted(_ratio_ticks(axis), key=lambda value: abs(math.log(value))):
        x = axis.x(value)
        if all(abs(x - other) >= LABEL for other in kept):
            kept[x] = f"{value:g}×"
    return Axis(axis.low, axis.high, log=True, ticks=tuple(Tick(x, kept[x]) for x in sorted(kept)))


def _ratio_ticks(axis: Axis) -> list[float]:
    """At most four places: 1 and powers of ten where they fit, else halves and doubles."""
    decades = math.floor(axis.high / math.log(10)), math.ceil(axis.low / math.log(10))
    powers = [10.0**power for power in range(decades[1], decades[0] + 1)]
    step = max(1, math.ceil(len(powers) / 4))
    powers = [value for value in powers if round(math.log10(value)) % step == 0]
    if len(powers) > 1:
        return powers
    near = [0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0]
    inside = [value for value in near if axis.low <= math.log(value) <= axis.high]
    return [value for value in inside if value in (1.0, inside[0], inside[-1])]


def difference_axis(effects: Iterable[Estimate], region: float) -> Axis:
    """The axis of one row of differences, in its unit; 0 is always on it."""
    ends = [end for effect in effects for end in (effect.value, effect.low, effect.high)]
    values = [end for end in ends if end is not None and math.isfinite(end)]
    low, high = min([*values, -region]), max([*values, region])
    room = 0.05 * (high - low) or 1.0
    return Axis(low - room, high + room, log=False)


def mark(axis: Axis, metric: Metric, effect: Estimate) -> Mark:
    """Where things stand for one comparison."""
    edges = (1 / (1 + metric.region), 1 + metric.region) if axis.log else (-metric.region, metric.region)
    return Mark(
        middle=axis.x(effect.value),
        low=None if effect.low is None else axis.x(effect.low),
        high=None if effect.high is None else axis.x(effect.high),
        region_low=axis.x(edges[0]),
        region_high=axis.x(edges[1]),
        baseline=axis.x(1.0 if axis.log else 0.0),
    )
