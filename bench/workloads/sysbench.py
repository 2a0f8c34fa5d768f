"""`sysbench-cpu` and `sysbench-memory`: computing, and writing to memory."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..metrics import Metric
from ..model import Scalar
from .sized import Parsed, SizedWorkload, host_cpu

STEP = 1e-4
"""Seconds: sysbench prints its total time with four digits."""

_TOTAL = re.compile(r"total time:\s*([\d.]+)s")
_EVENTS = re.compile(r"total number of events:\s*(\d+)")

EVENTS = Metric(
    name="sysbench-cpu.events",
    unit="1/s",
    better="higher",
    title="CPU (sysbench)",
    definition="Events (all primes up to 10000 found by trial division) for each second of sysbench's own clock inside "
    "the instance: a fixed number of them, by `threads` threads.",
)
RATE = Metric(
    name="sysbench-memory.rate",
    unit="B/s",
    better="higher",
    title="Memory writes (sysbench)",
    definition="Bytes written to memory for each second of sysbench's own clock inside the instance: a fixed number of "
    "blocks of 1 MiB, one after the other into one buffer, by one thread. The buffer fits into a CPU's cache.",
)


def total(stdout: str, work: int) -> float:
    """The seconds that sysbench took. Raises ValueError where it did less than it was asked to."""
    seconds, events = _TOTAL.search(stdout), _EVENTS.search(stdout)
    if seconds is None or events is None:
        raise ValueError("no total time and number of events")
    if int(events.group(1)) != work:
        raise ValueError(f"{events.group(1)} events instead of {work}")
    return max(float(seconds.group(1)), STEP)


class SysbenchCpu(SizedWorkload):
    """Computing that never leaves the CPU."""

    name = "sysbench-cpu"
    title = "prime numbers by sysbench; 1 thread, in the suite `full` as many as there are vCPUs, too"
    program = "sysbench"
    cost = host_cpu("sysbench-cpu", "event")
    metrics = (EVENTS, cost)
    primary = EVENTS.name
    spread = 0.02
    variants = ({"threads": 1},)
    full_variants = ({"threads": "all"},)
    first, step = 50, STEP
    seconds = 0.45

    def command(self, params: Mapping[str, Scalar], work: int) -> str:
        threads = params.get("threads", 1)
        count = "$(nproc)" if threads == "all" else threads
        return f"sysbench cpu --threads={count} --events={work} --time=0 run"

    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        seconds = total(stdout, work)
        return Parsed(seconds, {EVENTS.name: work / seconds})


class SysbenchMemory(SizedWorkload):
    """Writing to memory: what an emulator or a nested page table makes of it."""

    name = "sysbench-memory"
    title = "writing blocks of 1 MiB to memory by sysbench, one thread"
    program = "sysbench"
    cost = host_cpu("sysbench-memory", "MiB")
    metrics = (RATE, cost)
    primary = RATE.name
    spread = 0.01
    first, step = 100, STEP
    seconds = 0.45

    def command(self, params: Mapping[str, Scalar], work: int) -> str:
        return f"sysbench memory --threads=1 --memory-block-size=1M --memory-total-size={work}M --time=0 run"

    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        seconds = total(stdout, work)
        return Parsed(seconds, {RATE.name: work * (1 << 20) / seconds})
