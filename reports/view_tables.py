"""The comparison tables: rows are metrics, columns are arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import EMULATED_MEMORY, Comparison, Row
from tare_bench.metrics import Metric
from tare_bench.model import Arm, canonical
from tare_bench.stats import EXPLORATORY_LEVEL

from .language import N_, NN_, _, ngettext
from .view_cells import WORDS, Column, Shown, TableCell, table_cell
from .view_density import stopped
from .view_format import identifier, one_line, percent, unit_for
from .view_isolation import calls
from .view_labels import COST, group_of, leads, parameter_words, title
from .view_marks import Axis, difference_axis, ratio_axis
from .view_reasons import worded
from .view_trust import floor_note
from .view_words import COLD, arm_label, network


@dataclass(frozen=True, slots=True)
class TableRow:
    """One metric, in one workload with one set of parameters."""

    id: str
    title: str
    detail: str
    unit: str
    better: str
    primary: bool
    lead: bool
    """Whether it is what its workload is run for; a summary may leave out the others."""
    minor: bool
    """Whether it belongs to the row above: what that row's work costs the host."""
    evidence: str
    """The id of the chart that draws every value; empty where there is none."""
    cells: tuple[TableCell, ...]

    @property
    def kinds(self) -> str:
        """The classes of its verdicts, to filter by."""
        return " ".join(dict.fromkeys(cell.verdict.kind for cell in self.cells if cell.verdict))


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
    alerts: tuple[str, ...] = ()
    """What was planned for it and not measured."""
    notes: tuple[str, ...] = ()
    """What holds for all of its cells, and what must be known of some."""
    brief: tuple[str, ...] = ()
    """Those of the notes that a summary gives, too."""


GROUPS = {
    "boot": N_("Boot time"),
    "storm": N_("Launch storms"),
    "weight": N_("Memory and disk"),
    "throughput": N_("Throughput"),
    "isolation": N_("Isolation"),
    "neighbour": N_("Neighbours that misbehave"),
    "other": N_("Other values"),
}
BETTER = {"lower": N_("lower is better"), "higher": N_("higher is better"), "neither": N_("neither is better")}
"""As the titles above, to be translated where it is used."""


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
            driver=_under(arm),
            label=arm_label(analysis, arm.name),
            baseline=arm.name == plan.baseline,
        )
        for arm in sorted(plan.arms, key=lambda each: each.name != plan.baseline)
    )


def _under(arm: Arm) -> str:
    """What its name leaves out: the driver where it has another name, that it starts cold, its network."""
    driver = "" if arm.driver == arm.name else one_line(arm.driver)
    return ", ".join(filter(None, (driver, _(COLD) if arm.spec.page_cache == "cold" else "", network(arm))))


def tables(analysis: Analysis, drawn: frozenset[str] = frozenset()) -> list[Table]:
    """All comparison tables that have a row; `drawn` are the ids of the charts that a row may lead to."""
    grouped: dict[str, list[Row]] = {group: [] for group in GROUPS}
    for row in analysis.rows:
        grouped[group_of(analysis.metrics[row.metric])].append(row)
    return [
        _table(analysis, group, rows, drawn)
        for group, rows in grouped.items()
        if rows or (group == "throughput" and _alerts(analysis, group, rows))
    ]


def _table(analysis: Analysis, group: str, rows: list[Row], drawn: frozenset[str]) -> Table:
    keys = set(rows)
    ratios = [
        item.effect
        for item in analysis.comparisons
        if item.row in keys and item.scale == "ratio" and item.effect is not None
    ]
    axis = ratio_axis(ratios) if ratios else None
    compared = [item for item in analysis.comparisons if item.row in keys]
    told = tuple(_told_once(compared))
    common = _Common(columns(analysis), axis, drawn, _usual(analysis, keys), told)
    missing, floor = _missing(common), floor_note(analysis) if group != "isolation" else ""
    brief = (*missing, *([floor] if floor else ())) if rows else ()
    return Table(
        id=group,
        title=_(GROUPS[group]),
        columns=common.heads,
        rows=tuple(_row(analysis, row, common) for row in _in_order(analysis, group, rows)),
        axis=axis,
        lede=_lede(analysis, rows, axis) if rows else "",
        alerts=_alerts(analysis, group, rows),
        notes=(
            *_notes(common, compared),
            *missing,
            *_emulated(compared),
            *brief[len(missing) :],
            *(stopped(analysis) if group == "weight" else ()),
            *(calls(analysis) if group == "isolation" else ()),
        )
        if rows
        else (),
        brief=brief,
    )


def _alerts(analysis: Analysis, group: str, rows: list[Row]) -> tuple[str, ...]:
    """One sentence for each kind of block of which fewer were measured than planned, where it touches the group."""
    run = analysis.run
    plan = run.manifest.plan
    touched = {(row.workload, row.params) for row in rows}
    touched = touched or {(each.name, canonical(each.params)) for each in plan.workloads if each.together}
    found = []
    for kind, together, planned in (("boot", False, plan.rounds), ("throughput", True, plan.throughput_rounds)):
        kept = [each for each in plan.workloads if each.together == together and not each.crowd]
        cells = {(each.name, canonical(each.params)) for each in kept}
        blocks = {
            trial.block
            for trial in run.trials
            if trial.role == "measured" and (trial.cell.workload, canonical(trial.cell.params)) in cells
        }
        if cells & touched and len(blocks) < planned:
            found.append(f"{_why_fewer(analysis)}: {ngettext(*_FEWER[kind], planned, done=len(blocks))}")
    hints = [one_line(notice.hint) for notice in run.notices if notice.code == OUT_OF_TIME]
    return tuple([*found, *dict.fromkeys(hints)] if found and group != "other" else [])


_FEWER = {
    "boot": NN_("{done} of {n} planned block of boot measured.", "{done} of {n} planned blocks of boot measured."),
    "throughput": NN_(
        "{done} of {n} planned block of throughput measured.", "{done} of {n} planned blocks of throughput measured."
    ),
}

OUT_OF_TIME = "out-of-time"
"""The code of the notice that names the blocks that were not started."""


def _why_fewer(analysis: Analysis) -> str:
    if any(notice.code == OUT_OF_TIME for notice in analysis.run.notices):
        return _("Not all of it fitted into the time")
    if analysis.run.in_flight:
        return _("The run is still going on")
    return _("Not all of it was measured") if analysis.run.finished else _("The run did not come to its end")


def _usual(analysis: Analysis, rows: set[Row]) -> int:
    """How many values most cells have: said once for the table."""
    found = Counter(len(cell.points.values) for cell in analysis.cells if cell.row in rows and cell.median)
    return found.most_common(1)[0][0] if found else 0


def _lede(analysis: Analysis, rows: list[Row], axis: Axis | None) -> str:
    if all(analysis.metrics[row.metric].scale == "exact" for row in rows):
        return _("Counts and settings, shown as they are: there is no interval and no order.")
    if axis:
        return _(
            "Median with its 95\u00a0% interval; below it the ratio to the baseline on one logarithmic axis, the "
            "shaded band being what does not matter."
        )
    return _(
        "Median with its 95\u00a0% interval; below it the difference to the baseline, each row on its own, the shaded "
        "band being what does not matter."
    )


def _told_once(compared: Iterable[Comparison]) -> list[str]:
    """Why there is no verdict, where so many cells would say the same that the table says it for them."""
    reasons = Counter(one_line(item.reason) for item in compared if item.verdict == "not enough data")
    return [reason for reason, times in reasons.items() if reason and times > 2]


def _notes(common: _Common, compared: list[Comparison]) -> tuple[str, ...]:
    """How many values there are, and the levels of the intervals: each said once."""
    notes = [_("n = {n} for each value, unless another number is given.", n=common.usual)]
    levels = {item.level for item in compared if item.primary and item.scale != "exact"}
    others = any(not item.primary and item.scale != "exact" for item in compared)
    exploratory = percent(EXPLORATORY_LEVEL)
    if others and not levels:
        notes.append(_("Comparisons here are exploratory: their interval is at {level}.", level=exploratory))
    elif levels and others:
        notes.append(
            _(
                "Comparisons of primary metrics have their interval at {level}, those marked exploratory at {other}.",
                level=percent(max(levels)),
                other=exploratory,
            )
        )
    elif levels:
        notes.append(_("Comparisons of primary metrics have their interval at {level}.", level=percent(max(levels))))
    return tuple(notes)


def _missing(common: _Common) -> tuple[str, ...]:
    reasons = ". ".join(map(worded, common.told))
    return (_("Not enough data, where no other reason is given: {reasons}.", reasons=reasons),) if reasons else ()


def _emulated(compared: list[Comparison]) -> tuple[str, ...]:
    there = any(item.verdict == "not compared: emulated" for item in compared)
    return (_("Not compared: emulated. {why}", why=worded(EMULATED_MEMORY)),) if there else ()


def _in_order(analysis: Analysis, group: str, rows: list[Row]) -> list[Row]:
    """The primary row, which makes the headline, leads, and milestones stay in their order in time; in throughput
    each rate has its host CPU beside it, by workload and parameters as they were planned."""
    workloads = analysis.run.manifest.plan.workloads
    places = {(each.name, canonical(each.params)): place for place, each in enumerate(workloads)}
    if group == "storm":
        order = list(dict.fromkeys(row.metric for row in rows))
        rows = sorted(rows, key=lambda row: (order.index(row.metric), places.get((row.workload, row.params), 0)))
    if group != "throughput":
        return sorted(rows, key=lambda row: not leads(analysis, row))
    return sorted(rows, key=lambda row: (places.get((row.workload, row.params), len(places)), not leads(analysis, row)))


@dataclass(frozen=True, slots=True)
class _Common:
    """What all rows of a table share."""

    heads: tuple[Column, ...]
    axis: Axis | None
    drawn: frozenset[str]
    usual: int
    told: tuple[str, ...]


def _row(analysis: Analysis, row: Row, common: _Common) -> TableRow:
    metric, heads = analysis.metrics[row.metric], common.heads
    cells = {head.arm: analysis.cell(row, head.arm) for head in heads}
    compared = {head.arm: analysis.comparison(row, head.arm) for head in heads}
    # All cells of a metric have one unit, so that Redis at 1 and at 50 connections can be read down the column.
    alike = [cell.median.value for cell in analysis.cells if cell.row.metric == row.metric and cell.median]
    unit = unit_for(metric.unit, alike)
    primary, minor = analysis.primary.get(row.workload) == row.metric, row.metric.endswith(COST)
    lead = leads(analysis, row) or row.workload not in analysis.primary
    shown = Shown(
        metric=metric,
        unit=unit,
        axis=common.axis if metric.scale == "ratio" else _own_axis(metric, compared.values()),
        full=lead,
        usual=common.usual,
        planned=_planned(analysis, row) if lead else 0,
        told=common.told,
    )
    counted = metric.scale == "exact"
    return TableRow(
        id=row_id(row),
        title=_(one_line(metric.title)) if minor else title(metric, row),
        detail=_detail(row),
        unit=_("as read") if row.metric in WORDS else unit.symbol or (_("count") if counted else _("times")),
        better=_(BETTER[metric.better]),
        # What was planned with too few blocks to be judged is not called primary.
        primary=primary and all(item.primary for item in compared.values() if item),
        lead=lead,
        minor=minor,
        evidence=strip_id(row) if strip_id(row) in common.drawn else "",
        cells=tuple(table_cell(shown, head, cells[head.arm], compared[head.arm]) for head in heads),
    )


def _planned(analysis: Analysis, row: Row) -> int:
    """In how many blocks a row was to be measured; 0 where the plan doesn't name its workload."""
    plan = analysis.run.manifest.plan
    found = (
        plan.times(each) for each in plan.workloads if (each.name, canonical(each.params)) == (row.workload, row.params)
    )
    return next(found, 0)


def _own_axis(metric: Metric, compared: Iterable[Comparison | None]) -> Axis:
    drawn = [item for item in compared if item and item.verdict != "not compared: emulated"]
    return difference_axis([item.effect for item in drawn if item.effect], metric.region)


def strip_id(row: Row) -> str:
    """The id of the chart with every value of a row."""
    return f"points-{row_id(row)}"


def _detail(row: Row) -> str:
    """What sets this row apart from others of the same metric."""
    own = row.metric.partition(".")[0] in (row.workload, "stop")
    parts = [] if own else [_("in {workload}", workload=one_line(row.workload))]
    # A rate has them in its title; what it costs the host must be told apart without the row above.
    return ", ".join([*parts, *(parameter_words(row) if row.metric.endswith(COST) else [])])
