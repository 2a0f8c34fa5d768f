"""The same boot by four definitions: within each trial first."""

from __future__ import annotations

import pytest
from runs import METRICS, PRIMARY, Setting, build
from tare_bench.analysis import analyse
from tare_bench.reports.view_boot import same_boot_view
from tare_bench.same_boot import same_boot


def test_each_definition_has_its_own_start_and_stop() -> None:
    found = {each.arm: each for each in same_boot(analyse(build(Setting(rounds=10)), METRICS, PRIMARY))}
    kvm = found["kvm"]
    assert kvm.call is not None
    assert kvm.kernel is not None
    assert kvm.agent is not None
    assert kvm.answer is not None
    assert kvm.kernel.value == pytest.approx(6.2 - 0.86, rel=0.1)
    assert kvm.call.value == pytest.approx(0.015, rel=0.1)
    assert kvm.agent.value < kvm.answer.value
    assert found["docker"].kernel is None


def test_differences_are_taken_within_a_trial_before_any_median() -> None:
    """The slow trials are slow at both ends: the difference of the medians would not be that of any trial."""
    odd = {1: 1.0, 2: 5.0, 3: 9.0}

    def factor(arm: str, metric: str, block: int) -> float:
        return odd.get(block % 4, 1.0) if metric in ("boot.started", "boot.start_returned") else 1.0

    analysis = analyse(build(Setting(rounds=9, factor=factor)), METRICS, PRIMARY)
    cells = {cell.row.metric: cell for cell in analysis.cells if cell.arm == "docker"}
    stops, starts = cells["boot.start_returned"].points.values, cells["boot.started"].points.values
    expected = sorted(stop - start for stop, start in zip(stops, starts, strict=True))[4]
    found = next(each for each in same_boot(analysis) if each.arm == "docker")
    assert found.call is not None
    assert found.call.value == pytest.approx(expected)
    assert found.call.value != pytest.approx(sorted(stops)[4] - sorted(starts)[4], rel=1e-3)


def test_the_table_has_the_baseline_first_and_says_what_is_not_there() -> None:
    found = same_boot_view(analyse(build(), METRICS, PRIMARY))
    assert found is not None
    assert [arm for arm, _ in found.arms] == ["docker", "native", "kvm"]
    assert [row.values[0] for row in found.rows][1] == "not there"
    assert found.rows[2].values[0].startswith("17")
