"""Says which block comes next and how long the rest will take, fed with how long each session took."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import stats
from .metrics import Metric
from .model import Plan, Stop, Trial, WorkloadPlan, canonical
from .pairs import Pair
from .plan import BOOT, Block, BlockKind, Maker, Session, Turn, kind_of

TOGETHER = "boot together"
"""The part of a block of throughput that starts an instance."""

FIRST_GUESS = {"native": 0.4, "docker": 0.6, "kvm": 4.0, "fake": 0.2}
"""Seconds of a session that only boots, settling and stopping included, before one has been seen."""


@dataclass(slots=True)
class Estimate:
    """How long sessions take, from those that were seen: the median of each arm's, for each part of a session."""

    priors: dict[str, float]
    """Workload name to the seconds that it takes at first guess."""
    _seen: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def observe(self, arm: str, parts: dict[str, float]) -> None:
        """Learn from a finished session: seconds by workload, `boot` being all but the others."""
        for part, seconds in parts.items():
            self._seen[arm, part].append(seconds)

    def session(self, session: Session) -> float:
        """Seconds that a session will take in a block of boot."""
        return self._start(session, BOOT) + sum(self._workload(session.arm.name, each) for each in session.workloads)

    def block(self, block: Block, position: int = 0) -> float:
        """Seconds that a block will take from the session at this position on."""
        sessions = block.sessions[position:]
        if block.kind == "crowd":
            return self.turns(block.turns)
        if block.turns:
            return sum(self._start(session, TOGETHER) for session in sessions) + self.turns(block.turns)
        return sum(self.session(session) for session in sessions)

    def _start(self, session: Session, part: str) -> float:
        return self._part(session.arm.name, part, FIRST_GUESS.get(session.arm.driver, 2.0))

    def _workload(self, arm: str, workload: WorkloadPlan) -> float:
        return self._part(arm, workload.key, self.priors.get(workload.name, 1.0))

    def turns(self, turns: Sequence[Turn], done: int = 0) -> float:
        """Seconds for these turns, without the first arms' that are done."""
        each = [self._workload(arm, turn.workload) for turn in turns for arm in turn.arms]
        return sum(each[done:])

    def _part(self, arm: str, part: str, prior: float) -> float:
        seen = self._seen.get((arm, part))
        if seen:
            return statistics.median(seen)
        # Not seen on this arm: as it was on the others.
        shared = part not in (BOOT, TOGETHER)
        others = [value for (_, name), values in self._seen.items() if name == part and shared for value in values]
        return statistics.median(others) if others else prior


def _kind(block: Block) -> tuple[str, frozenset[str]]:
    """Its role, and what a block does beside booting: blocks of one kind take about as long."""
    return block.role, frozenset(each.key for session in block.sessions for each in session.workloads)


class Fixed:
    """The number of blocks that was planned, as far as they fit into the time.

    No block starts that would not fit, judged by the longest so far of its kind.
    """

    def __init__(self, plan: Plan, estimate: Estimate, pairs: Sequence[Pair] = ()) -> None:
        self._plan = plan
        self._pairs = list(pairs)
        self._maker = Maker(plan)
        self._blocks = list(self._maker.planned())
        self._max_time = plan.max_time
        self._longest: dict[tuple[str, frozenset[str]], float] = {}
        self.estimate = estimate
        self.skipped: list[Block] = []
        """Measured blocks that were planned and did not fit."""

    @property
    def steps(self) -> int:
        """How many sessions and turns are planned so far."""
        turns = sum(len(turn.arms) for block in self._blocks for turn in block.turns)
        return turns + sum(len(block.sessions) for block in self._blocks if block.kind != "crowd")

    @property
    def last_block(self) -> int:
        """How many blocks are planned so far."""
        return self._blocks[-1].index + 1

    def seconds_most(self) -> float:
        """Seconds that the measuring takes at most, by first guesses."""
        total = sum(map(self.estimate.block, self._blocks))
        return total if self._max_time is None else min(total, self._max_time)

    def pairs_of(self) -> list[tuple[Pair, int, int]]:
        """Every primary pair with the least and the greatest number of values that it can have."""
        return [(pair, times, times) for pair in self._pairs for times in (self._plan.times(pair.workload),)]

    def observe(self, trial: Trial) -> None:
        """Take note of a finished trial. Where the number is fixed nothing is looked at."""

    def end(self) -> list[Stop]:
        """Nothing more is measured. Returns why each primary pair wasn't: nothing to say where the number is fixed."""
        return []

    def next_blocks(self, elapsed: Iterator[float]) -> Iterator[Block]:
        """The blocks in their order; `elapsed` yields the seconds measured so far each time that it is asked.

        The first one always starts: a limit that leaves no time for it would leave no answer either.
        """
        for place, block in enumerate(self._blocks):
            used = next(elapsed)
            if place and not self._fits(block, used):
                self.skipped = self._blocks[place:]
                return
            yield from self._timed(block, used, elapsed)

    def _fits(self, block: Block, used: float) -> bool:
        expected = max(self.estimate.block(block), self._longest.get(_kind(block), 0.0))
        return self._max_time is None or used + expected <= self._max_time

    def _timed(self, block: Block, used: float, elapsed: Iterator[float]) -> Iterator[Block]:
        kind = _kind(block)
        yield block
        self._longest[kind] = max(self._longest.get(kind, 0.0), next(elapsed) - used)

    def seconds_left(self, block: Block | None = None, position: int = 0, done: int | None = None) -> float:
        """Seconds from the session at this position of that block (or its first turns that are not done) to the end."""
        later = [each for each in self._blocks if block is None or each.index > block.index]
        total = sum(self.estimate.block(each) for each in later)
        if block is None:
            return total
        if done is not None:
            return total + self.estimate.turns(block.turns, done)
        return total + self.estimate.block(block, position)

    def rule(self) -> str:
        """The stopping rule in words, as it goes into the manifest."""
        return f"Fixed: {self._planned()}{self._limit()}; no result is looked at before the last."

    def _planned(self) -> str:
        parts = []
        for kind, words in (("boot", "of boot"), ("throughput", "of throughput"), ("crowd", "of crowds")):
            roles = Counter(block.role for block in self._blocks if block.kind == kind)
            if roles["measured"]:
                parts.append(f"{roles['measured']} measured blocks {words} after {roles['warmup']} of warm-up")
        return ", then ".join(parts)

    def _limit(self) -> str:
        return f", or before a block that would not fit into {self._max_time:.0f} s" if self._max_time else ""


class Precision(Fixed):
    """The blocks that were planned, and then further ones for as long as a primary pair is open and can be decided.

    The budget goes to the open pair with the fewest predicted further pairs (`stats.standing`); an arm leaves when all
    of its pairs are closed.
    """

    def __init__(self, plan: Plan, estimate: Estimate, pairs: Sequence[Pair]) -> None:
        super().__init__(plan, estimate, pairs)
        self._most = plan.max_rounds or plan.rounds
        self._level = stats.primary_level(len(pairs))
        # What is read once, or in a number of blocks that was asked for, is not measured more often.
        self._open = {_key(pair): pair for pair in pairs if pair.workload.blocks is None or pair.workload.name == BOOT}
        self._values: dict[_Key, dict[int, float]] = defaultdict(dict)
        self._tried: dict[_Key, set[int]] = defaultdict(set)
        self._stops: dict[_Key, Stop] = {}
        self._metrics = {pair.workload.key: pair.metric for pair in pairs}
        self._beyond = 0.0

    def seconds_most(self) -> float:
        further = sum(
            max(0, self._most - self._maker.made[kind]) * self._last_of(kind) for kind in ("boot", "throughput")
        )
        total = self._seconds_least() + further
        return total if self._max_time is None else min(total, self._max_time)

    def _seconds_least(self) -> float:
        return sum(map(self.estimate.block, self._blocks))

    def _last_of(self, kind: str) -> float:
        """Seconds of one more block of a kind, by first guesses; 0 where the plan has none."""
        return next((self.estimate.block(each) for each in reversed(self._blocks) if each.kind == kind), 0.0)

    def pairs_of(self) -> list[tuple[Pair, int, int]]:
        found = []
        for pair, least, most in super().pairs_of():
            kind = kind_of(pair.workload)
            if _key(pair) in self._open and (took := self._last_of(kind)):
                spare = math.inf if self._max_time is None else (self._max_time - self._seconds_least()) / took
                most += max(0, int(min(self._most - self._maker.made[kind], spare)))
            found.append((pair, least, most))
        return found

    def observe(self, trial: Trial) -> None:
        """Take note of a finished trial's primary metric."""
        key = WorkloadPlan(name=trial.cell.workload, params=trial.cell.params).key, trial.cell.arm
        metric = self._metrics.get(key[0])
        if metric is None or trial.role != "measured":
            return
        self._tried[key].add(trial.block)  # what was skipped too: it gives no pair, however often it is asked for
        value = metric.at_timeout if trial.status == "timeout" else _value(trial, metric)
        if value is not None:
            self._values[key][trial.block] = value

    def end(self) -> list[Stop]:
        """Close what is still open, since nothing more is measured. Returns why each primary pair wasn't."""
        self._close({"boot": 0, "throughput": 0})
        return list(self._stops.values())

    def next_blocks(self, elapsed: Iterator[float]) -> Iterator[Block]:
        """Those that were planned, then further ones."""
        yield from super().next_blocks(elapsed)
        while not self.skipped:
            used = next(elapsed)
            block = self._further(used)
            if block is None:
                return
            self._blocks.append(block)
            yield from self._timed(block, used, elapsed)

    def _further(self, used: float) -> Block | None:
        """One more block for the pair that is nearest to its decision; None where there is none that can be had."""
        budgets = {kind: self._budget(kind, used) for kind in ("boot", "throughput")}
        standings = self._close(budgets)
        if not standings:
            return None
        self._beyond = self._predicted(standings, used)
        nearest = min(standings, key=lambda key: (standings[key], key))
        kind = kind_of(self._open[nearest].workload)
        workloads = [each for each in self._plan.workloads if any(key[0] == each.key for key in self._open)]
        chosen = [each for each in workloads if kind_of(each) == kind and each.name != BOOT]
        return self._maker.block(kind, "measured", chosen, {self._plan.baseline, *(arm for _, arm in self._open)})

    def _budget(self, kind: BlockKind, used: float) -> int:
        """How many more blocks of a kind there can be."""
        rounds = self._most - self._maker.made[kind]
        if self._max_time is None:
            return rounds
        took = [seconds for (role, _), seconds in self._longest_of(kind) if role == "measured"]
        return min(rounds, int((self._max_time - used) / max(took))) if took and max(took) > 0 else rounds

    def _predicted(self, standings: Mapping[_Key, int], used: float) -> float:
        """Seconds that all the further blocks are predicted to take, within the limit."""
        most: dict[BlockKind, int] = defaultdict(int)
        for key, further in standings.items():
            kind = kind_of(self._open[key].workload)
            most[kind] = max(most[kind], further)
        seconds = sum(
            further * max((took for (role, _), took in self._longest_of(kind) if role == "measured"), default=0.0)
            for kind, further in most.items()
        )
        return seconds if self._max_time is None else max(0.0, min(seconds, self._max_time - used))

    def _longest_of(self, kind: BlockKind) -> list[tuple[tuple[str, frozenset[str]], float]]:
        kinds = {_kind(block) for block in self._blocks if block.kind == kind}
        return [(key, seconds) for key, seconds in self._longest.items() if key in kinds]

    def _close(self, budgets: Mapping[str, int]) -> dict[_Key, int]:
        """Close what is decided or beyond its budget; the further pairs that each of the others is predicted to take.

        A budget of no further pair closes all of its kind.
        """
        standings = {}
        for key, pair in list(self._open.items()):
            budget = budgets[kind_of(pair.workload)]
            found, pairs = self._standing(key, pair, budget)
            if not found.closed:
                standings[key] = budget if found.further is None else found.further
                continue
            why: str = found.closed
            if why == "beyond the budget" and budget <= 0:
                made = self._maker.made[kind_of(pair.workload)]
                why = "out of rounds" if made >= self._most else "out of time"
            self._stops[key] = Stop(
                workload=pair.workload.name,
                params=canonical(pair.workload.params),
                arm=pair.arm,
                metric=pair.metric.name,
                pairs=pairs,
                why=why,
                needed=pairs + found.further if found.further else None,
            )
            del self._open[key]
        return standings

    def _standing(self, key: _Key, pair: Pair, budget: int) -> tuple[stats.Standing, int]:
        base = key[0], self._plan.baseline
        left, right, ratio = self._values[base], self._values[key], pair.metric.scale == "ratio"
        shared = sorted(left.keys() & right.keys())
        values = stats.paired([left[block] for block in shared], [right[block] for block in shared], ratio=ratio)
        kept = [value for value in values if not math.isnan(value)]
        lost = len(self._tried[base] & self._tried[key]) - len(kept)
        half_width = pair.metric.resolution
        if ratio:
            middles = [statistics.median(side.values()) for side in (left, right) if side]
            half_width /= min((middle for middle in middles if middle > 0), default=math.inf)
        where = stats.region(pair.metric.region, ratio=ratio)
        lost = max(0, lost)
        found = stats.standing(kept, where, self._level, lost=lost, half_width=half_width, budget=budget)
        return found, len(kept)

    def seconds_left(self, block: Block | None = None, position: int = 0, done: int | None = None) -> float:
        """What is planned, and the further blocks as they were predicted when the last of them began."""
        last = block is not None and block.index == self._blocks[-1].index
        return max(super().seconds_left(block, position, done), self._beyond if last else 0.0)

    def rule(self) -> str:
        least, strict = stats.pairs_least(self._level), 1 - stats.STOP_SHARE * (1 - self._level)
        return (
            f"By precision: {self._planned()}; then further blocks, {self._most} of a kind at most{self._limit()}, for "
            f"the primary pairs that are open. From {least} pairs on and after each block a pair is closed when its "
            f"interval at {100 * strict:.4g} % lies wholly beyond the region that does not matter or wholly inside it, "
            "or when the further pairs predicted exceed the budget even by an estimate that is one standard error "
            "better than it is. The next block is for the open pair with the fewest; an arm leaves when all of its "
            "pairs are closed. Verdicts are taken at "
            f"{100 * self._level:.4g} %."
        )


_Key = tuple[str, str]
"""A workload with its parameters, and an arm."""


def _key(pair: Pair) -> _Key:
    return pair.workload.key, pair.arm


def _value(trial: Trial, metric: Metric) -> float | None:
    found = [sample.value for sample in trial.samples if sample.metric == metric.name]
    return statistics.median(found) if found else None


def schedule(plan: Plan, priors: Mapping[str, float], pairs: Sequence[Pair]) -> Fixed:
    """The one that a plan asks for: a fixed number of blocks, or as many as its pairs take."""
    estimate = Estimate(dict(priors))
    return Precision(plan, estimate, pairs) if (plan.max_rounds or 0) > plan.rounds else Fixed(plan, estimate, pairs)
