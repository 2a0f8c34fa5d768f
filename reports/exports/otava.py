"""Apache Otava's CSV: a line for each run, the time first, a column for each cell's median in SI base units.

In its configuration: `time_column: time`, `attributes: [run, tare_version, host, labels]`, and of the other columns
those that are to be watched as `metrics`. What a run has no value of is `nan`, since Otava reads every field as a
number; a median beyond the deadline is `inf`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from tare_bench.analysis import Analysis

from ..view_format import inert, one_line
from ..view_words import arm_label
from .series import named, series


def render(analyses: Sequence[Analysis]) -> str:
    """One document for all runs, the earliest first."""
    ordered = sorted(analyses, key=lambda each: each.run.manifest.started_at)
    values = [{each.name: each.value for each in series(analysis)} for analysis in ordered]
    names = list(dict.fromkeys(name for found in values for name in found))
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*_attributes(ordered[0]), *map(inert, names)])
    for analysis, found in zip(ordered, values, strict=True):
        attributes = _attributes(analysis).values()
        writer.writerow([*map(inert, attributes), *(repr(found.get(name, float("nan"))) for name in names)])
    return target.getvalue()


def _attributes(analysis: Analysis) -> dict[str, str]:
    manifest = analysis.run.manifest
    labels = [f"{named(arm.name)}: {label}" for arm in manifest.plan.arms if (label := arm_label(analysis, arm.name))]
    return {
        "time": one_line(manifest.started_at),
        "run": named(manifest.run),
        "tare_version": named(manifest.tare_version),
        "host": named(manifest.host.get("hostname", "")),
        "labels": "; ".join(labels),
    }
