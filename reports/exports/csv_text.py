"""CSV: every sample, or every cell with its comparison. Numbers are whole and in SI base units.

pandas reads it back as it was, with the types below and no text taken for a missing value (before pandas 3 also
`float_precision="round_trip"`). Texts are made harmless, and one that a spreadsheet would run as a
formula has an apostrophe before it. Numbers are never touched.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary, Comparison
from tare_bench.metrics import Metric
from tare_bench.stats import Estimate

from ..view_format import clean, inert
from ..view_words import arm_label

if TYPE_CHECKING:
    import pandas as pd

SAMPLES: dict[str, str] = {
    "trial": "str", "arm": "str", "driver": "str", "accelerator": "str", "workload": "str", "params": "str",
    "instance": "str", "age_s": "float64", "block": "int64", "position": "int64", "role": "str", "status": "str",
    "metric": "str", "value": "float64", "unit": "str", "error": "float64", "label": "str",
}  # fmt: skip
"""The columns of samples, and pandas' types of them."""

CELLS: dict[str, str] = {
    "metric": "str", "workload": "str", "params": "str", "arm": "str", "driver": "str", "accelerator": "str",
    "label": "str", "unit": "str", "better": "str", "n": "int64", "median": "float64", "low": "float64",
    "high": "float64", "least": "float64", "greatest": "float64", "tried": "int64", "failed": "int64",
    "timed_out": "int64", "skipped": "int64", "baseline": "str", "scale": "str", "effect": "float64",
    "effect_low": "float64", "effect_high": "float64", "level": "float64", "pairs": "Int64", "lost": "Int64",
    "primary": "boolean", "verdict": "str", "needed": "Int64", "reason": "str",
}  # fmt: skip
"""The columns of cells. From `baseline` on they are empty for the baseline's own cells."""


def render_samples(analysis: Analysis) -> str:
    """One line a sample: `Run.frame()`, with EMULATED or SIMULATED in a column of its own."""
    frame = analysis.run.frame()
    labels = {arm.name: arm_label(analysis, arm.name) for arm in analysis.run.manifest.plan.every_arm}
    return _text(frame.assign(label=frame["arm"].map(labels)), SAMPLES)


def render_cells(analysis: Analysis) -> str:
    """One line a cell: its median with interval, and how it compares."""
    import pandas as pd

    compared = {(item.row, item.arm): item for item in analysis.comparisons}
    rows = [
        _cell(analysis, cell, analysis.metrics[cell.row.metric], compared.get((cell.row, cell.arm)))
        for cell in analysis.cells
    ]
    return _text(pd.DataFrame(rows, columns=list(CELLS)), CELLS)


def _text(frame: pd.DataFrame, types: dict[str, str]) -> str:
    texts = [name for name, kind in types.items() if kind == "str"]
    plain = frame.assign(**{name: frame[name].map(_harmless) for name in texts})
    return plain.astype(types).to_csv(index=False, lineterminator="\n")


def _harmless(value: object) -> str:
    return "" if value is None or value != value else str(inert(clean(str(value))))


def _cell(analysis: Analysis, cell: CellSummary, metric: Metric, item: Comparison | None) -> dict[str, Any]:
    return {
        "metric": cell.row.metric,
        "workload": cell.row.workload,
        "params": cell.row.params,
        "arm": cell.arm,
        "driver": cell.driver,
        "accelerator": cell.accelerator,
        "label": arm_label(analysis, cell.arm),
        "unit": cell.unit,
        "better": metric.better,
        "n": len(cell.points.values),
        **dict(zip(("median", "low", "high"), _ends(cell.median), strict=True)),
        "least": min(cell.points.values, default=math.nan),
        "greatest": max(cell.points.values, default=math.nan),
        "tried": len(cell.tried),
        "failed": cell.failed,
        "timed_out": cell.timed_out,
        "skipped": cell.skipped,
        **(_comparison(item) if item else {}),
    }


def _comparison(item: Comparison) -> dict[str, Any]:
    return {
        "baseline": item.baseline,
        "scale": item.scale,
        **dict(zip(("effect", "effect_low", "effect_high"), _ends(item.effect), strict=True)),
        "level": item.level,
        "pairs": item.pairs,
        "lost": item.lost,
        "primary": item.primary,
        "verdict": item.verdict,
        "needed": item.needed,
        "reason": item.reason,
    }


def _ends(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (found.value, found.low, found.high) if found else (None, None, None)
