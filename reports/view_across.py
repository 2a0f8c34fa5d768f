"""A run against an earlier one, as rows of text and marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tare_bench.across import Across, CellChange, FactChange
from tare_bench.analysis import Analysis
from tare_bench.compare import DIFFERENT, Comparison, Row, Verdict
from tare_bench.stats import Estimate

from .language import _, ngettext
from .view_cells import effect_text
from .view_format import one_line
from .view_labels import title
from .view_marks import Axis, Mark, mark, ratio_axis
from .view_tables import row_id
from .view_words import VerdictMark, arm_label, arm_name, verdict_mark


@dataclass(frozen=True, slots=True)
class FactRow:
    """Something that is not as it was."""

    subject: str
    name: str
    before: str
    after: str
    machine: bool


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One cell, from run to run."""

    row_id: str
    """Of its row in this run's tables."""
    title: str
    arm: str
    label: str
    before: str
    after: str
    change: str
    interval: str
    mark: Mark | None
    verdict: VerdictMark | None
    exploratory: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AcrossView:
    """The comparison of two runs."""

    base: str
    started: str
    lede: str
    axis: Axis | None
    rows: tuple[ChangeRow, ...]
    facts: tuple[FactRow, ...]
    volatile: tuple[FactRow, ...]
    """What is never the same twice."""
    missing: tuple[str, ...]
    """Cells that only one of the runs has, in words."""


def across_view(analysis: Analysis, found: Across) -> AcrossView:
    """The primary cells first, and of each kind those that changed."""
    ratios = [cell.change for cell in found.cells if cell.scale == "ratio" and cell.change is not None]
    axis = ratio_axis(ratios) if ratios else None
    cells = sorted(found.cells, key=lambda cell: (not cell.primary, cell.verdict not in DIFFERENT))
    return AcrossView(
        base=one_line(found.base),
        started=one_line(found.base_started),
        lede=_lede(found),
        axis=axis,
        rows=tuple(_row(analysis, cell, axis) for cell in cells if cell.scale != "exact" or _differs(cell)),
        facts=tuple(map(fact_row, (change for change in found.facts if change.kind != "volatile"))),
        volatile=tuple(map(fact_row, (change for change in found.facts if change.kind == "volatile"))),
        missing=tuple(_missing(analysis, found)),
    )


def _lede(found: Across) -> str:
    return _(
        "Each cell as the ratio to its own run's baseline, {baseline}. The two runs were not measured in the same "
        "blocks: nothing is paired, and a small change cannot be told from the difference between two days.",
        baseline=one_line(found.base_baseline),
    )


def _differs(cell: CellChange) -> bool:
    return cell.before is not None and cell.after is not None and cell.before.value != cell.after.value


def fact_row(change: FactChange) -> FactRow:
    """A change of a host's, a driver's or an image's facts, in words."""
    return FactRow(
        subject=one_line(change.subject),
        name=one_line(change.name),
        before=one_line(change.before) or "–",
        after=one_line(change.after) or "–",
        machine=change.kind == "machine",
    )


def _row(analysis: Analysis, cell: CellChange, axis: Axis | None) -> ChangeRow:
    metric = analysis.metrics[cell.row.metric]
    as_compared = _as_comparison(cell)
    change, interval = effect_text(metric, as_compared)
    drawn = cell.change is not None and cell.scale == "ratio" and axis is not None
    return ChangeRow(
        row_id=row_id(cell.row),
        title=title(metric, cell.row),
        arm=one_line(cell.arm),
        label=arm_label(analysis, cell.arm),
        before=_text(analysis, cell, cell.before),
        after=_text(analysis, cell, cell.after),
        change=change,
        interval=interval,
        mark=mark(axis, metric, cell.change) if drawn and axis is not None and cell.change is not None else None,
        verdict=verdict_mark(metric, as_compared),
        exploratory=not cell.primary and cell.verdict in (*DIFFERENT, "equivalent", "undecided"),
        reason=one_line(cell.reason),
    )


def _as_comparison(cell: CellChange, effect: Estimate | None = None) -> Comparison:
    """The change in the shape that verdicts and effects are written from."""
    pairs = cell.change.n if cell.change else 0
    return Comparison(
        row=cell.row, arm=cell.arm, baseline="", scale=cell.scale, effect=effect or cell.change, level=cell.level,
        primary=cell.primary, pairs=pairs, lost=0, verdict=cell.verdict or "undecided",
    )  # fmt: skip


def _text(analysis: Analysis, cell: CellChange, effect: Estimate | None) -> str:
    if effect is None:
        return "–"
    value, interval = effect_text(analysis.metrics[cell.row.metric], _as_comparison(cell, effect))
    return f"{value} ({interval})" if interval else value or "–"


def _missing(analysis: Analysis, found: Across) -> list[str]:
    said = []
    for keys, words in (
        (found.only_before, _("Only in the earlier run: {cells}.")),
        (found.only_after, _("Only in this run: {cells}.")),
    ):
        cells = [f"{_named(analysis, row)} ({one_line(arm)})" for row, arm in keys]
        if cells:
            said.append(words.format(cells=", ".join(cells)))
    return said


def _named(analysis: Analysis, row: Row) -> str:
    metric = analysis.metrics.get(row.metric)
    return title(metric, row) if metric else one_line(row.metric)


def across_counts(found: Across) -> Mapping[Verdict, int]:
    """How many primary cells changed in which way."""
    return Counter(cell.verdict for cell in found.cells if cell.primary)


def across_words(analysis: Analysis, found: Across) -> list[str]:
    """What changed, in sentences: the primary cells; what isn't known is said, too."""
    base = one_line(found.base)
    if not found.alike and not any(cell.change for cell in found.cells):
        machine = ", ".join(one_line(change.name) for change in found.facts if change.kind == "machine")
        return [
            _("Run {base} was made on another machine ({facts}): the two are not compared.", base=base, facts=machine)
        ]
    now = analysis.run.manifest.plan.baseline
    if found.base_baseline != now:
        names = {"then": one_line(found.base_baseline), "now": one_line(now)}
        return [_("Run {base} has another baseline ({then}, now {now}): the two are not compared.", base=base, **names)]
    primary = [cell for cell in found.cells if cell.primary]
    losses = [cell for cell in primary if cell.verdict == "slower/larger"]
    gains = [cell for cell in primary if cell.verdict == "faster/smaller"]
    said = [_listed(analysis, cells, words) for cells, words in (
        (losses, _("Worse than in run {base}: {cells}.")), (gains, _("Better than in run {base}: {cells}.")),
    ) if cells]  # fmt: skip
    said = [words.replace("{base}", base) for words in said]
    if not said:
        said = [_("No primary cell is known to have changed since run {base}.", base=base)]
    counts = across_counts(found)
    if counts.get("equivalent") or counts.get("undecided"):
        said.append(
            _(
                "Primary cells as they were: {same}; undecided: {open}.",
                same=counts.get("equivalent", 0),
                open=counts.get("undecided", 0),
            )
        )
    if lost := counts.get("not enough data", 0):
        said.append(ngettext("{n} cell without enough data.", "{n} cells without enough data.", lost))
    if refused := counts.get("", 0):
        said.append(ngettext("{n} cell that is not comparable.", "{n} cells that are not comparable.", refused))
    if not found.alike:
        said.append(_("The machines are unlike: such percentages say little."))
    return said


def _listed(analysis: Analysis, cells: list[CellChange], words: str) -> str:
    each = []
    for cell in cells:
        metric = analysis.metrics[cell.row.metric]
        value, interval = effect_text(metric, _as_comparison(cell))
        each.append(f"{title(metric, cell.row)}, {arm_name(analysis, cell.arm)}: {value} ({interval})")
    return words.replace("{cells}", "; ".join(each))
