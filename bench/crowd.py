"""What a workload has at hand that starts its instances itself: many of them, at once or one after the other."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

from . import lifecycle
from .clock import Clock
from .driver import Driver
from .errors import InstanceError
from .lifecycle import Live
from .model import Accelerator, Scalar, Spec
from .workloads import Measured, Workload


@dataclass(slots=True)
class Crowd:
    """One arm's instances, as many as are asked for."""

    driver: Driver
    spec: Spec
    accelerator: Accelerator
    """The plan's: an instance that reports another one fails the trial."""
    clock: Clock
    seconds: float
    """The deadline of a boot."""
    prefix: str
    """Of its instances' names: unique in the run, and short, since a name is part of a socket's path."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def created(self) -> AbstractContextManager[Live]:
        """One more instance, that exists and has not run; destroyed at the end whatever happens."""
        name = f"{self.prefix}n{next(self._numbers)}"
        return lifecycle.created(self.driver, self.spec, name=name, clock=self.clock, seconds=self.seconds)

    def boot(self, live: Live) -> None:
        """Boot it and see that it is what the plan says. Raises InstanceTimeout, InstanceError."""
        lifecycle.boot(live)
        verify(live, self.accelerator)


def verify(live: Live, planned: Accelerator) -> None:
    """Raises InstanceError where an instance reports another accelerator than the plan's. Untimed."""
    seen = lifecycle.read_back(live)
    if planned != seen:
        raise InstanceError(f"The instance is accelerated by {seen}; the plan says {planned}.")


class CrowdWorkload(Workload):
    """A workload that starts its instances itself: a ramp, a storm, as many as fit."""

    usual_blocks: ClassVar[int] = 1
    """How many measured blocks it has where the plan doesn't say."""
    crowd = True

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        raise AssertionError("a crowd has no one instance")

    @abstractmethod
    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        """One trial: start what it takes, measure, and leave nothing. Raises as `measure` does."""
