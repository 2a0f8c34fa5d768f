"""A plan spread out: which arm runs when, in which block, with which workloads. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .model import Arm, Plan, Role, WorkloadPlan

BlockKind = Literal["boot", "throughput", "crowd"]

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
class Turn:
    """One workload in a block of throughput: all arms do it, back to back."""

    workload: WorkloadPlan
    arms: tuple[str, ...]
    """Their names, in their order."""


@dataclass(frozen=True, slots=True)
class Block:
    """One pass over all arms in a seeded random order."""

    index: int
    role: Role
    sessions: tuple[Session, ...]
    kind: BlockKind = "boot"
    turns: tuple[Turn, ...] = ()
    """In a block of throughput: its instances are all started, then these are taken. In a block of crowds each turn
    starts its own. Empty in a block of boot, where an instance ends before the next one begins."""


def blocks(plan: Plan) -> Iterator[Block]:
    """The blocks of a plan in their order: boot's warm-up and measured ones, then throughput's, then the crowds'.

    The order of the arms in a block, and of a block's workloads, is a shuffle from the plan's seed, a fresh one each
    time, so that drift hits all arms alike and none always follows the same one.
    """
    shuffle = random.Random(plan.seed)
    alone = [each for each in plan.workloads if not each.together and not each.crowd and each.name != BOOT]
    together = [each for each in plan.workloads if each.together]
    crowds = [each for each in plan.workloads if each.crowd]
    index = 0
    for index in range(plan.warmup + plan.rounds):
        role: Role = "warmup" if index < plan.warmup else "measured"
        chosen = (
            _due(plan, alone, index - plan.warmup) if role == "measured" else [each for each in alone if each.sized]
        )
        yield Block(index, role, _sessions(plan, shuffle, index, role, chosen))
    for number in range(plan.throughput_warmup + plan.throughput_rounds if together else 0):
        index = plan.warmup + plan.rounds + number
        role = "warmup" if number < plan.throughput_warmup else "measured"
        chosen = _due(plan, together, number - plan.throughput_warmup) if role == "measured" else together
        if chosen:
            sessions = _sessions(plan, shuffle, index, role, chosen)
            yield Block(index, role, sessions, "throughput", _turns(plan, shuffle, chosen))
    for number in range(max(map(plan.times, crowds), default=0)):
        index += 1
        chosen = [each for each in crowds if number < plan.times(each)]
        sessions = _sessions(plan, shuffle, index, "measured", chosen)
        yield Block(index, "measured", sessions, "crowd", _turns(plan, shuffle, chosen))


def kind_of(workload: WorkloadPlan) -> BlockKind:
    """The blocks that a workload runs in."""
    return "crowd" if workload.crowd else "throughput" if workload.together else "boot"


def _sessions(
    plan: Plan, shuffle: random.Random, index: int, role: Role, chosen: Sequence[WorkloadPlan]
) -> tuple[Session, ...]:
    arms = list(plan.arms)
    shuffle.shuffle(arms)
    return tuple(Session(arm, index, position, role, tuple(chosen)) for position, arm in enumerate(arms))


def _turns(plan: Plan, shuffle: random.Random, chosen: Sequence[WorkloadPlan]) -> tuple[Turn, ...]:
    order = list(chosen)
    shuffle.shuffle(order)
    names = [arm.name for arm in plan.arms]
    return tuple(Turn(workload, tuple(shuffle.sample(names, len(names)))) for workload in order)


def _due(plan: Plan, workloads: Sequence[WorkloadPlan], measured: int) -> list[WorkloadPlan]:
    """Those that this measured block (from 0 of its kind) has: one that runs in some is spread evenly."""
    chosen = []
    for workload in workloads:
        most = plan.throughput_rounds if workload.together else plan.rounds
        times = plan.times(workload)
        if (measured + 1) * times // most > measured * times // most:
            chosen.append(workload)
    # Idle memory is that of a fresh instance at a fixed age: whatever else there is comes after it.
    return sorted(chosen, key=lambda workload: workload.name != MEMORY)
