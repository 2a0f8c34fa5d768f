"""github-action-benchmark's custom results: one file a direction, since the action takes one for each."""

from __future__ import annotations

from typing import Any, Literal

from tare_bench.analysis import Analysis

from ..view_cells import effect_text
from ..view_format import span, unit_for
from .json_text import text
from .series import Series, finite, named, series


def render_smaller(analysis: Analysis) -> str:
    """For the tool `customSmallerIsBetter`: times, memory, disk."""
    return _render(analysis, "lower")


def render_bigger(analysis: Analysis) -> str:
    """For the tool `customBiggerIsBetter`: rates."""
    return _render(analysis, "higher")


def _render(analysis: Analysis, better: Literal["lower", "higher"]) -> str:
    found = [each for each in series(analysis) if each.metric.better == better and finite(each.value)]
    return text([_result(each) for each in found])


def _result(each: Series) -> dict[str, Any]:
    """In the base unit: the chart of the action joins values over time, so that a unit must not change."""
    interval = {} if each.low is None or each.high is None else {"range": f"{each.low!r} to {each.high!r}"}
    return {
        "name": each.name,
        "unit": named(each.metric.unit) if each.metric.unit != "1" else "count",
        "value": each.value,
        **interval,
        "extra": "\n".join(_extra(each)),
    }


def _extra(each: Series) -> list[str]:
    unit = unit_for(each.metric.unit, [each.value])
    interval = span(each.low, each.high, unit.size)
    lines = [named(each.metric.title), f"n: {len(each.cell.points.values)}"]
    if interval:
        lines.append(f"95 % interval: {interval} {unit.symbol}".strip())
    if each.label:
        lines.append(each.label)
    if each.comparison is not None:
        effect, around = effect_text(each.metric, each.comparison)
        words = " ".join(filter(None, (effect, f"({around})" if around else "", each.comparison.verdict)))
        lines += [f"against {named(each.comparison.baseline)}: {words}"] if words else []
    return lines
