"""Which pairs of a plan steer the run and get headline verdicts."""

from __future__ import annotations

import pytest
from runs import METRICS, PRIMARY, SPEC, planned_together
from tare_bench import registry
from tare_bench.model import Arm, Plan, WorkloadPlan
from tare_bench.pairs import primary_pairs

ARMS = [Arm(name=name, driver=name, spec=SPEC) for name in ("native", "docker", "kvm")]


def plan(*workloads: WorkloadPlan, rounds: int = 10, throughput: int = 0) -> Plan:
    boot = [WorkloadPlan(name="boot"), *workloads]
    return Plan(arms=ARMS, workloads=boot, baseline="docker", rounds=rounds, throughput_rounds=throughput)


def named(planned: Plan, accelerator: str = "kvm") -> list[tuple[str, str]]:
    accelerators = {"native": "none", "docker": "none", "kvm": accelerator}
    found = primary_pairs(planned, accelerators, METRICS, PRIMARY)  # type: ignore[arg-type] # of Literals
    return [(each.metric.name, each.arm) for each in found]


def test_each_arm_but_the_baseline_has_a_pair_in_each_primary_metric() -> None:
    found = named(plan(WorkloadPlan(name="memory")))
    assert found == [(name, arm) for name in ("boot.ready", "memory.pss") for arm in ("native", "kvm")]


def test_memory_of_an_emulated_guest_is_no_pair() -> None:
    found = named(plan(WorkloadPlan(name="memory")), "tcg")
    assert ("memory.pss", "kvm") not in found
    assert ("memory.pss", "native") in found


def test_what_is_exact_or_planned_too_seldom_is_no_pair() -> None:
    found = named(plan(WorkloadPlan(name="disk"), WorkloadPlan(name="memory", blocks=6)))
    assert found == [("boot.ready", "native"), ("boot.ready", "kvm")]
    # where nothing has ten, what has the most is judged
    assert len(named(plan(WorkloadPlan(name="memory", blocks=6), rounds=6))) == 4


def test_parameters_that_do_not_yield_the_primary_metric_are_no_pair() -> None:
    workloads = [
        WorkloadPlan(name="redis", params={"operation": operation, "connections": 1}, together=True)
        for operation in ("get", "set")
    ]
    primary = registry.primaries(workloads)
    planned = plan(*workloads, throughput=10)
    found = primary_pairs(planned, {}, registry.metrics(), primary)
    assert [each.workload.params["operation"] for each in found if each.workload.name == "redis"] == ["get", "get"]
    assert registry.primaries()["redis"] == "redis.get.rate"


@pytest.mark.parametrize("throughput", [0, 12])
def test_the_number_of_pairs_is_the_plans(throughput: int) -> None:
    found = named(plan(*planned_together(), throughput=throughput))
    assert len(found) == (2 + 2 * len(planned_together()) if throughput else 2)
