"""The primary pairs of a plan: they alone steer how long is measured, and get headline verdicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from . import stats
from .metrics import Metric
from .model import Accelerator, Plan, WorkloadPlan


class Pair(NamedTuple):
    """An arm and the baseline, in a workload's primary metric."""

    workload: WorkloadPlan
    arm: str
    metric: Metric


def emulated_memory(metric: str, *accelerators: str | None) -> bool:
    """Whether a metric is memory that an emulator's translation cache is part of: it is never compared."""
    return metric.startswith("memory.") and "tcg" in accelerators


def often_enough(plan: Plan, workload: WorkloadPlan, primary: Mapping[str, str]) -> bool:
    """Whether it was planned to have the pairs for a headline verdict. By the plan, never by what was seen."""
    most = max((plan.times(each) for each in plan.workloads if each.name in primary), default=0)
    return plan.times(workload) >= min(stats.LEAST_PAIRS, most)


def primary_pairs(
    plan: Plan, accelerators: Mapping[str, Accelerator], metrics: Mapping[str, Metric], primary: Mapping[str, str]
) -> list[Pair]:
    """Every pair that can get a headline verdict.

    `metrics` are definitions by name; `primary` names the primary metric of a workload, by its name; one that is there
    by its key, with its parameters, has that one.
    """
    base = accelerators.get(plan.baseline)
    found = []
    for workload in plan.workloads:
        metric = metrics.get(primary.get(workload.key, primary.get(workload.name, "")))
        if metric is None or metric.scale == "exact" or not often_enough(plan, workload, primary):
            continue
        found += [
            Pair(workload, arm.name, metric)
            for arm in plan.arms
            if arm.name != plan.baseline and not emulated_memory(metric.name, accelerators.get(arm.name), base)
        ]
    return found
