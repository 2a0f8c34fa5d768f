"""hyperfine's JSON: a result for each cell that is a time, with each trial's as a run; its scripts draw it.

`user` and `system` are not there: an instance's CPU time is known as a sum only. A trial that failed or timed out has
no time and no exit code, and is counted beside.
"""

from __future__ import annotations

import statistics
from typing import Any

from tare_bench.analysis import Analysis

from .json_text import text
from .series import Series, series


def render(analysis: Analysis) -> str:
    """The layout of hyperfine 1.x."""
    found = [each for each in series(analysis) if each.metric.unit == "s" and each.values]
    return text({"results": [_result(each) for each in found]})


def _result(each: Series) -> dict[str, Any]:
    times = each.values
    labelled = {"label": each.label} if each.label else {}
    return {
        "command": each.name,
        "mean": statistics.mean(times),
        "stddev": statistics.stdev(times) if len(times) > 1 else None,
        "median": statistics.median(times),
        "min": min(times),
        "max": max(times),
        "times": times,
        "exit_codes": [0] * len(times),
        "parameters": {"arm": each.arm, "driver": each.driver, "accelerator": each.accelerator, **labelled}
        | {key: value for key, value in each.params.items() if key not in ("arm", "driver", "accelerator", "label")},
        "failed": each.cell.failed,
        "timed_out": each.cell.timed_out,
    }
