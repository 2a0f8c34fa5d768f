"""What a trial does with an instance, and which metrics that yields. One file a workload."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..driver import Accounts
from ..errors import TareError
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Sample, Scalar


class Skipped(TareError):
    """A workload cannot run in this cell, for a reason that is no failure: its program is not in the rootfs."""


@dataclass(slots=True)
class Measured:
    """What a trial yielded."""

    samples: list[Sample] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    """By file name, kept beside the run: a tool's own output."""

    def add(self, metric: Metric, value: float, error: float | None = None) -> None:
        """One more sample of that metric, in its unit."""
        self.samples.append(Sample(metric=metric.name, value=value, unit=metric.unit, error=error))


class Workload(ABC):
    """One kind of trial. `boot` is one too: its trial is the boot itself."""

    name: ClassVar[str]
    title: ClassVar[str]
    """In one line, for `tare list workloads`."""
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """Those that it declares itself; the lifecycle's and the footprint's stand in metrics.py."""
    primary: ClassVar[str | None] = None
    """The one metric that gets a headline verdict."""
    spread: ClassVar[float | None] = None
    """The standard deviation of one pair's log-ratio of the primary metric, as it was on a test machine: `tare plan`
    says by it what a plan can detect. None: not known, or the metric is no ratio."""
    variants: ClassVar[tuple[Mapping[str, Scalar], ...]] = ({},)
    """The parameters that it runs with, one set after the other."""
    full_variants: ClassVar[tuple[Mapping[str, Scalar], ...]] = ()
    """Those that the suite `full` has beside them."""
    together: ClassVar[bool] = False
    """Whether it belongs into blocks of throughput, in which the arms' instances stay up and take turns."""
    crowd: ClassVar[bool] = False
    """Whether it starts its instances itself (`crowd.CrowdWorkload`), in blocks that come last."""
    direct: ClassVar[bool] = False
    """Whether it measures storage: a guest's disk then bypasses the host's page cache."""
    needs_network: ClassVar[bool] = False
    """Whether it takes an instance that has a network: where the plan names none, all arms are on a bridge then."""
    packages: ClassVar[tuple[str, ...]] = ()
    """What the default rootfs has beside its usual packages where it is planned."""
    seconds: ClassVar[float] = 1.0
    """About how long a trial takes beyond a boot: the first estimate of the time left."""

    def leads(self, params: Mapping[str, Scalar]) -> bool:
        """Whether these parameters yield its primary metric."""
        return True

    @abstractmethod
    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        """Do it on a ready instance.

        Raises Skipped, InstanceTimeout for a deadline, InstanceError for any other failure.
        """


def accounts(live: Live) -> Accounts:
    """Where the instance's cost is to be read; Skipped, with the reason, where it cannot be."""
    from ..clock import NS, finish

    assert live.instance is not None
    if live.accounts is None:
        until = live.clock.now() + 30 * NS
        live.accounts = finish(live.clock, live.instance.accounts, until, what="Asking for its accounts")
    if live.accounts.unavailable:
        raise Skipped(f"Not available: {live.accounts.unavailable}.")
    return live.accounts
