"""Density: why each arm's filling of the host came to its end."""

from __future__ import annotations

from tare_bench.analysis import Analysis

from .language import _
from .view_format import one_line
from .view_reasons import worded


def stopped(analysis: Analysis) -> list[str]:
    """A sentence for each arm that says so, in its trials' own words."""
    found: dict[str, dict[str, None]] = {}
    for trial in analysis.run.trials:
        if trial.cell.workload == "density" and (why := trial.facts.get("stopped")):
            found.setdefault(trial.cell.arm, {})[why] = None
    return [
        _("{arm}: filled up to {why}.", arm=one_line(arm), why="; ".join(worded(one_line(each)) for each in why))
        for arm, why in found.items()
    ]
