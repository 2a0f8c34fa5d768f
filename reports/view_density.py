"""Density: why each arm's filling of the host came to its end."""

from __future__ import annotations

from tare_bench.analysis import Analysis

from .view_format import one_line


def stopped(analysis: Analysis) -> list[str]:
    """A sentence for each arm that says so, in its trials' own words."""
    found: dict[str, dict[str, None]] = {}
    for trial in analysis.run.trials:
        if trial.cell.workload == "density" and (why := trial.facts.get("stopped")):
            found.setdefault(trial.cell.arm, {})[why] = None
    return [f"{one_line(arm)}: filled up to {one_line('; '.join(why))}." for arm, why in found.items()]
