"""What the charts show, as numbers and words: each has a table that says the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary, Row

from .view_format import count, measured, number, one_line, span, unit_for
from .view_tables import BETTER, columns, row_id, strip_id
from .view_words import arm_label

MILESTONES = ("created", "started", "kernel", "init", "ready", "first_command")
"""In their order in an instance's life; `start_returned` is drawn beside them, since it may come after ready."""
BESIDE = "start_returned"
MAX_STRIPS = 12
"""A page that draws more is too heavy to be mailed; every value is in its data all the same."""
NOT_THERE = "not there"


@dataclass(frozen=True, slots=True)
class Lane:
    """One arm in the waterfall: the median of each milestone that it has, in seconds from the request."""

    arm: str
    label: str
    moments: dict[str, float]
    texts: tuple[str, ...]
    """For the table: one a milestone, with its interval; `not there` where the technology has none."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The boot of every arm on one time axis."""

    titles: tuple[str, ...]
    lanes: tuple[Lane, ...]
    log: bool


@dataclass(frozen=True, slots=True)
class Series:
    """One arm's points in a strip."""

    arm: str
    label: str
    values: tuple[float, ...]
    """In the strip's unit; only those that are finite."""
    orders: tuple[int, ...]
    median: float | None
    low: float | None
    high: float | None
    text: str
    """The median with its interval, and how many."""
    censored: int
    """Trials that timed out, which no axis can show."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Every point of a primary metric, by arm."""

    id: str
    row_id: str
    title: str
    unit: str
    better: str
    log: bool
    series: tuple[Series, ...]


def waterfall(analysis: Analysis) -> Waterfall | None:
    """The medians of all milestones; None where no boot was measured."""
    names = [f"boot.{name}" for name in (*MILESTONES, BESIDE)]
    # One picture shows one kind of boot: the first that was planned.
    params = next((row.params for row in analysis.rows if row.metric in names), "{}")
    lanes = tuple(lane for head in columns(analysis) if (lane := _lane(analysis, head.arm, names, params)).moments)
    if not lanes:
        return None
    titles = tuple(_title(analysis, name) for name in names)
    times = [value for lane in lanes for value in lane.moments.values() if value > 0]
    return Waterfall(titles=titles, lanes=lanes, log=_wide(times))


def _title(analysis: Analysis, name: str) -> str:
    known = {"boot.kernel": "Kernel speaks", "boot.init": "Init runs"}
    metric = analysis.metrics.get(name)
    return one_line(metric.title) if metric else known.get(name, name.partition(".")[2].replace("_", " ").capitalize())


def _lane(analysis: Analysis, arm: str, names: list[str], params: str) -> Lane:
    moments: dict[str, float] = {}
    texts = []
    for name in names:
        cell = analysis.cell(Row(metric=name, workload="boot", params=params), arm)
        if cell is None or cell.median is None or not math.isfinite(cell.median.value):
            texts.append(NOT_THERE)
        else:
            moments[name.partition(".")[2]] = cell.median.value
            texts.append(measured(cell.median, "s"))
    return Lane(arm=one_line(arm), label=arm_label(analysis, arm), moments=moments, texts=tuple(texts))


def _wide(values: list[float]) -> bool:
    """Whether the values need a logarithmic axis to be told apart."""
    return bool(values) and min(values) > 0 and max(values) > 12 * min(values)


def strips(analysis: Analysis) -> list[Strip]:
    """One for each primary row that has a value, the first ones where they are many."""
    found = [_strip(analysis, row) for row in analysis.rows if analysis.primary.get(row.workload) == row.metric]
    return [strip for strip in found if any(series.values for series in strip.series)][:MAX_STRIPS]


def _strip(analysis: Analysis, row: Row) -> Strip:
    metric = analysis.metrics[row.metric]
    cells = [cell for head in columns(analysis) if (cell := analysis.cell(row, head.arm)) is not None]
    finite = [value for cell in cells for value in cell.points.values if math.isfinite(value)]
    unit = unit_for(metric.unit, finite)
    params = "" if row.params == "{}" else f", {one_line(row.params)}"
    return Strip(
        id=strip_id(row),
        row_id=row_id(row),
        title=f"{one_line(metric.title)}{params}",
        unit=unit.symbol or "count",
        better=BETTER[metric.better],
        log=_wide(finite),
        series=tuple(_series(analysis, cell, unit.size) for cell in cells),
    )


def _series(analysis: Analysis, cell: CellSummary, size: float) -> Series:
    pairs = [(o, v) for o, v in zip(cell.points.orders, cell.points.values, strict=True) if math.isfinite(v)]
    found = cell.median
    censored = len(cell.points.values) - len(pairs)

    def scaled(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else value / size

    return Series(
        arm=one_line(cell.arm),
        label=arm_label(analysis, cell.arm),
        values=tuple(value / size for _, value in pairs),
        orders=tuple(order for order, _ in pairs),
        median=scaled(found.value) if found else None,
        low=scaled(found.low) if found else None,
        high=scaled(found.high) if found else None,
        text=_text(cell, size, censored),
        censored=censored,
    )


def _text(cell: CellSummary, size: float, censored: int) -> str:
    if cell.median is None:
        return "no value"
    interval = span(cell.median.low, cell.median.high, size)
    late = f", {count(censored, 'trial')} timed out" if censored else ""
    median = number(cell.median.value / size) if math.isfinite(cell.median.value) else "timed out"
    return f"{median}{f' ({interval})' if interval else ''}, n = {len(cell.points.values)}{late}"
