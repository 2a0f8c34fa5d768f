"""The comparison tables: rows are metrics, columns are arms."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import EMULATED_MEMORY, VERDICTS, Analysis, CellSummary, Comparison, Row
from tare_bench.metrics import Metric
from tare_bench.stats import EXPLORATORY_LEVEL

from .view_format import Unit, clean, count, identifier, number, one_line, percent, quantity, signed, span, unit_for
from .view_marks import Axis, Mark, difference_axis, mark, ratio_axis
from .view_words import VerdictMark, arm_label, verdict_mark


@dataclass(frozen=True, slots=True)
class Column:
    """An arm as the head of a column."""

    arm: str
    name: str
    driver: str
    label: str
    """EMULATED, SIMULATED or nothing."""
    baseline: bool


@dataclass(frozen=True, slots=True)
class TableCell:
    """One arm's value in one row, and how it compares."""

    arm: str
    label: str
    value: str
    """Without its unit, which the row has; empty where there is none."""
    interval: str = ""
    n: str = ""
    effect: str = ""
    effect_interval: str = ""
    """Empty where there is none, or none at this level."""
    mark: Mark | None = None
    verdict: VerdictMark | None = None
    exploratory: bool = False
    outlook: str = ""
    """How many pairs a decision would take, or why there is none."""
    trouble: tuple[str, ...] = ()
    """What failed, timed out or was skipped, and why."""
    absent: str = ""
    """Why there is no value at all."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One metric, in one workload with one set of parameters."""

    id: str
    title: str
    detail: str
    unit: str
    better: str
    primary: bool
    evidence: str
    """The id of the chart that draws every value; empty where there is none."""
    cells: tuple[TableCell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A group of rows with one axis for their ratios."""

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    axis: Axis | None
    """None where the table has no ratio."""
    lede: str
    notes: tuple[str, ...] = ()
    """What holds for all of its cells, and what must be known of some."""


GROUPS = {
    "boot": "Boot time",
    "weight": "Memory and disk",
    "throughput": "Throughput",
    "isolation": "Isolation",
    "other": "Other values",
}
BETTER = {"lower": "lower is better", "higher": "higher is better", "neither": "neither is better"}
WORDS = {
    "isolation.same_kernel": {1.0: "yes", 0.0: "no"},
    "isolation.seccomp": {0.0: "off", 1.0: "strict", 2.0: "filter"},
}
"""Codes that a reader should not have to know."""


def group_of(metric: Metric) -> str:
    """Which table a metric belongs to."""
    prefix = metric.name.partition(".")[0]
    found = {"boot": "boot", "stop": "boot", "memory": "weight", "disk": "weight", "isolation": "isolation"}
    if prefix in found:
        return found[prefix]
    return "other" if metric.better == "neither" else "throughput"


def row_id(row: Row) -> str:
    """The id to link to."""
    params = () if row.params == "{}" else (row.params,)
    own = row.metric.partition(".")[0] == row.workload
    return identifier("row", row.metric, *(() if own else (row.workload,)), *params)


def columns(analysis: Analysis) -> tuple[Column, ...]:
    """Every arm, the baseline first: what others are compared with is read before them."""
    plan = analysis.run.manifest.plan
    return tuple(
        Column(
            arm=arm.name,
            name=one_line(arm.name),
            driver="" if arm.driver == arm.name else one_line(arm.driver),
            label=arm_label(analysis, arm.name),
            baseline=arm.name == plan.baseline,
        )
        for arm in sorted(plan.arms, key=lambda each: each.name != plan.baseline)
    )


def tables(analysis: Analysis, drawn: frozenset[str] = frozenset()) -> list[Table]:
    """All comparison tables that have a row; `drawn` are the ids of the charts that a row may lead to."""
    grouped: dict[str, list[Row]] = {group: [] for group in GROUPS}
    for row in analysis.rows:
        grouped[group_of(analysis.metrics[row.metric])].append(row)
    return [_table(analysis, group, rows, drawn) for group, rows in grouped.items() if rows]


def _table(analysis: Analysis, group: str, rows: list[Row], drawn: frozenset[str]) -> Table:
    keys = set(rows)
    ratios = [
        item.effect
        for item in analysis.comparisons
        if item.row in keys and item.scale == "ratio" and item.effect is not None
    ]
    axis = ratio_axis(ratios) if ratios else None
    heads = columns(analysis)
    return Table(
        id=group,
        title=GROUPS[group],
        columns=heads,
        rows=tuple(_row(analysis, row, heads, axis, drawn) for row in _primary_first(analysis, rows)),
        axis=axis,
        lede=_lede(analysis, rows, axis),
        notes=_notes(analysis, [item for item in analysis.comparisons if item.row in keys]),
    )


def _lede(analysis: Analysis, rows: list[Row], axis: Axis | None) -> str:
    if all(analysis.metrics[row.metric].scale == "exact" for row in rows):
        return "Counts and settings, shown as they are: there is no interval and no order."
    below = "; below it the ratio to the baseline on one logarithmic axis, the shaded band being what does not matter"
    return f"Median with its 95{NBSP}% interval{below if axis else ''}."


def _notes(analysis: Analysis, compared: list[Comparison]) -> tuple[str, ...]:
    """The levels of the intervals, how many values there are, and why some are not compared: each said once."""
    blocks = len({trial.block for trial in analysis.run.trials if trial.role == "measured"})
    notes = [f"n = {blocks} for each value, unless another number is given."]
    levels = {item.level for item in compared if item.primary and item.scale != "exact"}
    if levels:
        others = any(not item.primary and item.scale != "exact" for item in compared)
        rest = f", those marked exploratory at {percent(EXPLORATORY_LEVEL)}" if others else ""
        notes.append(f"Comparisons of primary metrics have their interval at {percent(max(levels))}{rest}.")
    if any(item.verdict == "not compared: emulated" for item in compared):
        notes.append(f"Not compared: emulated. {EMULATED_MEMORY}")
    return tuple(notes)


def _primary_first(analysis: Analysis, rows: list[Row]) -> list[Row]:
    """Milestones stay in their order in time; the primary row, which makes the headline, leads."""
    return sorted(rows, key=lambda row: analysis.primary.get(row.workload) != row.metric)


def _row(
    analysis: Analysis, row: Row, heads: tuple[Column, ...], shared: Axis | None, drawn: frozenset[str]
) -> TableRow:
    metric = analysis.metrics[row.metric]
    cells = {head.arm: analysis.cell(row, head.arm) for head in heads}
    unit = unit_for(metric.unit, [cell.median.value for cell in cells.values() if cell and cell.median])
    compared = [item for head in heads if (item := analysis.comparison(row, head.arm)) is not None]
    effects = [item.effect for item in compared if item.effect and item.verdict != "not compared: emulated"]
    axis = shared if metric.scale == "ratio" else difference_axis(effects, metric.region)
    primary = analysis.primary.get(row.workload) == row.metric
    # Why a trial failed is told once, not again in every row that it took a value from.
    full = primary or row.workload not in analysis.primary
    blocks = len({trial.block for trial in analysis.run.trials if trial.role == "measured"})
    return TableRow(
        id=row_id(row),
        title=one_line(metric.title),
        detail=_detail(row),
        unit="as read" if row.metric in WORDS else unit.symbol or "count",
        better=BETTER[metric.better],
        primary=primary,
        evidence=strip_id(row) if strip_id(row) in drawn else "",
        cells=tuple(
            _cell(metric, head, cells[head.arm], analysis.comparison(row, head.arm), unit, axis, full, blocks)
            for head in heads
        ),
    )


def strip_id(row: Row) -> str:
    """The id of the chart with every value of a row."""
    return f"points-{row_id(row)}"


def _detail(row: Row) -> str:
    """What sets this row apart from others of the same metric."""
    own = row.metric.partition(".")[0] in (row.workload, "stop")
    parts = [] if own else [f"in {one_line(row.workload)}"]
    return ", ".join([*parts, *([] if row.params == "{}" else [one_line(row.params)])])


def _cell(
    metric: Metric,
    head: Column,
    cell: CellSummary | None,
    compared: Comparison | None,
    unit: Unit,
    axis: Axis | None,
    full: bool,
    blocks: int,
) -> TableCell:
    if cell is None:
        return TableCell(arm=head.name, label=head.label, value="", absent="not run")
    trouble = _trouble(cell, full)
    if cell.median is None:
        whole = cell.failed + cell.timed_out + cell.skipped < max(len(cell.tried), 1)
        # The trials went well and gave no such value: the technology has none.
        absent, trouble = ("not there", ()) if whole else ("no value", trouble)
        return TableCell(arm=head.name, label=head.label, value="", absent=absent, trouble=trouble)
    exact = metric.scale == "exact"
    low, high = (min(cell.points.values), max(cell.points.values)) if exact else (cell.median.low, cell.median.high)
    found = TableCell(
        arm=head.name,
        label=head.label,
        value=_value(metric, cell.median.value, unit),
        interval="" if exact and low == high else span(low, high, unit.size),
        n="" if len(cell.points.values) == blocks else f"n{NBSP}={NBSP}{len(cell.points.values)}",
        trouble=trouble,
    )
    return found if compared is None else _with_comparison(found, metric, compared, axis)


NBSP = "\N{NO-BREAK SPACE}"


def _value(metric: Metric, value: float, unit: Unit) -> str:
    """A count is shown whole; a time that is infinite timed out, and so did a rate that is below every other."""
    if math.isinf(value):
        return "timed out"
    if value in WORDS.get(metric.name, {}):
        return WORDS[metric.name][value]
    if metric.unit == "1" and float(value).is_integer() and abs(value) < 1e15:
        return f"{value:.0f}"
    return number(value / unit.size)


def _trouble(cell: CellSummary, full: bool) -> tuple[str, ...]:
    counts = ((cell.failed, "failed"), (cell.timed_out, "timed out"), (cell.skipped, "skipped"))
    said = ", ".join(f"{count(n, 'trial')} {what}" for n, what in counts if n)
    reasons = [clean(reason) for reason in cell.reasons[:3]] if full else []
    return (said, *reasons) if said else ()


def _with_comparison(cell: TableCell, metric: Metric, item: Comparison, axis: Axis | None) -> TableCell:
    from dataclasses import replace

    effect, interval = _effect(metric, item)
    drawn = item.effect is not None and item.verdict not in ("", "not compared: emulated")
    return replace(
        cell,
        effect=effect,
        effect_interval=interval,
        mark=mark(axis, metric, item.effect) if drawn and axis is not None and item.effect is not None else None,
        verdict=verdict_mark(metric, item),
        exploratory=not item.primary and item.verdict in VERDICTS,
        outlook=_outlook(item),
    )


def _effect(metric: Metric, item: Comparison) -> tuple[str, str]:
    """The ratio or the difference, and its interval with the level that it has."""
    shown_as_such = item.scale == "exact" and metric.unit != "B"
    if item.effect is None or shown_as_such or item.verdict == "not compared: emulated":
        return "", ""
    if item.scale == "ratio":
        return f"{number(item.effect.value)}×", span(item.effect.low, item.effect.high)
    unit = unit_for(metric.unit, [item.effect.value])
    value = item.effect.value / unit.size
    text = f"{signed(value)} {unit.symbol}".strip() if item.effect.value else "the same"
    return text, span(item.effect.low, item.effect.high, unit.size)


def _outlook(item: Comparison) -> str:
    if item.verdict == "undecided" and item.needed:
        return f"needs about {count(item.needed, 'pair')}; has {item.pairs}"
    return "" if item.verdict == "not compared: emulated" else one_line(item.reason)


def region_text(metric: Metric) -> str:
    """The difference that does not matter, in words."""
    if metric.scale == "exact":
        return "compared as such"
    return percent(metric.region) if metric.scale == "ratio" else quantity(metric.region, metric.unit)
