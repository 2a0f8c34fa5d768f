"""Many runs in their order: series of ratios to each night's own baseline, and what changed on the way."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import pytest
from nights import USUAL, night, seen
from tare_bench import acknowledged
from tare_bench.errors import UsageError
from tare_bench.nights import Acknowledged, History, Series, history


def _series(found: History, metric: str, arm: str) -> Series:
    return next(each for each in found.series if each.row.metric == metric and each.arm == arm)


def test_a_series_has_each_night_s_own_comparison() -> None:
    runs = [seen(night(number)) for number in range(3)]
    found = history(runs)
    series = _series(found, "boot.ready", "native")
    assert [point.night for point in series.points] == [0, 1, 2]
    for run, point in zip(runs, series.points, strict=True):
        item = run.comparison(series.row, "native")
        assert item is not None
        assert point.effect == item.effect
    assert series.primary


def test_facts_of_a_night_are_what_differs_from_the_one_before_without_what_is_volatile() -> None:
    hosts = [{"kernel": "6.1", "busy": "0.0"}, {"kernel": "6.1", "busy": "0.3"}, {"kernel": "6.2", "busy": "0.1"}]
    found = history([seen(night(number, host=host)) for number, host in enumerate(hosts)])
    assert [[change.name for change in each.facts] for each in found.nights] == [[], [], ["kernel"]]


def test_emulated_memory_has_no_series_and_an_emulated_arm_is_called_so() -> None:
    found = history([seen(night(number)) for number in range(2)])
    assert not [each for each in found.series if each.row.metric.startswith("memory.") and each.arm == "kvm"]
    assert _series(found, "boot.ready", "kvm").accelerator == "tcg"


def test_a_night_without_a_cell_leaves_a_gap_and_a_failed_one_is_counted() -> None:
    runs = [seen(night(number)) for number in range(3)]
    less = [item for item in runs[1].comparisons if item.row.workload != "redis"]
    runs[1] = msgspec.structs.replace(runs[1], comparisons=less, outcomes={"ok": 3, "failed": 2, "timeout": 1})
    found = history(runs)
    assert [point.night for point in _series(found, "redis.get.rate", "native").points] == [0, 2]
    assert [each.failed for each in found.nights] == [0, 3, 0]


def test_no_run_is_no_history() -> None:
    with pytest.raises(ValueError, match="needs a run"):
        history([])


@cache
def _stepped(known: tuple[Acknowledged, ...] = ()) -> History:
    def slower(arm: str, metric: str, block: int) -> float:
        return 0.8 if (arm, metric) == ("native", "fio-randread.iops") else 1.0

    runs = [seen(night(number)) for number in range(10)]
    runs += [seen(night(number, slower)) for number in range(10, 14)]
    return history(runs, known)


def test_a_level_that_changed_is_a_step_with_both_levels() -> None:
    (step,) = _series(_stepped(), "fio-randread.iops", "native").steps
    assert (step.night, step.kind, step.acknowledged) == (10, "loss", "")
    assert step.after / step.before == pytest.approx(0.8, rel=0.01)
    assert step.before == pytest.approx(1.17, rel=0.02)


def test_nothing_else_has_a_step() -> None:
    found = _stepped()
    assert [each.row.metric for each in found.series if each.steps and each.primary] == ["fio-randread.iops"]


@pytest.mark.parametrize(
    ("run", "metric", "said"),
    [
        ("20261111-030000-aa10", "fio-randread.iops", True),
        ("20261112-030000-aa11", "fio-randread.iops", True),
        ("20261105-030000-aa04", "fio-randread.iops", False),
        ("20261111-030000-aa10", "boot.ready", False),
        ("no-such-run", "fio-randread.iops", False),
    ],
)
def test_what_was_acknowledged_is_that_change_and_no_other(run: str, metric: str, said: bool) -> None:
    known = Acknowledged(run=run, metric=metric, arm="native", why="a new disk")
    (step,) = _series(_stepped((known,)), "fio-randread.iops", "native").steps
    assert step.acknowledged == ("a new disk" if said else "")


def test_the_file_of_acknowledged_changes_is_read_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    assert acknowledged.read(tmp_path) == []
    path = tmp_path / acknowledged.NAME
    path.write_text('[[change]]\nrun = "a"\nmetric = "m"\narm = "x"\nwhy = "because"\n')
    assert acknowledged.read(tmp_path) == [Acknowledged(run="a", metric="m", arm="x", why="because")]
    path.write_text('[[change]]\nrun = "a"\nmetrik = "m"\narm = "x"\nwhy = "because"\n')
    with pytest.raises(UsageError, match="not a list of changes") as found:
        acknowledged.read(tmp_path)
    assert "metrik" in (found.value.details or "") or "metric" in (found.value.details or "")
    path.write_text("[[change")
    with pytest.raises(UsageError):
        acknowledged.read(tmp_path)


def test_a_night_with_another_accelerator_or_baseline_is_a_gap_and_no_change() -> None:
    real = replace(USUAL, accelerators={"kvm": "kvm"})
    runs = [seen(night(number, setting=real)) for number in range(8)] + [seen(night(number)) for number in range(8, 14)]
    series = _series(history(runs), "boot.ready", "kvm")
    assert [point.effect is None for point in series.points] == [True] * 8 + [False] * 6
    assert series.points[0].reason == "another baseline or accelerator than the latest"
    assert series.steps == []
    moved = night(3)
    plan = msgspec.structs.replace(moved.manifest.plan, baseline="native")
    moved = msgspec.structs.replace(moved, manifest=msgspec.structs.replace(moved.manifest, plan=plan))
    kvm = _series(history([seen(moved), seen(night(4))]), "boot.ready", "kvm")
    assert [point.effect is None for point in kvm.points] == [True, False]
