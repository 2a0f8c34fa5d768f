"""The table that the project was founded on, with measured numbers in place of its adjectives."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tare_bench.analysis import Analysis
from tare_bench.stats import Estimate

from .language import N_, _
from .view_cells import WORDS, Column
from .view_format import one_line, quantity, span, unit_for
from .view_tables import columns, row_id
from .view_words import EMULATED


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement in a cell, with the place that proves it."""

    text: str
    note: str = ""
    interval: str = ""
    link: str = ""
    """The id of its evidence on the page; empty where the page has none."""


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One of the five rows."""

    id: str
    title: str
    claim: str
    """What is commonly said, and is here measured."""
    cells: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True, slots=True)
class SeedTable:
    """The five rows, one column an arm."""

    columns: tuple[Column, ...]
    rows: tuple[SeedRow, ...]


def seed_table(analysis: Analysis) -> SeedTable:
    """The five rows of the founding note, measured."""
    heads = columns(analysis)
    rows = (
        (
            "isolation",
            N_("Isolation level"),
            N_("a VM is a whole OS; a container shares the host's kernel"),
            _isolation,
        ),
        ("weight", N_("Weight"), N_("a VM is heavy; a container is light"), _weight),
        ("speed", N_("Boot speed"), N_("a VM takes tens of seconds to minutes; a container a few seconds"), _speed),
        (
            "environment",
            N_("Execution environment"),
            N_("an OS in each VM; a container uses the host's kernel"),
            _environment,
        ),
        ("technology", N_("Technologies"), N_("KVM, VirtualBox, VMware; Docker, containerd"), _technology),
    )
    return SeedTable(
        columns=heads,
        rows=tuple(
            SeedRow(
                f"seed-{key}", _(title), _(claim), tuple(tuple(entries(analysis, head)) or (_open(),) for head in heads)
            )
            for key, title, claim, entries in rows
        ),
    )


def _open() -> Entry:
    return Entry(_("not measured in this run"))


def _find(analysis: Analysis, metric: str, head: Column) -> tuple[Estimate, str] | None:
    """The median of the first row of a metric that the arm has a value in, and that row's id."""
    for row in analysis.rows:
        cell = analysis.cell(row, head.arm) if row.metric == metric else None
        if cell is not None and cell.median is not None and math.isfinite(cell.median.value):
            return cell.median, row_id(row)
    return None


def _number(analysis: Analysis, metric: str, head: Column, note: str) -> list[Entry]:
    found = _find(analysis, metric, head)
    if found is None:
        return []
    median, link = found
    unit, exact = analysis.metrics[metric].unit, analysis.metrics[metric].scale == "exact"
    size = unit_for(unit, [median.value]).size
    interval = "" if exact else span(median.low, median.high, size)
    return [Entry(quantity(median.value, unit), note, interval, link)]


def _isolation(analysis: Analysis, head: Column) -> list[Entry]:
    kernel = _find(analysis, "isolation.same_kernel", head)
    seccomp = _find(analysis, "isolation.seccomp", head)
    own = {0.0: _("a kernel of its own"), 1.0: _("shares the host's kernel")}
    modes = WORDS["isolation.seccomp"]
    return [
        *([Entry(own.get(kernel[0].value, _("unknown")), link=kernel[1])] if kernel else []),
        *_number(analysis, "isolation.namespaces", head, _("kinds of namespaces of its own")),
        *_number(analysis, "isolation.host_processes", head, _("host processes visible")),
        *_number(analysis, "isolation.capabilities", head, _("effective capabilities")),
        *([Entry(_(modes.get(seccomp[0].value, "unknown")), "seccomp", link=seccomp[1])] if seccomp else []),
    ]


def _weight(analysis: Analysis, head: Column) -> list[Entry]:
    note = _("memory, the emulator's own included") if head.label == EMULATED else _("memory, idle")
    return [
        *_number(analysis, "memory.pss", head, note),
        *_number(analysis, "disk.instance", head, _("disk, each")),
        *_number(analysis, "disk.image", head, _("image, once")),
    ]


def _speed(analysis: Analysis, head: Column) -> list[Entry]:
    return [
        *_number(analysis, "boot.ready", head, _("to ready")),
        *_number(analysis, "stop.stopped", head, _("hard stop")),
    ]


def _environment(analysis: Analysis, head: Column) -> list[Entry]:
    facts = analysis.facts.get(head.arm, {})
    entries = [Entry(_(note, fact=one_line(facts[key]))) for key, note in _FACTS.items() if facts.get(key)]
    rootfs = analysis.run.manifest.rootfs
    return [*entries, Entry(quantity(rootfs.size, "B"), _("root filesystem, the same for every arm"), link="method")]


_FACTS = {"os": "{fact}", "kernel_release": N_("kernel {fact}")}


def _technology(analysis: Analysis, head: Column) -> list[Entry]:
    manifest = analysis.run.manifest
    arm = next(arm for arm in manifest.plan.arms if arm.name == head.arm)
    accelerator = manifest.accelerators.get(head.arm, "none")
    how = {
        "kvm": _("accelerated by KVM"),
        "tcg": _("emulated by QEMU (TCG), without KVM"),
        "simulated": _("simulated"),
    }
    entries = [Entry(one_line(arm.driver), how.get(accelerator, ""), link="facts")]
    described = list(manifest.described(arm).items())[:3]
    return [*entries, *(Entry("", f"{one_line(key)} {one_line(value)}") for key, value in described)]
