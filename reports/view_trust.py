"""What the numbers can be believed by: the same arm twice, why each pair was measured no longer, clocks and floors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench import stats
from tare_bench.analysis import Analysis
from tare_bench.compare import DIFFERENT, Comparison, Row
from tare_bench.doubts import ClockRate, aa_floor
from tare_bench.model import Stop

from .language import N_, NN_, _, ngettext
from .view_cells import effect_text
from .view_format import clean, measured, one_line, percent, quantity
from .view_labels import title
from .view_words import VERDICT_WORDS, arm_name


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
    "different": N_("decided: different"),
    "equivalent": N_("decided: equivalent"),
    "beyond the budget": N_("it would take more pairs than the budget has"),
    "out of time": N_("the time was over"),
    "out of rounds": N_("the greatest number of blocks was reached"),
    "pairs lost": N_("too many of its pairs were lost"),
}


_EARLY = NN_(
    "ending it early would have taken about {n} pair, more than the budget has",
    "ending it early would have taken about {n} pairs, more than the budget has",
)
_NEEDED = NN_("{why}; a decision would take about {n} pair", "{why}; a decision would take about {n} pairs")


def trust(analysis: Analysis) -> Trust:
    """All of it."""
    plan = analysis.run.manifest.plan
    fixed = _("The number of blocks was fixed before the first trial: no pair was looked at before the last.")
    return Trust(
        twins=tuple(_twin(analysis, item) for item in analysis.aa),
        no_twins="" if analysis.aa else _no_twins(analysis),
        stops=tuple(_stop(analysis, stop) for stop in analysis.run.stops),
        no_stops="" if analysis.run.stops else fixed if plan.max_rounds is None else _("It did not come to its end."),
        clocks=tuple((arm_name(analysis, arm), _clock(clock)) for arm, clock in analysis.clocks.items()),
    )


def _clock(clock: ClockRate) -> str:
    rate, error = f"{clock.rate:.4f}", f"{clock.error:.4f}"
    if clock.trusted:
        return _("{rate} ± {error} s for each of the host's", rate=rate, error=error)
    return _(
        "{rate} ± {error} s for each of the host's: more than 1 % off, rates by it are not compared",
        rate=rate,
        error=error,
    )


def _no_twins(analysis: Analysis) -> str:
    return _("Its trials failed.") if analysis.run.manifest.plan.twins else _("No arm was measured twice in this run.")


def _twin(analysis: Analysis, item: Comparison) -> TwinRow:
    metric = analysis.metrics[item.row.metric]
    value, inside = effect_text(metric, item)
    floor = aa_floor(item)
    far = percent(math.expm1(floor)) if item.scale == "ratio" else quantity(floor, metric.unit)
    exploratory = [] if item.primary or item.verdict == "not enough data" else [_("exploratory")]
    called = ", ".join([_(VERDICT_WORDS[item.verdict]) if item.verdict in VERDICT_WORDS else "", *exploratory])
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
    why = _(_WHY.get(stop.why, stop.why))
    ended = analysis.comparison(row, stop.arm)
    decided = ended is not None and ended.verdict in (*DIFFERENT, "equivalent")
    if decided and stop.needed is not None:
        # what ends a run early must be surer than a verdict is: at its end a pair may be decided all the same
        why = ngettext(*_EARLY, stop.needed) if stop.why == "beyond the budget" else why
        why = _("{why}; decided at the end", why=why)
    elif needed := (ended.needed if ended is not None and ended.needed else stop.needed):
        why = ngettext(*_NEEDED, needed, why=why)
    return StopRow(
        cell=title(metric, row) if metric else one_line(stop.metric),
        arm=one_line(stop.arm),
        pairs=str(stop.pairs),
        why=clean(why),
    )


def twins_differ(analysis: Analysis) -> bool:
    """Whether the A/A check of what makes headlines found a difference where none is."""
    return next((item.verdict in DIFFERENT for item in analysis.aa if item.primary), False)


def noise_words(analysis: Analysis) -> str:
    """How much single values of the baseline's main metric vary: the robust spread as a share of their median."""
    baseline = analysis.run.manifest.plan.baseline
    for row in analysis.rows:
        cell = analysis.cell(row, baseline)
        if analysis.primary.get(row.workload) == row.metric and cell is not None and cell.median is not None:
            values = [value for value in cell.points.values if math.isfinite(value)]
            if analysis.metrics[row.metric].scale == "ratio" and len(values) > 2 and cell.median.value > 0:
                share = stats.spread(values) / cell.median.value
                return _("noise {share} of {baseline}'s {metric}", share=percent(share), baseline=one_line(baseline),
                         metric=title(analysis.metrics[row.metric], row))  # fmt: skip
    return ""


def twin_words(analysis: Analysis) -> str:
    """The A/A check of what makes headlines, in a few words; empty where there is none."""
    items = [item for item in analysis.aa if item.primary]
    if not items:
        return ""
    item = items[0]
    if item.verdict in DIFFERENT:
        return _("A/A: {arm} differs from itself", arm=one_line(item.baseline))
    floor = aa_floor(item)
    return _("A/A floor {floor}", floor=percent(math.expm1(floor))) if floor else _("A/A: not enough data")


def floor_note(analysis: Analysis) -> str:
    """The cost of an empty command, by arm, in one sentence; empty where it was not measured."""
    each = [f"{arm_name(analysis, arm)} {measured(floor, 's')}" for arm, floor in analysis.floors.items()]
    return _("Measurement floor, an empty command through the agent: {arms}.", arms=", ".join(each)) if each else ""
