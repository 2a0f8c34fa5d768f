"""`density`: how many idle instances the host holds at once, filled one by one until a declared limit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..clock import NS
from ..crowd import Crowd, CrowdWorkload
from ..driver import Kind
from ..errors import InstanceError
from ..launch import leaves
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Skipped

MAX_INSTANCES = "max_instances"
USUAL_MOST = 16

PROBE_RUNS = 100
"""Empty commands in a round of the probe, through all instances in turn; each has at least one."""
PROBE_SECONDS = 3.0
"""After which a round ends, once each instance has had one."""
SLOWER, SLOW = 10.0, 0.050
"""Too slow: a round's p99 more than so many times the first instance's, and more than so many seconds."""

INSTANCES = Metric(
    name="density.instances",
    unit="1",
    better="higher",
    scale="exact",
    title="Idle instances at once",
    definition="How many idle instances were up at once, started one by one, before one of three limits came: "
    "`max_instances`; memory, where one more at its worst would leave less than 15 % of the host's, or 1 GiB, "
    f"available; or a round of {PROBE_RUNS} empty commands through all of them whose p99 was more than {SLOWER:.0f} "
    f"times that with one instance, and more than {1e3 * SLOW:.0f} ms. Where `max_instances` was the limit it says "
    "only that there is room.",
)
AVAILABLE = Metric(
    name="density.available",
    unit="B",
    better="lower",
    scale="exact",
    title="Host memory for an idle instance",
    definition="By how much the host's MemAvailable fell from before the first start to after the last round of "
    "commands, over the number of instances that were up then. Whatever else took or freed memory meanwhile is in it; "
    "not given where it did not fall.",
)


class Density(CrowdWorkload):
    """As many as fit."""

    name = "density"
    title = "starts idle instances until memory, their number or a probe's p99 says stop: how many were up at once"
    metrics = (INSTANCES, AVAILABLE)
    primary = INSTANCES.name
    variants = ({MAX_INSTANCES: USUAL_MOST},)
    limit = MAX_INSTANCES
    seconds = 30.0

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        filling = _Filling(crowd, int(params[MAX_INSTANCES]))
        before = crowd.memory().available
        try:
            with contextlib.ExitStack() as stack:
                stopped = filling.fill(stack)
                taken = before - crowd.memory().available
        except ExceptionGroup as group:
            errors = leaves(group)
            brief = f"{len(errors)} errors with {len(filling.lives)} instances up: {str(errors[0]).splitlines()[0]}"
            raise InstanceError(brief, details="\n".join(map(str, errors)), hint="tare sweep") from group
        return filling.measured(stopped, taken)


@dataclass(slots=True)
class _Filling:
    """One filling of the host."""

    crowd: Crowd
    most: int
    lives: list[Live] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    """Bytes of MemAvailable that each start took."""
    rounds: list[float] = field(default_factory=list)
    """The p99 of each round of the probe, in seconds."""

    def fill(self, stack: contextlib.ExitStack) -> str:
        """Start one after the other, and say why no further one was. Skipped where not even one fits."""
        while len(self.lives) < self.most:
            if why := self._no_room():
                if not self.lives:
                    raise Skipped(f"Not one instance fits: {why}.", hint="Less `memory` for an instance.")
                return f"memory: {why}"
            self._start(stack)
            self.rounds.append(p99(self._probe()))
            if too_slow(self.rounds[0], self.rounds[-1]):
                return f"probe: p99 {1e3 * self.rounds[-1]:.1f} ms, {1e3 * self.rounds[0]:.1f} ms with one instance"
        return f"{MAX_INSTANCES}: {self.most}"

    def _no_room(self) -> str:
        left, next_one = self.crowd.memory(), self._worst()
        if left.holds(1, next_one):
            return ""
        return (
            f"{left.available >> 20} MiB available, of which {left.floor >> 20} must stay, "
            f"and one more may take {next_one >> 20}"
        )

    def _worst(self) -> int:
        """A guest may take all of its memory; another instance what the dearest of the others took, if that is more."""
        light = self.crowd.driver.kind != Kind.VM
        return max(self.crowd.weight, *self.costs) if light and self.costs else self.crowd.weight

    def _start(self, stack: contextlib.ExitStack) -> None:
        before = self.crowd.memory().available
        live = stack.enter_context(self.crowd.created(turn=len(self.lives)))
        self.crowd.boot(live)
        self.lives.append(live)
        self.costs.append(before - self.crowd.memory().available)

    def _probe(self) -> list[float]:
        """Seconds of empty commands, through all instances in turn."""
        clock, took = self.crowd.clock, list[float]()
        until = clock.now() + int(PROBE_SECONDS * NS)
        while len(took) < PROBE_RUNS and (not took or clock.now() < until):
            took += [live.run("true", seconds=30).checked().seconds for live in self.lives]
        return took

    def measured(self, stopped: str, taken: int) -> Measured:
        """Those that were up while the probe was not too slow."""
        slow = stopped.startswith("probe")
        count = len(self.lives) - slow
        found = Measured(facts={"stopped": stopped})
        found.facts["probe_p99"] = " ".join(f"{seconds:.4f}" for seconds in self.rounds)
        found.add(INSTANCES, count)
        if taken > 0:  # less is what others have freed
            found.add(AVAILABLE, taken / len(self.lives))
        return found


def p99(values: Sequence[float]) -> float:
    """The value that 99 % are not above; of fewer than 100 values it is the greatest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def too_slow(first: float, now: float) -> bool:
    """The declared rule: much slower than with one instance, and slow as such."""
    return now > SLOWER * first and now > SLOW
