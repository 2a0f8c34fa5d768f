"""Cells as other tools take them: under a name that is the same from run to run, with plain numbers."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary, Comparison, Row
from tare_bench.metrics import Metric
from tare_bench.model import Scalar

from ..view_format import one_line
from ..view_labels import parameters
from ..view_tables import columns
from ..view_words import arm_label

LONGEST = 200
"""Letters of a text that is a name elsewhere: some tools make a file's name of it."""


@dataclass(frozen=True, slots=True)
class Series:
    """One cell that has a value."""

    name: str
    """Metric, parameters and arm; with EMULATED or SIMULATED, so that such values never continue others' history."""
    row_name: str
    arm: str
    driver: str
    accelerator: str
    label: str
    """EMULATED, SIMULATED or nothing."""
    params: dict[str, str]
    metric: Metric
    cell: CellSummary
    comparison: Comparison | None
    """With the baseline; None for the baseline itself."""
    value: float
    """The median, in the metric's unit; infinite where it lies beyond the deadline."""
    low: float | None
    high: float | None

    @property
    def values(self) -> list[float]:
        """Those that are numbers: without the trials that timed out, which `cell.timed_out` counts."""
        return [value for value in self.cell.points.values if math.isfinite(value)]


def named(text: Scalar) -> str:
    """A text that is a name elsewhere: on one line, harmless, and not too long; what was cut off still counts."""
    found = one_line(text)
    if len(found) <= LONGEST:
        return found
    return f"{found[:LONGEST]}…{zlib.crc32(str(text).encode('utf-8', 'replace')):08x}"


def row_name(row: Row) -> str:
    """`redis.get connections=10 operation=get`; with the workload where the metric's name does not tell it."""
    own = row.metric.partition(".")[0] in (row.workload, "stop")
    words = [row.metric, *([] if own else [f"in {row.workload}"])]
    return named(" ".join([*words, *(f"{key}={value}" for key, value in sorted(parameters(row).items()))]))


def series(analysis: Analysis) -> list[Series]:
    """Every cell with a value, by row, the baseline first. No two have the same name."""
    cells = {(cell.row, cell.arm): cell for cell in analysis.cells}
    compared = {(item.row, item.arm): item for item in analysis.comparisons}
    heads = columns(analysis)
    found: dict[str, Series] = {}
    for row in analysis.rows:
        for arm in (head.arm for head in heads):
            cell = cells.get((row, arm))
            if cell is not None and cell.median is not None:
                made = _series(analysis, cell, compared.get((row, arm)), found)
                found[made.name] = made
    return list(found.values())


def _series(analysis: Analysis, cell: CellSummary, item: Comparison | None, taken: dict[str, Series]) -> Series:
    assert cell.median is not None
    label, arm, head = arm_label(analysis, cell.arm), named(cell.arm), row_name(cell.row)
    plain = f"{head} {arm}" + (f" ({label})" if label else "")
    name, again = plain, 2
    while name in taken:  # hostile names that differ only in what was made harmless
        name, again = f"{plain} #{again}", again + 1
    return Series(
        name=name,
        row_name=head,
        arm=arm,
        driver=named(cell.driver),
        accelerator=cell.accelerator,
        label=label,
        params={named(key): named(str(value)) for key, value in parameters(cell.row).items()},
        metric=analysis.metrics[cell.row.metric],
        cell=cell,
        comparison=item,
        value=cell.median.value,
        low=cell.median.low,
        high=cell.median.high,
    )


def finite(value: float | None) -> bool:
    """Whether a format without infinity can hold it."""
    return value is not None and math.isfinite(value)
