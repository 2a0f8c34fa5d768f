"""`sysbench-cpu`: prime numbers, one thread, for a second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..metrics import Metric
from ..model import Scalar
from .command import CommandWorkload

_RATE = re.compile(r"events per second:\s*([\d.]+)")

EVENTS = Metric(
    name="sysbench-cpu.events",
    unit="1/s",
    better="higher",
    resolution=0.01,
    title="CPU (sysbench)",
    definition="Events (all primes up to 10000 found by trial division) for each second, one thread, by sysbench's "
    "own clock inside the instance.",
)


class SysbenchCpu(CommandWorkload):
    """Computing that never leaves the CPU."""

    name = "sysbench-cpu"
    title = "prime numbers by sysbench, one thread, 1 s"
    program = "sysbench"
    metrics = (EVENTS,)
    primary = EVENTS.name
    seconds = 1.2

    def argv(self, params: Mapping[str, Scalar]) -> Sequence[str]:
        return ["sysbench", "cpu", "--threads=1", "--time=1", "run"]

    def parse(self, stdout: str) -> dict[str, float]:
        found = _RATE.search(stdout)
        if found is None or float(found.group(1)) <= 0:
            raise ValueError("no events per second")
        return {EVENTS.name: float(found.group(1))}
