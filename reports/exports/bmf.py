"""Bencher Metric Format: a benchmark for each cell, with its median and interval as one measure.

Measures are Bencher's own where it has them, in their units: `latency` in ns, `throughput` in operations a second.
The others are bytes, bytes a second and plain numbers, under names of their own.
"""

from __future__ import annotations

import re

from tare_bench.analysis import Analysis

from .json_text import text
from .series import Series, finite, series

_MEASURES = {
    "s": ("latency", 1e9),
    "1/s": ("throughput", 1.0),
    "B": ("bytes", 1.0),
    "B/s": ("bytes-per-second", 1.0),
    "1": ("number", 1.0),
}
"""The measure of a unit, and how many of the measure's units one is."""


def render(analysis: Analysis) -> str:
    """Every cell of which less or more is better and whose median is a number."""
    found = [each for each in series(analysis) if each.metric.better != "neither" and finite(each.value)]
    return text({each.name: _measure(each) for each in found})


def _measure(each: Series) -> dict[str, dict[str, float]]:
    own = re.sub(r"[^a-z0-9]+", "-", each.metric.unit.lower()).strip("-")[:64] or "number"
    measure, size = _MEASURES.get(each.metric.unit, (own, 1.0))
    ends = {"value": each.value, "lower_value": each.low, "upper_value": each.high}
    return {measure: {key: end * size for key, end in ends.items() if end is not None and finite(end)}}
