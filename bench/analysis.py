"""From a stored run to comparisons: pure, and the same on any machine at any time.

What is compared is always an arm with the baseline arm, block by block: the measured role only, each trial first
summarised by itself, values paired by the block they share. A trial that failed drops its pair; one that timed out
is an infinite time (a rate of nothing) on its arm and keeps its pair; neither is ever a zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from . import pressure, stats
from .audit import Fairness, fairness
from .compare import (
    CellSummary,
    Comparison,
    Points,
    Row,
    compare,
    half_width,
)
from .doubts import ClockRate, Doubts, aa_notices, clock_notices, clock_rates
from .metrics import CLOCK, FLOOR, Metric
from .model import Notice, Record, Run, Trial, canonical
from .pairs import often_enough, primary_pairs

if TYPE_CHECKING:
    import pandas as pd


class Analysis(Record, frozen=True, kw_only=True):
    """All that a report shows, and nothing that it must compute."""

    run: Run
    metrics: dict[str, Metric]
    """Those that the run has values of, by name; one that no definition was given for is made up as neutral."""
    primary: dict[str, str]
    rows: list[Row]
    cells: list[CellSummary]
    comparisons: list[Comparison]
    floors: dict[str, stats.Estimate]
    """By arm: the time of an empty command, in seconds."""
    aa: list[Comparison] = []
    """Each twin against the arm that it is a twin of: what is called different where nothing differs."""
    clocks: dict[str, ClockRate] = {}
    """By arm: how fast its instances' clock ran by the host's; the instance that was furthest off."""
    facts: dict[str, dict[str, str]]
    """By arm: what was read as text from inside its instances."""
    outcomes: dict[str, int]
    """Measured trials by status."""
    fairness: Fairness | None = None
    """What each side really got; None where the run has no reading of it."""
    notices: list[Notice] = []
    """What the comparisons themselves give reason to doubt; the run's own notices are not among them."""

    def cell(self, row: Row, arm: str) -> CellSummary | None:
        """The summary of an arm in a row; None where it was not measured at all."""
        return next((cell for cell in self.cells if cell.arm == arm and cell.row == row), None)

    def comparison(self, row: Row, arm: str) -> Comparison | None:
        """The comparison of an arm with the baseline in a row; None for the baseline, and where one has no value."""
        return next((item for item in self.comparisons if item.arm == arm and item.row == row), None)


def analyse(run: Run, metrics: Mapping[str, Metric], primary: Mapping[str, str]) -> Analysis:
    """Compare the arms of a run with its baseline.

    `metrics` defines metrics by name; `primary` names the primary metric of a workload. Raises nothing on odd data: a
    metric without a definition is shown and not compared, an empty run gives an empty analysis.
    """
    frame = _frame(run)
    known = {name: metrics.get(name) or _unknown(name, unit) for name, unit in _units(frame).items()}
    planned = [primary[plan.name] for plan in run.manifest.plan.workloads if plan.name in primary]
    known |= {name: metrics[name] for name in planned if name in metrics}
    source = _Source(run=run, metrics=known, primary=primary, values=_values(frame), tried=_tried(run))
    rows = _rows(source)
    cells = [
        _summary(source, row, arm.name)
        for row in rows
        for arm in run.manifest.plan.arms
        if (row.workload, row.params, arm.name) in source.tried
    ]
    floors = _floors(run, frame)
    level, clocks = _level(run, known, primary), clock_rates(run)
    aa = _aa(source, rows, floors, level)
    against = partial(_against, source, cells, Doubts(floors, aa, clocks), level)
    return Analysis(
        run=run,
        metrics=known,
        primary=dict(primary),
        rows=rows,
        cells=cells,
        comparisons=against(rows, run.manifest.plan.baseline),
        floors=floors,
        aa=aa,
        clocks=clocks,
        facts=_facts(run),
        outcomes=dict(Counter(trial.status for trial in run.trials if trial.role == "measured")),
        fairness=fairness(run),
        notices=[
            *_notices(source, rows, against),
            *clock_notices(clocks),
            *aa_notices(known, aa),
            *pressure.notices(run.trials),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """What every step of the analysis reads."""

    run: Run
    metrics: Mapping[str, Metric]
    primary: Mapping[str, str]
    values: Mapping[tuple[Row, str, str], Points]
    """By row, arm and role."""
    tried: Mapping[tuple[str, str, str], list[tuple[int, Trial]]]
    """Measured trials with their place in the run, by workload, parameters and arm."""

    def is_primary(self, row: Row) -> bool:
        return self.primary.get(row.workload) == row.metric

    def is_judged(self, row: Row) -> bool:
        """Whether a row was planned to have the pairs for a headline verdict. By the plan, never by what was seen."""
        plan = self.run.manifest.plan
        planned = [each for each in plan.workloads if (each.name, canonical(each.params)) == (row.workload, row.params)]
        return self.is_primary(row) and any(often_enough(plan, each, self.primary) for each in planned)


def _unknown(name: str, unit: str) -> Metric:
    definition = "This version of Tare has no definition of it: it is shown as it was stored, and not compared."
    return Metric(name=name, unit=unit, better="neither", scale="exact", title=name, definition=definition)


def _frame(run: Run) -> pd.DataFrame:
    """One row for each trial x metric: values within a trial are correlated and are summarised first."""
    frame = run.frame()
    order = {trial.trial: place for place, trial in enumerate(run.trials)}
    frame = frame.assign(order=frame["trial"].map(order), error=frame["error"].astype(float).fillna(0.0))
    # A failed trial has no samples; should a file hold some, they are not values of what was to be measured.
    frame = frame[frame["status"].isin(["ok", "timeout"])]
    keys = ["metric", "workload", "params", "arm", "role", "block", "order"]
    return frame.groupby(keys, as_index=False, sort=False).agg(
        value=("value", "median"), error=("error", "median"), unit=("unit", "first")
    )


def _units(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(unit) for name, unit in frame.groupby("metric", sort=False)["unit"].first().items()}


def _values(frame: pd.DataFrame) -> dict[tuple[Row, str, str], Points]:
    keys = ["metric", "workload", "params", "arm", "role"]
    return {
        (Row(metric=str(m), workload=str(w), params=str(p)), str(arm), str(role)): Points(
            values=tuple(group["value"].tolist()),
            blocks=tuple(group["block"].tolist()),
            orders=tuple(group["order"].tolist()),
            errors=tuple(group["error"].tolist()),
        )
        for (m, w, p, arm, role), group in frame.groupby(keys, sort=False)
    }


def _tried(run: Run) -> dict[tuple[str, str, str], list[tuple[int, Trial]]]:
    tried: dict[tuple[str, str, str], list[tuple[int, Trial]]] = {}
    for order, trial in enumerate(run.trials):
        if trial.role == "measured":
            key = (trial.cell.workload, canonical(trial.cell.params), trial.cell.arm)
            tried.setdefault(key, []).append((order, trial))
    return tried


_INSTRUMENTS = (FLOOR.name, CLOCK.name)
"""What the instruments themselves are worth: it stands beside the results, not among them."""


def _rows(source: _Source) -> list[Row]:
    """Every row that has a value, and each tried workload's primary row even if all of its trials failed."""
    rows = {row: None for row, _, role in source.values if role == "measured" and row.metric not in _INSTRUMENTS}
    measured = {(row.workload, row.params) for row in rows}
    elsewhere = {(row.workload, row.metric) for row in rows}
    for workload, params, _ in source.tried:
        name = source.primary.get(workload)
        # One that these parameters do not yield (Redis SET has no rate of GET) is no row of theirs.
        other = (workload, params) in measured and (workload, name) in elsewhere
        if name is not None and name in source.metrics and not other:
            rows.setdefault(Row(metric=name, workload=workload, params=params))
    metrics = {name: place for place, name in enumerate(source.metrics)}
    workloads = {plan.name: place for place, plan in enumerate(source.run.manifest.plan.workloads)}
    return sorted(rows, key=lambda row: (workloads.get(row.workload, len(rows)), metrics[row.metric], row.params))


def _summary(source: _Source, row: Row, arm: str) -> CellSummary:
    tried = source.tried[row.workload, row.params, arm]
    metric = source.metrics[row.metric]
    points = source.values.get((row, arm, "measured"), Points())
    if source.is_primary(row):
        points = _with_timeouts(points, tried, metric)
    counts = Counter(trial.status for _, trial in tried)
    reasons = Counter(trial.reason for _, trial in tried if trial.status != "ok" and trial.reason)
    return CellSummary(
        row=row,
        arm=arm,
        driver=tried[0][1].cell.driver,
        accelerator=source.run.manifest.accelerators.get(arm, tried[0][1].cell.accelerator),
        unit=metric.unit,
        median=_median(metric, points),
        points=points,
        warmup=source.values.get((row, arm, "warmup"), Points()),
        tried=tuple(trial.block for _, trial in tried if trial.status != "skipped"),
        failed=counts["failed"],
        timed_out=counts["timeout"],
        skipped=counts["skipped"],
        reasons=tuple(reason for reason, _ in reasons.most_common()),
    )


def _median(metric: Metric, points: Points) -> stats.Estimate | None:
    """One arm's median; where no value is negative its interval isn't either, however coarse the instrument.

    An exact value is shown as such: it has no interval.
    """
    found = stats.estimate(points.values, half_width=half_width(metric, points))
    if found is not None and metric.scale == "exact":
        return replace(found, low=None, high=None)
    if found is None or found.low is None or min(points.values) < 0:
        return found
    return replace(found, low=max(0.0, found.low))


def _with_timeouts(points: Points, tried: Sequence[tuple[int, Trial]], metric: Metric) -> Points:
    """Add what timed out to the points of the primary metric."""
    worst = metric.at_timeout
    late = [(order, trial) for order, trial in tried if trial.status == "timeout" and order not in points.orders]
    if worst is None or not late:
        return points
    known = zip(points.orders, points.blocks, points.values, points.errors, strict=True)
    joined = sorted([*known, *((order, trial.block, worst, 0.0) for order, trial in late)])
    orders, blocks, values, errors = zip(*joined, strict=True)
    return Points(values=values, blocks=blocks, orders=orders, errors=errors)


def _floors(run: Run, frame: pd.DataFrame) -> dict[str, stats.Estimate]:
    empty = frame[(frame["metric"] == FLOOR.name) & (frame["role"] == "measured")]
    found = {
        arm.name: stats.estimate(empty[empty["arm"] == arm.name]["value"].tolist(), half_width=FLOOR.resolution)
        for arm in run.manifest.plan.arms
    }
    return {arm: floor for arm, floor in found.items() if floor is not None}


def _facts(run: Run) -> dict[str, dict[str, str]]:
    facts: dict[str, dict[str, str]] = {}
    for trial in run.trials:
        read = {key: value for key, value in trial.facts.items() if not key.startswith(pressure.PREFIX)}
        facts.setdefault(trial.cell.arm, {}).update(read)
    return facts


def _aa(source: _Source, rows: Sequence[Row], floors: Mapping[str, stats.Estimate], level: float) -> list[Comparison]:
    """Each twin against its arm, in the rows that both have."""
    found = []
    for twin, of in source.run.manifest.plan.twins.items():
        floor = floors[of].value if of in floors else 0.0
        for row in rows:
            pair = [(row.workload, row.params, arm) in source.tried for arm in (of, twin)]
            if all(pair) and source.metrics[row.metric].better != "neither":
                once, again = _summary(source, row, of), _summary(source, row, twin)
                judged = level if source.is_judged(row) else None
                found.append(compare(source.metrics[row.metric], once, again, judged, floor))
    return found


_Against = Callable[[Sequence[Row], str], list[Comparison]]
"""Each arm against the one that is named, in these rows."""


def _against(
    source: _Source,
    cells: Sequence[CellSummary],
    doubts: Doubts,
    level: float,
    rows: Sequence[Row],
    baseline: str,
) -> list[Comparison]:
    """A row that one of the two has no trial of is left out."""
    found = {(cell.row, cell.arm): cell for cell in cells}
    arms = [arm.name for arm in source.run.manifest.plan.arms if arm.name != baseline]
    return [
        doubts.weigh(
            source.metrics[row.metric],
            compare(
                source.metrics[row.metric],
                found[row, baseline],
                found[row, arm],
                level if source.is_judged(row) else None,
                doubts.floor(arm, baseline),
            ),
        )
        for row in rows
        for arm in arms
        if (row, arm) in found
        and (row, baseline) in found
        and _both_have_it(source, found[row, baseline], found[row, arm])
    ]


_STORAGE = "Suspect a page cache, or the disk's own: what was read or written may never have reached a disk."
_CLOCK = "Suspect the instance's clock, or a host that was busy in native's turns: no instance outruns its own host."


def _notices(source: _Source, rows: Sequence[Row], against: _Against) -> list[Notice]:
    """Instances whose rate beats native by more than the region: by the verdict, never by the medians alone."""
    rates = [row for row in rows if source.metrics[row.metric].unit.endswith("/s")]
    drivers = {arm.name: arm.driver for arm in source.run.manifest.plan.arms}
    natives = [arm for arm, driver in drivers.items() if driver == "native"]
    return [
        _faster(source.metrics[item.row.metric], item)
        for native in natives
        for item in against(rates, native)
        if item.verdict == "faster/smaller" and drivers[item.arm] != "native"
    ]


def _faster(metric: Metric, item: Comparison) -> Notice:
    params = "".join(f", {key} {value}" for key, value in msgspec.json.decode(item.row.params).items())
    by = f"{item.effect.value:.3g} times its rate, from {item.pairs} pairs" if item.effect else ""
    return Notice(
        code="faster-than-native",
        subject=item.arm,
        message=f"{item.arm} beats {item.baseline} in {metric.title}{params}: {by}.",
        hint=_STORAGE if metric.name.startswith("fio-") else _CLOCK,
    )


def _level(run: Run, metrics: Mapping[str, Metric], primary: Mapping[str, str]) -> float:
    """Of every primary pair's interval: they share the risk of a wrong verdict."""
    pairs = primary_pairs(run.manifest.plan, run.manifest.accelerators, metrics, primary)
    return stats.primary_level(len(pairs))


def _both_have_it(source: _Source, *cells: CellSummary) -> bool:
    """Whether both arms have this metric at all: a container has no kernel of its own to wait for.

    A primary row is compared all the same: there, no value means that nothing worked, which is to be said.
    """
    return source.is_primary(cells[0].row) or all(cell.points.values for cell in cells)
