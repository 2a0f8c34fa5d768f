"""The comparison tables: rows are metrics, columns are arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import EMULATED_MEMORY, Comparison, Row
from tare_bench.metrics import Metric
from tare_bench.stats import EXPLORATORY_LEVEL

from .view_cells import WORDS, Column, Shown, TableCell, table_cell
from .view_format import NBSP, identifier, one_line, percent, unit_for
from .view_marks import Axis, difference_axis, ratio_axis
from .view_words import arm_label


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
    heads, usual = columns(analysis), _usual(analysis, keys)
    return Table(
        id=group,
        title=GROUPS[group],
        columns=heads,
        rows=tuple(_row(analysis, row, heads, axis, drawn, usual) for row in _primary_first(analysis, rows)),
        axis=axis,
        lede=_lede(analysis, rows, axis),
        notes=_notes(usual, [item for item in analysis.comparisons if item.row in keys]),
    )


def _usual(analysis: Analysis, rows: set[Row]) -> int:
    """How many values most cells have: said once for the table."""
    found = Counter(len(cell.points.values) for cell in analysis.cells if cell.row in rows and cell.median)
    return found.most_common(1)[0][0] if found else 0


def _lede(analysis: Analysis, rows: list[Row], axis: Axis | None) -> str:
    if all(analysis.metrics[row.metric].scale == "exact" for row in rows):
        return "Counts and settings, shown as they are: there is no interval and no order."
    what = (
        "ratio to the baseline on one logarithmic axis" if axis else "difference to the baseline, each row on its own"
    )
    return f"Median with its 95{NBSP}% interval; below it the {what}, the shaded band being what does not matter."


def _notes(usual: int, compared: list[Comparison]) -> tuple[str, ...]:
    """The levels of the intervals, how many values there are, and why some are not compared: each said once."""
    notes = [f"n = {usual} for each value, unless another number is given."]
    levels = {item.level for item in compared if item.primary and item.scale != "exact"}
    others = any(not item.primary and item.scale != "exact" for item in compared)
    if others and not levels:
        notes.append(f"Comparisons here are exploratory: their interval is at {percent(EXPLORATORY_LEVEL)}.")
    if levels:
        rest = f", those marked exploratory at {percent(EXPLORATORY_LEVEL)}" if others else ""
        notes.append(f"Comparisons of primary metrics have their interval at {percent(max(levels))}{rest}.")
    if any(item.verdict == "not compared: emulated" for item in compared):
        notes.append(f"Not compared: emulated. {EMULATED_MEMORY}")
    return tuple(notes)


def _primary_first(analysis: Analysis, rows: list[Row]) -> list[Row]:
    """Milestones stay in their order in time; the primary row, which makes the headline, leads."""
    return sorted(rows, key=lambda row: analysis.primary.get(row.workload) != row.metric)


def _row(
    analysis: Analysis, row: Row, heads: tuple[Column, ...], shared: Axis | None, drawn: frozenset[str], usual: int
) -> TableRow:
    metric = analysis.metrics[row.metric]
    cells = {head.arm: analysis.cell(row, head.arm) for head in heads}
    compared = {head.arm: analysis.comparison(row, head.arm) for head in heads}
    unit = unit_for(metric.unit, [cell.median.value for cell in cells.values() if cell and cell.median])
    primary = analysis.primary.get(row.workload) == row.metric
    shown = Shown(
        metric=metric,
        unit=unit,
        axis=shared if metric.scale == "ratio" else _own_axis(metric, compared.values()),
        full=primary or row.workload not in analysis.primary,
        usual=usual,
    )
    return TableRow(
        id=row_id(row),
        title=one_line(metric.title),
        detail=_detail(row),
        unit="as read" if row.metric in WORDS else unit.symbol or "count",
        better=BETTER[metric.better],
        # What was planned with too few blocks to be judged is not called primary.
        primary=primary and all(item.primary for item in compared.values() if item),
        evidence=strip_id(row) if strip_id(row) in drawn else "",
        cells=tuple(table_cell(shown, head, cells[head.arm], compared[head.arm]) for head in heads),
    )


def _own_axis(metric: Metric, compared: Iterable[Comparison | None]) -> Axis:
    drawn = [item for item in compared if item and item.verdict != "not compared: emulated"]
    return difference_axis([item.effect for item in drawn if item.effect], metric.region)


def strip_id(row: Row) -> str:
    """The id of the chart with every value of a row."""
    return f"points-{row_id(row)}"


def _detail(row: Row) -> str:
    """What sets this row apart from others of the same metric."""
    own = row.metric.partition(".")[0] in (row.workload, "stop")
    parts = [] if own else [f"in {one_line(row.workload)}"]
    return ", ".join([*parts, *([] if row.params == "{}" else [one_line(row.params)])])
