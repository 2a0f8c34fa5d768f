"""Stored runs for tests: realistic values of native, docker and an emulated kvm, made from a seed, and odd ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from tare_bench.metrics import DISK, LIFECYCLE, MEMORY, Metric
from tare_bench.model import (
    Accelerator,
    Arm,
    Cell,
    Manifest,
    Notice,
    Plan,
    RootfsFacts,
    Run,
    Sample,
    Scalar,
    Spec,
    Status,
    Trial,
    WorkloadPlan,
)
from tare_bench.workloads.fio import FioRandRead, FioRandWrite
from tare_bench.workloads.redis import Redis
from tare_bench.workloads.sysbench import SysbenchCpu, SysbenchMemory

MIB = 1 << 20
SPEC = Spec(vcpus=1, memory=512 * MIB, rootfs="sha256:" + "4f" * 32)
PRIMARY = {
    "boot": "boot.ready",
    "memory": "memory.pss",
    "disk": "disk.instance",
    "sysbench-cpu": "sysbench-cpu.events",
}
TOGETHER = (SysbenchCpu, SysbenchMemory, FioRandRead, FioRandWrite, Redis)
"""The workloads of blocks of throughput."""
PRIMARY |= {each.name: each.primary for each in TOGETHER}
HOSTILE = "<script>alert('x')</script>\"&'\x1b[31m\u2028\u202e"
MALICE: Mapping[str, str] = {
    "script": HOSTILE,
    "controls": "".join(map(chr, (*range(32), *range(127, 160)))) + "\ufffe\uffff\ufeff",
    "direction": "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069 abc\u202e.exe",
    "long line": "<b>" + "A" * 10_000_000,
    "markdown": "# x **b** _i_ `c` [a](javascript:alert(1)) ![i](http://evil.example/x) | y | <b>w</b> &lt; :x: 1. $z$",
    "formula": "=cmd|' /C calc'!A0",
    "openmetrics": 'a"} 1\n# EOF\\',
    "xml": "]]> --> <!ENTITY x SYSTEM 'file:///etc/passwd'> &x; <![CDATA[",
    "json": '"}],"x":[{"y":"\\u0000',
    "csv": 'a,"b\r\nc","",;\t',
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} %s %d [bold red]x[/]",
}
"""What a name, an output or an error may be that somebody else chose."""


def _isolation(name: str, title: str) -> Metric:
    definition = "Counted inside the instance."
    return Metric(
        name=f"isolation.{name}", unit="1", better="neither", scale="exact", title=title, definition=definition
    )


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *LIFECYCLE,
        *MEMORY,
        *DISK,
        *(metric for workload in TOGETHER for metric in workload.metrics),
        _isolation("same_kernel", "Runs the host's kernel"),
        _isolation("namespaces", "Namespaces of its own"),
        _isolation("host_processes", "Host processes visible"),
        _isolation("capabilities", "Effective capabilities"),
        _isolation("seccomp", "Seccomp mode"),
    )
}

_ISOLATED = {"same_kernel": 1}
BOOT = {
    "native": {"created": 0.0006, "started": 0.0007, "start_returned": 0.0011, "ready": 0.0021, "first_command": 0.004},
    "docker": {"created": 0.071, "started": 0.0715, "start_returned": 0.176, "ready": 0.173, "first_command": 0.18},
    "kvm": {
        "created": 0.31,
        "started": 0.315,
        "start_returned": 0.33,
        "kernel": 0.86,
        "init": 6.2,
        "ready": 7.1,
        "first_command": 7.24,
    },
}
OTHER: dict[str, dict[str, dict[str, float]]] = {
    "memory": {
        "native": {"memory.pss": 0.6 * MIB, "memory.uss": 0.3 * MIB, "memory.anon": 0.2 * MIB},
        "docker": {"memory.pss": 6.2 * MIB, "memory.uss": 5.1 * MIB, "memory.anon": 0.3 * MIB},
        "kvm": {"memory.pss": 245 * MIB, "memory.uss": 240 * MIB, "memory.anon": 180 * MIB},
    },
    "disk": {
        "native": {"disk.image": 96 * MIB, "disk.instance": 4096},
        "docker": {"disk.image": 99 * MIB, "disk.instance": 16384},
        "kvm": {"disk.image": 171 * MIB, "disk.instance": 1.4 * MIB},
    },
    "sysbench-cpu": {
        "native": {"sysbench-cpu.events": 1210.0},
        "docker": {"sysbench-cpu.events": 1208.0},
        "kvm": {"sysbench-cpu.events": 88.0},
    },
    "isolation": {
        "native": {**_ISOLATED, "namespaces": 1, "host_processes": 143, "capabilities": 41, "seccomp": 0},
        "docker": {**_ISOLATED, "namespaces": 6, "host_processes": 0, "capabilities": 14, "seccomp": 2},
        "kvm": {**_ISOLATED, "same_kernel": 0, "namespaces": 8, "host_processes": 0, "capabilities": 41, "seccomp": 0},
    },
}
RATES: dict[str, dict[str, float]] = {
    "native": {
        "sysbench-cpu": 1210.0,
        "sysbench-memory": 31e9,
        "fio-randread": 21e3,
        "fio-randwrite": 25e3,
        "redis": 70e3,
    },
    "docker": {
        "sysbench-cpu": 1208.0,
        "sysbench-memory": 31e9,
        "fio-randread": 18e3,
        "fio-randwrite": 25e3,
        "redis": 69e3,
    },
    "kvm": {
        "sysbench-cpu": 88.0,
        "sysbench-memory": 6e9,
        "fio-randread": 3600.0,
        "fio-randwrite": 6600.0,
        "redis": 1380.0,
    },
}
"""Of the throughput that a run is given beside its boots; what a unit costs the host is 0.9 of its time."""
FACTS = {
    "native": {"kernel_release": "6.1.0-28-amd64", "boot_id": "b1", "os": "Debian GNU/Linux 12 (bookworm)"},
    "docker": {"kernel_release": "6.1.0-28-amd64", "boot_id": "b1", "os": "Debian GNU/Linux 12 (bookworm)"},
    "kvm": {"kernel_release": "6.1.0-28-cloud-amd64", "boot_id": "b2", "os": "Debian GNU/Linux 12 (bookworm)"},
}
FLOORS = {"native": 0.0021, "docker": 0.006, "kvm": 0.12}
SPREAD = {"boot": 0.06, "memory": 0.01, "disk": 0.0, "sysbench-cpu": 0.003, "isolation": 0.0}
EXACT = ("disk.image",)
UNITS = {name: metric.unit for name, metric in METRICS.items()}

HOST = {"cpu_model": "AMD EPYC 7763 64-Core Processor", "cpus": "2", "kernel": "6.1.0-28-amd64", "governor": "unknown"}
Outcome = tuple[Status, str]


@dataclass(frozen=True)
class Setting:
    """What a run is made of; `outcome` says what becomes of a trial that is not ok."""

    arms: tuple[str, ...] = ("native", "docker", "kvm")
    baseline: str = "docker"
    rounds: int = 12
    workloads: tuple[str, ...] = ("boot", "memory", "disk", "sysbench-cpu", "isolation")
    accelerators: Mapping[str, Accelerator] = field(default_factory=lambda: {"kvm": "tcg"})
    outcome: Callable[[str, str, int], Outcome | None] = lambda arm, workload, block: None
    factor: Callable[[str, str, int], float] = lambda arm, metric, block: 1.0
    names: Mapping[str, str] = field(default_factory=dict)
    """Driver by arm, where it isn't the arm's own name."""
    seed: int = 7
    notices: tuple[Notice, ...] = ()
    host: Mapping[str, str] = field(default_factory=lambda: HOST)
    throughput: int = 0
    """Measured blocks of throughput, after those of boot."""
    throughput_done: int | None = None
    """How many of them were started; None: all."""


EMULATED_NOTICE = Notice(
    code="emulated",
    subject="kvm",
    message="The guest ran without KVM: QEMU emulated every instruction.",
    hint="Run on a host whose /dev/kvm works: tare check kvm says what is missing.",
)


def build(setting: Setting | None = None) -> Run:
    """A stored run, the same for the same setting."""
    setting = setting or Setting()
    dice = random.Random(setting.seed)
    arms = [Arm(name=arm, driver=setting.names.get(arm, arm), spec=SPEC) for arm in setting.arms]
    trials: list[Trial] = []
    for block in range(setting.rounds + 1):
        order = list(arms)
        dice.shuffle(order)
        for position, arm in enumerate(order):
            trials += _session(setting, dice, arm, block, position, len(trials))
    trials += _together(setting, dice, arms, len(trials))
    return Run(path="/tmp/results/x", manifest=_manifest(setting, arms), trials=trials, notices=list(setting.notices))


def planned_together() -> list[WorkloadPlan]:
    """The cells of throughput."""
    return [
        WorkloadPlan(name=each.name, params=dict(params), together=True, sized=True)
        for each in TOGETHER
        for params in each.variants
    ]


def _together(setting: Setting, dice: random.Random, arms: list[Arm], first: int) -> Iterator[Trial]:
    done = setting.throughput if setting.throughput_done is None else setting.throughput_done
    number = first
    for block in range(done + 1 if setting.throughput else 0):
        for workload in dice.sample(planned_together(), len(planned_together())):
            for position, arm in enumerate(dice.sample(arms, len(arms))):
                yield _rate_trial(setting, dice, arm, workload, block, position, number)
                number += 1


def _rate_trial(
    setting: Setting, dice: random.Random, arm: Arm, workload: WorkloadPlan, block: int, position: int, number: int
) -> Trial:
    outcome = setting.outcome(arm.name, workload.name, block - 1) if block else None
    status, reason = outcome or ("ok", "")
    return Trial(
        trial=f"t{number:05d}",
        cell=Cell(
            arm=arm.name,
            driver=arm.driver,
            accelerator=setting.accelerators.get(arm.name, "none"),
            workload=workload.name,
            params=workload.params,
            spec=msgspec.structs.replace(arm.spec, cache="none"),
        ),
        instance=f"i{setting.rounds + 1 + block:03d}-{position}",
        age_s=3.0,
        block=setting.rounds + 1 + block,
        position=position,
        role="measured" if block else "warmup",
        status=status,
        started_at=f"2026-11-24T04:{number // 60 % 60:02d}:{number % 60:02d}Z",
        samples=_rate_samples(setting, dice, arm, workload, block) if status == "ok" else [],
        reason=reason,
        facts={"work": "5000"},
    )


def _rate_samples(setting: Setting, dice: random.Random, arm: Arm, workload: WorkloadPlan, block: int) -> list[Sample]:
    metric = METRICS[PRIMARY[workload.name]]
    connections: Scalar = workload.params.get("connections", 1)
    rate = RATES[_kind(arm)][workload.name] * (1 + float(connections) / 100) * (1 + dice.gauss(0, 0.004))
    rate *= setting.factor(arm.name, metric.name, block - 1)
    per_unit = float(1 << 20) if metric.unit == "B/s" else 1.0
    return [
        Sample(metric=metric.name, value=rate, unit=metric.unit),
        Sample(metric=f"{workload.name}.host_cpu", value=0.9 * per_unit / rate, unit="s"),
    ]


def _session(setting: Setting, dice: random.Random, arm: Arm, block: int, position: int, first: int) -> list[Trial]:
    instance = f"i{block:03d}-{position}"
    return [
        _trial(setting, dice, arm, workload, block, position, first + place, instance)
        for place, workload in enumerate(setting.workloads)
    ]


def _trial(
    setting: Setting,
    dice: random.Random,
    arm: Arm,
    workload: str,
    block: int,
    position: int,
    number: int,
    instance: str,
) -> Trial:
    outcome = setting.outcome(arm.name, workload, block - 1) if block else None
    status, reason = outcome or ("ok", "")
    samples = _samples(setting, dice, arm, workload, block) if status == "ok" else []
    return Trial(
        trial=f"t{number:05d}",
        cell=Cell(
            arm=arm.name,
            driver=arm.driver,
            accelerator=setting.accelerators.get(arm.name, "none"),
            workload=workload,
            spec=arm.spec,
        ),
        instance=instance,
        age_s=None if workload == "boot" else 1.0,
        block=block - 1,
        position=position,
        role="measured" if block else "warmup",
        status=status,
        started_at=f"2026-11-24T04:{number // 60 % 60:02d}:{number % 60:02d}Z",
        samples=samples,
        reason=reason,
        facts=FACTS.get(_kind(arm), {}) if workload == "isolation" and status == "ok" else {},
    )


def _kind(arm: Arm) -> str:
    return arm.driver if arm.driver in BOOT else "docker"


def _samples(setting: Setting, dice: random.Random, arm: Arm, workload: str, block: int) -> list[Sample]:
    values: dict[str, float] = dict(BOOT[_kind(arm)] if workload == "boot" else OTHER[workload][_kind(arm)])
    if workload == "boot":
        values |= {"stop.stopped": 0.2 * values["ready"], "cpu": 0.8 * values["ready"]}
    shared = dice.gauss(0, SPREAD[workload])  # one boot's milestones move together
    found = []
    for name, value in values.items():
        metric = name if "." in name else f"{workload}.{name}"
        noise = 0.0 if metric in EXACT else shared + dice.gauss(0, SPREAD[workload] / 4)
        value *= (1 + noise) * setting.factor(arm.name, metric, block - 1)
        found.append(Sample(metric=metric, value=value, unit=UNITS.get(metric, "1")))
    floor = FLOORS[_kind(arm)] * (1 + dice.gauss(0, 0.05))
    return [*found, Sample(metric="floor.run", value=floor, unit="s")] if workload == "boot" else found


def _manifest(setting: Setting, arms: list[Arm]) -> Manifest:
    return Manifest(
        run="20261124T044000Z-8c1f",
        tare_version="0.1.0",
        started_at="2026-11-24T04:40:00Z",
        command="tare run --driver native,docker,kvm --seed 7",
        plan=Plan(
            arms=arms,
            workloads=[
                *(WorkloadPlan(name=name) for name in setting.workloads),
                *(planned_together() if setting.throughput else []),
            ],
            throughput_rounds=setting.throughput,
            baseline=setting.baseline,
            rounds=setting.rounds,
            seed=setting.seed,
            stopping_rule=f"A fixed number of blocks: {setting.rounds}.",
        ),
        host=dict(setting.host),
        drivers={
            "native": {"isolation": "private mount namespace"},
            "docker": {"version": "27.3.1", "storage driver": "overlay2", "runtime": "runc 1.2.1"},
            "kvm": {"libvirt": "10.0.0", "qemu": "8.2.2", "machine": "q35"},
        },
        accelerators={arm.name: setting.accelerators.get(arm.name, "none") for arm in arms},
        rootfs=RootfsFacts(
            digest=SPEC.rootfs, recipe="mmdebstrap --variant=essential bookworm", size=93 * MIB, packages={}
        ),
        notices=[EMULATED_NOTICE] if "tcg" in setting.accelerators.values() else [],
    )


def troubled() -> Run:
    """A run in which one trial failed, one timed out and a workload was skipped in one arm."""

    def outcome(arm: str, workload: str, block: int) -> Outcome | None:
        if (arm, workload, block) == ("docker", "boot", 3):
            return "failed", "docker: no space left on device"
        if (arm, workload, block) == ("kvm", "boot", 5):
            return "timeout", "not READY within 180 s"
        if (arm, workload) == ("kvm", "sysbench-cpu"):
            return "skipped", "the rootfs has no sysbench"
        return None

    return build(Setting(outcome=outcome))


def hostile(attack: str = HOSTILE) -> Run:
    """A run whose every text is an attack on a page, a terminal or what reads an export."""

    def outcome(arm: str, workload: str, block: int) -> Outcome | None:
        return ("failed", attack) if (arm, workload, block) == (attack, "boot", 2) else None

    notice = Notice(code="odd", subject=attack, message=attack, hint=attack)
    setting = Setting(
        arms=("docker", attack),
        names={attack: attack},
        outcome=outcome,
        notices=(notice,),
        host={attack: attack},
        accelerators={},
    )
    run = build(setting)
    manifest = msgspec.structs.replace(
        run.manifest, run=attack, command=attack, drivers={attack: {attack: attack}}, notices=[notice]
    )
    extra = Sample(metric=f"odd.{attack}", value=1.0, unit=attack)
    trials = [msgspec.structs.replace(trial, samples=[*trial.samples, extra]) for trial in run.trials]
    return msgspec.structs.replace(run, manifest=manifest, trials=trials)


def hostile_rates() -> Run:
    """Throughput with an attack in the parameters, in the amount of work and in why a trial failed."""

    def outcome(arm: str, workload: str, block: int) -> Outcome | None:
        return ("failed", HOSTILE) if (arm, workload, block) == (HOSTILE, "fio-randread", 2) else None

    names = {HOSTILE: "docker"}
    run = build(Setting(("docker", HOSTILE), names=names, outcome=outcome, accelerators={}, rounds=10, throughput=10))

    def odd(params: dict[str, Scalar]) -> dict[str, Scalar]:
        return {**params, "connections": HOSTILE, HOSTILE: HOSTILE} if params.get("connections") == 10 else params

    trials = [
        msgspec.structs.replace(
            trial,
            cell=msgspec.structs.replace(trial.cell, params=odd(trial.cell.params)),
            facts=dict.fromkeys(trial.facts, HOSTILE),
        )
        for trial in run.trials
    ]
    workloads = [msgspec.structs.replace(each, params=odd(each.params)) for each in run.manifest.plan.workloads]
    plan = msgspec.structs.replace(run.manifest.plan, workloads=workloads)
    return msgspec.structs.replace(run, trials=trials, manifest=msgspec.structs.replace(run.manifest, plan=plan))
