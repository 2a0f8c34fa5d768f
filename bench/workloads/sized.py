"""Throughput: a fixed amount of work, the same for every arm, and the time that a tool says it took.

How much is found out once, in the warm-up: enough for the tool's own clock to tell on the fastest arm, and not so much
that the slowest takes long.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from .. import footprint, pagecache
from ..errors import InstanceError
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Skipped, Workload, accounts

AIM_SECONDS = 0.5
"""What the work is to take on the fastest arm, where the slowest arm's limit allows that."""
MOST_SECONDS = 0.75
"""What it may take on the slowest arm."""
LEAST_RESOLUTIONS = 100
"""The least that it takes on the fastest arm, in steps of the tool's own clock; this goes before the limit."""
ENOUGH_SECONDS = 0.1
"""How long a try must take for its rate to be taken for the arm's."""
GROWTH = 20
"""By how much one try is larger than the last, at most."""

NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a tool printed."""

    seconds: float
    """By the tool's own clock, for the work alone."""
    values: Mapping[str, float]
    """By metric name."""


def host_cpu(workload: str, unit_of_work: str) -> Metric:
    """The metric that stands beside each rate: what a unit of work costs the host."""
    return Metric(
        name=f"{workload}.host_cpu",
        unit="s",
        better="lower",
        title=f"Host CPU for each {unit_of_work}",
        definition=f"Host CPU seconds of the instance, its VMM and the engine (their control groups and process CPU "
        f"clocks) for each {unit_of_work}, from the host's RUN to its DONE: the tool's own start is part of it.",
    )


class SizedWorkload(Workload):
    """A program of the rootfs that is told how much to do, run through the agent with the same argv everywhere."""

    program: ClassVar[str]
    first: ClassVar[int]
    """The amount of work of the first try: it takes milliseconds."""
    step: ClassVar[float]
    """Seconds: what the tool's own clock can tell apart."""
    cost: ClassVar[Metric]
    """The `host_cpu` metric."""
    writes: ClassVar[bool] = False
    """Whether what it wrote is to be on the disk before the next trial."""
    deadline: ClassVar[float] = 60.0
    together = True

    def prepare(self, params: Mapping[str, Scalar]) -> str:
        """The shell command that is run once in an instance before, untimed; empty: none."""
        return ""

    def prepared(self, live: Live, params: Mapping[str, Scalar]) -> str:
        """That, in this instance."""
        return self.prepare(params)

    @abstractmethod
    def command(self, params: Mapping[str, Scalar], work: int) -> str:
        """The shell command that does that much work."""

    @abstractmethod
    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        """What it printed. Raises ValueError where that is not what it should be."""

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        return self.size(live, params)[0]

    def size(self, live: Live, params: Mapping[str, Scalar]) -> tuple[Measured, float]:
        """Try growing amounts until one takes long enough; that one's values, and the rate in work a second."""
        work = self.first
        while True:
            measured, seconds = self._run(live, params, work)
            if seconds >= max(ENOUGH_SECONDS, LEAST_RESOLUTIONS * self.step / 2):
                return measured, work / seconds
            aim = 2 * ENOUGH_SECONDS / max(seconds, self.step)
            work = math.ceil(work * min(GROWTH, max(2.0, aim)))

    def measure_work(self, live: Live, params: Mapping[str, Scalar], work: int) -> Measured:
        """Do that much. Raises as `measure` does."""
        return self._run(live, params, work)[0]

    def _run(self, live: Live, params: Mapping[str, Scalar], work: int) -> tuple[Measured, float]:
        self._prepare(live, params)
        cold = pagecache.cold_storage(live) if self.direct else {}
        before = cpu_seconds(live)
        printed = self.done(live, params, work)
        text = printed.decode(errors="replace")
        spent = spent_since(before, live)
        measured = Measured(artifacts={f"{self.name}.txt": printed}, facts={"work": str(work)} | cold)
        try:
            parsed = self.parse(text, params, work)
        except (ValueError, KeyError) as error:
            brief = f"What {self.program} printed was not understood: {error}"
            raise InstanceError(brief, details=text[-1500:]) from None
        for metric in self.metrics:
            if metric.name in parsed.values:
                value = parsed.values[metric.name]
                share = self.step / max(parsed.seconds, self.step) if metric.unit.endswith("/s") else 0.0
                measured.add(metric, value, error=value * share or None)
        if spent is not None:
            measured.add(self.cost, spent / work)
        if self.writes:
            live.run("sync", seconds=self.deadline).checked()
        return measured, parsed.seconds

    def done(self, live: Live, params: Mapping[str, Scalar], work: int) -> bytes:
        """Have it done, and return what the tool printed. Raises as `measure` does."""
        answer = live.run(self.command(params, work), seconds=self.deadline)
        if answer.status == NOT_FOUND:
            raise Skipped(f"The rootfs has no `{self.program}`.")
        return answer.checked().stdout

    def _prepare(self, live: Live, params: Mapping[str, Scalar]) -> None:
        command = self.prepared(live, params)
        if command and command not in live.prepared:
            answer = live.run(command, seconds=self.deadline)
            if answer.status == NOT_FOUND:
                raise Skipped(f"The rootfs has no `{self.program}`.")
            answer.checked()
            live.prepared.add(command)


def cpu_seconds(live: Live) -> float | None:
    """What the instance has cost the host's CPUs so far; None where that cannot be read."""
    try:
        return footprint.cpu_seconds(accounts(live))
    except Skipped:
        return None


def spent_since(before: float | None, live: Live) -> float | None:
    """The CPU seconds since then; None where they cannot be told, as where a process ended and took its own along."""
    now = cpu_seconds(live) if before is not None else None
    return now - before if now is not None and before is not None and now >= before else None


@dataclass(slots=True)
class Sizing:
    """The amount of work of each workload, from the rates that its arms had in the warm-up."""

    _rates: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: str, rate: float) -> None:
        """One arm's rate, in work a second; `key` names the workload with its parameters."""
        self._rates.setdefault(key, []).append(rate)

    def work(self, key: str, step: float) -> int | None:
        """What every arm is given, to two digits; None where no arm could be sized.

        `step` is what the tool's clock can tell apart, in seconds.
        """
        rates = self._rates.get(key)
        if not rates:
            return None
        wished = min(AIM_SECONDS * max(rates), MOST_SECONDS * min(rates))
        work = max(wished, LEAST_RESOLUTIONS * step * max(rates))
        digits = max(0, math.floor(math.log10(max(work, 1))) - 1)
        return max(1, int(round(work, -digits)))
