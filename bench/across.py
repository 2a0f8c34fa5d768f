"""Two runs compared: what differs between their hosts first, then each cell by its own run's baseline. Pure.

The two were not measured in the same blocks, so nothing is paired: what is compared are two ratios (or differences),
each with the interval that its own run gave it. Absolute values of two runs are never compared: between two jobs on
one machine the same code differs by more than most changes do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from . import stats
from .analysis import Analysis
from .compare import VERDICTS, Comparison, Row, Verdict
from .doubts import aa_floor
from .metrics import Metric
from .model import Arm, Manifest, Record

FactKind = Literal["machine", "setting", "volatile"]

MACHINE = ("architecture", "cpu model name", "cpus", "socket(s)", "thread(s) per core", "memory", "hypervisor vendor")
"""The host facts that tell two machines apart: where one of them differs, percentages are refused."""
_VOLATILE = (
    "boot id", "busy", "disk free", "memory available", "steal since boot", "overheated since boot", "swap used",
)  # fmt: skip
"""Those that are never the same twice, and explain little."""


class FactChange(Record, frozen=True, kw_only=True):
    """Something of the host, a driver or the image that is not as it was."""

    subject: str
    """`host`, a driver's or an arm's name, `image`, `tare`, `plan`."""
    name: str
    before: str
    """Empty where it was not there."""
    after: str
    kind: FactKind


class CellChange(Record, frozen=True, kw_only=True):
    """One arm in one row, from run to run."""

    row: Row
    arm: str
    scale: Literal["ratio", "difference", "exact"]
    before: stats.Estimate | None
    """Compared with its own run's baseline: a ratio, or a difference in the metric's unit."""
    after: stats.Estimate | None
    change: stats.Estimate | None
    """`after` by `before`: a ratio of ratios, or the difference of differences; n is the smaller number of pairs."""
    level: float
    primary: bool
    verdict: Verdict
    reason: str = ""


class Across(Record, frozen=True, kw_only=True):
    """A run against an earlier one."""

    base: str
    """The earlier run's id."""
    base_started: str
    base_baseline: str
    alike: bool
    """Whether they were made on machines that may be compared."""
    facts: list[FactChange]
    cells: list[CellChange]
    only_before: list[tuple[Row, str]] = []
    """Cells of the earlier run that this one has not; and the other way around."""
    only_after: list[tuple[Row, str]] = []


def across(base: Analysis, new: Analysis, *, across_hosts: bool = False) -> Across:
    """Compare two runs. Where their machines are unlike, no change is computed unless `across_hosts` asks for it."""
    facts = fact_changes(base.run.manifest, new.run.manifest)
    alike = not any(change.kind == "machine" for change in facts)
    before = {(item.row, item.arm): item for item in base.comparisons}
    after = {(item.row, item.arm): item for item in new.comparisons}
    cells = [
        _cell(new.metrics[item.row.metric], before[key], item, _floor(base, new, item.row), _refusal(base, new, item))
        if alike or across_hosts
        else _cell(new.metrics[item.row.metric], before[key], item, 0.0, _UNLIKE)
        for key, item in after.items()
        if key in before
    ]
    return Across(
        base=base.run.manifest.run,
        base_started=base.run.manifest.started_at,
        base_baseline=base.run.manifest.plan.baseline,
        alike=alike,
        facts=facts,
        cells=cells,
        only_before=[key for key in before if key not in after],
        only_after=[key for key in after if key not in before],
    )


_UNLIKE = "the runs were made on machines that are unlike"
_BASELINES = "the runs have another baseline each"


def _refusal(base: Analysis, new: Analysis, item: Comparison) -> str:
    """Why a cell of two runs is not comparable; empty where it is."""
    if base.run.manifest.plan.baseline != item.baseline:
        return _BASELINES
    for arm in (item.arm, item.baseline):
        was, now = (run.run.manifest.accelerators.get(arm, "none") for run in (base, new))
        if was != now:
            return f"{arm} ran by {was} then and by {now} now"
    return ""


def _floor(base: Analysis, new: Analysis, row: Row) -> float:
    """The largest difference that the same arm twice may have shown in either run, on the differences' scale."""
    return max((aa_floor(item) for item in (*base.aa, *new.aa) if item.row == row), default=0.0)


def _cell(metric: Metric, before: Comparison, after: Comparison, floor: float, refusal: str) -> CellChange:
    level = min(before.level, after.level)
    verdict, reason, change = _judged(metric, before, after, floor)
    if refusal:
        verdict, reason, change = "", refusal, None
    return CellChange(
        row=after.row,
        arm=after.arm,
        scale=after.scale,
        before=before.effect,
        after=after.effect,
        change=change,
        level=level,
        primary=before.primary and after.primary,
        verdict=verdict,
        reason=reason,
    )


def _judged(
    metric: Metric, before: Comparison, after: Comparison, floor: float
) -> tuple[Verdict, str, stats.Estimate | None]:
    for item, which in ((before, "earlier"), (after, "later")):
        if item.verdict not in VERDICTS:
            return item.verdict, f"in the {which} run: {item.reason}" if item.reason else "", None
    change = _change(before, after)
    if change is None or change.low is None or change.high is None:
        return "not enough data", "one of the runs gave no interval", change
    ratio = after.scale == "ratio"
    value, low, high = (_log(end) if ratio else end for end in (change.value, change.low, change.high))
    where = stats.place(stats.Estimate(value, low, high, change.n), stats.region(metric.region, ratio=ratio))
    if where == "undecided":
        return "undecided", "", change
    if where == "inside":
        return "equivalent", "", change
    if abs(value) <= floor:
        why = "the change is not larger than what the same arm measured twice may differ by"
        return "undecided", why, change
    better = (where == "below") == (metric.better == "lower")
    return ("faster/smaller" if better else "slower/larger"), "", change


def _change(before: Comparison, after: Comparison) -> stats.Estimate | None:
    """The difference of two independent estimates, from each one's own interval (MOVER: Zou and Donner 2008).

    Each side of the interval joins the two distances that lie on that side, by the square root of their squares' sum;
    so it needs nothing but the intervals of the medians, and is as wide as the wider of them at the least.
    """
    if before.effect is None or after.effect is None:
        return None
    ratio = after.scale == "ratio"
    on: Callable[[float], float] = _log if ratio else float
    back: Callable[[float], float] = _exp if ratio else float
    one, two = before.effect, after.effect
    value, n = on(two.value) - on(one.value), min(one.n, two.n)
    if one.low is None or one.high is None or two.low is None or two.high is None or not math.isfinite(value):
        return stats.Estimate(back(value), None, None, n) if math.isfinite(value) else None
    down = math.hypot(on(two.value) - on(two.low), on(one.high) - on(one.value))
    up = math.hypot(on(two.high) - on(two.value), on(one.value) - on(one.low))
    return stats.Estimate(back(value), back(value - down), back(value + up), n)


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else math.copysign(math.inf, value - 1)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def fact_changes(before: Manifest, after: Manifest) -> list[FactChange]:
    """What differs between the hosts, drivers and images of two runs: the machine first, what is volatile last."""
    found = [
        *_changes("host", before.host, after.host),
        *_changes("tare", {"version": before.tare_version}, {"version": after.tare_version}),
        *_changes("image", _image(before), _image(after)),
    ]
    for name in dict.fromkeys([*before.drivers, *after.drivers]):
        found += _changes(name, before.drivers.get(name, {}), after.drivers.get(name, {}))
    for arm in dict.fromkeys([*before.accelerators, *after.accelerators]):
        old, new = before.accelerators.get(arm, ""), after.accelerators.get(arm, "")
        found += _changes(arm, {"accelerator": old}, {"accelerator": new})
    one, two = ({arm.name: arm for arm in manifest.plan.arms} for manifest in (before, after))
    for name in (name for name in one if name in two):
        found += _changes(name, _given(one[name]), _given(two[name]))
    order: tuple[FactKind, ...] = ("machine", "setting", "volatile")
    return sorted(found, key=lambda change: order.index(change.kind))


def _given(arm: Arm) -> dict[str, str]:
    """What an arm is by the plan; the image is told apart from it."""
    spec = {name: str(value) for name, value in msgspec.structs.asdict(arm.spec).items() if name != "rootfs"}
    return {"driver": arm.driver, **spec, **arm.options}


def _image(manifest: Manifest) -> dict[str, str]:
    return {"digest": manifest.rootfs.digest, **{f"package {k}": v for k, v in manifest.rootfs.packages.items()}}


_PRIVATE = ("address",)
"""What is another one in every run: a socket in the run's own folder."""


def _changes(subject: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[FactChange]:
    return [
        FactChange(subject=subject, name=name, before=old, after=new, kind=_kind(name, old, new))
        for name in dict.fromkeys([*before, *after])
        if (old := before.get(name, "")) != (new := after.get(name, "")) and name not in _PRIVATE
    ]


def _kind(name: str, before: str, after: str) -> FactKind:
    if name in _VOLATILE or (name == "memory" and _near(before, after)):
        return "volatile"
    # One that either run doesn't state says nothing of the machine.
    return "machine" if name in MACHINE and before and after else "setting"


def _near(before: str, after: str) -> bool:
    """Whether two amounts of memory are the same machine's: another kernel keeps a little more or less for itself."""
    try:
        one, two = (float(text.partition(" ")[0]) for text in (before, after))
    except ValueError:
        return False
    return abs(one - two) <= 0.02 * max(one, two)
