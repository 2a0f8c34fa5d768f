"""OpenMetrics text: a gauge for each metric, named with its unit, and for each comparison its effect and verdict."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tare_bench.analysis import Analysis
from tare_bench.compare import CellSummary
from tare_bench.metrics import Metric
from tare_bench.stats import Estimate

from ..view_format import clean
from ..view_words import arm_label
from .series import named

if TYPE_CHECKING:
    from prometheus_client.metrics_core import GaugeMetricFamily
    from prometheus_client.metrics_core import Metric as Family

_UNITS = {"s": "seconds", "B": "bytes", "B/s": "bytes_per_second", "1/s": "per_second", "1": ""}


def render(analysis: Analysis) -> str:
    """The exposition, whole, up to its `# EOF`."""
    from prometheus_client.openmetrics.exposition import generate_latest

    # it wants no more of a registry than to be asked for what it holds
    text: bytes = generate_latest(_Collected(list(_families(analysis))))  # type: ignore[no-untyped-call]
    return text.decode()


@dataclass(frozen=True, slots=True)
class _Collected:
    families: list[Family]

    def collect(self) -> Iterable[Family]:
        return self.families


@dataclass(slots=True)
class _Names:
    """Names that OpenMetrics allows, the same for the same metric and of no two alike."""

    taken: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        plain = re.sub(r"[^a-z0-9_]", "_", f"tare_{name.lower()}")[:120]
        odd = not re.fullmatch(r"[a-z0-9_.-]{1,110}", name) or self.taken.get(plain, name) != name
        plain = f"{plain}_{zlib.crc32(name.encode('utf-8', 'replace')):08x}" if odd else plain
        self.taken[plain] = name
        return plain


def _families(analysis: Analysis) -> Iterator[Family]:
    names = _Names()
    yield _run(analysis)
    yield from _values(analysis, names)
    yield from _comparisons(analysis, names)


def _run(analysis: Analysis) -> Family:
    from prometheus_client.metrics_core import InfoMetricFamily

    run, manifest = analysis.run, analysis.run.manifest
    facts = {
        "run": named(manifest.run),
        "started_at": named(manifest.started_at),
        "tare_version": named(manifest.tare_version),
        "host": named(manifest.host.get("hostname", "")),
        "baseline": named(manifest.plan.baseline),
        "finished": str(run.finished).lower(),
        "simulated": str(run.simulated).lower(),
        "emulated": ",".join(map(named, run.emulated)),
    }
    return InfoMetricFamily("tare_run", "The run that these values are of.", facts)


def _values(analysis: Analysis, names: _Names) -> Iterator[Family]:
    """By metric: medians with their intervals; and of all cells how many values there are, and how trials ended."""
    values, counts = (
        _gauge("tare_values", "How many values a median is of."),
        _gauge("tare_trials", "Measured trials of a cell by how they ended."),
    )
    families: dict[str, GaugeMetricFamily] = {}
    for cell in analysis.cells:
        metric, labels = analysis.metrics[cell.row.metric], _labels(analysis, cell)
        if metric.name not in families:
            families[metric.name] = _gauge(names.of(metric.name), _help(metric), _unit(metric))
        for stat, value in _stats(cell.median):
            _add(families[metric.name], labels | {"stat": stat}, value)
        named_row = {"metric": named(metric.name), **labels}
        _add(values, named_row, len(cell.points.values))
        ends = {"failed": cell.failed, "timeout": cell.timed_out, "skipped": cell.skipped}
        for status, number in ends.items():
            _add(counts, named_row | {"status": status}, number)
    yield from families.values()
    yield from (values, counts)


def _comparisons(analysis: Analysis, names: _Names) -> Iterator[Family]:
    ratios = _gauge("tare_effect_ratio", "The arm's value as a multiple of the baseline's.", "ratio")
    verdicts = _gauge("tare_verdict", "1 for the verdict that the comparison with the baseline has.")
    differences: dict[str, GaugeMetricFamily] = {}
    cells = {(cell.row, cell.arm): cell for cell in analysis.cells}
    for item in analysis.comparisons:
        metric = analysis.metrics[item.row.metric]
        labels = {"metric": named(metric.name), **_labels(analysis, cells[item.row, item.arm])}
        labels |= {"baseline": named(item.baseline), "primary": str(item.primary).lower()}
        if item.verdict:
            _add(verdicts, labels | {"verdict": item.verdict}, 1)
        if item.scale != "ratio" and metric.name not in differences:
            name = names.of(f"{metric.name}.difference")
            differences[metric.name] = _gauge(name, f"Difference to the baseline. {_help(metric)}", _unit(metric))
        target = ratios if item.scale == "ratio" else differences[metric.name]
        for stat, value in _stats(item.effect if item.verdict != "not compared: emulated" else None):
            _add(target, labels | {"stat": stat}, value)
    yield from (ratios, *differences.values(), verdicts)


def _stats(found: Estimate | None) -> list[tuple[str, float]]:
    ends = (("median", found.value), ("low", found.low), ("high", found.high)) if found else ()
    return [(stat, value) for stat, value in ends if value is not None]


def _labels(analysis: Analysis, cell: CellSummary) -> dict[str, str]:
    label = arm_label(analysis, cell.arm)
    return {
        "arm": named(cell.arm),
        "driver": named(cell.driver),
        "accelerator": cell.accelerator,
        "workload": named(cell.row.workload),
        "params": named(cell.row.params),
    } | ({"label": label} if label else {})


def _gauge(name: str, about: str, unit: str = "") -> GaugeMetricFamily:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(name, about, unit=unit)


def _add(family: GaugeMetricFamily, labels: Mapping[str, str], value: float) -> None:
    family.add_sample(family.name, dict(labels), value)


def _help(metric: Metric) -> str:
    return clean(f"{metric.title}. {metric.definition}")


def _unit(metric: Metric) -> str:
    own = re.sub(r"[^a-z0-9]+", "_", metric.unit.lower()).strip("_")[:40]
    return _UNITS.get(metric.unit, own)
