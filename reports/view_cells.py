"""One cell of a comparison table: a value, and how it compares with the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tare_bench.compare import VERDICTS, CellSummary, Comparison
from tare_bench.metrics import Metric

from .language import N_, _, ngettext
from .view_format import NBSP, Unit, clean, number, one_line, percent, quantity, signed, span, unit_for
from .view_marks import Axis, Mark, mark
from .view_reasons import worded
from .view_words import ENDED, VerdictMark, verdict_mark

WORDS = {
    "isolation.same_kernel": {1.0: N_("yes"), 0.0: N_("no")},
    "isolation.same_version": {1.0: N_("yes"), 0.0: N_("no")},
    "isolation.seccomp": {0.0: N_("off"), 1.0: N_("strict"), 2.0: N_("filter")},
    "isolation.no_new_privs": {1.0: N_("on"), 0.0: N_("off")},
    "isolation.vmm_seccomp": {0.0: N_("off"), 1.0: N_("strict"), 2.0: N_("filter")},
}
"""Codes that a reader should not have to know; to be translated where they are used."""


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
    fewer: bool = False
    """Whether it was measured in fewer blocks than planned; `n` says so."""
    effect: str = ""
    effect_interval: str = ""
    """Empty where there is none, or none at this level."""
    worse: str = ""
    """How much worse than the baseline, as the logarithm of a ratio, to sort by; empty where there is no ratio."""
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
class Shown:
    """How all cells of a row are shown."""

    metric: Metric
    unit: Unit
    axis: Axis | None
    full: bool
    """Whether the row tells why trials failed: it is told once, not again in every row that lost a value by it."""
    usual: int
    """How many values there are unless a cell says otherwise."""
    planned: int
    """In how many blocks it was to be measured; 0 where that is not to be said."""
    told: tuple[str, ...]
    """Reasons that the table gives for all its cells."""


def table_cell(shown: Shown, head: Column, cell: CellSummary | None, compared: Comparison | None) -> TableCell:
    """One arm's cell in a row; `compared` is None for the baseline."""
    if cell is None:
        return TableCell(arm=head.name, label=head.label, value="", absent=_("not run"))
    trouble = _trouble(cell, shown.full)
    if cell.median is None:
        # Where trials went well and gave no such value, the technology has none.
        there = cell.failed + cell.timed_out + cell.skipped >= max(len(cell.tried), 1)
        absent, trouble = (_("no value"), trouble) if there else (_("not there"), ())
        return TableCell(arm=head.name, label=head.label, value="", absent=absent, trouble=trouble)
    found = TableCell(
        arm=head.name,
        label=head.label,
        value=_value(shown.metric, cell.median.value, shown.unit),
        interval=_interval(shown, cell),
        n=_how_many(shown, cell),
        fewer=_fewer(shown, cell),
        trouble=trouble,
    )
    return found if compared is None else _with_comparison(found, shown, compared)


def _how_many(shown: Shown, cell: CellSummary) -> str:
    """How many values, where that isn't what the table says; and in how many of its blocks it was tried at all."""
    n, tried, fewer = len(cell.points.values), _tried(cell), _fewer(shown, cell)
    blocks = _("{n} of {planned} blocks", n=tried, planned=shown.planned).replace(" ", NBSP) if fewer else ""
    values = "" if n == (tried if fewer else shown.usual) else f"n{NBSP}={NBSP}{n}"
    return ", ".join(filter(None, (blocks, values)))


def _tried(cell: CellSummary) -> int:
    return len(cell.tried) + cell.skipped


def _fewer(shown: Shown, cell: CellSummary) -> bool:
    return _tried(cell) < shown.planned


def _interval(shown: Shown, cell: CellSummary) -> str:
    """The median's interval; of an exact metric the least and the greatest value, where they differ."""
    if cell.median is None:
        return ""
    if shown.metric.scale != "exact":
        return span(cell.median.low, cell.median.high, shown.unit.size)
    low, high = min(cell.points.values), max(cell.points.values)
    return "" if low == high else span(low, high, shown.unit.size)


def _value(metric: Metric, value: float, unit: Unit) -> str:
    """A count is shown whole; a time that is infinite timed out, and so did a rate that is below every other."""
    if math.isinf(value):
        return _("timed out")
    if value in WORDS.get(metric.name, {}):
        return _(WORDS[metric.name][value])
    if metric.unit == "1" and float(value).is_integer() and abs(value) < 1e15:
        return f"{value:.0f}"
    return number(value / unit.size)


def _trouble(cell: CellSummary, full: bool) -> tuple[str, ...]:
    counts = ((cell.failed, "failed"), (cell.timed_out, "timeout"), (cell.skipped, "skipped"))
    said = ", ".join(ngettext(*ENDED[status], n) for n, status in counts if n)
    reasons = [clean(reason) for reason in cell.reasons[:3]] if full else []
    return (said, *reasons) if said else ()


def _with_comparison(cell: TableCell, shown: Shown, item: Comparison) -> TableCell:
    metric, axis = shown.metric, shown.axis
    effect, interval = effect_text(metric, item)
    drawn = item.effect is not None and item.verdict not in ("", "not compared: emulated")
    return replace(
        cell,
        effect=effect,
        effect_interval=interval,
        worse=_worse(metric, item) if drawn else "",
        mark=mark(axis, metric, item.effect) if drawn and axis is not None and item.effect is not None else None,
        verdict=verdict_mark(metric, item),
        exploratory=not item.primary and item.verdict in VERDICTS,
        outlook="" if one_line(item.reason) in shown.told else _outlook(item),
    )


def _worse(metric: Metric, item: Comparison) -> str:
    effect = item.effect.value if item.effect and item.scale == "ratio" else 0.0
    if metric.better == "neither" or not 0 < effect < math.inf:
        return ""
    return f"{math.log(effect) if metric.better == 'lower' else -math.log(effect):.4f}"


def effect_text(metric: Metric, item: Comparison) -> tuple[str, str]:
    """The ratio or the difference, and its interval with the level that it has."""
    shown_as_such = item.scale == "exact" and metric.unit != "B"
    if item.effect is None or shown_as_such or item.verdict == "not compared: emulated":
        return "", ""
    if item.scale == "ratio":
        return f"{number(item.effect.value)}×", span(item.effect.low, item.effect.high)
    ends = (item.effect.value, item.effect.low, item.effect.high)
    unit = unit_for(metric.unit, [max(abs(end) for end in ends if end is not None)])
    value = item.effect.value / unit.size
    interval = span(item.effect.low, item.effect.high, unit.size)
    if not item.effect.value:
        return _("the same"), f"{interval} {unit.symbol}".strip() if interval else ""
    return f"{signed(value)} {unit.symbol}".strip(), interval


def _outlook(item: Comparison) -> str:
    if item.verdict == "undecided" and item.needed:
        return ngettext(
            "needs about {n} pair; has {pairs}", "needs about {n} pairs; has {pairs}", item.needed, pairs=item.pairs
        )
    return "" if item.verdict == "not compared: emulated" else worded(one_line(item.reason))


def region_text(metric: Metric) -> str:
    """The difference that does not matter, in words."""
    if metric.scale == "exact":
        return _("compared as such")
    return percent(metric.region) if metric.scale == "ratio" else quantity(metric.region, metric.unit)
