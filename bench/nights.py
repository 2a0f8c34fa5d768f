"""Many runs in their order: for each cell the series of its ratios, and what changed on the way. Pure.

A value of the series is the ratio (or difference) to that night's own baseline, never an absolute one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from . import stats
from .across import FactChange, fact_changes
from .analysis import Analysis
from .changes import change_points, levels
from .compare import Comparison, Row, Verdict
from .metrics import Metric
from .model import Accelerator, Record


class Night(Record, frozen=True, kw_only=True):
    """One run of the series."""

    run: str
    started_at: str
    finished: bool
    failed: int
    """Measured trials that failed or timed out."""
    facts: list[FactChange]
    """What is not as it was in the run before; volatile facts are left out. Empty for the first."""


class Point(Record, frozen=True, kw_only=True):
    """One night's value of a cell."""

    night: int
    """Its place among the nights, from 0."""
    effect: stats.Estimate | None
    """None where that night gave none."""
    verdict: Verdict
    reason: str = ""


class Step(Record, frozen=True, kw_only=True):
    """A change point: from this night on the series is on another level."""

    night: int
    before: float
    """The median of the level before it, as a ratio or in the unit."""
    after: float
    kind: Literal["gain", "loss"]
    acknowledged: str = ""
    """What was said of it by who reviewed it; empty where nobody has."""


class Acknowledged(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said of a change by who reviewed it."""

    run: str
    """The run from which the cell is on its new level, or one of the two before or after it."""
    metric: str
    arm: str
    why: str
    workload: str = ""
    """Where a metric has several rows: its workload."""


class Series(Record, frozen=True, kw_only=True):
    """One cell over all nights."""

    row: Row
    arm: str
    scale: Literal["ratio", "difference", "exact"]
    primary: bool
    accelerator: Accelerator
    """The latest night's: an emulated arm is called so here, too."""
    points: list[Point]
    steps: list[Step] = []


class History(Record, frozen=True, kw_only=True):
    """A folder of runs, the oldest first."""

    nights: list[Night]
    series: list[Series]
    metrics: dict[str, Metric]


NEAR = 2
"""Nights that a change point may be off: a level is told from its values."""


def history(runs: Sequence[Analysis], acknowledged: Sequence[Acknowledged] = ()) -> History:
    """The series of every cell that was compared in any of the runs, which are in their order in time.

    Raises ValueError without a run.
    """
    if not runs:
        raise ValueError("a history needs a run")
    nights = [_night(run, before) for before, run in zip([None, *runs[:-1]], runs, strict=True)]
    found: dict[tuple[Row, str], list[tuple[int, Analysis, Comparison]]] = {}
    for place, run in enumerate(runs):
        for item in run.comparisons:
            found.setdefault((item.row, item.arm), []).append((place, run, item))
    every = [_series(seen) for seen in found.values()]
    series = [each for each in every if each.scale != "exact" and any(point.effect for point in each.points)]
    metrics = {name: metric for run in runs for name, metric in run.metrics.items()}
    places = {night.run: place for place, night in enumerate(nights)}
    known = [(places[each.run], each) for each in acknowledged if each.run in places]
    stepped = [_with_steps(metrics[each.row.metric], each, known) for each in series]
    return History(nights=nights, series=stepped, metrics=metrics)


def _with_steps(metric: Metric, series: Series, known: Sequence[tuple[int, Acknowledged]]) -> Series:
    """Its change points, but those whose levels differ by less than what matters."""
    ratio = series.scale == "ratio"
    there = [(point.night, point.effect.value) for point in series.points if point.effect is not None]
    there = [(night, value) for night, value in there if math.isfinite(value) and (value > 0 or not ratio)]
    values = [math.log(value) if ratio else value for _, value in there]
    places = change_points(values, 0.0 if ratio else metric.resolution)
    middles = levels(values, places) if values else []
    edges = stats.region(metric.region, ratio=ratio)
    steps = [
        Step(
            night=there[place][0],
            before=math.exp(before) if ratio else before,
            after=math.exp(after) if ratio else after,
            kind="loss" if (after > before) == (metric.better == "lower") else "gain",
            acknowledged=_acknowledged(series, there[place][0], known),
        )
        for place, before, after in zip(places, middles, middles[1:], strict=False)
        if not edges.low < after - before < edges.high
    ]
    return msgspec.structs.replace(series, steps=steps) if metric.better != "neither" else series


def _acknowledged(series: Series, night: int, known: Sequence[tuple[int, Acknowledged]]) -> str:
    return next(
        (
            each.why
            for place, each in known
            if abs(place - night) <= NEAR
            and (each.metric, each.arm) == (series.row.metric, series.arm)
            and each.workload in ("", series.row.workload)
        ),
        "",
    )


def _series(seen: Sequence[tuple[int, Analysis, Comparison]]) -> Series:
    """One cell's nights. A night with another baseline or accelerator than the latest is a gap: its ratio is another
    quantity, and would look like a change."""
    _, last, item = seen[-1]
    alike = _quantity(last, item)
    return Series(
        row=item.row,
        arm=item.arm,
        scale=item.scale,
        primary=item.primary,
        accelerator=last.run.manifest.accelerators.get(item.arm, "none"),
        points=[_point(night, each, alike=_quantity(run, each) == alike) for night, run, each in seen],
    )


def _quantity(run: Analysis, item: Comparison) -> tuple[str, ...]:
    """What a ratio is one of: the baseline, and by what both arms ran."""
    accelerators = run.run.manifest.accelerators
    return item.baseline, *(accelerators.get(arm, "none") for arm in (item.arm, item.baseline))


def _point(night: int, item: Comparison, *, alike: bool) -> Point:
    if not alike:
        return Point(night=night, effect=None, verdict="", reason="another baseline or accelerator than the latest")
    emulated = item.verdict == "not compared: emulated"
    return Point(night=night, effect=None if emulated else item.effect, verdict=item.verdict, reason=item.reason)


def _night(run: Analysis, before: Analysis | None) -> Night:
    facts = fact_changes(before.run.manifest, run.run.manifest) if before is not None else []
    return Night(
        run=run.run.manifest.run,
        started_at=run.run.manifest.started_at,
        finished=run.run.finished,
        failed=sum(run.outcomes.get(status, 0) for status in ("failed", "timeout")),
        facts=[change for change in facts if change.kind != "volatile"],
    )
