"""What is folded away under a row's name: values by block, the pairs behind the verdict, what the tool printed."""

from __future__ import annotations

import msgspec
import pytest
from runs import HOSTILE, METRICS, PRIMARY, Setting, build
from tare_bench.analysis import Analysis, analyse
from tare_bench.compare import Row
from tare_bench.model import Run
from tare_bench.reports.view_points import Detail, details


def _analyse(run: Run) -> Analysis:
    return analyse(run, METRICS, PRIMARY)


def _detail(analysis: Analysis, row_id: str) -> Detail:
    return next(each for each in details(analysis) if each.strip.row_id == row_id)


TEN = Setting(rounds=10, throughput=10, workloads=("boot", "memory", "disk"))


def test_every_pair_is_there_block_by_block_and_is_what_the_comparison_has() -> None:
    analysis = _analyse(build(TEN))
    boot = _detail(analysis, "row-boot.ready")
    row = Row(metric="boot.ready", workload="boot")
    base, kvm = analysis.cell(row, "docker"), analysis.cell(row, "kvm")
    compared = analysis.comparison(row, "kvm")
    assert base is not None
    assert kvm is not None
    assert compared is not None
    assert compared.effect is not None
    line = next(line for line in boot.pairs if line.arm == "kvm")
    assert (line.label, line.place, line.blocks) == ("EMULATED", 2, kvm.points.blocks)
    left = dict(zip(base.points.blocks, base.points.values, strict=True))
    right = dict(zip(kvm.points.blocks, kvm.points.values, strict=True))
    assert line.effects == pytest.approx([right[block] / left[block] for block in line.blocks])
    assert line.middle == compared.effect.value
    assert boot.region == pytest.approx((1 / 1.05, 1.05))


def test_a_difference_is_in_the_unit_of_its_chart_and_what_is_not_compared_has_no_pairs() -> None:
    memory = _detail(_analyse(build(TEN)), "row-memory.pss")
    assert [line.arm for line in memory.pairs] == ["native"]  # kvm was emulated
    assert memory.strip.unit == memory.effect_unit == "MiB"
    assert memory.pairs[0].effects == pytest.approx([-5.6] * 10, abs=0.6)
    assert memory.region == (-4.0, 4.0)


def test_every_value_stands_in_its_block() -> None:
    boot = _detail(_analyse(build(TEN)), "row-boot.ready")
    assert boot.heads == (("docker", ""), ("native", ""), ("kvm", "EMULATED"))
    assert len(boot.blocks) == 10
    assert all(len(values) == 3 and "–" not in values for _, values in boot.blocks)


def test_a_block_without_a_value_has_a_dash() -> None:
    def outcome(arm: str, workload: str, block: int) -> tuple[str, str] | None:
        return ("failed", "broken") if (arm, block) == ("native", 3) else None

    boot = _detail(_analyse(build(Setting(rounds=10, outcome=outcome))), "row-boot.ready")  # type: ignore[arg-type]
    assert [values.count("–") for _, values in boot.blocks] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert len(next(line for line in boot.pairs if line.arm == "native").blocks) == 9


def test_what_a_tool_printed_stands_under_its_own_cell_as_text() -> None:
    run = build(TEN)
    trial = next(each for each in run.trials if each.cell.workload == "redis" and each.cell.arm == "docker")
    analysis = _analyse(msgspec.structs.replace(run, printed={trial.trial: f"GET: 1 rps {HOSTILE}"}))
    kept = {each.strip.row_id: each.printed for each in details(analysis) if each.printed}
    (printed,) = next(iter(kept.values()))
    assert len(kept) == 1
    assert (printed.arm, printed.trial) == ("docker", trial.trial)
    assert "\x1b" not in printed.text


def test_the_definition_is_that_of_the_metric() -> None:
    boot = _detail(_analyse(build(TEN)), "row-boot.ready")
    assert boot.definition.text == METRICS["boot.ready"].definition
