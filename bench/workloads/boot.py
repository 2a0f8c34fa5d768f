"""`boot`: from asking for an instance to its first answer, and killing it again. Every session has one."""

from __future__ import annotations

from collections.abc import Mapping

from .. import lifecycle
from ..lifecycle import Live
from ..metrics import BOOT, FLOOR
from ..model import Scalar
from . import Measured, Workload

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
        measured.add(FLOOR, lifecycle.floor(live))
        return measured
