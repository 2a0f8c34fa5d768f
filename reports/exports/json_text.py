"""JSON: the answer, every cell, every comparison, the memory sheets and the audit; every number whole."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from tare_bench import reconcile
from tare_bench.analysis import Analysis

from ..view import headline
from ..view_format import UNSAFE, cut_off
from ..view_words import arm_label


def summary(found: Analysis) -> dict[str, Any]:
    """A run in one document, in SI base units. JSON has no infinity: what timed out is null, and counted."""
    run, manifest = found.run, found.run.manifest
    return {
        "run": manifest.run,
        "path": run.path,
        "tare_version": manifest.tare_version,
        "started_at": manifest.started_at,
        "finished": run.finished,
        "in_flight": run.in_flight,
        "simulated": run.simulated,
        "emulated": run.emulated,
        "labels": {arm.name: label for arm in manifest.plan.arms if (label := arm_label(found, arm.name))},
        "baseline": manifest.plan.baseline,
        "answer": headline(found),
        "trials": dict(found.outcomes),
        "metrics": found.metrics,
        "primary": found.primary,
        "cells": list(found.cells),
        "comparisons": list(found.comparisons),
        "aa": list(found.aa),
        "floors": found.floors,
        "clocks": found.clocks,
        "stops": list(run.stops),
        "fairness": found.fairness,
        "memory": reconcile.sheets(run),
        "notices": [*run.notices, *found.notices],
    }


def text(document: Any) -> str:
    """A document as indented JSON, in which no character steers a terminal or turns the reading order around."""
    bounded = _bounded(msgspec.to_builtins(document))
    plain = msgspec.json.format(msgspec.json.encode(bounded), indent=2).decode()
    # outside of strings there are none, and in them an escape is the same character
    return re.sub(UNSAFE, lambda found: f"\\u{ord(found[0]):04x}", plain) + "\n"


def _bounded(value: Any) -> Any:
    """The same, with no text of megabytes in it: a reason is told once for every row that lost a value by it."""
    if isinstance(value, str):
        return cut_off(value)
    if isinstance(value, dict):
        return {cut_off(key): _bounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], float)):
        return [_bounded(each) for each in value]
    return value


def render(analysis: Analysis) -> str:
    """The summary, indented."""
    return text(summary(analysis))
