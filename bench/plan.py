"""A plan spread out: which arm runs when, in which block, with which workloads. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from .model import Arm, Plan, Role, WorkloadPlan

BOOT = "boot"
STOP = "stop"
MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Session:
    """One instance's life: one boot, then its trials, then its stop."""

    arm: Arm
    block: int
    """From 0; warm-up blocks come first and count too."""
    position: int
    role: Role
    workloads: tuple[WorkloadPlan, ...]
    """After the boot, in this order."""

    @property
    def name(self) -> str:
        """The instance's id: unique in its run, and short, since it is part of a socket's path."""
        return f"b{self.block}p{self.position}"


@dataclass(frozen=True, slots=True)
class Block:
    """One pass over all arms in a seeded random order."""

    index: int
    role: Role
    sessions: tuple[Session, ...]


def blocks(plan: Plan) -> Iterator[Block]:
    """The blocks of a plan in their order: the warm-up's, then the measured ones.

    The order of the arms in a block is a shuffle from the plan's seed, a fresh one for each block, so that drift hits
    all arms alike and none always follows the same one.
    """
    shuffle = random.Random(plan.seed)
    for index in range(plan.warmup + plan.rounds):
        arms = list(plan.arms)
        shuffle.shuffle(arms)
        role: Role = "warmup" if index < plan.warmup else "measured"
        chosen = _workloads(plan, index - plan.warmup) if role == "measured" else ()
        sessions = (Session(arm, index, position, role, chosen) for position, arm in enumerate(arms))
        yield Block(index, role, tuple(sessions))


def _workloads(plan: Plan, measured: int) -> tuple[WorkloadPlan, ...]:
    """Those that this measured block (from 0) has after its boots: one that runs in some is spread evenly."""
    chosen = []
    for workload in plan.workloads:
        times = plan.rounds if workload.blocks is None else min(workload.blocks, plan.rounds)
        due = (measured + 1) * times // plan.rounds > measured * times // plan.rounds
        if workload.name != BOOT and due:
            chosen.append(workload)
    # Idle memory is that of a fresh instance at a fixed age: whatever else there is comes after it.
    return tuple(sorted(chosen, key=lambda workload: workload.name != MEMORY))
