"""What takes a verdict away: a clock that runs off, a difference that the same arm twice shows, too. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from . import stats
from .compare import DIFFERENT, VERDICTS, Comparison
from .metrics import CLOCK, Metric
from .model import Notice, Run

MAX_CLOCK_ERROR = 0.01
"""How far from 1 an instance's clock may run for rates by it to be trusted."""


class ClockRate(NamedTuple):
    """How fast an instance's clock ran by the host's."""

    rate: float
    error: float
    """How far that may be off: uptimes come in steps, and a message may be read late."""

    @property
    def surely_off(self) -> float:
        """How far it is from 1 at the least."""
        return max(0.0, abs(self.rate - 1) - self.error)

    @property
    def trusted(self) -> bool:
        return self.surely_off <= MAX_CLOCK_ERROR


def clock_rates(run: Run) -> dict[str, ClockRate]:
    """Of each instance its last trial's value, which spans the most; of each arm the instance that is furthest off."""
    last: dict[tuple[str, str], ClockRate] = {}
    for trial in run.trials:
        for sample in trial.samples:
            if sample.metric == CLOCK.name:
                last[trial.cell.arm, trial.instance] = ClockRate(sample.value, sample.error or 0.0)
    worst: dict[str, ClockRate] = {}
    for (arm, _), found in last.items():
        worst[arm] = max(worst.get(arm, found), found, key=lambda each: each.surely_off)
    return worst


def clock_notices(clocks: Mapping[str, ClockRate]) -> list[Notice]:
    """Clocks that run off by more than rates can be trusted with."""
    return [
        Notice(
            code="clock",
            subject=arm,
            message=f"The clock of {arm}'s instances runs {100 * (clock.rate - 1):+.2g} % off the host's: rates by "
            "it are not compared.",
            hint="Look at the guest's clocksource, and at steal time on the host.",
        )
        for arm, clock in clocks.items()
        if not clock.trusted
    ]


def aa_notices(metrics: Mapping[str, Metric], aa: Sequence[Comparison]) -> list[Notice]:
    """Where the same arm twice is called different in what steers headlines, the run says so."""
    return [
        Notice(
            code="false-alarm",
            subject=item.baseline,
            message=f"{item.baseline} measured twice is called {item.verdict} than itself in "
            f"{metrics[item.row.metric].title}: no verdict is given on it in this run.",
            hint="Look for what else runs on the host, and measure again.",
        )
        for item in aa
        if item.primary and item.verdict in DIFFERENT
    ]


@dataclass(frozen=True, slots=True)
class Doubts:
    """What can take a verdict away."""

    floors: Mapping[str, stats.Estimate]
    aa: Sequence[Comparison]
    clocks: Mapping[str, ClockRate]

    def floor(self, *arms: str) -> float:
        """The cost of an empty command, in seconds: the larger of theirs."""
        return max((self.floors[name].value for name in arms if name in self.floors), default=0.0)

    def weigh(self, metric: Metric, item: Comparison) -> Comparison:
        """The comparison, without its verdict where there is reason to doubt it."""
        if item.verdict not in VERDICTS:
            return item
        if reason := self._clock(metric, item) or self._same_twice(item):
            return msgspec.structs.replace(item, verdict="undecided", reason=reason, needed=None)
        return item

    def _clock(self, metric: Metric, item: Comparison) -> str:
        """Rates are by the instance's own clock."""
        off = [arm for arm in (item.arm, item.baseline) if arm in self.clocks and not self.clocks[arm].trusted]
        return f"the clock of {off[0]} runs off the host's" if off and metric.unit.endswith("/s") else ""

    def _same_twice(self, item: Comparison) -> str:
        """It only vetoes: nothing becomes equivalent by it, and no region wider."""
        twins = [each for each in self.aa if each.row == item.row]
        if any(each.verdict in DIFFERENT for each in twins):
            return "the same arm measured twice was called different, too"
        floor = max(map(aa_floor, twins), default=0.0)
        if item.verdict in DIFFERENT and item.effect is not None and _size(item, item.effect.value) <= floor:
            return "the difference is not larger than what the same arm measured twice may differ by"
        return ""


def aa_floor(item: Comparison) -> float:
    """The largest difference that a twin's interval allows, on the differences' scale; 0 where it has none."""
    if item.effect is None or item.effect.low is None or item.effect.high is None:
        return 0.0
    return max(_size(item, item.effect.low), _size(item, item.effect.high))


def _size(item: Comparison, effect: float) -> float:
    """How large an effect is, on the differences' scale: of logs for a ratio."""
    if item.scale != "ratio":
        return abs(effect)
    return abs(math.log(effect)) if 0 < effect < math.inf else math.inf
