"""The memory sheet as rows of text: one unit for a whole sheet, so that a reader can add it up."""

from __future__ import annotations

from dataclasses import dataclass

from tare_bench import reconcile
from tare_bench.analysis import Analysis
from tare_bench.reconcile import Line, Sheet
from tare_bench.stats import Estimate

from .language import _, ngettext
from .view_format import identifier, number, one_line, percent, quantity, span
from .view_labels import joined
from .view_reasons import worded
from .view_words import EMULATED, arm_label

MIB = 1 << 20
WIDTH, HEIGHT = 640.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 12.0, 10.0, 26.0


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row, in MiB; a dash where it is not there."""

    title: str
    kind: str
    """term, sum or rest."""
    alone: str
    private: str
    each: str
    share: str
    """Of what was taken from the host."""
    why: str


@dataclass(frozen=True, slots=True)
class BesideRow:
    """A figure of others', in MiB."""

    title: str
    value: str
    difference: str
    why: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Ramps:
    """Every ramp's readings as a line: instances to the right, MemAvailable downwards."""

    lines: tuple[str, ...]
    """Each the points of an SVG polyline."""
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    alt: str


@dataclass(frozen=True, slots=True)
class SheetView:
    """One arm's sheet."""

    id: str
    arm: str
    label: str
    lede: str
    rows: tuple[SheetRow, ...]
    beside: tuple[BesideRow, ...]
    settings: tuple[tuple[str, str], ...]
    ramps: Ramps | None


def memory(analysis: Analysis) -> tuple[SheetView, ...]:
    """A sheet for each arm that has one, in the arms' order."""
    return tuple(_view(sheet, arm_label(analysis, sheet.arm)) for sheet in reconcile.sheets(analysis.run))


def _view(sheet: Sheet, label: str) -> SheetView:
    taken = sheet.slope.value if sheet.slope is not None else None
    return SheetView(
        id=identifier("memory", sheet.arm),
        arm=one_line(sheet.arm),
        label=label,
        lede=" ".join(_sentences(sheet, label)),
        rows=tuple(_row(line, taken) for line in sheet.lines),
        beside=tuple(
            BesideRow(_(one_line(each.title)), mib(each.value), mib(each.difference, sign=True), worded(each.why))
            for each in sheet.beside
        ),
        settings=tuple((_(one_line(key)), worded(one_line(value))) for key, value in sheet.settings.items()),
        ramps=_ramps(sheet),
    )


def mib(value: float | None, *, sign: bool = False) -> str:
    """Two decimals, in MiB, so that a column adds up as it is read."""
    if value is None:
        return "–"
    text = f"{value / MIB:+.2f}" if sign else f"{value / MIB:.2f}"
    return text.replace("-", "−")


def _row(line: Line, taken: float | None) -> SheetRow:
    share = _share(line.each / taken) if line.each is not None and taken else ""
    numbers = (mib(line.alone), mib(line.private), mib(line.each), share)
    return SheetRow(_(line.title), line.kind, *numbers, worded(line.why))


def _estimate(found: Estimate) -> str:
    interval = span(found.low, found.high, MIB)
    return f"{number(found.value / MIB)} MiB{f' ({interval})' if interval else ''}"


def _share(share: float) -> str:
    return percent(share).replace("-", "−")


def _sentences(sheet: Sheet, label: str) -> list[str]:
    size = quantity(sheet.given, "B")
    if sheet.guest:
        said = [_("Memory of each instance: whole size {size}, its kernel included.", size=size)]
    else:
        said = [_("Memory of each instance: limit {size}.", size=size)]
    if sheet.slope is None:
        return [*said, _("What it takes of the host was not measured: workload memory-ramp.")]
    said.append(
        ngettext(
            "One more idle instance takes {value} of the host, by {n} ramp.",
            "One more idle instance takes {value} of the host, by {n} ramps.",
            sheet.slope.n,
            value=_estimate(sheet.slope),
        )
    )
    if sheet.steadied is not None and sheet.steadied.n == sheet.slope.n:
        said.append(_("Less what other programs took meanwhile: {value}.", value=_estimate(sheet.steadied)))
    if sheet.unexplained:
        said.append(_("{share} of it is explained by no row.", share=_share(sheet.unexplained)))
    elif sheet.unexplained is not None:
        said.append(_("What no row explains is less than can be told."))
    if label == EMULATED:
        said.append(_("The emulator's own share is in it: it says nothing about a guest that runs on KVM."))
    return said


def _ramps(sheet: Sheet) -> Ramps | None:
    points = [point for ramp in sheet.ramps for point in ramp]
    most = max((instances for instances, _ in points), default=0)
    least = min((change for _, change in points), default=0.0)
    highest = max((change for _, change in points), default=0.0)
    if not most or highest == least:
        return None

    def x(instances: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * instances / most, 1)

    def y(change: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (highest - change) / (highest - least), 1)

    lines = tuple(" ".join(f"{x(instances)},{y(change)}" for instances, change in ramp) for ramp in sheet.ramps)
    numbers = sorted({instances for instances, _ in points})
    counts = [str(instances) for instances in (numbers[0], numbers[-1])]
    return Ramps(
        lines=lines,
        across=tuple(Tick(x(instances), str(instances)) for instances in numbers),
        down=tuple(Tick(y(change), f"{number(change / MIB)} MiB") for change in (0.0, least)),
        alt=_(
            "Change of the host's available memory over {numbers} instances of {arm}",
            numbers=joined(counts),
            arm=one_line(sheet.arm),
        ),
    )
