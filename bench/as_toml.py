"""A plan as the file that asks for it: reading that gives the same plan."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from . import registry
from .model import Plan, Spec, WorkloadPlan
from .planfile import Lines
from .suites import FULL, SUITES, limits_of, planned


def text(plan: Plan) -> str:
    """A plan as the file that asks for it: reading it gives the same plan."""
    run: dict[str, Any] = {"baseline": plan.baseline, "min_rounds": plan.rounds}
    run |= {"max_rounds": plan.max_rounds or plan.rounds, "seed": plan.seed, "accelerator": plan.accelerator}
    twins = list(plan.twins.values())
    run |= {"aa": bool(twins)} | ({"aa_arms": twins} if twins not in ([], [plan.baseline]) else {})
    run |= {"max_time": plan.max_time} if plan.max_time else {}
    run |= {"tune": True} if plan.tune else {}
    run |= limits_of(plan.workloads)
    named = _as_names(plan)
    specs = [_as_spec(arm.spec) for arm in plan.arms]
    alike = all(spec == specs[0] for spec in specs)
    parts = [_table("[run]", run | (named or {}))]
    parts.append(_table("[instance]", (specs[0] if alike else {}) | {"disk": plan.arms[0].spec.disk}))
    for arm, spec in zip(plan.arms, specs, strict=True):
        options = {"options": arm.options} if arm.options else {}
        parts.append(_table("[[arm]]", {"name": arm.name, "driver": arm.driver} | ({} if alike else spec) | options))
    if named is None:
        parts += [_table("[[workload]]", _as_workload(each)) for each in plan.workloads if each.name != "boot"]
    return "\n".join(parts)


def _as_spec(spec: Spec) -> dict[str, Any]:
    keys = ("vcpus", "memory", "cache", "page_cache", "network")
    return {key: getattr(spec, key) for key in keys}


def _as_names(plan: Plan) -> dict[str, Any] | None:
    """The workloads by a suite's or their own names; None where these wouldn't say all about them."""
    if any(each.own for each in plan.workloads):
        return None
    names, limits = list(dict.fromkeys(each.name for each in plan.workloads)), limits_of(plan.workloads)
    if planned(names, {}, Lines(), plan.rounds, limits=limits) == plan.workloads:
        return {"workloads": names}
    if planned(SUITES[FULL], {}, Lines(), plan.rounds, full=True, limits=limits) == plan.workloads:
        return {"suite": FULL}
    return None


def _as_workload(workload: WorkloadPlan) -> dict[str, Any]:
    table: dict[str, Any] = {"name": workload.name}
    usual = registry.planned(workload).together
    if workload.own:
        table |= {
            key: value for key, value in msgspec.structs.asdict(workload.own).items() if value or key == "command"
        }
        if not workload.own.pattern:
            table = {key: value for key, value in table.items() if key not in ("unit", "better")}
    table |= {"params": workload.params} if workload.params else {}
    table |= {"blocks": workload.blocks} if workload.blocks is not None else {}
    return table | ({"together": workload.together} if workload.together != usual else {})


def _table(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_literal(value)}" for key, value in values.items()), ""])


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_literal(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    # JSON's text is TOML's, but for the one character that TOML wants escaped and JSON does not
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)
