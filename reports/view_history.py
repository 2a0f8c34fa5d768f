"""Many runs in their order: a sparkline for each cell, and the series with what changed on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.changes import LEAST_HISTORY
from tare_bench.compare import Comparison
from tare_bench.metrics import Metric
from tare_bench.nights import History, Night, Point, Series, Step
from tare_bench.stats import Estimate

from .language import _, ngettext
from .view_across import FactRow, fact_row
from .view_cells import effect_text
from .view_charts import MAX_STRIPS
from .view_format import identifier, number, one_line, unit_for
from .view_labels import title
from .view_tables import row_id
from .view_words import label_of

SPARK_WIDTH, SPARK_HEIGHT = 168.0, 30.0
_INSET = 4.0


@dataclass(frozen=True, slots=True)
class Spark:
    """A series as a line without words, in its own units; a break where a night gave no value."""

    lines: tuple[str, ...]
    """Points of each polyline."""
    last: tuple[float, float] | None
    steps: tuple[tuple[float, str], ...]
    """The place of each change point, and its class: better or worse."""
    level: float | None
    """The height of no difference, where it lies inside."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A change point in words."""

    night: str
    run: str
    kind: str
    """Its class: better or worse."""
    shape: str
    said: str
    facts: tuple[FactRow, ...]
    acknowledged: str


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One cell over all nights."""

    id: str
    row_id: str
    title: str
    arm: str
    label: str
    primary: bool
    latest: str
    alt: str
    spark: Spark
    unit: str
    """What its values are: `×`, or a unit."""
    ratio: bool
    nights: tuple[int, ...]
    values: tuple[float, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]
    region: tuple[float, float]
    table: tuple[tuple[str, str, str], ...]
    """Night, run and value with its interval."""
    changed_at: tuple[int, ...]
    """The nights of the change points."""
    steps: tuple[StepRow, ...]
    drawn: bool
    """Whether it has a picture of its own: the first ones, where they are many."""


@dataclass(frozen=True, slots=True)
class HistoryView:
    """Section 9."""

    lede: str
    series: tuple[SeriesView, ...]
    left_out: str
    """How many series are not shown: exploratory ones in which nothing changed."""
    nights: tuple[tuple[str, str, str, tuple[FactRow, ...]], ...]
    """When, which run, how it went, and what is not as it was the night before."""


def history_view(found: History) -> HistoryView:
    """The primary cells first."""
    shown = [series for series in found.series if series.primary or series.steps]
    ordered = sorted(shown, key=lambda series: (not series.steps, not series.primary))
    return HistoryView(
        lede=_lede(found),
        series=tuple(_series(found, series, place < MAX_STRIPS) for place, series in enumerate(ordered)),
        left_out=_left_out(len(found.series) - len(shown)),
        nights=tuple(
            (one_line(night.started_at), one_line(night.run), _went(night), tuple(map(fact_row, night.facts)))
            for night in found.nights
        ),
    )


def _left_out(quiet: int) -> str:
    if not quiet:
        return ""
    return ngettext(
        "{n} exploratory cell without a change is left out.",
        "{n} exploratory cells without a change are left out.",
        quiet,
    )


def _lede(found: History) -> str:
    told = ngettext("{n} run, the oldest first.", "{n} runs, the oldest first.", len(found.nights))
    what = _("Each value is a cell's ratio (or difference) to that run's own baseline.")
    few = _("In fewer than {n} runs no change can be told from noise.", n=LEAST_HISTORY)
    few = few if len(found.nights) < LEAST_HISTORY else ""
    return " ".join([told, what, few]).strip()


def _went(night: Night) -> str:
    parts = [] if night.finished else [_("partial")]
    if night.failed:
        parts.append(ngettext("{n} trial failed", "{n} trials failed", night.failed))
    return ", ".join(parts) or _("whole")


def _series(found: History, series: Series, drawn: bool) -> SeriesView:
    metric = found.metrics[series.row.metric]
    kept = [point for point in series.points if point.effect is not None and math.isfinite(point.effect.value)]
    ratio = series.scale == "ratio"
    unit = unit_for(metric.unit, [abs(point.effect.value) for point in kept if point.effect])
    size = 1.0 if ratio else unit.size
    name, arm = title(metric, series.row), one_line(series.arm)
    latest = _text(metric, series, series.points[-1].effect) if series.points else "–"
    alt = _("{title}, {arm}, over {n} runs; the latest {latest}")
    return SeriesView(
        id=identifier("history", series.row.metric, series.row.params, series.arm),
        row_id=row_id(series.row),
        title=name,
        arm=arm,
        label=label_of(series.accelerator),
        primary=series.primary,
        latest=latest,
        alt=alt.format(title=name, arm=arm, n=len(found.nights), latest=latest),
        spark=_spark(found, metric, series),
        unit="×" if ratio else unit.symbol,
        ratio=ratio,
        nights=tuple(point.night for point in kept),
        values=tuple(point.effect.value / size for point in kept if point.effect),
        lows=tuple(_scaled(point.effect.low, size) for point in kept if point.effect),
        highs=tuple(_scaled(point.effect.high, size) for point in kept if point.effect),
        region=(1 / (1 + metric.region), 1 + metric.region) if ratio else (-metric.region / size, metric.region / size),
        table=tuple(_point(found, metric, series, point) for point in series.points),
        changed_at=tuple(step.night for step in series.steps),
        steps=tuple(_step(found, metric, series, step) for step in series.steps),
        drawn=drawn and bool(kept),
    )


def _scaled(value: float | None, size: float) -> float | None:
    return None if value is None or not math.isfinite(value) else value / size


def _text(metric: Metric, series: Series, effect: Estimate | None) -> str:
    if effect is None:
        return "–"
    value, interval = effect_text(metric, _as_comparison(series, effect))
    return f"{value} ({interval})" if interval else value


def _as_comparison(series: Series, effect: Estimate) -> Comparison:
    return Comparison(
        row=series.row, arm=series.arm, baseline="", scale=series.scale, effect=effect, level=0.95,
        primary=series.primary, pairs=effect.n, lost=0, verdict="undecided",
    )  # fmt: skip


def _point(found: History, metric: Metric, series: Series, point: Point) -> tuple[str, str, str]:
    night = found.nights[point.night]
    said = _text(metric, series, point.effect)
    return one_line(night.started_at), one_line(night.run), said if point.effect else one_line(point.reason) or said


def _step(found: History, metric: Metric, series: Series, step: Step) -> StepRow:
    night = found.nights[step.night]
    before, after = (_text(metric, series, Estimate(value, None, None, 1)) for value in (step.before, step.after))
    kind = "better" if step.kind == "gain" else "worse"
    said = _("gain: from {before} to {after}") if step.kind == "gain" else _("loss: from {before} to {after}")
    return StepRow(
        night=one_line(night.started_at),
        run=one_line(night.run),
        kind=kind,
        shape="●" if kind == "better" else "◆",
        said=said.format(before=before, after=after),
        facts=tuple(map(fact_row, night.facts)),
        acknowledged=one_line(step.acknowledged),
    )


def _spark(found: History, metric: Metric, series: Series) -> Spark:
    """On a logarithmic height for ratios; what is not there breaks the line."""
    on = math.log if series.scale == "ratio" else float
    known: list[float | None] = [None] * len(found.nights)
    for point in series.points:
        value = point.effect.value if point.effect is not None else math.nan
        if math.isfinite(value) and (series.scale != "ratio" or value > 0):
            known[point.night] = on(value)
    values = [value for value in known if value is not None]
    least = on(1 + metric.region) if series.scale == "ratio" else metric.region
    middle = (max(values) + min(values)) / 2 if values else 0.0
    half = max((max(values) - min(values)) / 2 if values else 0.0, least)  # noise isn't blown up to a mountain range

    def y(value: float) -> float:
        share = (value - (middle - half)) / (2 * half) if half else 0.5
        return round(SPARK_HEIGHT - _INSET - share * (SPARK_HEIGHT - 2 * _INSET), 1)

    def x(night: float) -> float:
        room = max(1, len(known) - 1)
        return round(_INSET + night / room * (SPARK_WIDTH - 2 * _INSET), 1)

    lines: list[list[str]] = [[]]
    for place, height in enumerate(known):
        if height is None:
            lines.append([])
        else:
            lines[-1].append(f"{x(place)},{y(height)}")
    places = [night for night, value in enumerate(known) if value is not None]
    return Spark(
        lines=tuple(" ".join(line) for line in lines if line),
        last=(x(places[-1]), y(values[-1])) if values else None,
        steps=tuple((x(step.night - 0.5), "better" if step.kind == "gain" else "worse") for step in series.steps),
        level=y(0.0) if abs(middle) <= half else None,
    )


def history_words(found: History) -> list[str]:
    """What changed over the nights, in a sentence; nothing where there are too few of them to tell."""
    if len(found.nights) < LEAST_HISTORY:
        return []
    steps = [(series, step) for series in found.series for step in series.steps if series.primary]
    open_steps = [(series, step) for series, step in steps if not step.acknowledged]
    if not open_steps:
        return [
            ngettext(
                "{n} run, no change that was not acknowledged.",
                "{n} runs, no change that was not acknowledged.",
                len(found.nights),
            )
        ]
    each = [
        _("{title}, {arm}: {kind} of {size} at run {run}").format(
            title=title(found.metrics[series.row.metric], series.row),
            arm=one_line(series.arm),
            kind=_("gain") if step.kind == "gain" else _("loss"),
            size=_size(found.metrics[series.row.metric], series, step),
            run=one_line(found.nights[step.night].run),
        )
        for series, step in open_steps
    ]
    return [_("Changed over {n} runs: {cells}.").format(n=len(found.nights), cells="; ".join(each))]


def _size(metric: Metric, series: Series, step: Step) -> str:
    if series.scale == "ratio":
        return f"{number(step.after / step.before)}×" if step.before > 0 else "–"
    return _text(metric, series, Estimate(step.after - step.before, None, None, 1))
