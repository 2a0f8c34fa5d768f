"""A workload of the user's own, as the plan file describes it: a command, and the value that it prints or its time."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import ClassVar

from ..errors import InstanceError
from ..lifecycle import Live
from ..metrics import Metric
from ..model import OwnWorkload, Scalar
from . import Measured, Skipped, Workload
from .sized import NOT_FOUND, cpu_seconds, host_cpu, spent_since

RESOLUTION = 1e-4
"""Seconds: what the wall time through the agent can tell apart, as for all of the lifecycle."""


class OwnCommand(Workload):
    """The same command in every instance."""

    together = True
    what: ClassVar[OwnWorkload]
    """As it was planned."""
    value: ClassVar[Metric]
    cost: ClassVar[Metric]

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        if self.what.setup and self.what.setup not in live.prepared:
            self._run(live, self.what.setup)
            live.prepared.add(self.what.setup)
        before = cpu_seconds(live)
        text, seconds = self._run(live, self.what.command)
        spent = spent_since(before, live)
        measured = Measured(artifacts={"output.txt": text.encode()})
        measured.add(self.value, self._found(text) if self.what.pattern else seconds)
        if spent is not None:
            measured.add(self.cost, spent)
        return measured

    def _run(self, live: Live, command: str) -> tuple[str, float]:
        answer = live.run(command, seconds=self.what.deadline)
        if answer.status == NOT_FOUND:
            said = answer.stderr.decode(errors="replace").strip()
            raise Skipped(f"The rootfs lacks a program of `{self.name}`: {said[-200:]}")
        return answer.checked().stdout.decode(errors="replace"), answer.seconds

    def _found(self, text: str) -> float:
        found = re.search(self.what.pattern, text, re.MULTILINE)
        try:
            if found is None:
                raise ValueError("its pattern is not there")
            value = float(found.group(1) or "")
            if not math.isfinite(value):
                raise ValueError("the value is not finite")
        except ValueError as error:
            brief = f"What `{self.name}` printed has no value: {error}"
            raise InstanceError(brief, details=text[-1500:]) from None
        return value


def make(called: str, own: OwnWorkload) -> Workload:
    """The workload of that name."""
    result, spent = _value(called, own), host_cpu(called, "run")

    class Named(OwnCommand):
        name = called
        title = own.command.partition("\n")[0]
        value, cost = result, spent
        metrics = (result, spent)
        primary = result.name
        what = own

    return Named()


def _value(name: str, own: OwnWorkload) -> Metric:
    if own.pattern:
        definition = (
            f"What the command of the plan's own workload `{name}` prints, as the pattern `{own.pattern}` has it."
        )
        return Metric(name=f"{name}.value", unit=own.unit, better=own.better, title=name, definition=definition)
    return Metric(
        name=f"{name}.seconds",
        unit="s",
        better="lower",
        resolution=RESOLUTION,
        title=name,
        definition=f"Wall time of the command of the plan's own workload `{name}`, from the host's RUN to its DONE.",
    )
