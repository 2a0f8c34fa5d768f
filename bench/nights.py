"""Many runs in their order: for each cell the series of its ratios, and what changed on the way. Pure.

A value of the series is the ratio (or difference) to that night's own baseline, never an absolute one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from . import stats
from .across import FactChange, fact_changes
from .analysis import Analysis
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
    searched: bool = False
    """Whether change points were looked for."""
    metrics: dict[str, Metric]


def history(runs: Sequence[Analysis]) -> History:
    """The series of every cell that was compared in any of the runs, which are in their order in time.

    Raises ValueError without a run.
    """
    if not runs:
        raise ValueError("a history needs a run")
    nights = [_night(run, before) for before, run in zip([None, *runs[:-1]], runs, strict=True)]
    points: dict[tuple[Row, str], list[Point]] = {}
    latest: dict[tuple[Row, str], tuple[Analysis, Comparison]] = {}
    for place, run in enumerate(runs):
        for item in run.comparisons:
            points.setdefault((item.row, item.arm), []).append(_point(place, item))
            latest[item.row, item.arm] = run, item
    series = [
        Series(
            row=row,
            arm=arm,
            scale=item.scale,
            primary=item.primary,
            accelerator=run.run.manifest.accelerators.get(arm, "none"),
            points=points[row, arm],
        )
        for (row, arm), (run, item) in latest.items()
        if item.scale != "exact" and any(point.effect is not None for point in points[row, arm])
    ]
    metrics = {name: metric for run in runs for name, metric in run.metrics.items()}
    return History(nights=nights, series=series, metrics=metrics)


def _point(night: int, item: Comparison) -> Point:
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
