"""What the numbers can be believed by: the same arm twice, why each pair was measured no longer, clocks and floors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import DIFFERENT, Comparison, Row
from tare_bench.doubts import ClockRate, aa_floor
from tare_bench.model import Stop

from .view_cells import effect_text
from .view_format import clean, count, measured, one_line, percent, quantity
from .view_labels import title
from .view_words import arm_name


@dataclass(frozen=True, slots=True)
class TwinRow:
    """One metric of an arm that was measured twice."""

    metric: str
    arm: str
    effect: str
    floor: str
    verdict: str
    alarm: bool


@dataclass(frozen=True, slots=True)
class StopRow:
    """Why one primary pair was measured no longer."""

    cell: str
    arm: str
    pairs: str
    why: str


@dataclass(frozen=True, slots=True)
class Trust:
    """What stands behind the verdicts."""

    twins: tuple[TwinRow, ...]
    no_twins: str
    """Why there is none; empty where there is one."""
    stops: tuple[StopRow, ...]
    no_stops: str
    clocks: tuple[tuple[str, str], ...]


_WHY = {
    "different": "decided: different",
    "equivalent": "decided: equivalent",
    "beyond the budget": "it would take more pairs than the budget has",
    "out of time": "the time was over",
    "out of rounds": "the greatest number of blocks was reached",
    "pairs lost": "too many of its pairs were lost",
}


def trust(analysis: Analysis) -> Trust:
    """All of it."""
    plan = analysis.run.manifest.plan
    fixed = "The number of blocks was fixed before the first trial: no pair was looked at before the last."
    return Trust(
        twins=tuple(_twin(analysis, item) for item in analysis.aa),
        no_twins="" if analysis.aa else _no_twins(analysis),
        stops=tuple(_stop(analysis, stop) for stop in analysis.run.stops),
        no_stops="" if analysis.run.stops else fixed if plan.max_rounds is None else "It did not come to its end.",
        clocks=tuple(
            (arm_name(analysis, arm), f"{clock.rate:.4f} ± {clock.error:.4f} s for each of the host's{_off(clock)}")
            for arm, clock in analysis.clocks.items()
        ),
    )


def _off(clock: ClockRate) -> str:
    return "" if clock.trusted else ": more than 1 % off, rates by it are not compared"


def _no_twins(analysis: Analysis) -> str:
    return "Its trials failed." if analysis.run.manifest.plan.twins else "No arm was measured twice in this run."


def _twin(analysis: Analysis, item: Comparison) -> TwinRow:
    metric = analysis.metrics[item.row.metric]
    value, inside = effect_text(metric, item)
    floor = aa_floor(item)
    far = percent(math.expm1(floor)) if item.scale == "ratio" else quantity(floor, metric.unit)
    called = item.verdict + ("" if item.primary or item.verdict == "not enough data" else ", exploratory")
    return TwinRow(
        metric=title(metric, item.row),
        arm=one_line(item.baseline),
        effect=f"{value} ({inside})" if inside else value or "–",
        floor=far if floor else "–",
        verdict=one_line(called),
        alarm=item.primary and item.verdict in DIFFERENT,
    )


def _stop(analysis: Analysis, stop: Stop) -> StopRow:
    metric = analysis.metrics.get(stop.metric)
    row = Row(metric=stop.metric, workload=stop.workload, params=stop.params)
    why = _WHY.get(stop.why, stop.why)
    ended = analysis.comparison(row, stop.arm)
    decided = ended is not None and ended.verdict in (*DIFFERENT, "equivalent")
    if decided and stop.needed is not None:
        # what ends a run early must be surer than a verdict is: at its end a pair may be decided all the same
        early = f"ending it early would have taken about {count(stop.needed, 'pair')}"
        why = f"{early}, more than the budget has" if stop.why == "beyond the budget" else why
        why = f"{why}; decided at the end"
    elif needed := (ended.needed if ended is not None and ended.needed else stop.needed):
        why = f"{why}; a decision would take about {count(needed, 'pair')}"
    return StopRow(
        cell=title(metric, row) if metric else one_line(stop.metric),
        arm=one_line(stop.arm),
        pairs=str(stop.pairs),
        why=clean(why),
    )


def twin_words(analysis: Analysis) -> str:
    """The A/A check of what makes headlines, in a few words; empty where there is none."""
    items = [item for item in analysis.aa if item.primary]
    if not items:
        return ""
    item = items[0]
    if item.verdict in DIFFERENT:
        return f"A/A: {one_line(item.baseline)} differs from itself"
    floor = aa_floor(item)
    return f"A/A floor {percent(math.expm1(floor))}" if floor else "A/A: not enough data"


def floor_note(analysis: Analysis) -> str:
    """The cost of an empty command, by arm, in one sentence; empty where it was not measured."""
    each = [f"{arm_name(analysis, arm)} {measured(floor, 's')}" for arm, floor in analysis.floors.items()]
    return f"Measurement floor, an empty command through the agent: {', '.join(each)}." if each else ""
