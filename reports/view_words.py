"""The words of a verdict, fitting its metric, and the sentences that carry the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import Comparison, Verdict
from tare_bench.metrics import Metric
from tare_bench.model import Accelerator, Arm
from tare_bench.stats import Estimate

from .language import N_, NN_, _, ngettext
from .view_format import measured, number, one_line, percent, quantity, span, unit_for
from .view_labels import is_throughput, joined, parameter_words, together
from .view_reasons import worded

SIMULATED = N_("SIMULATED")
EMULATED = N_("EMULATED")


@dataclass(frozen=True, slots=True)
class VerdictMark:
    """A verdict by word, shape and colour."""

    kind: str
    """Its class on the page: better, worse, same, open, none."""
    shape: str
    word: str


_MARKS: dict[Verdict, tuple[str, str]] = {
    "faster/smaller": ("better", "●"),
    "slower/larger": ("worse", "◆"),
    "equivalent": ("same", "■"),
    "undecided": ("open", "○"),
    "not enough data": ("none", "–"),
    "not compared: emulated": ("none", "–"),
}


VERDICT_WORDS: dict[Verdict, str] = {
    "faster/smaller": N_("faster/smaller"),
    "slower/larger": N_("slower/larger"),
    "equivalent": N_("equivalent"),
    "undecided": N_("undecided"),
    "not enough data": N_("not enough data"),
    "not compared: emulated": N_("not compared: emulated"),
}
"""Of a verdict that fits no metric in particular; to be translated where they are used."""


def is_speed(metric: Metric) -> bool:
    """Whether faster and slower are its words: elapsed times and rates. CPU time is an amount."""
    amount = any(part.endswith("cpu") for part in metric.name.split("."))
    return (metric.unit == "s" and not amount) or metric.unit.endswith("/s")


def verdict_word(metric: Metric, comparison: Comparison) -> str:
    """One of faster, slower, smaller, larger, or the verdict itself where it has no direction."""
    verdict = comparison.verdict
    if verdict not in ("faster/smaller", "slower/larger"):
        return _(VERDICT_WORDS[verdict]) if verdict in VERDICT_WORDS else verdict
    if is_speed(metric):
        return _("faster") if verdict == "faster/smaller" else _("slower")
    smaller = (verdict == "faster/smaller") == (metric.better == "lower")
    return _("smaller") if smaller else _("larger")


def verdict_mark(metric: Metric, comparison: Comparison) -> VerdictMark | None:
    """The mark of a comparison; None where values are shown as such."""
    found = _MARKS.get(comparison.verdict)
    return VerdictMark(*found, word=verdict_word(metric, comparison)) if found else None


COLD = N_("cold page cache")
"""Of an arm whose instances start with nothing of their image in memory."""


def network(arm: Arm) -> str:
    """The path that its instances are reached by; empty where they have none."""
    return "" if arm.spec.network == "none" else _("network: {path}", path=arm.spec.network)


def arm_label(analysis: Analysis, arm: str) -> str:
    """EMULATED or SIMULATED where the arm was, to be translated where it is shown; empty otherwise."""
    return label_of(analysis.run.manifest.accelerators.get(arm, "none"))


def label_of(accelerator: Accelerator) -> str:
    """EMULATED or SIMULATED where that is what an instance ran by; empty otherwise."""
    return {"tcg": EMULATED, "simulated": SIMULATED}.get(accelerator, "")


def arm_name(analysis: Analysis, arm: str) -> str:
    """The arm as a sentence names it, its label in plain sight."""
    label = arm_label(analysis, arm)
    return f"{one_line(arm)} ({_(label)})" if label else one_line(arm)


def headline(analysis: Analysis) -> list[str]:
    """The answer in sentences, from the data: for each arm, what is not decided, and what must be known of it.

    Only primary pairs with a verdict are in it, never the memory of an emulated guest, and never `native` where any
    other arm can be compared with the baseline: it is the floor. Throughput has a sentence of its own that names every
    cell: one cell never makes the headline.
    """
    arms = _headline_arms(analysis)
    sentences = [_about(analysis, arm) for arm in arms] or [_alone(analysis)]
    rates = [words for arm in arms if (words := _throughput(analysis, arm, primary=True))]
    aside = [
        words
        for arm in arms
        for words in (_exploratory(analysis, arm), _throughput(analysis, arm, primary=False))
        if words
    ]
    return [*sentences, *rates, *aside, *_open(analysis), *_warnings(analysis)]


def _headline_arms(analysis: Analysis) -> list[str]:
    plan = analysis.run.manifest.plan
    others = [arm for arm in plan.arms if arm.name != plan.baseline]
    return [arm.name for arm in others if arm.driver != "native"] or [arm.name for arm in others]


def _about(analysis: Analysis, arm: str) -> str:
    name, claims = arm_name(analysis, arm), _claims(analysis, arm)
    if claims:
        against = arm_name(analysis, analysis.run.manifest.plan.baseline)
        return _("{arm} {claims}, compared with {baseline}.", arm=name, claims=_joined(claims), baseline=against)
    baseline, primary = one_line(analysis.run.manifest.plan.baseline), _primary_beside_throughput(analysis, arm)
    open_ = [item for item in primary if item.verdict == "undecided"]
    if open_:
        return _undecided(name, baseline, open_)
    reasons = [item.reason for item in primary if item.verdict == "not enough data" and item.reason]
    if not reasons:
        return _("There is not enough data to compare {arm} with {baseline}.", arm=name, baseline=baseline)
    return _(
        "There is not enough data to compare {arm} with {baseline}: {reason}.",
        arm=name,
        baseline=baseline,
        reason=worded(one_line(reasons[0])),
    )


def _undecided(name: str, baseline: str, items: list[Comparison]) -> str:
    """With what it would take, or why more pairs would not help, where that is known of all of them."""
    needed = [item.needed for item in items if item.needed]
    reasons = list(dict.fromkeys(item.reason for item in items))
    if len(needed) == len(items):
        return ngettext(
            "Nothing is decided between {arm} and {baseline}: that takes about {needed} pairs, and there is {n}.",
            "Nothing is decided between {arm} and {baseline}: that takes about {needed} pairs, and there are {n}.",
            min(item.pairs for item in items),
            arm=name,
            baseline=baseline,
            needed=max(needed),
        )
    if len(reasons) == 1 and reasons[0]:
        return _(
            "Nothing is decided between {arm} and {baseline}: {reason}.",
            arm=name,
            baseline=baseline,
            reason=worded(one_line(reasons[0])),
        )
    return _("Nothing is decided between {arm} and {baseline}.", arm=name, baseline=baseline)


def _primary_beside_throughput(analysis: Analysis, arm: str) -> list[Comparison]:
    return [
        item
        for item in analysis.comparisons
        if item.arm == arm and item.primary and not is_throughput(analysis, item.row)
    ]


def _claims(analysis: Analysis, arm: str) -> list[str]:
    return [claim for item in _primary_beside_throughput(analysis, arm) if (claim := _claim(analysis, item))]


def _exploratory(analysis: Analysis, arm: str) -> str:
    """What the main metrics say that had too few pairs for a headline: a sentence that says so, or nothing."""
    found = [
        (claim, item.pairs)
        for item in analysis.comparisons
        if item.arm == arm and not item.primary and analysis.primary.get(item.row.workload) == item.row.metric
        if not is_throughput(analysis, item.row)
        if (claim := _claim(analysis, item))
    ]
    if not found:
        return ""
    return _(
        "Exploratory, from {pairs} pairs: {arm} {claims}, compared with {baseline}.",
        pairs=min(pairs for claim, pairs in found),
        arm=arm_name(analysis, arm),
        claims=_joined([claim for claim, pairs in found]),
        baseline=arm_name(analysis, analysis.run.manifest.plan.baseline),
    )


_THROUGHPUT = {
    (True, False): N_("Throughput of {arm} compared with {baseline}: {parts}."),
    (True, True): N_("Throughput of {arm} compared with {baseline}, in one cell only: {parts}."),
    (False, False): N_("Exploratory, from {pairs} pairs: throughput of {arm} compared with {baseline}: {parts}."),
    (False, True): N_(
        "Exploratory, from {pairs} pairs: throughput of {arm} compared with {baseline}, in one cell only: {parts}."
    ),
}
"""By whether the cells are primary, and whether there is one only."""


def _throughput(analysis: Analysis, arm: str, *, primary: bool) -> str:
    """Where an arm is slower, where it is faster, where it is equal and where that is open: every cell is named."""
    found = [
        item
        for item in analysis.comparisons
        if item.arm == arm and item.primary == primary and is_throughput(analysis, item.row)
        # A row of another operation than the primary one is in the tables only.
        if analysis.primary.get(item.row.workload) == item.row.metric
    ]
    decided = [item for item in found if item.verdict in ("slower/larger", "faster/smaller", "equivalent")]
    if not decided and not (found and primary and _claims(analysis, arm)):
        return ""  # it was just said that nothing is
    names = {"arm": arm_name(analysis, arm), "baseline": arm_name(analysis, analysis.run.manifest.plan.baseline)}
    if not decided:
        return _no_rate(found, names)
    return _(
        _THROUGHPUT[primary, len(found) == 1],
        **names,
        pairs=min(item.pairs for item in found),
        parts=_("; ").join(part for verdict in _RATES if (part := _rates(analysis, verdict, found))),
    )


def _no_rate(items: list[Comparison], names: dict[str, str]) -> str:
    reasons = [item.reason for item in items if item.verdict == "not enough data" and item.reason]
    if not reasons:
        return _("In throughput nothing is decided between {arm} and {baseline}.", **names)
    return _(
        "There is not enough data to compare the throughput of {arm} with that of {baseline}: {reason}.",
        **names,
        reason=worded(one_line(reasons[0])),
    )


_RATES: dict[Verdict, str] = {
    "slower/larger": N_("slower in {cells}"),
    "faster/smaller": N_("faster in {cells}"),
    "equivalent": N_("equally fast within {region} in {cells}"),
    "undecided": N_("undecided in {cells}"),
    "not enough data": N_("not enough data in {cells}"),
}
_RATES_BY: dict[tuple[Verdict, bool], str] = {
    ("slower/larger", True): N_("slower in {cells}, at {ratio} times the rate"),
    ("slower/larger", False): N_("slower in {cells}, at {ratio} times the time"),
    ("faster/smaller", True): N_("faster in {cells}, at {ratio} times the rate"),
    ("faster/smaller", False): N_("faster in {cells}, at {ratio} times the time"),
}
"""By whether it is a rate, or else a time."""


def _rates(analysis: Analysis, verdict: Verdict, items: list[Comparison]) -> str:
    """The cells of one verdict, with how far they are apart."""
    found = [item for item in items if item.verdict == verdict]
    if not found:
        return ""
    named = joined(together(analysis, [item.row for item in found]))
    if verdict == "equivalent":
        widest = max(analysis.metrics[item.row.metric].region for item in found)
        return _(_RATES[verdict], cells=named, region=percent(widest))
    effects = [item.effect for item in found if item.effect and item.scale == "ratio"]
    if verdict in ("undecided", "not enough data") or len(effects) < len(found):
        return _(_RATES[verdict], cells=named)
    rate = all(analysis.metrics[item.row.metric].unit.endswith("/s") for item in found)
    value, interval = _how_much(effects)
    return _with(_(_RATES_BY[verdict, rate], cells=named, ratio=value), interval)


def _with(words: str, interval: str) -> str:
    """Words with the interval of the number in them."""
    return _("{words} ({interval})", words=words, interval=interval) if interval else words


def _how_much(effects: list[Estimate]) -> tuple[str, str]:
    """One ratio and its interval, or the least and the greatest of several."""
    if len(effects) > 1:
        values = [effect.value for effect in effects]
        return span(min(values), max(values)), ""
    return number(effects[0].value), span(effects[0].low, effects[0].high)


def _joined(claims: list[str]) -> str:
    if len(claims) < 3:
        return joined(claims)
    return _("{first}, and {last}", first=", ".join(claims[:-1]), last=claims[-1])


def _claim(analysis: Analysis, item: Comparison) -> str:
    """What one primary pair says, as the predicate of a sentence; empty where it says nothing."""
    metric, effect = analysis.metrics[item.row.metric], item.effect
    if effect is None or item.verdict not in ("faster/smaller", "slower/larger", "equivalent"):
        return ""
    said = _difference(metric, item, effect) if item.scale == "difference" else _ratio(metric, item, effect)
    if item.row.params == "{}":
        return said
    return _("{claim} at {parameters}", claim=said, parameters=joined(parameter_words(item.row)))


_SHORT = {"memory.pss": N_("memory"), "disk.instance": N_("disk")}


def _difference(metric: Metric, item: Comparison, effect: Estimate) -> str:
    what = _(_SHORT.get(metric.name, one_line(metric.title)))
    if item.verdict == "equivalent":
        region = quantity(metric.region, metric.unit)
        return _("takes the same {what} for each instance within {region}", what=what, region=region)
    unit = unit_for(metric.unit, [effect.value])
    size, low, high = sorted_size(effect)
    value = f"{number(size / unit.size)} {unit.symbol}".strip()
    if effect.value > 0:
        said = _("takes {value} more {what} for each instance", value=value, what=what)
    else:
        said = _("takes {value} less {what} for each instance", value=value, what=what)
    return _with(said, span(low, high, unit.size))


def sorted_size(effect: Estimate) -> tuple[float, float | None, float | None]:
    """A difference and its interval without their sign, which a word carries."""
    if effect.value >= 0 or effect.low is None or effect.high is None:
        return abs(effect.value), effect.low, effect.high
    return -effect.value, -effect.high, -effect.low


def _ratio(metric: Metric, item: Comparison, effect: Estimate) -> str:
    title = _(one_line(metric.title))
    if item.verdict == "equivalent":
        if metric.name == "boot.ready":
            return _("boots equally fast within {region}", region=percent(metric.region))
        if is_speed(metric):
            return _("is equally fast in {metric} within {region}", metric=title, region=percent(metric.region))
        return _("has the same amount in {metric} within {region}", metric=title, region=percent(metric.region))
    if math.isinf(effect.value):
        # the median itself is beyond the deadline: there is no ratio to that
        if metric.name == "boot.ready":
            return _("does not boot within its deadline")
        return _("is not done within its deadline in {metric}", metric=title)
    ratio = number(effect.value)
    if metric.name == "boot.ready":
        said = _("takes {ratio} times as long to boot", ratio=ratio)
    elif metric.unit == "s" and is_speed(metric):
        said = _("has {ratio} times the time in {metric}", ratio=ratio, metric=title)
    elif metric.unit.endswith("/s"):
        said = _("has {ratio} times the rate in {metric}", ratio=ratio, metric=title)
    else:
        said = _("has {ratio} times the amount in {metric}", ratio=ratio, metric=title)
    return _with(said, span(effect.low, effect.high))


def _alone(analysis: Analysis) -> str:
    """The sentence of a run with nothing to compare."""
    arm = analysis.run.manifest.plan.baseline
    row = next((row for row in analysis.rows if row.metric == "boot.ready"), None)
    cell = analysis.cell(row, arm) if row else None
    if cell is None or cell.median is None:
        return _("Nothing could be measured of {arm}.", arm=arm_name(analysis, arm))
    value = measured(cell.median, "s")
    return _("{arm} boots in {value}; no other arm was run.", arm=arm_name(analysis, arm), value=value)


def verdict_counts(analysis: Analysis) -> dict[Verdict, int]:
    """How many primary comparisons have each verdict; those that carry none because of emulation are counted apart."""
    counts: dict[Verdict, int] = {}
    for item in analysis.comparisons:
        if item.primary and item.verdict:
            counts[item.verdict] = counts.get(item.verdict, 0) + 1
    return counts


_COMPARED: dict[Verdict, tuple[str, str]] = {
    "undecided": NN_("{n} primary comparison undecided", "{n} primary comparisons undecided"),
    "not enough data": NN_("{n} primary comparison without enough data", "{n} primary comparisons without enough data"),
}
ENDED = {
    "failed": NN_("{n} trial failed", "{n} trials failed"),
    "timeout": NN_("{n} trial timed out", "{n} trials timed out"),
    "skipped": NN_("{n} trial skipped", "{n} trials skipped"),
}


def _open(analysis: Analysis) -> list[str]:
    """What is not decided and what went wrong, in one sentence; none where there is nothing to say."""
    counts, outcomes = verdict_counts(analysis), analysis.outcomes
    parts = [ngettext(*words, counts[key]) for key, words in _COMPARED.items() if counts.get(key)]
    parts += [ngettext(*words, outcomes[key]) for key, words in ENDED.items() if outcomes.get(key)]
    return [f"{', '.join(parts)}."] if parts else []


def _warnings(analysis: Analysis) -> list[str]:
    run, found = analysis.run, []
    if run.simulated:
        found.append(
            _("{label}: these numbers come from the fake driver, and nothing was measured.", label=_(SIMULATED))
        )
    if run.emulated:
        found.append(
            ngettext(
                "{arms} was {label}: without KVM every instruction is interpreted, so this is not what a guest on KVM "
                "costs, and its memory is not compared.",
                "{arms} were {label}: without KVM every instruction is interpreted, so this is not what a guest on KVM "
                "costs, and its memory is not compared.",
                len(run.emulated),
                arms=_joined([one_line(arm) for arm in run.emulated]),
                label=_(EMULATED),
            )
        )
    if not run.finished:
        still = _("The run is still going on: what has been measured so far is shown.")
        ended = _("The run did not come to its end: what had been measured until then is shown.")
        found.append(still if run.in_flight else ended)
    return found
