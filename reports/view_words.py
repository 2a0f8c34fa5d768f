"""The words of a verdict, fitting its metric, and the sentences that carry the answer."""

from __future__ import annotations

from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.compare import Comparison, Verdict
from tare_bench.metrics import Metric
from tare_bench.model import Accelerator
from tare_bench.stats import Estimate

from .view_format import count, number, one_line, percent, quantity, span, unit_for
from .view_labels import is_throughput, joined, parameter_words, together

SIMULATED = "SIMULATED"
EMULATED = "EMULATED"


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


def is_speed(metric: Metric) -> bool:
    """Whether faster and slower are its words: elapsed times and rates. CPU time is an amount."""
    return (metric.unit == "s" and not metric.name.endswith("cpu")) or metric.unit.endswith("/s")


def verdict_word(metric: Metric, comparison: Comparison) -> str:
    """One of faster, slower, smaller, larger, or the verdict itself where it has no direction."""
    verdict = comparison.verdict
    if verdict not in ("faster/smaller", "slower/larger"):
        return verdict
    if is_speed(metric):
        return "faster" if verdict == "faster/smaller" else "slower"
    smaller = (verdict == "faster/smaller") == (metric.better == "lower")
    return "smaller" if smaller else "larger"


def verdict_mark(metric: Metric, comparison: Comparison) -> VerdictMark | None:
    """The mark of a comparison; None where values are shown as such."""
    found = _MARKS.get(comparison.verdict)
    return VerdictMark(*found, word=verdict_word(metric, comparison)) if found else None


COLD = "cold page cache"
"""Of an arm whose instances start with nothing of their image in memory."""


def arm_label(analysis: Analysis, arm: str) -> str:
    """EMULATED or SIMULATED where the arm was; empty otherwise."""
    return label_of(analysis.run.manifest.accelerators.get(arm, "none"))


def label_of(accelerator: Accelerator) -> str:
    """EMULATED or SIMULATED where that is what an instance ran by; empty otherwise."""
    return {"tcg": EMULATED, "simulated": SIMULATED}.get(accelerator, "")


def arm_name(analysis: Analysis, arm: str) -> str:
    """The arm as a sentence names it, its label in plain sight."""
    label = arm_label(analysis, arm)
    return f"{one_line(arm)} ({label})" if label else one_line(arm)


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
    baseline = one_line(analysis.run.manifest.plan.baseline)
    primary, claims = _primary_beside_throughput(analysis, arm), _claims(analysis, arm)
    name = arm_name(analysis, arm)
    if claims:
        against = arm_name(analysis, analysis.run.manifest.plan.baseline)
        return f"{name} {_joined(claims)}, compared with {against}."
    reasons = [item.reason for item in primary if item.verdict == "not enough data" and item.reason]
    if any(item.verdict == "undecided" for item in primary):
        return f"Nothing is decided between {name} and {baseline}."
    because = f": {reasons[0]}" if reasons else ""
    return f"There is not enough data to compare {name} with {baseline}{because}."


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
    fewest = min(pairs for _, pairs in found)
    return f"Exploratory, from {fewest} pairs: {arm_name(analysis, arm)} {_joined([claim for claim, _ in found])}."


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
    prefix = "" if primary else f"Exploratory, from {min(item.pairs for item in found)} pairs: "
    name, against = arm_name(analysis, arm), arm_name(analysis, analysis.run.manifest.plan.baseline)
    if not decided:
        reasons = [item.reason for item in found if item.verdict == "not enough data" and item.reason]
        if not reasons:
            return f"In throughput nothing is decided between {name} and {against}."
        return f"There is not enough data to compare the throughput of {name} with that of {against}: {reasons[0]}."
    one = ", in one cell only" if len(found) == 1 else ""
    parts = [part for verdict in _RATES if (part := _rates(analysis, verdict, found))]
    return f"{prefix}{'t' if prefix else 'T'}hroughput of {name} compared with {against}{one}: {'; '.join(parts)}."


_RATES: dict[Verdict, str] = {
    "slower/larger": "slower in",
    "faster/smaller": "faster in",
    "equivalent": "equally fast in",
    "undecided": "undecided in",
    "not enough data": "not enough data in",
}


def _rates(analysis: Analysis, verdict: Verdict, items: list[Comparison]) -> str:
    """The cells of one verdict, with how far they are apart."""
    found = [item for item in items if item.verdict == verdict]
    if not found:
        return ""
    named = joined(together(analysis, [item.row for item in found]))
    if verdict == "equivalent":
        widest = max(analysis.metrics[item.row.metric].region for item in found)
        return f"equally fast within {percent(widest)} in {named}"
    effects = [item.effect for item in found if item.effect and item.scale == "ratio"]
    if verdict in ("undecided", "not enough data") or len(effects) < len(found):
        return f"{_RATES[verdict]} {named}"
    kind = "rate" if all(analysis.metrics[item.row.metric].unit.endswith("/s") for item in found) else "time"
    value, interval = _how_much(effects)
    return f"{_RATES[verdict]} {named}, at {value} times the {kind}{interval}"


def _how_much(effects: list[Estimate]) -> tuple[str, str]:
    """One ratio and its interval, or the least and the greatest of several."""
    if len(effects) > 1:
        values = [effect.value for effect in effects]
        return span(min(values), max(values)), ""
    interval = span(effects[0].low, effects[0].high)
    return number(effects[0].value), f" ({interval})" if interval else ""


def _joined(claims: list[str]) -> str:
    if len(claims) < 3:
        return " and ".join(claims)
    return f"{', '.join(claims[:-1])}, and {claims[-1]}"


def _claim(analysis: Analysis, item: Comparison) -> str:
    """What one primary pair says, as the predicate of a sentence; empty where it says nothing."""
    metric, effect = analysis.metrics[item.row.metric], item.effect
    if effect is None or item.verdict not in ("faster/smaller", "slower/larger", "equivalent"):
        return ""
    where = "" if item.row.params == "{}" else f" at {joined(parameter_words(item.row))}"
    if item.scale == "difference":
        return _difference(metric, item, effect) + where
    return _ratio(metric, item, effect) + where


def _difference(metric: Metric, item: Comparison, effect: Estimate) -> str:
    what = {"memory.pss": "memory", "disk.instance": "disk"}.get(metric.name, one_line(metric.title))
    if item.verdict == "equivalent":
        return f"takes the same {what} for each instance within {quantity(metric.region, metric.unit)}"
    unit = unit_for(metric.unit, [effect.value])
    size, low, high = sorted_size(effect)
    more = "more" if effect.value > 0 else "less"
    value = f"{number(size / unit.size)} {unit.symbol}".strip()
    return f"takes {value} {more} {what} for each instance ({span(low, high, unit.size)})"


def sorted_size(effect: Estimate) -> tuple[float, float | None, float | None]:
    """A difference and its interval without their sign, which a word carries."""
    if effect.value >= 0 or effect.low is None or effect.high is None:
        return abs(effect.value), effect.low, effect.high
    return -effect.value, -effect.high, -effect.low


def _ratio(metric: Metric, item: Comparison, effect: Estimate) -> str:
    interval = span(effect.low, effect.high)
    if item.verdict == "equivalent":
        verb = "boots" if metric.name == "boot.ready" else "is"
        where = "" if verb != "is" else f" in {one_line(metric.title)}"
        return f"{verb} equally fast{where} within {percent(metric.region)}"
    if metric.name == "boot.ready":
        return f"takes {number(effect.value)} times as long to boot ({interval})"
    kind = "time" if metric.unit == "s" else "rate" if metric.unit.endswith("/s") else "amount"
    return f"has {number(effect.value)} times the {kind} in {one_line(metric.title)} ({interval})"


def _alone(analysis: Analysis) -> str:
    """The sentence of a run with nothing to compare."""
    arm = analysis.run.manifest.plan.baseline
    row = next((row for row in analysis.rows if row.metric == "boot.ready"), None)
    cell = analysis.cell(row, arm) if row else None
    if cell is None or cell.median is None:
        return f"Nothing could be measured of {arm_name(analysis, arm)}."
    unit = unit_for("s", [cell.median.value])
    interval = span(cell.median.low, cell.median.high, unit.size)
    value = f"{number(cell.median.value / unit.size)} {unit.symbol}"
    return f"{arm_name(analysis, arm)} boots in {value}{f' ({interval})' if interval else ''}; no other arm was run."


def verdict_counts(analysis: Analysis) -> dict[str, int]:
    """How many primary comparisons have each verdict; those that carry none because of emulation are counted apart."""
    counts: dict[str, int] = {}
    for item in analysis.comparisons:
        if item.primary and item.verdict:
            counts[item.verdict] = counts.get(item.verdict, 0) + 1
    return counts


def _open(analysis: Analysis) -> list[str]:
    """What is not decided and what went wrong, in one sentence; none where there is nothing to say."""
    counts, outcomes = verdict_counts(analysis), analysis.outcomes
    parts = []
    if counts.get("undecided"):
        parts.append(f"{count(counts['undecided'], 'primary comparison')} undecided")
    if counts.get("not enough data"):
        parts.append(f"{count(counts['not enough data'], 'primary comparison')} without enough data")
    words = {"failed": "failed", "timeout": "timed out", "skipped": "skipped"}
    parts += [f"{count(outcomes[key], 'trial')} {word}" for key, word in words.items() if outcomes.get(key)]
    return [f"{', '.join(parts)}."] if parts else []


def _warnings(analysis: Analysis) -> list[str]:
    run, found = analysis.run, []
    if run.simulated:
        found.append(f"{SIMULATED}: these numbers come from the fake driver, and nothing was measured.")
    if run.emulated:
        names = _joined([one_line(arm) for arm in run.emulated])
        verb = "was" if len(run.emulated) == 1 else "were"
        found.append(
            f"{names} {verb} {EMULATED}: without KVM every instruction is interpreted, so this is not what a guest "
            "on KVM costs, and its memory is not compared."
        )
    if not run.finished:
        found.append("The run was interrupted: what had been measured until then is shown.")
    return found
