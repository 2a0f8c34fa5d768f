"""`memory`: what an idle instance holds of the host's memory, at READY + 1.0 s, for all alike."""

from __future__ import annotations

from collections.abc import Mapping

from .. import footprint
from ..clock import NS, sleep_until
from ..errors import InstanceError
from ..lifecycle import Live
from ..metrics import MEMORY
from ..model import Scalar
from . import Measured, Skipped, Workload, accounts

IDLE_SECONDS = 1.0

_BY_ROW = {metric.name.removeprefix("memory."): metric for metric in MEMORY}


class Memory(Workload):
    """Idle memory, by process and by cgroup."""

    name = "memory"
    title = "memory of an idle instance at READY + 1.0 s: PSS of all that exists because of it, and its cgroup"
    primary = "memory.pss"
    seconds = IDLE_SECONDS

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        where = accounts(live)
        sleep_until(live.clock, live.ready_at + int(IDLE_SECONDS * NS))
        read = footprint.memory(where)
        if not read.processes and not read.unreadable:
            raise InstanceError("The instance has no process whose memory could be read.")
        if not read.rows:
            raise Skipped("Not available: its processes' memory needs root, and no cgroup accounts for it.")
        measured = Measured()
        for row, value in read.rows.items():
            measured.add(_BY_ROW[row], float(value))
        measured.facts["processes"] = ", ".join(f"{name} {pss}" for name, pss in read.processes)
        if read.unreadable:
            measured.facts["unreadable"] = f"{read.unreadable} processes: needs root"
        return measured
