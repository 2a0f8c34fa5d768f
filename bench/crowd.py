"""What a workload has at hand that starts its instances itself: many of them, at once or one after the other."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from . import headroom, launch, lifecycle
from .clock import Clock
from .driver import Creator, Driver, Kind
from .headroom import Headroom
from .launch import Launch
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
    idle_rate: float | None = None
    """CPU seconds a second that the idle host spends; None where it was not quiet just before."""
    memory: Callable[[], Headroom] = headroom.read
    """What the host has left."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def weight(self) -> int:
        """Bytes that one more instance may take: a guest's whole size, for the others a guess that is high."""
        return self.spec.memory if self.driver.kind == Kind.VM else headroom.LIGHT

    def at_once(self, count: int) -> AbstractContextManager[Launch]:
        """So many instances that `start` asks for at once; destroyed at the end whatever happens.

        They take turns on the host's CPUs, so that they don't all have the same ones where there are more.
        """
        names = [f"{self.prefix}n{next(self._numbers)}" for _ in range(count)]
        specs = {name: msgspec.structs.replace(self.spec, turn=turn) for turn, name in enumerate(names)}
        return launch.prepared(self.driver, specs, clock=self.clock, seconds=self.seconds)

    def created(self, turn: int = 0, source: Creator | None = None) -> AbstractContextManager[Live]:
        """One more instance, that exists and has not run; destroyed at the end whatever happens.

        Those of another turn have other CPUs, where there are others. Of the arm's driver, or of `source`.
        """
        name, spec = f"{self.prefix}n{next(self._numbers)}", msgspec.structs.replace(self.spec, turn=turn)
        return lifecycle.created(source or self.driver, spec, name=name, clock=self.clock, seconds=self.seconds)

    def boot(self, live: Live) -> None:
        """Boot it and see that it is what the plan says. Raises InstanceTimeout, InstanceError."""
        lifecycle.boot(live)
        lifecycle.verify(live, self.accelerator)


class CrowdWorkload(Workload):
    """A workload that starts its instances itself: a ramp, a storm, as many as fit."""

    usual_blocks: ClassVar[int] = 1
    """How many measured blocks it has where the plan doesn't say."""
    crowd = True
    limit: ClassVar[str] = ""
    """The parameter that says how many instances there are at most; empty: it has none."""

    @classmethod
    def up_to(cls, most: int) -> Iterable[Mapping[str, Scalar]]:
        """The parameters that it runs with where there are so many instances at most."""
        return [{cls.limit: most}]

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        raise AssertionError("a crowd has no one instance")

    @abstractmethod
    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        """One trial: start what it takes, measure, and leave nothing. Raises as `measure` does."""
