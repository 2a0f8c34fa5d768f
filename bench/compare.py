"""One arm against the baseline in one row: the paired differences, their interval, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Literal

from . import stats
from .metrics import LIFECYCLE, Metric
from .model import Accelerator, Record
from .pairs import emulated_memory

Verdict = Literal[
    "faster/smaller", "slower/larger", "equivalent", "undecided", "not enough data", "not compared: emulated", ""
]
"""The four verdicts; `not enough data` and `not compared: emulated` where no claim can be made; empty where two values
are shown as such (an exact metric, one that is unknown)."""

DIFFERENT: tuple[Verdict, ...] = ("faster/smaller", "slower/larger")
VERDICTS: tuple[Verdict, ...] = ("faster/smaller", "slower/larger", "equivalent", "undecided")

EMULATED_MEMORY = (
    "The emulator's translation cache is part of this memory: it says nothing about a guest that runs on KVM."
)


class Row(Record, frozen=True, kw_only=True):
    """The key of a table's row: which metric, in which workload, with which parameters."""

    metric: str
    workload: str
    params: str = "{}"
    """Canonical JSON."""


class Points(Record, frozen=True, kw_only=True):
    """Every value of one cell, in the order of the run; parallel tuples."""

    values: tuple[float, ...] = ()
    """Infinite where a trial timed out."""
    blocks: tuple[int, ...] = ()
    orders: tuple[int, ...] = ()
    """The trial's place among all trials of the run, from 0."""
    errors: tuple[float, ...] = ()
    """Half widths, 0 where the value was stamped."""


class CellSummary(Record, frozen=True, kw_only=True):
    """One arm's values of one row, with what became of the trials that gave none."""

    row: Row
    arm: str
    driver: str
    accelerator: Accelerator
    unit: str
    median: stats.Estimate | None
    """With its interval at 95 %; None without a value."""
    points: Points
    warmup: Points
    tried: tuple[int, ...] = ()
    """The blocks in which it was to be measured and was not skipped, whatever came of it."""
    failed: int = 0
    timed_out: int = 0
    skipped: int = 0
    reasons: tuple[str, ...] = ()
    """Why trials failed, timed out or were skipped: each reason once, the most frequent first."""


class Comparison(Record, frozen=True, kw_only=True):
    """One arm against the baseline arm, in one row."""

    row: Row
    arm: str
    baseline: str
    scale: Literal["ratio", "difference", "exact"]
    effect: stats.Estimate | None
    """A ratio (arm / baseline), or a difference (arm - baseline) in the metric's unit."""
    level: float
    primary: bool
    """False: the verdict is exploratory."""
    pairs: int
    lost: int
    """Pairs that the blocks would have given, and that a failed or missing trial took away."""
    verdict: Verdict
    reason: str = ""
    """Why there is no verdict, or not a stronger one."""
    needed: int | None = None
    """About how many pairs a decision would take, where it is undecided and that can be foreseen."""


def half_width(metric: Metric, *cells: Points) -> float:
    """The least half width of an interval, in the unit: what the instrument can see, or the polling's own width."""
    return max(metric.resolution, *(median(points.errors) for points in cells if points.errors), 0.0)


def compare(
    metric: Metric, baseline: CellSummary, other: CellSummary, primary_level: float | None, floor: float
) -> Comparison:
    level = primary_level or stats.EXPLORATORY_LEVEL
    paired = _Paired.of(metric, baseline, other)
    interval = None if metric.scale == "exact" else stats.estimate(paired.kept, level, paired.half_width)
    verdict, reason = _verdict(metric, baseline, other, paired, interval, level)
    if verdict in VERDICTS and _below_floor(metric, baseline, other, floor):
        verdict, reason = "undecided", "the difference is smaller than the measurement floor"
    needed = None
    if verdict == "undecided" and not reason:
        needed, reason = _outlook(paired, level)
    return Comparison(
        row=other.row,
        arm=other.arm,
        baseline=baseline.arm,
        scale=metric.scale,
        effect=_effect(metric, baseline, other, interval),
        level=level,
        primary=primary_level is not None,
        pairs=len(paired.kept),
        lost=paired.lost,
        verdict=verdict,
        reason=reason,
        needed=needed,
    )


@dataclass(frozen=True, slots=True)
class _Paired:
    """The differences by block, on the metric's scale: of logs for a ratio, else in the unit."""

    kept: list[float]
    lost: int
    without_ratio: int
    """Pairs in which a value is not above 0: no ratio can be taken of it. They are among the lost."""
    region: stats.Region
    half_width: float

    @classmethod
    def of(cls, metric: Metric, baseline: CellSummary, other: CellSummary) -> _Paired:
        left, right = _by_block(baseline), _by_block(other)
        blocks = sorted(left.keys() & right.keys())
        values = [left[block] for block in blocks], [right[block] for block in blocks]
        ratio = metric.scale == "ratio"
        found = stats.paired(*values, ratio=ratio)
        # Two timeouts in one block don't say which would have been later: that pair is lost.
        kept = [value for value in found if not math.isnan(value)]
        tried = set(baseline.tried) & set(other.tried)
        least = half_width(metric, baseline.points, other.points)
        return cls(
            kept=kept,
            lost=max(0, len(tried | set(blocks)) - len(kept)),
            without_ratio=sum(min(pair) <= 0 and min(pair) > -math.inf for pair in zip(*values, strict=True)) * ratio,
            region=stats.region(metric.region, ratio=ratio),
            half_width=least / _least(baseline, other) if ratio else least,
        )


def _least(*cells: CellSummary) -> float:
    """The smaller of the medians, to turn a resolution into a share: infinite where none is a finite number above 0."""
    medians = [cell.median.value for cell in cells if cell.median is not None]
    return min((value for value in medians if value > 0), default=math.inf)


def _by_block(cell: CellSummary) -> dict[int, float]:
    return dict(zip(cell.points.blocks, cell.points.values, strict=True))


def _verdict(
    metric: Metric,
    baseline: CellSummary,
    other: CellSummary,
    paired: _Paired,
    interval: stats.Estimate | None,
    level: float,
) -> tuple[Verdict, str]:
    if emulated_memory(metric.name, baseline.accelerator, other.accelerator):
        return "not compared: emulated", EMULATED_MEMORY
    if metric.scale == "exact" or metric.better == "neither":
        return "", ""
    pairs = len(paired.kept)
    if paired.lost > stats.MAX_LOST * (paired.lost + pairs):
        why = "have a value of 0, of which there is no ratio" if paired.without_ratio else "were lost"
        return "not enough data", f"{paired.lost} of {paired.lost + pairs} pairs {why}"
    if interval is None or not stats.enough(pairs, level):
        return (
            "not enough data",
            f"{pairs} pair{'s' * (pairs != 1)}; an interval at {100 * level:.3g} % takes {stats.values_needed(level)}",
        )
    where = stats.place(interval, paired.region)
    if where == "undecided":
        return "undecided", ""
    if where == "inside":
        return "equivalent", ""
    return ("faster/smaller" if (where == "below") == (metric.better == "lower") else "slower/larger"), ""


_SEEN_BY_THE_HOST = frozenset(metric.name for metric in LIFECYCLE) - {"boot.first_command"}
"""Lifecycle metrics that the host stamps by itself: no command to the agent is in them."""


def _below_floor(metric: Metric, baseline: CellSummary, other: CellSummary, floor: float) -> bool:
    """Whether a time that is taken through the agent differs by less than the agent's own round trip."""
    cost = metric.name.endswith(".host_cpu")  # read from the host's accounts, and for a unit of work
    if metric.unit != "s" or cost or metric.name in _SEEN_BY_THE_HOST:
        return False
    if baseline.median is None or other.median is None:
        return False
    return abs(other.median.value - baseline.median.value) < floor


def _outlook(paired: _Paired, level: float) -> tuple[int | None, str]:
    """About how many pairs it would take, or why more of them would not help."""
    distance = stats.distance_to_edge(paired.kept, paired.region)
    if paired.half_width >= distance:
        return None, "the difference is smaller than the instrument can tell"
    predicted = stats.pairs_predicted(paired.kept, paired.region, level)
    # It was just seen that the pairs at hand are too few, whatever their spread promises.
    return (None if predicted is None else max(predicted, len(paired.kept) + 1)), ""


def _effect(
    metric: Metric, baseline: CellSummary, other: CellSummary, interval: stats.Estimate | None
) -> stats.Estimate | None:
    """On the scale that is read: a ratio, or a difference in the unit; an exact one of the medians, no interval."""
    if metric.scale == "exact" and baseline.median is not None and other.median is not None:
        return stats.Estimate(other.median.value - baseline.median.value, None, None, other.median.n)
    if metric.scale != "ratio" or interval is None:
        return interval
    low, high = interval.low, interval.high
    return stats.Estimate(
        _exp(interval.value), None if low is None else _exp(low), None if high is None else _exp(high), interval.n
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
