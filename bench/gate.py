"""Whether something got worse: the verdict over watched pairs, and the exit status that says it. Pure.

A gate never mixes up a regression with not knowing, nor with a harness or a host that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from . import stats
from .across import Across
from .analysis import Analysis, analyse
from .compare import Comparison, Row, Verdict
from .metrics import Metric
from .model import Record, Run

Outcome = Literal["regression", "failed", "undecided", "pass"]
STATUS: dict[Outcome, int] = {"regression": 4, "failed": 1, "undecided": 5, "pass": 0}
"""The exit status of each; the graver stands first, and wins."""

NOISY = "the host was too noisy to say"


class Watched(Record, frozen=True, kw_only=True):
    """One cell that a gate looks at."""

    row: Row
    arm: str
    against: str
    """The arm that it is held against in the same run; or, between two runs, the earlier run's id."""
    verdict: Verdict
    effect: stats.Estimate | None
    """A ratio, or a difference in the metric's unit."""
    outcome: Outcome
    reason: str = ""


class Judgement(Record, frozen=True, kw_only=True):
    """What a gate says."""

    outcome: Outcome
    watched: list[Watched]
    reason: str = ""
    """Why it says so where no single cell does."""

    @property
    def gains(self) -> list[Watched]:
        """What got better: an unexpected gain is often a broken test."""
        return [each for each in self.watched if each.verdict == "faster/smaller"]


def judge_pairs(
    run: Run, pairs: Sequence[tuple[str, str]], metrics: Mapping[str, Metric], primary: Mapping[str, str]
) -> Judgement:
    """Arms of one run, each held against another one of the same blocks: `pairs` are (base, candidate)."""
    watched: list[Watched] = []
    for base, arm in pairs:
        found = analyse(_against(run, base), metrics, primary)
        watched += [_paired(found, item) for item in found.comparisons if item.arm == arm and _is_watched(item)]
    return _judged(watched, _noisy(run))


def judge_runs(across: Across, new: Run) -> Judgement:
    """A run held against an earlier one: unpaired."""
    if not any(cell.change for cell in across.cells) and not across.alike:
        return Judgement(outcome="undecided", watched=[], reason="the runs were made on machines that are unlike")
    watched = [
        Watched(
            row=cell.row,
            arm=cell.arm,
            against=across.base,
            verdict=cell.verdict,
            effect=cell.change,
            outcome=_outcome(cell.verdict, failed=False),
            reason=cell.reason,
        )
        for cell in across.cells
        if cell.primary and cell.verdict != "not compared: emulated"
    ]
    return _judged(watched, _noisy(new))


def _against(run: Run, base: str) -> Run:
    plan = msgspec.structs.replace(run.manifest.plan, baseline=base)
    return msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, plan=plan))


def _is_watched(item: Comparison) -> bool:
    return item.primary and item.verdict != "not compared: emulated"


def _paired(found: Analysis, item: Comparison) -> Watched:
    cells = [found.cell(item.row, arm) for arm in (item.arm, item.baseline)]
    failed = any(cell is None or cell.failed or cell.timed_out for cell in cells)
    return Watched(
        row=item.row,
        arm=item.arm,
        against=item.baseline,
        verdict=item.verdict,
        effect=item.effect,
        outcome=_outcome(item.verdict, failed=failed),
        reason=item.reason,
    )


def _outcome(verdict: Verdict, *, failed: bool) -> Outcome:
    if verdict == "slower/larger":
        return "regression"
    if verdict in ("faster/smaller", "equivalent"):
        return "pass"
    return "failed" if verdict == "not enough data" and failed else "undecided"


def _noisy(run: Run) -> bool:
    """Whether more than a tenth of the measured trials began on a host that had not become quiet in time."""
    measured = [trial for trial in run.trials if trial.role == "measured"]
    return sum("not settled" in trial.facts for trial in measured) > stats.MAX_LOST * len(measured)


def _judged(watched: list[Watched], noisy: bool) -> Judgement:
    if not watched:
        return Judgement(outcome="failed", watched=[], reason="nothing that is watched was measured")
    if noisy:
        watched = [
            msgspec.structs.replace(each, outcome="undecided", reason=NOISY) if each.outcome == "regression" else each
            for each in watched
        ]
    outcomes = {each.outcome for each in watched}
    return Judgement(outcome=next(each for each in STATUS if each in outcomes), watched=watched)
