"""A plan spread out: which arm runs when, in which block, with which workloads. Pure."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
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
    """The blocks of a plan in their order: boot's warm-up and measured ones, then throughput's, then the crowds'."""
    return Maker(plan).planned()


class Maker:
    """Makes blocks, each with an order of its arms from the plan's seed.

    Over the blocks every arm follows every other equally often (`orders`), so that drift hits all alike and none always
    comes after the same one.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dice = random.Random(plan.seed)
        self._arms = {arm.name: arm for arm in plan.every_arm}
        self._orders: dict[str, Iterator[list[str]]] = {}
        self.made: dict[BlockKind, int] = defaultdict(int)
        """How many measured blocks of each kind there are."""
        self._index = 0

    def planned(self) -> Iterator[Block]:
        """Those that the plan has whatever they show."""
        plan = self._plan
        alone = [each for each in plan.workloads if kind_of(each) == "boot" and each.name != BOOT]
        together = [each for each in plan.workloads if each.together]
        crowds = [each for each in plan.workloads if each.crowd]
        for _ in range(plan.warmup):
            yield self.block("boot", "warmup", [each for each in alone if each.sized])
        for number in range(plan.rounds):
            yield self.block("boot", "measured", _due(plan, alone, number))
        if together:
            for _ in range(plan.throughput_warmup):
                yield self.block("throughput", "warmup", together)
            for number in range(plan.throughput_rounds):
                if chosen := _due(plan, together, number):
                    yield self.block("throughput", "measured", chosen)
        for number in range(max(map(plan.times, crowds), default=0)):
            yield self.block("crowd", "measured", [each for each in crowds if number < plan.times(each)])

    def block(
        self, kind: BlockKind, role: Role, workloads: Sequence[WorkloadPlan], arms: Collection[str] | None = None
    ) -> Block:
        """One more block: of these arms, or of all. Twins are in blocks of boot only, and boot alone."""
        index, self._index = self._index, self._index + 1
        if role == "measured":
            self.made[kind] += 1
        twins = self._plan.twins if kind == "boot" else {}
        names = [*(arm.name for arm in self._plan.arms), *twins]
        wanted = [name for name in names if arms is None or twins.get(name, name) in arms]
        order = self._next(kind, names, wanted)
        sessions = tuple(
            Session(self._arms[name], index, position, role, () if name in twins else tuple(workloads))
            for position, name in enumerate(order)
        )
        return Block(index, role, sessions, kind, () if kind == "boot" else self._turns(workloads, names, wanted))

    def _turns(
        self, workloads: Sequence[WorkloadPlan], names: Sequence[str], wanted: Sequence[str]
    ) -> tuple[Turn, ...]:
        order = self._dice.sample(workloads, len(workloads))
        return tuple(Turn(each, tuple(self._next(each.key, names, wanted))) for each in order)

    def _next(self, stream: str, names: Sequence[str], wanted: Sequence[str]) -> list[str]:
        if stream not in self._orders:
            self._orders[stream] = orders(names, self._dice)
        return [name for name in next(self._orders[stream]) if name in wanted]


def orders(names: Sequence[str], dice: random.Random) -> Iterator[list[str]]:
    """Orders of these without end: the rows of Williams squares, with the names and the rows shuffled for each square.

    In a square every name stands equally often at every place and directly after every other (Williams 1949: for an odd
    number of them the rows are there a second time, reversed).
    """
    count = len(names)
    first = [place // 2 if place % 2 == 0 else count - 1 - place // 2 for place in range(count)]
    rows = [[(each + step) % count for each in first] for step in range(count)]
    rows += [row[::-1] for row in rows] if count % 2 and count > 1 else []
    while True:
        shuffled = dice.sample(list(names), count)
        for row in dice.sample(rows, len(rows)):
            yield [shuffled[each] for each in row]


def kind_of(workload: WorkloadPlan) -> BlockKind:
    """The blocks that a workload runs in."""
    return "crowd" if workload.crowd else "throughput" if workload.together else "boot"


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
