"""`storm`: many instances asked for at once. How many start in a second, and how long one of them then takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from .. import lifecycle
from ..clock import NS
from ..crowd import Crowd, CrowdWorkload
from ..launch import Launch
from ..metrics import CLOCK_TICK, Metric
from ..model import Scalar
from . import Measured, Skipped

PARALLEL = "parallel"
USUAL_MOST = 8
"""Instances at once, where nobody says how many."""

_AT_ONCE = "of `parallel` instances that are asked for at once"
RATE = Metric(
    name="storm.rate",
    unit="1/s",
    better="higher",
    title="Starts in a storm",
    definition=f"Starts each second {_AT_ONCE}: their number over the time from the first request to the moment at "
    "which the host has read the first byte of the last READY.",
)
READY = Metric(
    name="storm.ready",
    unit="s",
    better="lower",
    resolution=1e-4,
    title="Boot to ready in a storm",
    definition=f"Each from its own request to the first byte of its READY, {_AT_ONCE}; a storm's value is their "
    "median. The error is how late the one loop that reads them all was, at worst.",
)
SLOWEST = Metric(
    name="storm.slowest",
    unit="s",
    better="lower",
    resolution=1e-4,
    title="Slowest boot in a storm",
    definition=f"The longest time from its own request to the first byte of its READY, {_AT_ONCE}.",
)
CPU = Metric(
    name="storm.cpu",
    unit="s",
    better="lower",
    resolution=CLOCK_TICK,
    title="CPU time of a start in a storm",
    definition=f"Host CPU seconds for each {_AT_ONCE}, from the first request until all are ready and the calls that "
    "start them have returned: the change of the host's busy time in /proc/stat, less this program's own and less "
    "what the idle host spends; not given where the host was not quiet just before.",
)


class Storm(CrowdWorkload):
    """1, 2, 4, ... instances at once."""

    name = "storm"
    title = "1, 2, 4, ... instances asked for at once: how many start in a second, and how long one then takes"
    metrics = (RATE, READY, SLOWEST, CPU)
    primary = RATE.name
    usual_blocks = 3
    limit = PARALLEL
    seconds = 4.0

    @classmethod
    def up_to(cls, most: int) -> Iterable[Mapping[str, Scalar]]:
        """Powers of two, and the last one whatever it is."""
        counts = [1 << power for power in range(most.bit_length()) if 1 << power < most]
        return [{cls.limit: count} for count in (*counts, most)]

    variants = ({PARALLEL: 1}, {PARALLEL: 2}, {PARALLEL: 4}, {PARALLEL: USUAL_MOST})

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        count = int(params[PARALLEL])
        left = crowd.memory()
        if not left.holds(count, crowd.weight):
            raise Skipped(
                f"{count} instances may take {count * crowd.weight >> 20} MiB, and only {max(0, left.spare) >> 20} MiB "
                "can be spared.",
                hint="Less `memory` for an instance, or a smaller --parallel.",
            )
        with crowd.at_once(count) as storm:
            busy, own = crowd.clock.busy(), time.process_time()
            storm.start()
            measured = _measured(storm, _spent(crowd, busy, storm))
            measured.facts["harness_cpu"] = f"{time.process_time() - own:.4f}"
            for live in storm.lives:
                live.run("true", seconds=30).checked()
                lifecycle.verify(live, crowd.accelerator)
        return measured


def _first_request(storm: Launch) -> int:
    return min(live.requested_at for live in storm.lives)


def _last_ready(storm: Launch) -> int:
    return max(live.ready_at for live in storm.lives)


def _spent(crowd: Crowd, before: float | None, storm: Launch) -> float | None:
    """Host CPU seconds of all starts; None where they cannot be told."""
    after = crowd.clock.busy()
    if before is None or after is None or crowd.idle_rate is None:
        return None
    spent = after - before - crowd.idle_rate * (crowd.clock.now() - _first_request(storm)) / NS
    return spent if spent > 0 else None  # less than the clock's tick can tell is not a zero


def _measured(storm: Launch, cpu: float | None) -> Measured:
    measured, count = Measured(), len(storm.lives)
    first, each = _first_request(storm), [live.since_request()["ready"] for live in storm.lives]
    took = (_last_ready(storm) - first) / NS
    measured.add(RATE, count / took, error=count / took * storm.lag / took)
    for seconds in each:
        measured.add(READY, seconds, error=storm.lag)
    measured.add(SLOWEST, max(each), error=storm.lag)
    if cpu is not None:
        measured.add(CPU, cpu / count)
    asked = max(live.requested_at for live in storm.lives) - first
    measured.facts["asked_within"] = f"{asked / NS:.4f}"
    measured.facts["read_late"] = f"{storm.lag:.4f}"
    return measured
