"""What the charts show, as numbers and words: each has a table that says the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary, Comparison, Row
from tare_bench.metrics import Metric
from tare_bench.stats import Estimate

from .language import N_, _, ngettext
from .view_cells import Column
from .view_format import identifier, measured, number, one_line, span, unit_for
from .view_labels import COST, is_throughput, parameters, swept, title
from .view_tables import BETTER, columns, row_id, strip_id
from .view_words import ENDED, arm_label, verdict_mark

MILESTONES = ("created", "started", "kernel", "init", "ready", "first_command")
"""In their order in an instance's life; `start_returned` is drawn beside them, since it may come after ready."""
BESIDE = "start_returned"
MAX_STRIPS = 16
"""A page that draws more is too heavy to be mailed; every value is in its data all the same."""
MAX_LOTS = 60
"""A picture of more is no picture."""
NOT_THERE = N_("not there")


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
class Ratio:
    """One arm's rate over the baseline's in one cell of throughput."""

    effect: Estimate | None
    kind: str
    """The verdict's class on the page: better, worse, same, open, none."""
    text: str
    """For the table: the ratio with its interval, and the verdict."""


@dataclass(frozen=True, slots=True)
class Lot:
    """A row of the forest: one row of a table, a ratio for each arm."""

    title: str
    row_id: str
    region: float
    lower: bool
    """Whether lower is better: a mark further left then is."""
    ratios: tuple[Ratio, ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """All ratios on one logarithmic axis; first those that are better where they are lower."""

    baseline: str
    arms: tuple[tuple[str, str], ...]
    """Name and label of each arm but the baseline."""
    places: tuple[int, ...]
    """Of these arms among all, so that an arm has the same colour in every chart."""
    lots: tuple[Lot, ...]
    left_out: int
    """How many more there are, which the tables have."""


@dataclass(frozen=True, slots=True)
class Line:
    """One arm in a sweep: parallel tuples, in the sweep's unit; None where there is no value."""

    arm: str
    label: str
    medians: tuple[float | None, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A rate over the one parameter that was swept."""

    id: str
    title: str
    parameter: str
    values: tuple[float, ...]
    names: tuple[str, ...]
    unit: str
    better: str
    log: bool
    lines: tuple[Line, ...]


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
    known = {"boot.kernel": N_("Kernel speaks"), "boot.init": N_("Init runs")}
    metric = analysis.metrics.get(name)
    plain = name.partition(".")[2].replace("_", " ").capitalize()
    return _(one_line(metric.title) if metric else known.get(name, plain))


def _lane(analysis: Analysis, arm: str, names: list[str], params: str) -> Lane:
    moments: dict[str, float] = {}
    texts = []
    for name in names:
        cell = analysis.cell(Row(metric=name, workload="boot", params=params), arm)
        if cell is None or cell.median is None or not math.isfinite(cell.median.value):
            texts.append(_(NOT_THERE))
        else:
            moments[name.partition(".")[2]] = cell.median.value
            texts.append(measured(cell.median, "s"))
    return Lane(arm=one_line(arm), label=arm_label(analysis, arm), moments=moments, texts=tuple(texts))


def _wide(values: list[float]) -> bool:
    """Whether the values need a logarithmic axis to be told apart."""
    return bool(values) and min(values) > 0 and max(values) > 12 * min(values)


def forest(analysis: Analysis) -> Forest | None:
    """Every ratio to the baseline; None where fewer than two rows have one: there is nothing to see at once."""
    heads = columns(analysis)
    others = [(place, head) for place, head in enumerate(heads) if not head.baseline]
    rows = [row for row in analysis.rows if _has_ratio(analysis.metrics[row.metric])]
    found = [lot for row in rows if (lot := _lot(analysis, row, [head.arm for _, head in others])) is not None]
    lots = tuple(sorted(found[:MAX_LOTS], key=lambda lot: not lot.lower))
    if len(lots) < 2:
        return None
    return Forest(
        baseline=one_line(analysis.run.manifest.plan.baseline),
        arms=tuple((head.name, head.label) for _, head in others),
        places=tuple(place for place, _ in others),
        lots=lots,
        left_out=len(found) - len(lots),
    )


def _has_ratio(metric: Metric) -> bool:
    """What a unit of work costs the host stands in the tables, under the rate that it belongs to."""
    return metric.scale == "ratio" and metric.better != "neither" and not metric.name.endswith(COST)


def _lot(analysis: Analysis, row: Row, arms: list[str]) -> Lot | None:
    metric = analysis.metrics[row.metric]
    found = [analysis.comparison(row, arm) for arm in arms]
    ratios = tuple(_ratio(metric, item) for item in found)
    if not any(ratio.effect for ratio in ratios):
        return None
    return Lot(
        title=title(metric, row),
        row_id=row_id(row),
        region=metric.region,
        lower=metric.better == "lower",
        ratios=ratios,
    )


def _ratio(metric: Metric, item: Comparison | None) -> Ratio:
    verdict = verdict_mark(metric, item) if item else None
    if item is None or item.effect is None or verdict is None:
        return Ratio(effect=None, kind="none", text=verdict.word if verdict else _("no value"))
    interval = span(item.effect.low, item.effect.high)
    value = f"{number(item.effect.value)}×{f' ({interval})' if interval else ''}"
    exploratory = [] if item.primary or verdict.kind == "none" else [_("exploratory")]
    return Ratio(effect=item.effect, kind=verdict.kind, text=", ".join([value, verdict.word, *exploratory]))


def sweeps(analysis: Analysis) -> list[Sweep]:
    """One for each rate that was measured at three or more values of one parameter."""
    by_metric: dict[str, list[Row]] = {}
    for row in analysis.rows:
        if is_throughput(analysis, row):
            by_metric.setdefault(row.metric, []).append(row)
    return [sweep(analysis, rows, key) for rows in by_metric.values() if len(rows) > 2 and (key := swept(rows))]


def sweep(analysis: Analysis, rows: list[Row], key: str) -> Sweep:
    """One metric over the numbers that a parameter has in these rows."""
    rows = sorted(rows, key=lambda row: float(parameters(row)[key]))
    metric = analysis.metrics[rows[0].metric]
    cells = {head: [analysis.cell(row, head.arm) for row in rows] for head in columns(analysis)}
    medians = [cell.median.value for found in cells.values() for cell in found if cell and cell.median]
    finite = [value for value in medians if math.isfinite(value)]
    unit = unit_for(metric.unit, finite)
    return Sweep(
        id=identifier("sweep", metric.name),
        title=_(one_line(metric.title)),
        parameter=_(one_line(key.replace("_", " "))),
        values=tuple(float(parameters(row)[key]) for row in rows),
        names=tuple(one_line(parameters(row)[key]) for row in rows),
        unit=unit.symbol or _("count"),
        better=_(BETTER[metric.better]),
        log=_wide(finite),
        lines=tuple(_line(head, found, unit.size) for head, found in cells.items()),
    )


def _line(head: Column, cells: list[CellSummary | None], size: float) -> Line:
    found = [cell.median if cell else None for cell in cells]
    return Line(
        arm=head.name,
        label=head.label,
        medians=tuple(_scaled(each.value if each else None, size) for each in found),
        lows=tuple(_scaled(each.low if each else None, size) for each in found),
        highs=tuple(_scaled(each.high if each else None, size) for each in found),
        texts=tuple(_text(cell, size, 0) if cell else _("not run") for cell in cells),
    )


def _scaled(value: float | None, size: float) -> float | None:
    return None if value is None or not math.isfinite(value) else value / size


def strip(analysis: Analysis, row: Row) -> Strip:
    """Every value of a row, by arm."""
    metric = analysis.metrics[row.metric]
    cells = [cell for head in columns(analysis) if (cell := analysis.cell(row, head.arm)) is not None]
    finite = [value for cell in cells for value in cell.points.values if math.isfinite(value)]
    unit = unit_for(metric.unit, finite)
    return Strip(
        id=strip_id(row),
        row_id=row_id(row),
        title=title(metric, row),
        unit=unit.symbol or _("count"),
        better=_(BETTER[metric.better]),
        log=_wide(finite),
        series=tuple(_series(analysis, cell, unit.size) for cell in cells),
    )


def _series(analysis: Analysis, cell: CellSummary, size: float) -> Series:
    pairs = [(o, v) for o, v in zip(cell.points.orders, cell.points.values, strict=True) if math.isfinite(v)]
    found = cell.median
    censored = len(cell.points.values) - len(pairs)

    return Series(
        arm=one_line(cell.arm),
        label=arm_label(analysis, cell.arm),
        values=tuple(value / size for _, value in pairs),
        orders=tuple(order for order, _ in pairs),
        median=_scaled(found.value, size) if found else None,
        low=_scaled(found.low, size) if found else None,
        high=_scaled(found.high, size) if found else None,
        text=_text(cell, size, censored),
        censored=censored,
    )


def _text(cell: CellSummary, size: float, censored: int) -> str:
    if cell.median is None:
        return _("no value")
    interval = span(cell.median.low, cell.median.high, size)
    late = f", {ngettext(*ENDED['timeout'], censored)}" if censored else ""
    median = number(cell.median.value / size) if math.isfinite(cell.median.value) else _("timed out")
    return f"{median}{f' ({interval})' if interval else ''}, n = {len(cell.points.values)}{late}"
