"""The same boot by four definitions, as rows of text."""

from __future__ import annotations

from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.same_boot import SameBoot, same_boot
from tare_bench.stats import Estimate

from .language import N_, _
from .view_format import measured, one_line
from .view_tables import columns
from .view_words import arm_label

_TITLES = (
    ("call", N_("the engine's own call"), N_("from issuing the start to its return: what a stopwatch around it shows")),
    (
        "kernel",
        N_("kernel to init"),
        N_("what a guest says of itself; before it lie the engine, the monitor and the firmware"),
    ),
    ("agent", N_("request to READY"), N_("boot.ready: the one that this page compares")),
    (
        "answer",
        N_("request to the first correct answer"),
        N_("boot.first_command: something inside did what it was asked"),
    ),
)


@dataclass(frozen=True, slots=True)
class BootRow:
    """One definition, for every arm."""

    title: str
    why: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SameBootView:
    """The table of definitions."""

    arms: tuple[tuple[str, str], ...]
    """Name and label."""
    rows: tuple[BootRow, ...]


def same_boot_view(analysis: Analysis) -> SameBootView | None:
    """None where no boot was measured."""
    by_arm = {each.arm: each for each in same_boot(analysis)}
    found = [by_arm[head.arm] for head in columns(analysis) if head.arm in by_arm]
    if not found:
        return None
    return SameBootView(
        arms=tuple((one_line(each.arm), arm_label(analysis, each.arm)) for each in found),
        rows=tuple(
            BootRow(title=_(title), why=_(why), values=tuple(_text(each, name) for each in found))
            for name, title, why in _TITLES
        ),
    )


def _text(each: SameBoot, name: str) -> str:
    value: Estimate | None = getattr(each, name)
    return measured(value, "s") if value is not None else _("not there")
