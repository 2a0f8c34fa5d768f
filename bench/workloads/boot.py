"""`boot`: from asking for an instance to its first answer, and killing it again. Every session has one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from .. import footprint, lifecycle
from ..lifecycle import Live
from ..metrics import BOOT, BOOT_CPU_INSTANCE, FLOOR
from ..model import Scalar
from . import Measured, Skipped, Workload, accounts

_BY_MILESTONE = {metric.name.removeprefix("boot."): metric for metric in BOOT}


class Boot(Workload):
    """The lifecycle's own milestones."""

    name = "boot"
    title = "from the request to the first command, each milestone of it, and the CPU time it takes"
    primary = "boot.ready"
    spread = 0.1
    seconds = 0.0

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        measured = Measured()
        for milestone, seconds in live.since_request().items():
            measured.add(_BY_MILESTONE[milestone], seconds)
        if live.boot_cpu is not None:
            measured.add(_BY_MILESTONE["cpu"], live.boot_cpu)
            with contextlib.suppress(Skipped):
                own = footprint.cpu_seconds(replace(accounts(live), engine=()))
                if own is not None:
                    measured.add(BOOT_CPU_INSTANCE, own)
        measured.add(FLOOR, lifecycle.floor(live))
        return measured
