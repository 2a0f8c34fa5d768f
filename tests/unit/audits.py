"""What was read of native, docker and kvm, as it is stored: a fair run's, and what can be made of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from runs import HOSTILE, SPEC, Setting, build
from tare_bench.audit import WORKLOAD
from tare_bench.model import INHERENT, UNLIMITED, Accelerator, Cell, Run, Status, Trial

MIB = 1 << 20
KERNEL = "6.1.0-28-amd64"

SHARED = {
    "engine.vcpus": "1",
    "engine.cpus": "1",
    "engine.quota": UNLIMITED,
    "engine.memory": str(512 * MIB),
    "engine.swap": "0",
    "engine.processes": UNLIMITED,
    "engine.network": "none",
    "engine.storage": "ext4 rw relatime on 254:0",
    "inside.cpus": "1",
    "inside.cpu": "AMD EPYC 7763",
    "inside.kernel": KERNEL,
    "inside.kernel build": "#1 SMP Debian",
    "inside.mitigations": "meltdown: Not affected\nspectre_v2: Mitigation: Retpolines",
    "inside.transparent hugepages": "always",
    "inside.clocksource": "tsc",
    "inside.mount /tmp": "tmpfs rw relatime",
    "inside.limits": "open files: 1024 of 1048576\nprocesses: 96364 of 96364\ncore file size: 0 of 0",
    "inside.user": "0 0 0 0 0 0 0 0 0022",
    "inside.network": "none",
    "inside.payload": "fio: aaaa\nsh: bbbb",
    "inside.environment": "HOME=/\nPATH=/bin",
}
GOT: Mapping[str, Mapping[str, str]] = {
    "native": SHARED
    | {
        "engine.kind": "process",
        "engine.network": "host",
        "engine.disk cache": INHERENT,
        "engine.disk io": INHERENT,
        "inside.memory": str(24 << 30),
        "inside.network": "eth0",
        "inside.mount /": "ext4 ro relatime",
        "inside.mount /work": "ext4 rw relatime",
    },
    "docker": SHARED
    | {
        "engine.kind": "container",
        "engine.disk cache": INHERENT,
        "engine.disk io": INHERENT,
        "inside.memory": str(24 << 30),
        "inside.memory limit": str(512 * MIB),
        "inside.mount /": "overlay rw relatime",
        "inside.mount /work": "overlay rw relatime",
    },
    "kvm": SHARED
    | {
        "engine.kind": "vm",
        "engine.disk cache": "writeback",
        "engine.disk io": "threads",
        "engine.swap": str(1 << 30),
        "inside.memory": str(470 * MIB),
        "inside.clocksource": "kvm-clock",
        "inside.mount /": "ext4 rw relatime",
        "inside.mount /work": "ext4 rw relatime",
        "inside.limits": "open files: 1024 of 4096\nprocesses: 1890 of 1890\ncore file size: 0 of 0",
    },
}


def reading(number: int, arm: str, *, facts: Mapping[str, str] | None = None, status: Status = "ok") -> Trial:
    cell = Cell(arm=arm, driver=arm, accelerator="none", workload=WORKLOAD, spec=SPEC)
    return Trial(
        trial=f"a{number}",
        cell=cell,
        instance="i",
        age_s=0.1,
        block=1,
        position=0,
        role="measured",
        status=status,
        started_at="",
        facts=dict(GOT[arm] if facts is None else facts),
    )


def audited(*trials: Trial, accelerator: Accelerator = "tcg") -> Run:
    """A run of native, docker and an emulated kvm with these readings."""
    run = build(Setting(rounds=1, accelerators={"kvm": accelerator}))
    return msgspec.structs.replace(run, trials=[*run.trials, *trials])


def hostile_audit() -> Run:
    """Readings that want to be something else."""
    odd = {key: f"{HOSTILE}\n{key}" for key in GOT["kvm"]}
    return audited(reading(1, "native", facts=odd), reading(2, "docker"), reading(3, "kvm", facts=odd))
