"""Says which block comes next and how long the rest will take, fed with how long each session took."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .plan import BOOT, Block, Session

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
        """Seconds that a session will take."""
        arm = session.arm
        total = self._part(arm.name, BOOT, FIRST_GUESS.get(arm.driver, 2.0))
        return total + sum(
            self._part(arm.name, each.name, self.priors.get(each.name, 1.0)) for each in session.workloads
        )

    def _part(self, arm: str, part: str, prior: float) -> float:
        seen = self._seen.get((arm, part))
        if seen:
            return statistics.median(seen)
        # Not seen on this arm: as it was on the others.
        others = [
            value for (_, name), values in self._seen.items() if name == part and part != BOOT for value in values
        ]
        return statistics.median(others) if others else prior

    def left(self, sessions: Sequence[Session]) -> float:
        """Seconds for all of these."""
        return sum(self.session(session) for session in sessions)


def _kind(block: Block) -> frozenset[str]:
    """What a block does beside booting: blocks of one kind take about as long."""
    return frozenset(each.name for session in block.sessions for each in session.workloads)


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
    def sessions(self) -> list[Session]:
        """All that are planned, in their order."""
        return [session for block in self._blocks for session in block.sessions]

    def next_blocks(self, elapsed: Iterator[float]) -> Iterator[Block]:
        """The blocks in their order; `elapsed` yields the seconds measured so far each time that it is asked.

        The first one always starts: a limit that leaves no time for it would leave no answer either.
        """
        longest: dict[frozenset[str], float] = {}
        for index, block in enumerate(self._blocks):
            used, kind = next(elapsed), _kind(block)
            expected = max(self.estimate.left(block.sessions), longest.get(kind, 0.0))
            if self._max_time is not None and index > 0 and used + expected > self._max_time:
                self.skipped = self._blocks[index:]
                return
            yield block
            longest[kind] = max(longest.get(kind, 0.0), next(elapsed) - used)

    def remaining(self, block: Block, position: int) -> list[Session]:
        """The sessions still to come, that of this block and position included."""
        rest = [session for session in block.sessions if session.position >= position]
        return rest + [session for later in self._blocks if later.index > block.index for session in later.sessions]

    def rule(self) -> str:
        """The stopping rule in words, as it goes into the manifest."""
        measured = sum(1 for block in self._blocks if block.role == "measured")
        limit = f", or before a block that would not fit into {self._max_time:.0f} s" if self._max_time else ""
        return f"Fixed: {measured} measured blocks{limit}; no result is looked at before the last."
