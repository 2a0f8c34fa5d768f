"""The same boot by four definitions, so that a reader can place figures that others have published. Pure."""

from __future__ import annotations

import math

from . import stats
from .analysis import Analysis
from .compare import Row
from .model import Record

DEFINITIONS = (
    ("call", "started", "start_returned"),
    ("kernel", "kernel", "init"),
    ("agent", "", "ready"),
    ("answer", "", "first_command"),
)
"""What each is called, and the milestones that it starts and stops at; the first is the request where none is named."""


class SameBoot(Record, frozen=True, kw_only=True):
    """One arm's boot: medians over its trials in seconds, with their interval at 95 %; None where there is none."""

    arm: str
    call: stats.Estimate | None
    """The engine's own call that starts it: from issuing it to its return, which may be before or after READY."""
    kernel: stats.Estimate | None
    """Guests only: from the kernel's first byte on the console to init."""
    agent: stats.Estimate | None
    """From the request to READY: `boot.ready`."""
    answer: stats.Estimate | None
    """From the request to the first correct answer."""


def same_boot(analysis: Analysis) -> list[SameBoot]:
    """Each arm that booted, in the plan's order; the boot of the first parameters that were planned."""
    params = next((row.params for row in analysis.rows if row.metric == "boot.ready"), "{}")
    found = [
        SameBoot(arm=arm.name, **{name: _between(analysis, arm.name, params, *ends) for name, *ends in DEFINITIONS})
        for arm in analysis.run.manifest.plan.arms
    ]
    return [each for each in found if each.agent is not None]


def _between(analysis: Analysis, arm: str, params: str, start: str, stop: str) -> stats.Estimate | None:
    """Within each trial first: the medians of two milestones may be of different trials."""
    stops = _by_trial(analysis, arm, params, stop)
    starts = _by_trial(analysis, arm, params, start) if start else dict.fromkeys(stops, 0.0)
    values = [stops[trial] - starts[trial] for trial in stops if trial in starts]
    return stats.estimate([value for value in values if math.isfinite(value)])


def _by_trial(analysis: Analysis, arm: str, params: str, name: str) -> dict[int, float]:
    cell = analysis.cell(Row(metric=f"boot.{name}", workload="boot", params=params), arm)
    return {} if cell is None else dict(zip(cell.points.orders, cell.points.values, strict=True))
