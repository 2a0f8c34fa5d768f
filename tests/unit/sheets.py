"""Runs that hold memory figures, whose sums are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runs import METRICS, PRIMARY, SPEC
from tare_bench.analysis import Analysis, analyse
from tare_bench.metrics import Metric
from tare_bench.model import Accelerator, Arm, Cell, Manifest, Plan, RootfsFacts, Run, Sample, Trial, WorkloadPlan
from tare_bench.workloads.memory import Memory, MemoryLoad
from tare_bench.workloads.memory_ramp import MemoryRamp

MIB = 1 << 20
DOCKER_PARTS = {
    "payload": {"number": 1, "pss": 2 * MIB, "uss": 1 * MIB, "anon": 1 * MIB, "file": 1 * MIB, "shmem": 0},
    "shim": {"number": 1, "pss": 12 * MIB, "uss": 3 * MIB, "anon": 4 * MIB, "file": 8 * MIB, "shmem": 0},
}
DOCKER_EACH = {
    "payload": {"number": 1, "pss": 1.5 * MIB, "uss": 1 * MIB, "anon": 1 * MIB, "file": 0.5 * MIB, "shmem": 0},
    "shim": {"number": 1, "pss": 4 * MIB, "uss": 3 * MIB, "anon": 3.5 * MIB, "file": 0.5 * MIB, "shmem": 0},
}
GUEST_PARTS = {
    "vmm": {
        "number": 1, "pss": 210 * MIB, "uss": 200 * MIB, "anon": 195 * MIB, "file": 15 * MIB, "shmem": 0,
        "guest": 126 * MIB, "translated": 31 * MIB,
    },
}  # fmt: skip
"""The emulator's cache is nearly full."""
MEMORY_METRICS: Mapping[str, Metric] = dict(METRICS) | {
    metric.name: metric for each in (Memory, MemoryLoad, MemoryRamp) for metric in each.metrics
}


def ramp(each: float, top: int = 8, **others: float) -> list[dict[str, float]]:
    """Readings up and down that lie on a line."""
    numbers = [*range(top + 1), *range(top - 1, -1, -1)]
    return [
        {"instances": n, "available": 16e9 - each * n, **{key: 5e7 + value * n for key, value in others.items()}}
        for n in numbers
    ]


def trial(
    number: int, arm: str, workload: str, values: Mapping[str, float], facts: Mapping[str, Any], **changes: Any
) -> Trial:
    accelerator: Accelerator = "tcg" if arm == "kvm" else "none"
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    fields: dict[str, Any] = {
        "trial": f"t{number:04d}",
        "cell": Cell(arm=arm, driver=arm, accelerator=accelerator, workload=workload, spec=SPEC),
        "instance": "",
        "age_s": None,
        "block": number,
        "position": 0,
        "role": "measured",
        "status": "ok",
        "started_at": "2026-01-01T00:00:00Z",
        "samples": [Sample(metric=f"memory.{key}", value=value, unit="B") for key, value in values.items()],
        "facts": texts,
    }
    return Trial(**{**fields, **changes})


def docker(
    ramps: Sequence[float] = (10.0, 10.2, 10.4, 10.6, 10.8, 11.0), others: Sequence[float] = (0.0,) * 6
) -> list[Trial]:
    """Idle memory, and ramps of that many MiB for each instance, with what others took during each of them."""
    idle = {
        "pss": 14 * MIB, "uss": 4 * MIB, "anon": MIB, "file": 3 * MIB, "shmem": 0.5 * MIB, "kernel": 2 * MIB,
        "peak": 9 * MIB, "load.pss": 15 * MIB,
    }  # fmt: skip
    told = {"docker stats": 5 * MIB, "charged": 6 * MIB, "inactive": MIB}
    facts = {"parts": DOCKER_PARTS, "engine says": told, "memory settings": {"KSM": "off"}, "age": "1.001 s"}
    found = [trial(0, "docker", "memory", idle, facts)]
    for number, (own, other) in enumerate(zip(ramps, others, strict=False), 1):
        each = own + other
        kernel = {"slab": 1.5 * MIB, "tables": 0.5 * MIB, "stacks": 0.25 * MIB, "percpu": 0.75 * MIB}
        points = ramp(each * MIB, **kernel, tare=0.25 * MIB, engine=0.75 * MIB, anon=(5.5 + other) * MIB)
        facts = {
            "parts": DOCKER_EACH,
            "cgroup": {"shmem": 0.5 * MIB, "kernel": 2 * MIB},
            "ramp": points,
            "instances": "8",
        }
        found.append(trial(number, "docker", "memory-ramp", {"available": each * MIB, "engine": 0.75 * MIB}, facts))
    return found


def kvm() -> list[Trial]:
    """An emulated guest, alone."""
    idle = {"pss": 210 * MIB, "uss": 200 * MIB, "guest_total": 470 * MIB, "guest_available": 400 * MIB}
    told = {"dommemstat rss": 220 * MIB, "dommemstat actual": 512 * MIB}
    facts = {"parts": GUEST_PARTS, "engine says": told, "guest memory": str(512 * MIB), "age": "1.002 s"}
    return [trial(20, "kvm", "memory", idle, facts)]


def run(trials: Sequence[Trial], arms: Sequence[str] = ("docker", "kvm"), *, rounds: int = 1) -> Run:
    plan = Plan(
        arms=[Arm(name=arm, driver=arm, spec=SPEC) for arm in arms],
        workloads=[WorkloadPlan(name="memory"), WorkloadPlan(name="memory-ramp", blocks=6, crowd=True)],
        baseline=arms[0],
        rounds=rounds,
    )
    manifest = Manifest(
        run="x", tare_version="0", started_at="2026-01-01T00:00:00Z", command="tare run", plan=plan, host={},
        drivers={},
        accelerators={"docker": "none", "kvm": "tcg"}, rootfs=RootfsFacts(digest="sha256:0", recipe="r", size=1),
    )  # fmt: skip
    return Run(path="/tmp/x", manifest=manifest, trials=list(trials))


def analysed(found: Run) -> Analysis:
    return analyse(found, MEMORY_METRICS, PRIMARY | {"memory-ramp": "memory.available"})
