"""Launch storms: how fast instances start when many are asked for at once, as charts with their tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from tare_bench.analysis import Analysis
from tare_bench.compare import Row
from tare_bench.model import Trial, canonical
from tare_bench.tails import STARTS, Tail, tails

from .language import N_, _, ngettext
from .view_cells import Column
from .view_charts import Sweep, sweep
from .view_format import NBSP, number, unit_for
from .view_labels import parameters
from .view_tables import columns

WORKLOAD, PARALLEL = "storm", "parallel"
RATE, READY, SLOWEST = "storm.rate", "storm.ready", "storm.slowest"
AT_ONCE = N_("instances at once")


@dataclass(frozen=True, slots=True)
class TailRow:
    """One arm's 99th percentile of the single starts, for each number of instances at once."""

    arm: str
    label: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Storms:
    """All that the page says of storms beside its table."""

    charts: tuple[Sweep, ...]
    """The rate, the median and the slowest start, each over the number of instances at once."""
    names: tuple[str, ...]
    """How many were asked for at once, in their order."""
    tails: tuple[TailRow, ...]
    note: str
    """Of what the percentiles are, or why there are none."""
    harness: tuple[str, ...]
    """For each arm's largest storms: how close together they were asked for, how late they were read, and what Tare
    itself computed meanwhile."""


def storms(analysis: Analysis) -> Storms | None:
    """None where no storm has a value."""
    by_metric = {name: _rows(analysis, name) for name in (RATE, READY, SLOWEST)}
    if not by_metric[RATE]:
        return None
    charts = [
        replace(sweep(analysis, rows, PARALLEL), parameter=_(AT_ONCE)) for rows in by_metric.values() if len(rows) > 1
    ]
    found, sizes = tails(analysis.run, READY), sorted(int(parameters(row)[PARALLEL]) for row in by_metric[RATE])
    known = any(each.value is not None for each in found.values())
    most = max((each.starts for each in found.values()), default=0)
    return Storms(
        charts=tuple(charts),
        names=tuple(str(each) for each in sizes),
        tails=tuple(_tail_row(head, sizes, found) for head in columns(analysis)) if known else (),
        note=_note(known, most),
        harness=tuple(text for head in columns(analysis) if (text := _harness(analysis, head))),
    )


_HARNESS = ("asked_within", "read_late", "harness_cpu")


def _harness(analysis: Analysis, head: Column) -> str:
    """The medians of the arm's largest storms; empty where it has none that says so."""
    found = [(size, seen) for trial in analysis.run.trials if trial.cell.arm == head.arm for size, seen in _said(trial)]
    most = max((size for size, _ in found), default=0)
    largest = [seen for size, seen in found if size == most]
    if not largest:
        return ""
    asked, late, own, took = (number(1e3 * median(values)) for values in zip(*largest, strict=True))
    return _(
        "{arm}, {most} at once: asked for within {asked}\u00a0ms, read at most {late}\u00a0ms late; Tare itself "
        "computed for {own} of {took}\u00a0ms.",
        arm=head.name,
        most=most,
        asked=asked,
        late=late,
        own=own,
        took=took,
    )


def _said(trial: Trial) -> Iterator[tuple[int, tuple[float, ...]]]:
    """A storm's size, and in seconds what it says of Tare itself and how long it took; nothing where it doesn't."""
    size = trial.cell.params.get(PARALLEL)
    rates = [sample.value for sample in trial.samples if sample.metric == RATE and sample.value > 0]
    if trial.cell.workload == WORKLOAD and isinstance(size, int) and rates:
        with contextlib.suppress(LookupError, ValueError):
            yield size, (*(float(trial.facts[key]) for key in _HARNESS), size / rates[0])


def _rows(analysis: Analysis, metric: str) -> list[Row]:
    return [
        row
        for row in analysis.rows
        if row.metric == metric and isinstance(parameters(row).get(PARALLEL), int) and len(parameters(row)) == 1
    ]


def _tail_row(head: Column, sizes: list[int], found: dict[tuple[str, str], Tail]) -> TailRow:
    texts = (_text(found.get((head.arm, canonical({PARALLEL: size})))) for size in sizes)
    return TailRow(arm=head.name, label=head.label, texts=tuple(texts))


def _text(tail: Tail | None) -> str:
    if tail is None:
        return _("not run")
    if tail.value is None or tail.bound is None:
        return _("{starts} of {needed} starts", starts=tail.starts, needed=STARTS)
    unit = unit_for("s", [tail.value])
    value, bound = (f"{number(each / unit.size)}{NBSP}{unit.symbol}" for each in (tail.value, tail.bound))
    return _("{value} (at most {bound}), n = {starts}", value=value, bound=bound, starts=tail.starts)


def _note(known: bool, most: int) -> str:
    if known:
        return _(
            "The 99th percentile of the single starts, pooled over all storms of a cell, with its upper bound at "
            "95\u00a0%; starts of one storm depend on each other, so the bound is a little too low."
        )
    return ngettext(
        "A 99th percentile takes {needed} starts; no cell has more than {n} start.",
        "A 99th percentile takes {needed} starts; no cell has more than {n} starts.",
        most,
        needed=STARTS,
    )
