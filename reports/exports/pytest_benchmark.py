"""pytest-benchmark's JSON: what `pytest-benchmark compare` reads, with each trial's duration as a round.

Only metrics in seconds are in it, since it knows no other unit. A group is a row of our tables, so that it compares
arms; a trial that timed out has no duration, and is counted in `extra_info`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from tare_bench.analysis import Analysis

from ..view_format import one_line
from .json_text import text
from .series import Series, finite, named, series

LAYOUT = "5.3.1"
"""The version of pytest-benchmark whose layout this is."""


def render(analysis: Analysis) -> str:
    """The document that pytest-benchmark would have saved."""
    manifest = analysis.run.manifest
    return text(
        {
            "machine_info": _machine(manifest.host),
            # what it writes itself outside of a repository: the run belongs to a host, not to a commit
            "commit_info": {
                "id": "unversioned",
                "time": None,
                "author_time": None,
                "dirty": False,
                "project": "tare",
                "branch": "(unknown)",
            },
            "benchmarks": [
                _benchmark(analysis, each) for each in series(analysis) if each.metric.unit == "s" and each.values
            ],
            "datetime": one_line(manifest.started_at),
            "version": LAYOUT,
        }
    )


def _machine(host: dict[str, str]) -> dict[str, Any]:
    """The machine that was measured, by what was read of it then; what was not read is not there."""
    known = {
        "node": host.get("hostname"),
        "machine": host.get("architecture"),
        "release": host.get("kernel"),
        "python_version": host.get("python"),
        "system": "Linux",
    }
    cpu = {"brand_raw": host.get("cpu model name"), "count": host.get("cpus"), "arch_string_raw": known["machine"]}
    return {
        **{key: one_line(value) for key, value in known.items() if value},
        "cpu": {key: one_line(value) for key, value in cpu.items() if value},
    }


def _benchmark(analysis: Analysis, each: Series) -> dict[str, Any]:
    manifest, cell = analysis.run.manifest, each.cell
    param = f"{each.arm} {each.label}".strip()
    return {
        "group": each.row_name,
        "name": f"{each.row_name}[{param}]",
        "fullname": f"tare/{each.row_name}[{param}]",
        "params": {"arm": each.arm, "driver": each.driver, "accelerator": each.accelerator, **each.params},
        "param": param,
        "extra_info": {
            "arm": each.arm,
            "driver": each.driver,
            "accelerator": each.accelerator,
            "label": each.label,
            "metric": named(each.metric.name),
            "unit": each.metric.unit,
            "block": [
                block for block, value in zip(cell.points.blocks, cell.points.values, strict=True) if finite(value)
            ],
            "failed": cell.failed,
            "timed_out": cell.timed_out,
            "skipped": cell.skipped,
            "run": named(manifest.run),
            "tare_version": named(manifest.tare_version),
        },
        "options": {"disable_gc": False, "timer": "CLOCK_MONOTONIC", "min_rounds": len(each.values), "warmup": True},
        "stats": stats(each.values),
    }


def stats(values: Sequence[float]) -> dict[str, Any]:
    """Those of pytest-benchmark's own class, of which a run should not depend: by its definitions, outliers too."""
    data, rounds = sorted(values), len(values)
    mean, spread = statistics.mean(values), statistics.stdev(values) if rounds > 1 else 0
    first, third = _quartiles(data)
    iqr = third - first
    low, high = first - 1.5 * iqr, third + 1.5 * iqr
    inside = [value for value in data if low <= value <= high]
    odd = sum(not mean - spread <= value <= mean + spread for value in values)
    return {
        "min": data[0],
        "max": data[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": rounds,
        "median": statistics.median(values),
        "iqr": iqr,
        "q1": first,
        "q3": third,
        "iqr_outliers": rounds - len(inside),
        "stddev_outliers": odd,
        "outliers": f"{odd};{rounds - len(inside)}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": rounds / total if (total := sum(values)) else 0,
        "total": total,
        "data": list(values),
        "iterations": 1,
    }


def _quartiles(data: Sequence[float]) -> tuple[float, float]:
    """By its methods: medians of the halves where the number is even, else interpolated a quarter of the way."""
    rounds, n = len(data), len(data) // 4
    if rounds == 1:
        return data[0], data[0]
    if rounds % 2 == 0:
        return statistics.median(data[: rounds // 2]), statistics.median(data[rounds // 2 :])
    if rounds % 4 == 1:
        return 0.25 * data[n - 1] + 0.75 * data[n], 0.75 * data[3 * n] + 0.25 * data[3 * n + 1]
    return 0.75 * data[n] + 0.25 * data[n + 1], 0.25 * data[3 * n + 1] + 0.75 * data[3 * n + 2]
