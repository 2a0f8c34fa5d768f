"""`memory-ramp`: what an instance takes of the host's available memory, by the slope of a ramp up and down.

The ramp is the trial. Errors within one are a random walk, so that a fit's own interval would be wrong: the interval is
that of several ramps' slopes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from .. import footprint, headroom, processes, reconcile
from ..clock import NS, sleep_until
from ..crowd import Crowd, CrowdWorkload
from ..driver import Accounts, Kind
from ..lifecycle import Live
from ..metrics import MEMORY
from ..model import Scalar
from . import Measured, Skipped, accounts
from .memory import IDLE_SECONDS

MOST = 64
MOST_GUESTS = 8
STEPS = 8
"""Readings on the way up, and as many on the way down."""
LEAST = 2
MARGIN = 1.5
"""How much more than those before it one more instance may take."""

HOST = {
    "anon": "AnonPages",
    "shmem": "Shmem",
    "slab": "SUnreclaim",
    "tables": "PageTables",
    "stacks": "KernelStack",
    "percpu": "Percpu",
}
"""What of the host's memory cannot be dropped, by line of /proc/meminfo: read beside, to explain the slope."""

AVAILABLE = msgspec.structs.replace(
    MEMORY[0],
    name="memory.available",
    title="Memory taken from the host",
    definition="What one more idle instance takes of the host's MemAvailable: the slope, by least squares, of a ramp "
    "of instances up and down, read when the newest is 1.0 s old and 1.0 s after the last was removed. One ramp is one "
    f"value. Up to {MOST} containers or processes, {MOST_GUESTS} guests, and as memory permits.",
)
ENGINE = msgspec.structs.replace(
    MEMORY[0],
    name="memory.engine",
    title="Engine's daemons, for each instance",
    definition="By how much the PSS of the engine's daemons grows with one more instance: the slope over the same "
    "ramps. Not there where no daemon serves the instances, or where it cannot be told which.",
)


@dataclass(frozen=True, slots=True)
class Point:
    """The host's memory with so many instances; bytes."""

    instances: int
    bytes: Mapping[str, int]
    """`available`; `tare`, this program's own PSS; `engine`, its daemons'; and those of HOST."""


@dataclass(slots=True)
class _Ramp:
    """One ramp in progress."""

    crowd: Crowd
    goal: int
    up: list[ExitStack] = field(default_factory=list)
    """Each instance's own end, the newest last."""
    live: list[Live] = field(default_factory=list)
    where: Accounts | None = None
    points: list[Point] = field(default_factory=list)
    held: list[footprint.MemoryReading] = field(default_factory=list)
    """What each instance held at the top."""

    def climb(self, stack: ExitStack) -> None:
        """Up, as far as the host's memory goes."""
        self.look()
        step = max(1, self.goal // STEPS)
        while len(self.live) < self.goal and self._room():
            self._start(stack)
            if len(self.live) % step == 0 or len(self.live) == self.goal or not self._room():
                sleep_until(self.crowd.clock, self.live[-1].ready_at + int(IDLE_SECONDS * NS))
                self.look()

    def descend(self) -> None:
        """Down, by the same numbers."""
        for instances in [point.instances for point in self.points[-2::-1]]:
            while len(self.live) > instances:
                self.live.pop()
                self.up.pop().close()
            processes.reap_orphans()
            sleep_until(self.crowd.clock, self.crowd.clock.now() + int(IDLE_SECONDS * NS))
            self.look()

    def _start(self, stack: ExitStack) -> None:
        own = stack.enter_context(ExitStack())
        live = own.enter_context(self.crowd.created())
        self.crowd.boot(live)
        if self.where is None:
            self.where = accounts(live)
        self.up.append(own)
        self.live.append(live)

    def look(self) -> None:
        """One reading, of what lives now."""
        read = headroom.host()
        lines = {"available": "MemAvailable", **HOST}
        values = {name: read[line] for name, line in lines.items() if line in read}
        own, engine = footprint.pss([os.getpid()]), footprint.pss(self.where.engine if self.where else ())
        values |= {key: value for key, value in (("tare", own), ("engine", engine)) if value is not None}
        self.points.append(Point(len(self.live), values))

    def _room(self) -> bool:
        """Whether one more leaves the host what it must keep. The first may take all that it is given."""
        left, there = self.crowd.memory(), len(self.live)
        taken = (self.points[0].bytes["available"] - left.available) / there if there else 0.0
        return left.holds(1, int(MARGIN * taken) if taken > 0 else self.crowd.spec.memory)

    def weigh(self) -> None:
        """What each of them holds at the top, once all have been seen to be alive."""
        for live in self.live:
            live.run("true", seconds=30).checked()
        self.held = [footprint.memory(accounts(live)) for live in self.live]


class MemoryRamp(CrowdWorkload):
    """Ramps of idle instances."""

    name = "memory-ramp"
    title = "what one more idle instance takes of the host's memory: ramps of up to 64 containers or 8 guests"
    metrics = (AVAILABLE, ENGINE)
    primary = AVAILABLE.name
    usual_blocks: ClassVar[int] = 6
    variants = ({"most": MOST},)
    seconds = 45.0

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        most = int(params.get("most", MOST))
        ramp = _Ramp(crowd, min(most, MOST_GUESTS) if crowd.driver.kind is Kind.VM else most)
        with ExitStack() as stack:
            ramp.climb(stack)
            if len(ramp.live) < LEAST:
                raise Skipped(f"Not available: the host has too little memory for {LEAST} instances.")
            ramp.weigh()
            ramp.descend()
        return _measured(ramp)


def _measured(ramp: _Ramp) -> Measured:
    measured = Measured()
    top = max(point.instances for point in ramp.points)
    taken = _slope(ramp, "available")
    assert taken is not None
    measured.add(AVAILABLE, -taken)
    if (engine := _slope(ramp, "engine")) is not None:
        measured.add(ENGINE, engine)
    measured.facts["instances"] = str(top)
    measured.facts["ramp"] = json.dumps([{"instances": each.instances, **each.bytes} for each in ramp.points])
    if ramp.where is not None and ramp.where.guest_memory is not None:
        measured.facts["guest memory"] = str(ramp.where.guest_memory)
    if parts := _shared([each.parts() for each in ramp.held if not each.unreadable], top):
        measured.facts["parts"] = json.dumps(parts)
    if groups := _shared([{"cgroup": each.rows} for each in ramp.held], top):
        measured.facts["cgroup"] = json.dumps(groups["cgroup"])
    return measured


def _slope(ramp: _Ramp, key: str) -> float | None:
    return reconcile.slope((point.instances, point.bytes.get(key)) for point in ramp.points)


def _shared(readings: Sequence[Mapping[str, Mapping[str, int]]], number: int) -> dict[str, dict[str, float]]:
    """For each instance, in the mean: the sums of all, of which each has its share. Empty unless all were read."""
    if len(readings) < number:
        return {}
    total: dict[str, dict[str, float]] = {}
    for reading in readings:
        for part, values in reading.items():
            found = total.setdefault(part, {})
            for key, value in values.items():
                found[key] = found.get(key, 0.0) + value / number
    return total
