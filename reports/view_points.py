"""Every value of a row, looked at four ways, with what it means: what is folded away under a row's name."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary, Comparison, Row
from tare_bench.metrics import Metric
from tare_bench.model import canonical

from .view_cells import effect_text
from .view_charts import MAX_STRIPS, Strip, strip
from .view_format import clean, number, one_line, unit_for
from .view_labels import leads
from .view_method import Definition, definition
from .view_tables import columns
from .view_words import arm_label, verdict_mark


@dataclass(frozen=True, slots=True)
class PairLine:
    """One arm's pairs with the baseline, block by block."""

    arm: str
    label: str
    place: int
    """Among all arms, so that it has the same colour in every chart."""
    blocks: tuple[int, ...]
    effects: tuple[float, ...]
    """Ratios, or differences in the strip's unit; only those that are finite."""
    middle: float | None
    low: float | None
    high: float | None
    text: str
    """The median of the pairs with its interval, and the verdict."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What the tool itself printed in one trial of an arm, cut to what a page can carry."""

    arm: str
    trial: str
    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """All that is known of one row."""

    strip: Strip
    lower: bool
    """Whether lower is better."""
    ratio: bool
    pairs: tuple[PairLine, ...]
    effect_unit: str
    """`×` or the strip's unit."""
    region: tuple[float, float]
    """The edges of what does not matter, on the pairs' own scale."""
    heads: tuple[tuple[str, str], ...]
    """Name and label of each arm, as the columns of the table of blocks."""
    blocks: tuple[tuple[str, tuple[str, ...]], ...]
    """For each block the value of each arm, in the strip's unit."""
    definition: Definition
    printed: tuple[Printed, ...]


def details(analysis: Analysis) -> list[Detail]:
    """One for each row that leads and has a value, the first ones where they are many."""
    found: list[Detail] = []
    for row in (row for row in analysis.rows if leads(analysis, row)):
        drawn = strip(analysis, row)
        if any(series.values for series in drawn.series) and len(found) < MAX_STRIPS:
            found.append(_detail(analysis, row, drawn))
    return found


def _detail(analysis: Analysis, row: Row, drawn: Strip) -> Detail:
    metric = analysis.metrics[row.metric]
    cells = {head.arm: analysis.cell(row, head.arm) for head in columns(analysis)}
    size = _size(metric, cells)
    ratio = metric.scale == "ratio"
    region = (1 / (1 + metric.region), 1 + metric.region) if ratio else (-metric.region / size, metric.region / size)
    return Detail(
        strip=drawn,
        lower=metric.better == "lower",
        ratio=ratio,
        pairs=_pairs(analysis, row, cells, 1.0 if ratio else size),
        effect_unit="×" if ratio else drawn.unit,
        region=region,
        heads=tuple((one_line(arm), arm_label(analysis, arm)) for arm, cell in cells.items() if cell is not None),
        blocks=_blocks([cell for cell in cells.values() if cell is not None], size),
        definition=definition(metric),
        printed=tuple(_printed(analysis, row)),
    )


def _size(metric: Metric, cells: dict[str, CellSummary | None]) -> float:
    values = [value for cell in cells.values() if cell for value in cell.points.values if math.isfinite(value)]
    return unit_for(metric.unit, values).size


def _by_block(cell: CellSummary) -> dict[int, float]:
    return dict(zip(cell.points.blocks, cell.points.values, strict=True))


def _pairs(analysis: Analysis, row: Row, cells: dict[str, CellSummary | None], size: float) -> tuple[PairLine, ...]:
    base = cells.get(analysis.run.manifest.plan.baseline)
    found = []
    for place, (arm, cell) in enumerate(cells.items()):
        item = analysis.comparison(row, arm)
        # What is not compared has no pairs to show: a picture of them would be the comparison.
        if base is not None and cell is not None and item is not None and item.verdict != "not compared: emulated":
            found.append(_line(analysis, item, place, base, cell, size))
    return tuple(line for line in found if line.effects)


def _line(
    analysis: Analysis, item: Comparison, place: int, base: CellSummary, cell: CellSummary, size: float
) -> PairLine:
    metric = analysis.metrics[item.row.metric]
    left, right = _by_block(base), _by_block(cell)
    pairs = {
        block: effect
        for block in sorted(left.keys() & right.keys())
        if (effect := _effect(metric, left[block], right[block], size)) is not None
    }
    found, mark = item.effect, verdict_mark(metric, item)
    value, interval = effect_text(metric, item)
    said = f"{value} ({interval})" if interval else value
    return PairLine(
        arm=one_line(item.arm),
        label=arm_label(analysis, item.arm),
        place=place,
        blocks=tuple(pairs),
        effects=tuple(pairs.values()),
        middle=_scaled(found.value if found else None, size),
        low=_scaled(found.low if found else None, size),
        high=_scaled(found.high if found else None, size),
        text=", ".join(filter(None, (said, mark.word if mark else ""))),
    )


def _effect(metric: Metric, base: float, value: float, size: float) -> float | None:
    if not (math.isfinite(base) and math.isfinite(value)):
        return None
    if metric.scale == "ratio":
        return value / base if base > 0 and value > 0 else None
    return (value - base) / size


def _scaled(value: float | None, size: float) -> float | None:
    return None if value is None or not math.isfinite(value) else value / size


def _blocks(cells: list[CellSummary], size: float) -> tuple[tuple[str, tuple[str, ...]], ...]:
    values = [_by_block(cell) for cell in cells]
    every = sorted(set().union(*values))
    return tuple(
        (str(block), tuple(number(found[block] / size) if block in found else "–" for found in values))
        for block in every
    )


def _printed(analysis: Analysis, row: Row) -> list[Printed]:
    """Of each arm the first trial of this cell whose output was kept."""
    kept = analysis.run.printed
    found: dict[str, Printed] = {}
    for trial in analysis.run.trials:
        arm = trial.cell.arm
        mine = (trial.cell.workload, canonical(trial.cell.params)) == (row.workload, row.params)
        if mine and arm not in found and trial.trial in kept:
            found[arm] = Printed(arm=one_line(arm), trial=one_line(trial.trial), text=clean(kept[trial.trial]))
    return list(found.values())
