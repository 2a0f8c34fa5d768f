"""The common kind of workload: a program of the rootfs, run through the agent, and a pure parser of what it prints."""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ..lifecycle import Live
from ..model import Scalar
from . import Measured, Skipped, Workload


class CommandWorkload(Workload):
    """The same binary from the same rootfs with the same argv in every instance."""

    program: ClassVar[str]
    deadline: ClassVar[float] = 60.0
    """Seconds that the command may take, in the slowest (emulated) instance too."""

    @abstractmethod
    def argv(self, params: Mapping[str, Scalar]) -> Sequence[str]:
        """The command."""

    @abstractmethod
    def parse(self, stdout: str) -> dict[str, float]:
        """Metric name to value. Raises ValueError where the tool's output is not what it should be."""

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        answer = live.run(shlex.join(self.argv(params)), seconds=self.deadline)
        if answer.status == 127:
            raise Skipped(f"The rootfs has no `{self.program}`.")
        text = answer.checked().stdout.decode(errors="replace")
        measured = Measured(artifacts={f"{self.name}.txt": answer.stdout})
        try:
            values = self.parse(text)
        except ValueError as error:
            from ..errors import InstanceError

            raise InstanceError(
                f"What {self.program} printed was not understood: {error}", details=text[-1500:]
            ) from None
        for metric in self.metrics:
            if metric.name in values:
                measured.add(metric, values[metric.name])
        return measured
