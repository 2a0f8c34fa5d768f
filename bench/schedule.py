"""Says which block comes next and how long the rest will take, fed with how long each session took."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .model import WorkloadPlan
from .plan import BOOT, Block, Session, Turn

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

    def __init__(self, blocks: Sequence[Block], estimate: Estimate, max_time: float | None) -> None:
        self._blocks = list(blocks)
        self._max_time = max_time
        self.estimate = estimate
        self.skipped: list[Block] = []
        """Measured blocks that were planned and did not fit."""

    @property
    def steps(self) -> int:
        """How many sessions and turns are planned."""
        turns = sum(len(turn.arms) for block in self._blocks for turn in block.turns)
        return turns + sum(len(block.sessions) for block in self._blocks if block.kind != "crowd")

    @property
    def last_block(self) -> int:
        """How many blocks are planned."""
        return self._blocks[-1].index + 1

    def next_blocks(self, elapsed: Iterator[float]) -> Iterator[Block]:
        """The blocks in their order; `elapsed` yields the seconds measured so far each time that it is asked.

        The first one always starts: a limit that leaves no time for it would leave no answer either.
        """
        longest: dict[tuple[str, frozenset[str]], float] = {}
        for index, block in enumerate(self._blocks):
            used, kind = next(elapsed), _kind(block)
            expected = max(self.estimate.block(block), longest.get(kind, 0.0))
            if self._max_time is not None and index > 0 and used + expected > self._max_time:
                self.skipped = self._blocks[index:]
                return
            yield block
            longest[kind] = max(longest.get(kind, 0.0), next(elapsed) - used)

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
        measured = Counter(block.kind for block in self._blocks if block.role == "measured")
        what = f"{measured['boot']} measured blocks of boot"
        what += f", then {measured['throughput']} of throughput" if measured["throughput"] else ""
        what += f", then {measured['crowd']} of crowds" if measured["crowd"] else ""
        limit = f", or before a block that would not fit into {self._max_time:.0f} s" if self._max_time else ""
        return f"Fixed: {what}{limit}; no result is looked at before the last."
